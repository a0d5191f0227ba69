//! `retune features`: writes the activations of images at a layer to a file.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanCount;
use retune::features::{self, FeatureFormat, FeatureTable, Shard};
use retune::inference::Layer;
use retune::models::Model;
use retune::wording::counted;
use serde::Serialize;

use crate::arguments::data::DataArguments;
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::parse;
use crate::failure::Failure;
use crate::output::Console;

/// Options of `retune features`.
#[derive(Args)]
pub struct FeaturesArguments {
    /// File to write: .npz, .parquet, or .safetensors; after an interruption, the same command continues
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Layer: input, pooled (what the head sees), cls+mean (a transformer's class token and the mean of its patches),
    /// logits, or a name that `retune layers` lists
    #[arg(long, value_name = "NAME", default_value = "pooled")]
    layer: String,
    /// Only part I of N of the images, for jobs that share the work; `retune merge-features` puts the parts together
    #[arg(long, value_name = "I/N", value_parser = parse::shard)]
    shard: Option<Shard>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

#[derive(Serialize)]
struct Document<'a> {
    path: &'a Path,
    layer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<Shard>,
    images: usize,
    width: usize,
}

impl FeaturesArguments {
    /// The features of every image in memory; of `model`, where it is loaded already.
    pub fn extract(&self, model: Option<&Model>, console: &Console) -> Result<FeatureTable, Failure> {
        if self.shard.is_some() {
            return Err(Failure::Mistake("--shard needs a file to write (--out)".to_owned()));
        }
        let loaded;
        let model = match model {
            Some(model) => model,
            None => {
                loaded = self.model.load(&self.preprocessing.change(), console)?;
                &loaded
            }
        };
        let model = &self.data.batches.in_precision(model.clone(), console)?;
        let dataset = self.data.open_for(model, console)?;
        let place = Layer::parse(&self.layer, model)?;
        let loader = self.data.batches.loader(dataset, model, console)?;
        Ok(features::table(model, &loader, place, &console.progress)?)
    }
}

/// Writes the features of every image.
pub fn run(arguments: &FeaturesArguments, console: &Console) -> Result<(), Failure> {
    let FeaturesArguments { out, layer, shard, .. } = arguments;
    FeatureFormat::of(out)?;
    let model = arguments.model.load(&arguments.preprocessing.change(), console)?;
    let model = arguments.data.batches.in_precision(model, console)?;
    let dataset = arguments.data.open_for(&model, console)?;
    let place = Layer::parse(layer, &model)?;
    let loader = arguments.data.batches.loader(dataset, &model, console)?;
    let shape = match *shard {
        Some(shard) => features::write_shard(&model, &loader, place, shard, out, &console.progress)?,
        None => features::write(&model, &loader, place, out, &console.progress)?,
    };
    let document = Document { path: out, layer, shard: *shard, images: shape.images, width: shape.width };
    console.print(&document, || {
        let (images, width) = (counted(shape.images, "image"), HumanCount(shape.width as u64));
        format!("features of {images} at '{layer}', {width} each: {}", out.display())
    })
}
