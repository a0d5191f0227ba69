//! Thumbnails in a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::run::record::Sheet;

/// A picture with square tiles, row by row, embedded in a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageSheet {
    /// The JPEG file.
    #[serde(rename = "source", serialize_with = "data_address")]
    pub jpeg: Vec<u8>,
    /// Side of a tile in pixels.
    pub side: u32,
    /// Tiles in a row.
    pub columns: usize,
}

impl From<Sheet> for PageSheet {
    fn from(Sheet { jpeg, side, columns }: Sheet) -> Self {
        Self { jpeg, side, columns }
    }
}

fn data_address<S: Serializer>(jpeg: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)))
}
