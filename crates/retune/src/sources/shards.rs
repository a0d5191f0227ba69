//! What the names of files say of a data set that is kept in several: its format, its splits, its shards.

use std::ffi::OsStr;
use std::path::Path;

use super::folder::split_of_folder;
use super::source::SplitName;

/// Whether the name of a file is that of a Parquet file.
pub(crate) fn is_parquet(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
}

/// The split that a file's name or, failing that, one of its folders stands for.
pub(super) fn split_of_file(root: &Path, path: &Path) -> Option<SplitName> {
    let stem = path.file_stem()?.to_str()?;
    let by_name = match sharded(stem) {
        Some(name) => Some(SplitName::from(name)),
        None => stem.split(|c: char| !c.is_ascii_alphabetic()).find_map(split_of_folder),
    };
    let folders = path.strip_prefix(root).unwrap_or(path).parent()?;
    let mut names = folders.components().rev().filter_map(|part| part.as_os_str().to_str());
    by_name.or_else(|| names.find_map(split_of_folder))
}

/// `NAME` of `NAME-00000-of-00002`, which the hub also writes with a hash after it.
pub(crate) fn sharded(stem: &str) -> Option<&str> {
    let (before, after) = stem.split_once("-of-")?;
    let (name, number) = before.rsplit_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(after.split('-').next()?)).then_some(name)
}
