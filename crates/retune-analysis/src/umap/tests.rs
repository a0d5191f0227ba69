use std::path::PathBuf;

use retune_random::truncated_normal;

use super::*;
use crate::trustworthiness::{TrustworthinessError, trustworthiness};

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/umap");
    std::fs::read(folder.join(name)).unwrap()
}

/// scikit-learn's digits: 1,797 images of 64 features.
pub(super) fn digits() -> Vec<f32> {
    fixture("digits.bin").into_iter().map(f32::from).collect()
}

pub(super) fn references() -> serde_json::Value {
    serde_json::from_slice(&fixture("umap.json")).unwrap()
}

/// Clouds around corners of a square in a space of 5 dimensions.
fn clouds(n: usize) -> Vec<f32> {
    let mut random = generator(4, &[n as u64]);
    let place = |at: usize| if at % 5 < 2 { 8.0 * (((at / 5 % 4) >> (at % 5)) & 1) as f32 } else { 0.0 };
    (0..n * 5).map(|at| place(at) + truncated_normal(&mut random)).collect()
}

#[test]
fn trustworthiness_is_scikit_learns() {
    let layout: Vec<f32> = fixture("layout.bin").as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let layout = layout.as_chunks::<2>().0;
    for (metric, k) in [(Metric::Euclidean, 5), (Metric::Euclidean, 15), (Metric::Cosine, 5), (Metric::Cosine, 15)] {
        let expected = references()["trustworthiness"][format!("{} {k}", metric.name())].as_f64().unwrap();
        let found = trustworthiness(&digits(), 64, layout, k, metric).unwrap();
        // Features are small whole numbers, so that there are equal distances, which scikit-learn orders by a quicksort.
        assert!((found - expected).abs() < 2e-5, "{metric:?} {k}: {found} {expected}");
    }
    let few = TrustworthinessError::TooFewImages { images: 4, neighbors: 2 };
    assert_eq!(trustworthiness(&clouds(4), 5, &layout[..4], 2, Metric::Euclidean), Err(few));
    assert!(trustworthiness(&clouds(4), 5, &layout[..3], 1, Metric::Euclidean).is_err());
}

#[test]
fn digits_are_mapped_as_well_as_by_umap_learn() {
    let digits = digits();
    for metric in Metric::ALL {
        let layout = umap(&digits, 64, &UmapOptions { metric, ..UmapOptions::default() }).unwrap();
        let found = trustworthiness(&digits, 64, &layout, 15, metric).unwrap();
        let seeds = &references()["umap_learn"]["trustworthiness_of_three_seeds"][metric.name()];
        let best = seeds.as_array().unwrap().iter().filter_map(|seed| seed.as_f64()).fold(0.0, f64::max);
        assert!(found > best - 0.01, "{metric:?}: {found}, umap-learn {best}");
    }
}

#[test]
fn threads_change_no_byte_and_seeds_do() {
    let features = clouds(700);
    let options = UmapOptions { epochs: Some(50), ..UmapOptions::default() };
    let expected = umap(&features, 5, &options).unwrap();
    for threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| umap(&features, 5, &options)).unwrap(), expected);
    }
    assert_ne!(umap(&features, 5, &UmapOptions { seed: u64::MAX, ..options }).unwrap(), expected);
}

#[test]
fn clouds_stay_apart() {
    let features = clouds(400);
    let layout = umap(&features, 5, &UmapOptions::default()).unwrap();
    // A k-nearest-neighbor classifier on the map finds each image's cloud.
    let near = Points::new(layout.as_flattened(), 2, Metric::Euclidean).nearest(1);
    let right = near.iter().enumerate().filter(|(image, near)| image % 4 == near[0].index % 4).count();
    assert!(right >= 390, "{right} of 400");
}

#[test]
fn few_images_and_duplicates_are_mapped_too() {
    for n in 1..=16 {
        let layout = umap(&clouds(n), 5, &UmapOptions::default()).unwrap();
        assert_eq!(layout.len(), n);
        assert!(layout.as_flattened().iter().all(|place| place.is_finite()), "{n}");
    }
    // Every image fifty times: the graph falls into pieces of equal images.
    let pieces: Vec<f32> = (0..6).flat_map(|piece| [piece as f32, 1.0].repeat(50)).collect();
    for metric in Metric::ALL {
        let layout = umap(&pieces, 2, &UmapOptions { metric, epochs: Some(20), ..UmapOptions::default() }).unwrap();
        assert_eq!(layout.len(), 300);
    }
    let mut mostly_equal = vec![1.0; 200];
    mostly_equal[7] = 2.0;
    assert_eq!(umap(&mostly_equal, 2, &UmapOptions::default()).unwrap().len(), 100);
}

#[test]
fn what_cannot_be_mapped_says_why() {
    let refused = |values: &[f32], width, options: UmapOptions| umap(values, width, &options).unwrap_err();
    let options = UmapOptions::default;
    assert_eq!(refused(&[], 3, options()), UmapError::NoImages);
    assert_eq!(refused(&[1.0; 4], 3, options()), UmapError::Shape { values: 4, width: 3 });
    assert_eq!(refused(&[1.0; 4], 0, options()), UmapError::Shape { values: 4, width: 0 });
    assert_eq!(refused(&[1.0; 12], 3, options()), UmapError::Constant);
    assert_eq!(refused(&[1.0, f32::NAN, 2.0, 3.0], 2, options()), UmapError::NotFinite { row: 0 });
    // The square of 1e20 is past the largest number of single precision, 3.4e38.
    assert_eq!(refused(&[1.0, 2.0, 1e20, 3.0], 2, options()), UmapError::TooLarge { row: 1, value: 1e20 });
    let cosine = UmapOptions { metric: Metric::Cosine, ..options() };
    assert_eq!(refused(&[1.0, 2.0, 0.0, 0.0], 2, cosine), UmapError::NoDirection { row: 1 });
    for options in [
        UmapOptions { neighbors: 1, ..options() },
        UmapOptions { minimum_distance: -0.1, ..options() },
        UmapOptions { minimum_distance: f64::NAN, ..options() },
        UmapOptions { epochs: Some(0), ..options() },
    ] {
        assert!(matches!(refused(&clouds(9), 5, options), UmapError::Option { .. }));
    }
}
