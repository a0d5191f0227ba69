//! Features in `.npz`: a whole archive, or arrays (each after its length in two bytes) that are put into one, since the
//! archive's own checksums would hide most of what is done to them.
#![no_main]

mod scratch;

use std::io::{Cursor, Write};

use libfuzzer_sys::fuzz_target;
use retune::features;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fuzz_target!(|bytes: &[u8]| {
    let archive = if bytes.starts_with(b"PK") { bytes.to_vec() } else { archive(bytes) };
    let _ = features::read(&scratch::write("features.npz", &archive));
});

fn archive(mut arrays: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for name in ["features", "labels", "paths", "classes"] {
        let Some((length, rest)) = arrays.split_first_chunk() else { break };
        let (array, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(array).unwrap();
        arrays = rest;
    }
    archive.finish().unwrap().into_inner()
}
