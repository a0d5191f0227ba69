//! Every kind of JPEG against Pillow 13's pixels: equal to the bit. The files, and the program that made
//! them and the hashes, are in `tests/fixtures`.

use std::path::PathBuf;

use proptest::prelude::*;
use retune_jpeg::{Decoded, Jpeg, JpegError};

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Name, width, height and hash of the pixels.
fn files() -> Vec<(String, usize, usize, u64)> {
    let list = String::from_utf8(fixture("hashes.txt")).unwrap();
    let files = list.lines().map(|line| {
        let [name, width, height, hash] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        (format!("{name}.jpg"), width.parse().unwrap(), height.parse().unwrap(), u64::from_str_radix(hash, 16).unwrap())
    });
    files.collect()
}

fn decode(bytes: &[u8]) -> Result<Vec<u8>, JpegError> {
    Ok(Jpeg::parse(bytes)?.decode()?.pixels)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

#[test]
fn every_kind_decodes_to_pillows_pixels() {
    let files = files();
    assert!(files.len() > 90);
    for (name, width, height, hash) in files {
        let bytes = fixture(&name);
        let jpeg = Jpeg::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((jpeg.width(), jpeg.height()), (width, height), "{name}");
        let Decoded { pixels, damages } = jpeg.decode().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(damages, 0, "{name}");
        assert_eq!(pixels.len(), width * height * 3, "{name}");
        assert_eq!(fnv1a(&pixels), hash, "{name}");
    }
}

/// Arithmetic coding leaves out zeros at the end, so a cut there can only be told by the missing marker.
#[test]
fn a_file_cut_short_is_an_error() {
    for (name, ..) in files() {
        let whole = fixture(&name);
        for length in 0..whole.len() - 2 {
            let cut = decode(&whole[..length]);
            // Of a file that lacks its marker and a byte, that byte may be 0xFF of the marker, or padding that
            // held no bit of any pixel.
            if let Ok(pixels) = cut {
                assert!(length + 4 >= whole.len(), "{name} cut to {length} of {}", whole.len());
                assert_eq!(pixels, decode(&whole).unwrap(), "{name}");
            }
        }
    }
}

#[test]
fn a_missing_end_marker_is_forgiven() {
    for (name, ..) in files() {
        let whole = fixture(&name);
        let unmarked = decode(&whole[..whole.len() - 2]);
        match unmarked {
            Ok(pixels) => assert_eq!(pixels, decode(&whole).unwrap(), "{name}"),
            Err(error) => assert!(name.contains("arithmetic") && error == JpegError::EndsEarly, "{name}: {error}"),
        }
    }
}

/// What `damage.py` made: Pillow's pixels to the bit, or refused as by Pillow, and known to be damaged.
#[test]
fn damaged_files_decode_to_pillows_pixels() {
    let list = String::from_utf8(fixture("damaged/hashes.txt")).unwrap();
    let (mut decoded, mut refused) = (0, 0);
    for line in list.lines() {
        let (name, expected) = line.split_once(' ').unwrap();
        let bytes = fixture(&format!("damaged/{name}.jpg"));
        match (Jpeg::parse(&bytes).and_then(Jpeg::decode), expected) {
            (Err(_), "refused") => refused += 1,
            (Ok(found), hash) if hash != "refused" => {
                assert_eq!(format!("{:016x}", fnv1a(&found.pixels)), hash, "{name}");
                // Arithmetic coding gives something for any data, so that not all damage shows.
                assert!(found.damages > 0 || name.contains("arithmetic"), "{name}");
                decoded += 1;
            }
            (found, _) => panic!("{name} is {expected} by Pillow, and here {:?}", found.map(|found| found.damages)),
        }
    }
    assert!(decoded >= 10 && refused >= 10, "{decoded} {refused}");
}

/// Whole codes may be all zeros, so that only the data left over shows the damage.
#[test]
fn zeros_in_place_of_the_second_half_are_damage() {
    for name in ["baseline-420.jpg", "size-65x65-420.jpg"] {
        let whole = fixture(name);
        for (share, padding) in [(0.5, whole.len() / 2), (0.5, 1 << 14), (0.9, whole.len() / 10), (0.75, 1 << 20)] {
            let mut half = whole[..(whole.len() as f64 * share) as usize].to_vec();
            half.resize(half.len() + padding, 0);
            if let Ok(decoded) = Jpeg::parse(&half).and_then(Jpeg::decode) {
                assert!(decoded.damages > 0, "{name} with {padding} zeros from {share} on");
            }
        }
    }
}

#[test]
fn what_is_not_read_is_named() {
    let with_marker = |marker: u8| {
        let mut file = fixture("baseline-420.jpg");
        let at = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        file[at + 1] = marker;
        decode(&file).unwrap_err().to_string()
    };
    assert_eq!(with_marker(0xC3), "it is a lossless JPEG");
    assert_eq!(with_marker(0xC5), "it is a hierarchical JPEG");
    let mut twelve = fixture("baseline-420.jpg");
    let at = twelve.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    twelve[at + 4] = 12;
    assert_eq!(decode(&twelve).unwrap_err().to_string(), "it has 12 bits a sample, not 8");
    assert_eq!(decode(b"no picture").unwrap_err().to_string(), "it does not begin as a JPEG does");
}

/// A header that claims much with hardly any data is refused before memory is taken.
#[test]
fn a_large_image_needs_data() {
    for name in ["baseline-420.jpg", "progressive-420.jpg", "gray-baseline.jpg"] {
        let mut file = fixture(name);
        let at = file.windows(2).position(|pair| matches!(pair, [0xFF, 0xC0 | 0xC2])).unwrap();
        file[at + 5..at + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
        assert_eq!(decode(&file), Err(JpegError::EndsEarly), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for (name, ..) in files() {
            let mut file = fixture(&name);
            for (position, value) in &changes {
                let position = position.index(file.len());
                file[position] = *value;
            }
            if let Ok(jpeg) = Jpeg::parse(&file) && jpeg.width() * jpeg.height() < 1 << 16 {
                let _ = jpeg.decode();
            }
        }
    }
}
