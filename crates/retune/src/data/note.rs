//! What a user should hear about data that can be used all the same.

use std::fmt;

use super::ClassMatch;
use super::classes::quoted;

/// Something about data that is worth a line, but does not stop anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataNote {
    /// How its classes and the model's were matched, where their names alone did not decide.
    Classes(ClassMatch),
    /// A model names no classes, and has as many as this label set.
    ClassesPresumed(&'static str),
    /// Classes that the model does not know, with the number of their images, which are left out.
    ClassesLeftOut(Vec<(String, usize)>),
}

impl fmt::Display for DataNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Classes(matched) => matched.fmt(f),
            Self::ClassesPresumed(set) => {
                write!(f, "the model names no classes; they are taken for those of {set}, by their number")
            }
            Self::ClassesLeftOut(classes) => {
                let names: Vec<&String> = classes.iter().map(|(class, _)| class).collect();
                let images: usize = classes.iter().map(|(_, images)| images).sum();
                let (noun, count) = if names.len() == 1 { ("class", "its") } else { ("classes", "their") };
                let noun_of_images = if images == 1 { "image is" } else { "images are" };
                write!(
                    f,
                    "the model does not know the data's {noun} {}: {count} {images} {noun_of_images} left out",
                    quoted(&names)
                )
            }
        }
    }
}
