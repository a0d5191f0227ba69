//! Decodes every `NAME.jpg` of a folder and compares it with the raw RGB in `NAME.rgb` beside it, as
//! `tests/fixtures/matrix.py` makes them with Pillow. Prints how many are equal, and the others by name.

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder that matrix.py made")?;
    let (mut equal, mut within_one, mut others) = (0, 0, 0);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jpg") {
            continue;
        }
        match largest_difference(&path)? {
            Some(0) => equal += 1,
            Some(1) => within_one += 1,
            found => {
                others += 1;
                println!("{}: {found:?}", path.display());
            }
        }
    }
    println!("{equal} equal, {within_one} within one level, {others} refused or further off");
    Ok(())
}

/// The largest difference from Pillow's pixels; `None` where the file is refused or has another size.
fn largest_difference(path: &Path) -> Result<Option<u8>, Box<dyn Error>> {
    let expected = fs::read(path.with_extension("rgb"))?;
    let decoded = retune_jpeg::Jpeg::parse(&fs::read(path)?).and_then(|jpeg| jpeg.decode());
    let found = decoded.ok().filter(|pixels| pixels.len() == expected.len());
    Ok(found.and_then(|pixels| pixels.iter().zip(&expected).map(|(one, other)| one.abs_diff(*other)).max()))
}
