//! What a user should hear about data that can be used all the same.

use std::fmt;

/// Something about data that is worth a line, but does not stop anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataNote {}

impl fmt::Display for DataNote {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}
