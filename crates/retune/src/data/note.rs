//! What a user should hear about data that can be used all the same.

use std::fmt;
use std::path::PathBuf;

/// Something about data that is worth a line, but does not stop anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataNote {
    /// A column that would hold labels has lists or structs of them, so that its images count as unlabelled.
    SeveralLabels {
        /// The Parquet file.
        path: PathBuf,
        /// The column.
        column: String,
    },
}

impl fmt::Display for DataNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SeveralLabels { path, column } => write!(
                f,
                "{}: the column `{column}` holds several labels an image, so the images count as unlabelled; write one \
                 label for each image to use them",
                path.display()
            ),
        }
    }
}
