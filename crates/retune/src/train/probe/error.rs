//! What can be wrong with the inputs of a linear probe.

use thiserror::Error;

/// Why no probe could be fitted.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ProbeError {
    /// The values do not fill whole rows.
    #[error("{values} feature values do not make whole rows of {columns} features")]
    Shape {
        /// Number of values given.
        values: usize,
        /// Features a row.
        columns: usize,
    },
    /// A set without rows.
    #[error("the {set} set has no images; a linear probe needs at least one")]
    Empty {
        /// `training` or `validation`.
        set: &'static str,
    },
    /// As many labels as rows are needed.
    #[error("the {set} set has {rows} rows of features but {labels} labels")]
    LabelCount {
        /// `training` or `validation`.
        set: &'static str,
        /// Rows of features.
        rows: usize,
        /// Labels given.
        labels: usize,
    },
    /// A label that names no class.
    #[error("row {row} of the {set} set has label {label}, but there are {classes} classes (0 to {})", classes - 1)]
    LabelOutOfRange {
        /// `training` or `validation`.
        set: &'static str,
        /// The row, from 0.
        row: usize,
        /// Its label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// NaN or an infinity among the features.
    #[error("row {row} of the {set} set holds {value} as feature {column}; features must be finite")]
    NonFinite {
        /// `training` or `validation`.
        set: &'static str,
        /// The row, from 0.
        row: usize,
        /// The feature, from 0.
        column: usize,
        /// The value found.
        value: f32,
    },
    /// Nothing to tell apart.
    #[error("a linear probe needs at least 2 classes, not {classes}")]
    TooFewClasses {
        /// Number of classes given.
        classes: usize,
    },
    /// Training and validation features differ in size.
    #[error(
        "training rows have {training} features but validation rows have {validation}; extract both at the same layer"
    )]
    ColumnMismatch {
        /// Features of a training row.
        training: usize,
        /// Features of a validation row.
        validation: usize,
    },
    /// An option outside its range.
    #[error("{option} must be {expected}, not {value}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it was.
        value: f64,
    },
    /// No strength to fit.
    #[error("the list of inverse strengths is empty; give at least one value of C")]
    NoStrengths,
    /// Class weights and classes differ in number.
    #[error("{weights} class weights were given for {classes} classes")]
    ClassWeightCount {
        /// Class weights given.
        weights: usize,
        /// Number of classes.
        classes: usize,
    },
    /// The loss is not a finite number even at the start.
    #[error(
        "the loss overflows single precision: the features are too large (standard deviation {scale:e}); normalize them first"
    )]
    Overflow {
        /// Standard deviation of all training features.
        scale: f64,
    },
    /// A file of features cannot be read.
    #[error("the features cannot be read from their file: {reason}")]
    Unreadable {
        /// What the system says.
        reason: String,
    },
    /// The processes that hold the features computed different numbers of the same ones.
    #[error("the processes have come to different linear probes; do they run on processors of different kinds?")]
    HoldersDiffer,
    /// The caller's progress function asked to stop.
    #[error("the linear probe was interrupted")]
    Interrupted,
}
