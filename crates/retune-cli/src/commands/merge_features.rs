//! `retune merge-features`: makes one feature file of the shards of an extraction.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanCount;
use retune::features;
use retune::wording::counted;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Console;

/// Options of `retune merge-features`.
#[derive(Args)]
pub struct MergeFeaturesArguments {
    /// All shards of an extraction, in any order: what `retune features --shard` wrote
    #[arg(required = true, num_args = 1.., value_name = "SHARD")]
    shards: Vec<PathBuf>,
    /// File to write: .npz, .parquet, or .safetensors
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Document<'a> {
    path: &'a Path,
    shards: usize,
    images: usize,
    width: usize,
}

/// Merges the shards.
pub fn run(arguments: &MergeFeaturesArguments, console: &Console) -> Result<(), Failure> {
    let MergeFeaturesArguments { shards, out } = arguments;
    let shape = features::merge(shards, out, &console.progress)?;
    let document = Document { path: out, shards: shards.len(), images: shape.images, width: shape.width };
    console.print(&document, || {
        let (images, width) = (counted(shape.images, "image"), HumanCount(shape.width as u64));
        format!("features of {images}, {width} each, from {}: {}", counted(shards.len(), "shard"), out.display())
    })
}
