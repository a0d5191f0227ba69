//! Data locations: paths, and data sets of the Hugging Face hub as paths in its cache.

use std::path::{Path, PathBuf};

use retune::names::closest;
use retune::sources::{memory, shift};

use crate::failure::Failure;
use crate::output::Console;

/// Prefix of the name of a data set or model of the hub.
const HUB_PREFIX: &str = "hf:";

/// The path of data with its shifts. A data set `hf:OWNER/NAME` is downloaded into the cache if necessary, and its path
/// there is returned.
pub fn locate_data(location: &Path, console: &Console) -> Result<PathBuf, Failure> {
    let Some(text) = location.to_str() else { return Ok(location.to_owned()) };
    if location.exists() || memory::is_location(location) || shift::is_of_same_images(location) {
        return Ok(location.to_owned());
    }
    let (name, shifts) = text.find('@').map_or((text, ""), |at| text.split_at(at));
    if name.starts_with(HUB_PREFIX) {
        let mut path = from_hub(name, console)?.into_os_string();
        path.push(shifts);
        return Ok(path.into());
    }
    let is_absent = !Path::new(name).exists();
    if let Some(close) = beside(Path::new(name)).filter(|_| is_absent) {
        return Err(Failure::Missing(format!("no data at {text}; did you mean {close}?")));
    }
    if is_absent && looks_like_a_hub_name(name) {
        return Err(Failure::Missing(format!(
            "no data at {text}: check the path, or write {HUB_PREFIX}{name} for a data set of the Hugging Face hub"
        )));
    }
    Ok(location.to_owned())
}

/// The file or folder whose name is closest to that of a path that does not exist, in the same folder.
pub fn beside(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let close = closest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(path.with_file_name(close).display().to_string())
}

/// Extensions that show that a path is a file and not a name of the hub.
const FILE_ENDS: [&str; 12] =
    ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "csv", "jsonl", "parquet", "tar"];

/// Whether a path that does not exist could be a hub name, `OWNER/NAME`.
fn looks_like_a_hub_name(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let is_file = |name: &str| {
        name.rsplit_once('.').is_some_and(|(_, end)| FILE_ENDS.iter().any(|known| end.eq_ignore_ascii_case(known)))
    };
    text.split_once('/').is_some_and(|(owner, name)| is_word(owner) && is_word(name) && !is_file(name))
}

#[cfg(feature = "hub")]
fn from_hub(name: &str, console: &Console) -> Result<PathBuf, Failure> {
    use retune::hub::{DatasetName, HubOptions, fetch_dataset};
    use retune::monitor::Monitor;
    use std::ops::ControlFlow;

    let name: DatasetName = name.parse()?;
    let fetched = fetch_dataset(&name, &HubOptions::from_env()?, |progress| {
        console.progress.bytes(progress.file, progress.received, progress.total);
        if console.progress.canceled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    console.progress.finish();
    Ok(fetched?.directory)
}

#[cfg(not(feature = "hub"))]
fn from_hub(name: &str, _: &Console) -> Result<PathBuf, Failure> {
    Err(Failure::Mistake(format!(
        "this build cannot download {name} from the Hugging Face hub; build retune with the feature `hub`, or name a \
         folder"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_path_is_corrected() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        let close = |name: &str| beside(&folder.path().join(name));
        assert_eq!(close("imagse"), Some(folder.path().join("images").display().to_string()));
        assert_eq!(close("photos"), None);
        assert_eq!(beside(Path::new("nowhere/at/all")), None);
    }

    #[test]
    fn paths_that_could_be_names_of_the_hub_are_told_from_others() {
        for text in ["ylecun/mnist", "timm/oxford-iiit-pet", "a.b/c_d"] {
            assert!(looks_like_a_hub_name(text), "{text}");
        }
        for text in
            ["mnist", "/data/pets", "./data", "../data", "a/b/c", "my data/pets", "a/", "C:\\data", "photos/cat.JPG"]
        {
            assert!(!looks_like_a_hub_name(text), "{text}");
        }
    }
}
