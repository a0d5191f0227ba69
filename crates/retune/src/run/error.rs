//! The errors of a fit.

use std::path::PathBuf;

use retune_pixels::channels::Channels;
use retune_pixels::preprocess::PreprocessingError;

use super::RUN_FILE;
use crate::device::DeviceError;
use crate::files::FileError;
use crate::files::lock::LockError;
use crate::inference::InferenceError;
use crate::models::ModelError;
use crate::plan::PlanError;
use crate::sources::{ClassChange, DataError};
use crate::train::TrainError;

/// Why a fit ended without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A problem with the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A problem with the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A problem with the plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Training failed, or was interrupted.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The final evaluation failed, or was interrupted.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// No such device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The output directory holds a run already.
    #[error("{path} already holds a run", path = .0.display())]
    OutputIsARun(PathBuf),
    /// The output directory holds something else, or is a file.
    #[error("{path} already exists", path = .0.display())]
    OutputTaken(PathBuf),
    /// The directory is no run.
    #[error("{path} is not a run directory: it lacks {RUN_FILE}", path = .0.display())]
    NotARun(PathBuf),
    /// The run has not come to its end.
    #[error("{run} is not finished", run = .0.display())]
    Unfinished(PathBuf),
    /// The run only solved for its head.
    #[error("{run} has no gradient descent to go on with: a linear probe is at its optimum", run = .0.display())]
    NoDescent(PathBuf),
    /// What does not go together with several labels for each image.
    #[error("images with several labels cannot be combined with {0}")]
    MultiLabel(&'static str),
    /// A metric of images with several labels, of images with one.
    #[error("mean average precision is a measure of images with several labels")]
    SingleLabel,
    /// The head is to be kept, and is not one for several labels.
    #[error("the model's head is for one class of each image, so it cannot be kept for several labels")]
    NoLabelsToKeep,
    /// `run.toml` cannot be understood.
    #[error("{path} cannot be understood: {reason}", path = path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The data of a run has other classes than the run.
    #[error("{path} is no longer the data that the run began with: it {change}", path = data.display())]
    ClassesChanged {
        /// The data.
        data: PathBuf,
        /// What is new and what is gone.
        change: ClassChange,
    },
    /// Keeping the head needs a head.
    #[error("the model has no classifier, so there is no head to keep")]
    NoHeadToKeep,
    /// No image is left to validate on.
    #[error("{path} leaves no image for validation; add images of each class or a val/ folder, or hold out a larger fraction", path = .0.display())]
    NothingToValidate(PathBuf),
    /// The head is new, and nothing would train it.
    #[error("the plan never trains the whole head, which is new; give the head a rate, or keep the model's own head")]
    NewHeadFrozen,
    /// Another run is at work in the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Leaving out what cannot be read leaves nothing.
    #[error("no image of '{set}' in {path} can be read; the first error is: {first}", path = path.display())]
    NothingReadable {
        /// The set.
        set: String,
        /// The data.
        path: PathBuf,
        /// The first image and what is wrong with it.
        first: String,
    },
    /// The images that a run left out are not where they were.
    #[error("{path} has changed since the run began: images that it left out are gone; put them back", path = .0.display())]
    DataChanged(PathBuf),
    /// What the user gave for each channel is not for the model's channels.
    #[error(transparent)]
    Preprocessing(#[from] PreprocessingError),
    /// Two models that are to see the same images take different channels.
    #[error("{path} takes images of {own}, and the other model images of {other}; compare models of the same channels", path = path.display())]
    Channels {
        /// The second model.
        path: PathBuf,
        /// What it takes.
        own: Channels,
        /// What the first takes.
        other: Channels,
    },
    /// Two evaluation sets of one name.
    #[error(
        "two different evaluation sets are called '{0}'; each needs a name of its own, and the run's own sets have theirs"
    )]
    DuplicateName(String),
}

impl FitError {
    /// Whether the classes of the data do not suit, and not its files.
    pub(crate) fn is_of_classes(&self) -> bool {
        matches!(self, Self::ClassesChanged { .. }) || matches!(self, Self::Data(error) if error.is_of_classes())
    }

    /// Whether an image cannot be read, which another image in its place can mend.
    pub fn is_of_image(&self) -> bool {
        let error = match self {
            Self::Data(error) | Self::Inference(InferenceError::Data(error)) => error,
            Self::Train(TrainError::Data(error) | TrainError::Inference(InferenceError::Data(error))) => error,
            _ => return false,
        };
        matches!(error, DataError::Decode { .. } | DataError::FileTooLarge { .. })
    }

    /// Whether the user stopped it.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Train(TrainError::Interrupted) | Self::Inference(InferenceError::Interrupted))
    }
}
