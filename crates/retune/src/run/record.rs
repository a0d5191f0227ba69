//! What a finished run keeps of each image, so that a report can be made from the run directory alone.
//!
//! ```text
//! predictions.csv               a row for each image of val and every further set, and what the model said of it
//! label_predictions.csv         in its place, of a run on images with several labels, which has no heat maps
//! samples/features.safetensors  what the head sees of up to 10,000 of them, `features` [n, width] in float16
//! samples/thumbnails.jpg        the same images, small, in a square grid, row by row
//! samples/hardest.jpg           the images of highest loss in each set, larger
//! samples/heat_maps.safetensors what the model looked at in them, `predicted` and `label` [n, height, width] in float16
//! samples/map.json              places of the samples in a plane, once a map was made of them
//! ```

mod heat_maps;
mod kept;
mod label_predictions;
mod label_recorder;
mod map;
mod predictions;
mod recorder;
mod samples;
mod tiles;

pub use self::heat_maps::HeatMaps;
pub use self::label_predictions::{LABEL_PREDICTIONS_FILE, LabelPredictions, LabeledImage};
pub(super) use self::label_recorder::LabelRecorder;
pub use self::map::SampleMap;
pub use self::predictions::{Prediction, Predictions};
pub(super) use self::recorder::Recorder;
pub use self::samples::{Samples, read_features};
pub use self::tiles::{Sheet, Thumbnails, columns};

/// Most images whose features and thumbnails are kept, over all sets of a run. Runs on images with several labels do not
/// store which these are, so another number would have to leave theirs as it is.
pub const MAX_SAMPLES: usize = 10_000;

/// Images of highest loss that are kept of each set.
pub const HARDEST: usize = 24;

/// Side of the hardest images' thumbnails, in pixels.
const HARDEST_SIDE: u32 = 96;

/// The file with a row for each image, in a run directory.
pub const PREDICTIONS_FILE: &str = "predictions.csv";
/// The folder with images and features, in a run directory.
pub const SAMPLES_FOLDER: &str = "samples";
const FEATURES_FILE: &str = "features.safetensors";
const THUMBNAILS_FILE: &str = "thumbnails.jpg";
const HARDEST_FILE: &str = "hardest.jpg";
const HEAT_MAPS_FILE: &str = "heat_maps.safetensors";
