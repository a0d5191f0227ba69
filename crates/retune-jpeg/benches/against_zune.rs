//! How long decoding takes compared with zune-jpeg, file by file, in turns: `cargo bench -p retune-jpeg -- FOLDER`, with
//! the files that `tests/fixtures/speed.py FOLDER` makes. Names end in the photograph's, and the two of a kind count
//! as one. The shortest tenth of the turns counts, since other processes make turns longer.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};
use std::{env, fs};

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

const TURNS: usize = 40;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        println!("give the folder that tests/fixtures/speed.py made");
        return Ok(());
    };
    // For each kind of file: megapixels per second, and the logarithms of the ratios.
    let mut kinds: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let kind = name.rsplit_once('-').map_or(name.as_str(), |(kind, _)| kind).to_owned();
        let (ours, other, pixels) = compare(&bytes)?;
        let speed = pixels as f64 / ours.as_secs_f64() / 1e6;
        kinds.entry(kind).or_default().push((speed, (ours.as_secs_f64() / other.as_secs_f64()).ln()));
    }
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
        sum / f64::from(count)
    };
    for (kind, files) in &kinds {
        let speed = mean(&mut files.iter().map(|file| file.0));
        let ratio = mean(&mut files.iter().map(|file| file.1)).exp();
        println!("{kind:28} {speed:6.1} megapixels/s, {ratio:.3} of zune-jpeg's time");
    }
    let all = mean(&mut kinds.values().flatten().map(|file| file.1)).exp();
    println!("all: {all:.3} of zune-jpeg's time, geometric mean");
    Ok(())
}

/// The shortest tenths of both decoders' times, and the number of pixels.
fn compare(bytes: &[u8]) -> Result<(Duration, Duration, usize), Box<dyn Error>> {
    let (mut ours, mut others, mut pixels) = (vec![], vec![], 0);
    let begin = Instant::now();
    while ours.len() < TURNS || begin.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        let decoded = retune_jpeg::Jpeg::parse(black_box(bytes))?.decode()?;
        ours.push(start.elapsed());
        pixels = black_box(decoded).pixels.len() / 3;
        let start = Instant::now();
        black_box(JpegDecoder::new(ZCursor::new(black_box(bytes))).decode()).map_err(|error| format!("{error:?}"))?;
        others.push(start.elapsed());
    }
    ours.sort();
    others.sort();
    Ok((ours[ours.len() / 10], others[others.len() / 10], pixels))
}
