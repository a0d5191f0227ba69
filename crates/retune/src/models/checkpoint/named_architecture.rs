//! The architecture's name, where a training script wrote it down beside the weights.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use pytorch_reader::PickleValue;
use zip::ZipArchive;

use super::namespace;
use crate::models::architectures;

/// Where it stands: at the top (MoCo, timm's script), in the options of the command line, in what Lightning keeps of a
/// module's arguments.
const HOLDERS: [&[&str]; 4] = [&[], &["args"], &["hyper_parameters"], &["config"]];

/// What it is called there.
const KEYS: [&str; 5] = ["arch", "model", "model_name", "architecture", "backbone"];

/// The name that a checkpoint at `path` with these values gives: one that can be built, or else the first that is there.
pub(super) fn find(root: &PickleValue, path: &Path) -> Option<String> {
    let of_dictionaries = HOLDERS.iter().filter_map(|holder| dictionary(root, holder)).flat_map(|entries| {
        KEYS.iter().filter_map(|key| match entries.get(*key) {
            Some(PickleValue::String(name)) => Some(name.clone()),
            _ => None,
        })
    });
    let names: Vec<String> = of_dictionaries.chain(of_namespace(root, path)).collect();
    names.iter().find(|name| architectures::find(name).is_ok()).or(names.first()).cloned()
}

fn dictionary<'a>(root: &'a PickleValue, keys: &[&str]) -> Option<&'a HashMap<String, PickleValue>> {
    let within = |value: &'a PickleValue| match value {
        PickleValue::Dict(entries) => Some(entries),
        _ => None,
    };
    keys.iter().try_fold(within(root)?, |entries, key| within(entries.get(*key)?))
}

/// Names in the options of a command line, which `argparse` keeps in an object (torchvision's scripts, MAE, DINO).
fn of_namespace(root: &PickleValue, path: &Path) -> Vec<String> {
    let is_namespace =
        |value: &PickleValue| matches!(value, PickleValue::Unsupported(name) if name == "argparse.Namespace");
    if !dictionary(root, &[]).is_some_and(|entries| entries.values().any(is_namespace)) {
        return Vec::new();
    }
    let Ok(file) = File::open(path) else { return Vec::new() };
    let texts = match ZipArchive::new(BufReader::new(&file)) {
        Ok(archive) => pickle_in(archive).map(|pickle| namespace::texts(Cursor::new(pickle), &KEYS)),
        Err(_) => File::open(path).ok().map(|file| namespace::texts(BufReader::new(file), &KEYS)),
    };
    texts.unwrap_or_default()
}

/// The pickle of an archive, as far as the reader of tensors takes one.
fn pickle_in(mut archive: ZipArchive<BufReader<&File>>) -> Option<Vec<u8>> {
    let names: Vec<String> = archive.file_names().filter_map(Result::ok).map(|name| name.to_string()).collect();
    let name = names.iter().filter(|name| name.ends_with("data.pkl")).min_by_key(|name| name.len())?;
    let mut pickle = Vec::new();
    archive.by_name(name).ok()?.take(pytorch_reader::MAX_PICKLE_SIZE).read_to_end(&mut pickle).ok()?;
    Some(pickle)
}
