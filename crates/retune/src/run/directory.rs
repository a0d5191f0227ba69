//! A run's directory as such: whether it is free, what is cleaned up, what was left out.

use std::fs;
use std::path::Path;

use indexmap::IndexMap;

use super::record::SAMPLES_FOLDER;
use super::{FitError, PLAN_FILE, PLOTS_FOLDER, RUN_FILE};
use crate::files::lock::{DirectoryLock, LOCK_FILE};
use crate::files::{self, FileError};
use crate::models::Model;
use crate::sources::{ClassChange, ClassList, LeftOut};
use crate::train;

/// The images that `--skip-bad` left out, by set.
pub(super) const LEFT_OUT_FILE: &str = "left_out.json";

/// The file with the command that made a run or comparison, in its directory.
pub const COMMAND_FILE: &str = "command.txt";

/// Writes the command that was typed, if there was one, before anything else.
///
/// # Errors
/// The file cannot be written.
pub fn record_command(directory: &Path, command: Option<&str>) -> Result<(), FileError> {
    match command {
        Some(command) => files::write_atomically(&directory.join(COMMAND_FILE), |file| writeln!(file, "{command}")),
        None => Ok(()),
    }
}

/// The command that made a run or comparison, where that was kept.
///
/// # Errors
/// A file that cannot be read.
pub fn read_command(directory: &Path) -> Result<Option<String>, FileError> {
    let path = directory.join(COMMAND_FILE);
    if path.is_file() { files::read_text(&path).map(Some) } else { Ok(None) }
}

/// Whether something is in the way of a new run. What a run leaves that was killed before its options
/// were written is not: nothing could go on with it.
fn is_taken(out: &Path) -> bool {
    let began = out.join(RUN_FILE).exists();
    let is_leftover = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        let written_first = [LOCK_FILE, COMMAND_FILE, PLAN_FILE, LEFT_OUT_FILE].iter().any(|known| name == *known);
        !began && (written_first || files::is_partial(path))
    };
    out.is_file() || fs::read_dir(out).is_ok_and(|entries| entries.flatten().any(|entry| !is_leftover(&entry.path())))
}

/// Checks that a new run can take a directory.
///
/// # Errors
/// What is there, or who works there.
pub fn check_free(out: &Path) -> Result<(), FitError> {
    DirectoryLock::check(out)?;
    match is_taken(out) {
        true if out.join(RUN_FILE).is_file() => Err(FitError::OutputIsARun(out.to_owned())),
        true => Err(FitError::OutputTaken(out.to_owned())),
        false => Ok(()),
    }
}

/// Removes the half-written files of a run that was killed.
pub(super) fn tidy(out: &Path) {
    for folder in ["", super::MODEL_FOLDER, super::ADAPTER_FOLDER, PLOTS_FOLDER, SAMPLES_FOLDER] {
        files::remove_partials(&out.join(folder));
    }
}

/// Whether a run that is not finished has done anything that going on with it would save.
pub fn is_resumable(run: &Path) -> bool {
    run.join(RUN_FILE).is_file() && train::has_checkpoint(run)
}

/// Makes room for a new run: removes what a run left that stopped before its first checkpoint. Says whether there is a run
/// instead that is finished or can be gone on with, which stays.
///
/// # Errors
/// Another process works there; what cannot be removed.
pub fn clear_unless_begun(out: &Path) -> Result<bool, FitError> {
    if !out.is_dir() {
        return Ok(false);
    }
    // Only under the lock: who holds it may be about to write a checkpoint or a summary.
    let _lock = DirectoryLock::acquire(out)?;
    if super::finished(out)?.is_some() || is_resumable(out) {
        return Ok(true);
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| FileError::new("remove", &path, error)
    };
    for entry in fs::read_dir(out).map_err(failed(out))? {
        let path = entry.map_err(failed(out))?.path();
        if path.file_name().is_some_and(|name| name == LOCK_FILE) {
            continue;
        }
        let removed =
            if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(failed(&path))?;
    }
    Ok(false)
}

/// The images of each set that a run left out; none where it left out none.
pub(super) fn left_out(run: &Path) -> Result<IndexMap<String, Vec<LeftOut>>, FitError> {
    let path = run.join(LEFT_OUT_FILE);
    if !path.is_file() {
        return Ok(IndexMap::new());
    }
    serde_json::from_str(&files::read_text(&path)?)
        .map_err(|error| FitError::RunFile { path, reason: error.to_string() })
}

/// Writes which images a run leaves out, so that it leaves out the same ones when it is gone on with.
pub(super) fn write_left_out(run: &Path, sets: &IndexMap<String, Vec<LeftOut>>) -> Result<(), FitError> {
    let path = run.join(LEFT_OUT_FILE);
    let text = serde_json::to_string_pretty(sets)
        .map_err(|error| FitError::RunFile { path: path.clone(), reason: error.to_string() })?;
    Ok(files::write_atomically(&path, |file| file.write_all(text.as_bytes()))?)
}

/// The model that a run began with, and its data without what it left out, with labels that index the run's classes.
///
/// # Errors
/// As a fit's; [`FitError::ClassesChanged`] where the data of a finished run no longer has the same classes.
pub(crate) fn open_of_run(options: &super::FitOptions, run: &Path) -> Result<(Model, super::FitData), FitError> {
    let (mut model, mut data) = super::open(options)?;
    data.leave_out(&left_out(run)?, &options.data)?;
    let Some(summary) = super::finished(run)? else { return Ok((model, data)) };
    let classes = super::class_names(options, &data, &model)?;
    if let Some(change) = ClassChange::between(&summary.classes, &classes) {
        return Err(FitError::ClassesChanged { data: options.data.clone(), change });
    }
    if summary.classes != classes {
        if !options.multi_label {
            data = data.match_classes(&ClassList::named(summary.classes.clone()))?;
        }
        model = super::starting_model(options, &summary.classes)?;
    }
    Ok((model, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_left_without_a_checkpoint_is_cleared_and_a_run_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        assert!(!clear_unless_begun(&run).unwrap(), "nothing is there");
        fs::create_dir_all(run.join(PLOTS_FOLDER)).unwrap();
        for name in [RUN_FILE, PLAN_FILE] {
            fs::write(run.join(name), "").unwrap();
        }
        let lock = DirectoryLock::acquire(&run).unwrap();
        assert!(matches!(clear_unless_begun(&run), Err(FitError::Lock(_))));
        assert!(run.join(PLAN_FILE).is_file());
        drop(lock);
        assert!(!clear_unless_begun(&run).unwrap());
        let left: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [LOCK_FILE], "the lock's file stays, or two processes could lock one name");
    }
}
