//! Decodes every `NAME.jpg` of a folder and compares it with Pillow's pixels in `NAME.rgb` beside it, as
//! `tests/fixtures/matrix.py` and `tests/fixtures/damage.py` make them; there is no such file where Pillow refuses
//! the image. Prints how many are alike, and the others by name.

use std::error::Error;
use std::fs;
use std::path::Path;

use retune_jpeg::Jpeg;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder that matrix.py or damage.py made")?;
    let (mut equal, mut refused, mut others) = (0, 0, 0);
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    paths.sort();
    for path in paths {
        let expected = fs::read(path.with_extension("rgb")).ok();
        let decoded = Jpeg::parse(&fs::read(&path)?).and_then(|jpeg| jpeg.decode());
        let found = match (decoded, expected) {
            (Ok(decoded), Some(expected)) if decoded.pixels == expected => {
                equal += 1;
                continue;
            }
            (Err(_), None) => {
                refused += 1;
                continue;
            }
            (Ok(decoded), Some(expected)) => difference(&decoded.pixels, &expected),
            (Ok(decoded), None) => format!("Pillow alone refuses it; {} damages", decoded.damages),
            (Err(error), Some(_)) => format!("Pillow alone opens it; {error}"),
        };
        others += 1;
        println!("{}: {found}", name(&path));
    }
    println!("{equal} equal to the bit, {refused} refused by both, {others} others");
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn difference(found: &[u8], expected: &[u8]) -> String {
    if found.len() != expected.len() {
        return "another size".to_owned();
    }
    let differences = found.iter().zip(expected).map(|(one, other)| one.abs_diff(*other));
    let count = differences.clone().filter(|difference| *difference > 0).count();
    format!("{count} of {} values differ, by up to {}", found.len(), differences.max().unwrap_or(0))
}
