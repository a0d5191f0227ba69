//! One feature file out of the shards of an extraction.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::Listing;
use super::origin::Origin;
use super::partial::Partial;
use super::shard::Shard;
use super::table::Arrays;
use super::{FeatureFormat, FeatureShape, FeaturesError, check_is_no_folder, finish};
use crate::files::{self, FileError};
use crate::models::Precision;
use crate::monitor::Monitor;

/// Puts the shards of an extraction together, in whatever order they are named and whatever formats they have: `path`
/// gets the bytes that an extraction of all images writes there. One shard is in memory at a time.
///
/// An interrupted merge goes on where it was, as [`write`](super::write) does.
///
/// # Errors
/// A shard that is missing or named twice; shards of different models, data, or options; files that are no shards, or
/// damaged ones; a full disk.
pub fn merge(shards: &[PathBuf], path: &Path, monitor: &dyn Monitor) -> Result<FeatureShape, FeaturesError> {
    let format = FeatureFormat::of(path)?;
    check_is_no_folder(path)?;
    if shards.iter().any(|shard| files::are_same(shard, path)) {
        return Err(FeaturesError::OverAShard(path.to_owned()));
    }
    let Known { origin, order, listing, width } = check_all(shards)?;

    let size = origin.batch_size();
    let mut partial = Partial::open(path, &origin, origin.images(), size, monitor)?;
    monitor.start("merging", origin.images());
    let mut first_image = 0;
    for file in order {
        let features = read(file)?.features;
        for rows in features.chunks(size * width) {
            // An interrupted merge, or an extraction of all images, may have got further.
            if first_image / size >= partial.batches() {
                partial.append(&origin, rows, width)?;
            }
            first_image += rows.len() / width;
            monitor.advance(rows.len() / width);
        }
    }
    monitor.finish();
    finish(partial, format, &listing)
}

/// Missing shards that an error names.
const MISSING_SHOWN: usize = 10;

/// What is known of all shards when each has been read once.
struct Known<'a> {
    /// That of the whole extraction.
    origin: Origin,
    /// The files from the first shard to the last.
    order: Vec<&'a Path>,
    /// That of all rows.
    listing: Listing,
    /// Values in each row.
    width: usize,
}

/// A shard without its features.
struct Checked<'a> {
    file: &'a Path,
    shard: Shard,
    origin: Origin,
    width: usize,
    listing: Listing,
}

fn check_all(shards: &[PathBuf]) -> Result<Known<'_>, FeaturesError> {
    let mut found: Vec<Checked> = Vec::with_capacity(shards.len());
    for file in shards {
        let next = check(file)?;
        if let Some(first) = found.first() {
            check_together(first, &next)?;
        }
        if let Some(same) = found.iter().find(|known| known.shard == next.shard) {
            let (first, second) = (same.file.to_owned(), next.file.to_owned());
            return Err(FeaturesError::SameShard { first, second, shard: next.shard });
        }
        found.push(next);
    }
    let Some(first) = found.first() else { return Err(FeaturesError::NoShards) };
    let missing = |shard: &Shard| found.iter().all(|known| known.shard != *shard);
    let count = first.shard.count() - found.len();
    if count > 0 {
        let shards = first.shard.siblings().filter(missing).take(MISSING_SHOWN).collect();
        return Err(FeaturesError::MissingShards { shards, count });
    }
    found.sort_by_key(|known| known.shard.number());
    let order = found.iter().map(|known| known.file).collect();
    let mut parts = found.into_iter();
    let Some(Checked { origin, width, mut listing, .. }) = parts.next() else {
        return Err(FeaturesError::NoShards);
    };
    for part in parts {
        listing.labels.extend(part.listing.labels);
        listing.paths.extend(part.listing.paths);
    }
    Ok(Known { origin: origin.whole(), order, listing, width })
}

/// Reads a shard and checks that it holds what it says.
fn check(file: &Path) -> Result<Checked<'_>, FeaturesError> {
    let Arrays { shape: [rows, width], labels, paths, classes, origin, .. } = read(file)?;
    let origin: Option<Origin> = origin.and_then(|text| serde_json::from_str(&text).ok());
    let shard = origin.as_ref().and_then(|origin| origin.shard);
    let Some((origin, shard)) = origin.zip(shard) else { return Err(FeaturesError::NotAShard(file.to_owned())) };
    let (labels, paths) = (labels.unwrap_or_default(), paths.unwrap_or_default());
    let expected = origin.range().len();
    if [rows, labels.len(), paths.len()] != [expected; 3] || width == 0 {
        let problem = format!("shard {shard} has {expected} rows, and the file has {rows}");
        return Err(FeaturesError::Unusable { path: file.to_owned(), problem });
    }
    let paths = paths.into_iter().map(Arc::from).collect();
    let precision = origin.reduced_precision().map(Precision::name);
    let listing = Listing { labels, paths, classes: classes.unwrap_or_default(), precision, origin: None };
    Ok(Checked { file, shard, origin, width, listing })
}

fn check_together(first: &Checked, next: &Checked) -> Result<(), FeaturesError> {
    let counts = || format!("{} shards, the other of {}", next.shard.count(), first.shard.count());
    let difference = match next.origin.clone().whole().difference(&first.origin.clone().whole()) {
        Some(difference) => Some(difference.to_owned()),
        None if first.shard.count() != next.shard.count() => Some(counts()),
        None if first.listing.classes != next.listing.classes => Some("other classes".to_owned()),
        None if first.width != next.width => Some("rows of another length".to_owned()),
        None => None,
    };
    let Some(difference) = difference else { return Ok(()) };
    let (first, other) = (first.file.to_owned(), next.file.to_owned());
    Err(FeaturesError::OtherShards { first, other, difference })
}

fn read(file: &Path) -> Result<Arrays, FeaturesError> {
    let format = FeatureFormat::of(file)?;
    let arrays = (format.read)(file).map_err(|error| FileError::new("read", file, error))?;
    arrays.map_err(|problem| FeaturesError::Unusable { path: file.to_owned(), problem })
}
