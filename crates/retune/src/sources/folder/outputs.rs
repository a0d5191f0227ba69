//! Folders that lie among images and are no classes: what this program wrote, and what systems put there.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::endings::is_image;

/// A run's and a comparison's options.
const OPTIONS: [&str; 2] = ["run.toml", "compare.toml"];

/// What a run that has just begun, a model, a range test and a line between models have.
const OTHERS: [&str; 4] = [".lock", "model.safetensors", "lr_find.json", "curve.json"];

/// Pictures that lie beside [`OTHERS`].
const PICTURES: [&str; 2] = ["lr_find.png", "curve.png"];

/// Folders of file managers, archivers, notebooks and file systems.
const SYSTEM: [&str; 6] =
    ["@eaDir", "__MACOSX", ".ipynb_checkpoints", "lost+found", "$RECYCLE.BIN", "System Volume Information"];

/// Whether a name begins with a dot or is that of a folder that systems make.
pub(in crate::sources) fn is_hidden(path: &Path) -> bool {
    let is_system = |name: &OsStr| SYSTEM.iter().any(|known| name.eq_ignore_ascii_case(known));
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".") || is_system(name))
}

/// Whether a folder holds what this program wrote.
pub(in crate::sources) fn is_output(folder: &Path) -> bool {
    let has = |name: &&str| folder.join(name).is_file();
    OPTIONS.iter().any(&has) || (OTHERS.iter().any(has) && has_no_image(folder))
}

/// Whether no image but this program's lies directly in the folder.
fn has_no_image(folder: &Path) -> bool {
    let is_foreign = |name: &OsStr| is_image(Path::new(name)) && PICTURES.iter().all(|own| name != *own);
    fs::read_dir(folder).is_ok_and(|entries| !entries.flatten().any(|entry| is_foreign(&entry.file_name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_are_written() {
        assert!(OPTIONS.contains(&crate::run::RUN_FILE));
        assert!(OTHERS.contains(&crate::files::lock::LOCK_FILE));
    }

    #[test]
    fn photos_beside_a_file_of_such_a_name_are_no_output() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("curve.json"), "").unwrap();
        fs::write(folder.path().join("curve.png"), "").unwrap();
        assert!(is_output(folder.path()));
        fs::write(folder.path().join("photo.jpg"), "").unwrap();
        assert!(!is_output(folder.path()));
        fs::write(folder.path().join("run.toml"), "").unwrap();
        assert!(is_output(folder.path()));
    }
}
