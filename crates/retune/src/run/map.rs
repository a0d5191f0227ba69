//! A map of a run's images, by the features that its head sees.

use std::path::Path;

use retune_analysis::neighbors::Metric;
use retune_analysis::umap::{UmapOptions, umap};

use crate::files::FileError;
use crate::monitor::Monitor;
use crate::run::record::{SampleMap, read_features};

/// Fewest images that a map is made of.
const MIN: usize = 10;

/// Makes the map of a finished run's samples (`samples/map.json`) unless it is there, or the run has
/// too few of them. A run whose features allow no map (they are all the same, say) gets none, and
/// the monitor hears why.
///
/// # Errors
/// A file that cannot be read or written.
pub fn draw(run: &Path, monitor: &dyn Monitor) -> Result<(), FileError> {
    if SampleMap::read(run)?.is_some() {
        return Ok(());
    }
    let Some(features) = read_features(run)? else { return Ok(()) };
    let count = features.values.len() / features.width.max(1);
    if count < MIN {
        return Ok(());
    }
    let options = UmapOptions::default();
    let options = UmapOptions { neighbors: options.neighbors.min(count / 2), metric: Metric::Euclidean, ..options };
    match umap(&features.values, features.width, &options) {
        Ok(points) => {
            let method = format!(
                "UMAP (McInnes et al. 2018): {} neighbors, minimum distance {}, {}, seed {}. \
                 Distances between distant clusters mean little.",
                options.neighbors,
                options.minimum_distance,
                options.metric.name(),
                options.seed
            );
            SampleMap { method, points }.write(run)
        }
        Err(error) => {
            monitor.message(&format!("the report has no map of the images: {error}"));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;

    #[test]
    fn a_run_without_samples_gets_no_map() {
        let folder = tempfile::tempdir().unwrap();
        draw(folder.path(), &Silent).unwrap();
        assert!(SampleMap::read(folder.path()).unwrap().is_none());
    }
}
