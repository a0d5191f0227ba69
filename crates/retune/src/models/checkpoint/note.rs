//! What a user should hear of how a model was taken from a file.

use std::collections::BTreeSet;
use std::fmt;

use super::leftovers::{LeftOut, Purpose};
use crate::models::naming::Scheme;

/// Something about a model's file that is worth a line, but does not stop anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadNote {
    /// Something was taken off the tensors' names, or tensors were left out.
    Taken {
        /// The file's name.
        file: String,
        /// What stood before the names within their dictionary, with a dot at its end; may be empty.
        prefix: String,
        /// The dictionary that was taken; empty for the outermost.
        dictionary: String,
        /// Other places that hold a whole model and were passed over.
        passed_over: Vec<String>,
        /// Tensors that a recipe leaves and the model has no use for.
        left_out: Vec<LeftOut>,
    },
    /// The tensors had another project's names.
    Renamed {
        /// The file's name.
        file: String,
        /// Whose names they were.
        scheme: Scheme,
        /// What stood before them, with a dot at its end; may be empty.
        prefix: String,
        /// Names of tensors that the model has no use for.
        left_out: Vec<String>,
    },
    /// The architecture was read in the file.
    Architecture {
        /// The file's name.
        file: String,
        /// timm's name of the architecture.
        architecture: String,
    },
    /// The stem's weights are for another number of channels than the file's.
    InputChannels {
        /// The file's name.
        file: String,
        /// The tensor of the stem.
        tensor: String,
        /// Channels that the file's weights are for.
        from: usize,
        /// Channels of the model.
        to: usize,
    },
    /// The head keeps the rows of the classes that it knows by name.
    KnownClasses {
        /// Classes of the data that the model knows.
        known: usize,
        /// Classes of the data.
        classes: usize,
        /// Classes of the model that the data does not have.
        dropped: usize,
    },
    /// The head keeps no rows, because it knows few of the classes by name.
    FewKnownClasses {
        /// Classes of the data that the model knows.
        known: usize,
        /// Classes of the data.
        classes: usize,
    },
    /// A transformer that normalizes the average of its patches, where its architecture takes the class token.
    AveragePooling {
        /// The file's name.
        file: String,
    },
}

impl LoadNote {
    /// The names of the tensors that were left out, with what each is for.
    pub fn left_out(&self) -> &[LeftOut] {
        match self {
            Self::Taken { left_out, .. } => left_out,
            _ => &[],
        }
    }

    /// A line that lists what was left out, if anything was.
    pub fn details(&self) -> Option<String> {
        let names: Vec<&str> = match self {
            Self::Renamed { left_out, .. } => left_out.iter().map(String::as_str).collect(),
            _ => self.left_out().iter().map(|tensor| tensor.name.as_str()).collect(),
        };
        (!names.is_empty()).then(|| format!("left out: {}", names.join(", ")))
    }
}

impl fmt::Display for LoadNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { file, prefix, dictionary, passed_over, left_out } => {
                let taken = match (prefix.as_str(), dictionary.as_str()) {
                    ("", "") => None,
                    ("", dictionary) => Some(format!("took the tensors in {dictionary}")),
                    (prefix, "") => Some(format!("took the tensors under {prefix}")),
                    (prefix, dictionary) => Some(format!("took the tensors under {prefix} in {dictionary}")),
                };
                let taken = taken.map(|taken| match passed_over.as_slice() {
                    [] => taken,
                    others => format!("{taken}, not {}", others.join(" or ")),
                });
                let clauses: Vec<String> = taken.into_iter().chain(counted(left_out)).collect();
                write!(formatter, "{file}: {}", clauses.join("; "))
            }
            Self::Renamed { file, scheme, prefix, left_out } => {
                write!(formatter, "{file}: translated {scheme} to timm's")?;
                if !prefix.is_empty() {
                    write!(formatter, ", under {prefix}")?;
                }
                match left_out.len() {
                    0 => Ok(()),
                    1 => formatter.write_str("; left 1 tensor out that the model has no use for"),
                    count => write!(formatter, "; left {count} tensors out that the model has no use for"),
                }
            }
            Self::Architecture { file, architecture } => {
                write!(formatter, "{file}: its architecture is {architecture}, as it says itself")
            }
            Self::InputChannels { file, tensor, from, to: 1 } => {
                write!(
                    formatter,
                    "{file}: {tensor} is for {from} channels; the model takes one, with the sum of their weights"
                )
            }
            Self::InputChannels { file, tensor, from: 1, to } => {
                write!(
                    formatter,
                    "{file}: {tensor} is for one channel; the model takes {to}, each with 1/{to} of its weights"
                )
            }
            Self::InputChannels { file, tensor, from, to } => {
                let weights = match to > from {
                    true => "these weights, repeated".to_owned(),
                    false => format!("the weights of the first {to}"),
                };
                write!(
                    formatter,
                    "{file}: {tensor} is for {from} channels; the model takes {to}, with {weights}, times {from}/{to}"
                )
            }
            Self::KnownClasses { known, classes, dropped } => {
                write!(formatter, "head: {known} of {classes} classes known by name keep their rows")?;
                for (count, what) in [(classes - known, "new"), (*dropped, "dropped")] {
                    if count > 0 {
                        write!(formatter, ", {count} {what}")?;
                    }
                }
                Ok(())
            }
            Self::FewKnownClasses { known, classes } => write!(
                formatter,
                "head: starts at zero, because the model knows only {known} of {classes} classes by name"
            ),
            Self::AveragePooling { file } => {
                write!(formatter, "{file}: it has an fc_norm, so the average of its patches is pooled")
            }
        }
    }
}

fn counted(left_out: &[LeftOut]) -> Option<String> {
    let purposes: BTreeSet<Purpose> = left_out.iter().map(|tensor| tensor.purpose).collect();
    let purposes: Vec<String> = purposes.iter().map(Purpose::to_string).collect();
    (!left_out.is_empty()).then(|| format!("left {} of another purpose out ({})", left_out.len(), purposes.join(", ")))
}
