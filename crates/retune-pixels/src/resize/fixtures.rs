//! Reads the fixtures that `tests/fixtures/pixels/generate.py` wrote.

use std::path::PathBuf;

use image::RgbImage;
use serde::Deserialize;

/// One case of `cases.json`: what a reference library made of a source with some parameters.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Case {
    kind: String,
    #[serde(default)]
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) interpolation: String,
    /// Width and height of the result.
    pub(crate) size: [u32; 2],
    #[serde(default)]
    pub(crate) r#box: [f64; 4],
    #[serde(default)]
    pub(crate) crop_pct: f64,
    #[serde(default)]
    pub(crate) crop_mode: String,
    #[serde(default)]
    pub(crate) mean: [f32; 3],
    #[serde(default)]
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) argument: f64,
    #[serde(default)]
    pub(crate) fill: [u8; 3],
    #[serde(default)]
    pub(crate) file: String,
    /// Largest difference allowed, in gray levels.
    #[serde(default)]
    pub(crate) tolerance: u8,
    offset: Option<usize>,
    hash: Option<String>,
}

/// The path of a fixture file.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels").join(name)
}

/// The bytes of a fixture file.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("fixture {name}: {error}"))
}

/// A source image.
pub(crate) fn source(name: &str) -> RgbImage {
    image::load_from_memory(&bytes(&format!("{name}.png"))).expect("a readable source image").into_rgb8()
}

/// Every case of a kind; at least one.
pub(crate) fn cases(kind: &str) -> Vec<Case> {
    let all: Vec<Case> = serde_json::from_slice(&bytes("cases.json")).expect("valid cases.json");
    let found: Vec<Case> = all.into_iter().filter(|case| case.kind == kind).collect();
    assert!(!found.is_empty(), "no cases of kind {kind}");
    found
}

impl Case {
    /// Asserts that `actual` is the recorded result, within `tolerance` gray levels everywhere (a
    /// result recorded as a hash: exactly), and returns the share of values that differ at all.
    #[track_caller]
    pub(crate) fn assert_matches(&self, actual: &RgbImage, tolerance: u8) -> f64 {
        assert_eq!(actual.dimensions(), self.size.into(), "{self:?}");
        if let Some(hash) = &self.hash {
            assert_eq!(&fnv1a(actual.as_raw()), hash, "{self:?}");
            return 0.0;
        }
        let start = self.offset.expect("an offset or a hash");
        let expected = &bytes("pixels.bin")[start..start + actual.as_raw().len()];
        let differences = actual.as_raw().iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
        let largest = differences.clone().max().unwrap_or(0);
        assert!(largest <= tolerance, "differs by {largest}: {self:?}");
        let different = differences.filter(|difference| *difference > 0).count();
        different as f64 / expected.len() as f64
    }
}

/// The 64-bit FNV-1a hash, in hexadecimal.
pub(crate) fn fnv1a(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
