//! Which plan trains.

use std::path::{Path, PathBuf};

use clap::Args;
use retune::files;
use retune::fit::PlanSource;
use retune::methods::{self, DEFAULT_LEARNING_RATES, Method, MethodOptions};
use retune::plan::{Plan, Schedule};

use super::parse::{self, named};
use crate::failure::Failure;

/// A method and its options, or a plan written by hand.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub struct MethodArguments {
    /// How to fine-tune
    #[arg(long, value_name = "NAME", default_value = "lp-ft", value_parser = named::<Method>(methods::ALL.map(Method::name)))]
    method: Method,
    /// A plan written by hand, instead of a method's (`retune plan --toml` prints one to start from)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "epochs", "lr", "schedule", "warmup_epochs"])]
    plan: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse::count, allow_hyphen_values = true)]
    epochs: usize,
    /// Learning rate, or several with commas for validation to choose from [default: 1e-5,1e-4,1e-3]
    #[arg(long, value_name = "X", value_delimiter = ',', value_parser = parse::positive, allow_hyphen_values = true)]
    lr: Vec<f64>,
    /// How the learning rate changes
    #[arg(long, value_name = "NAME", default_value = "cosine",
          value_parser = named::<Schedule>(["constant", "linear", "cosine", "slanted"]))]
    schedule: Schedule,
    /// Epochs in which the rate climbs from 0, step by step; fractions count
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse::non_negative, allow_hyphen_values = true)]
    warmup_epochs: f64,
}

impl MethodArguments {
    /// Where the plan comes from.
    pub fn source(&self) -> Result<PlanSource, Failure> {
        if let Some(path) = &self.plan {
            return read(path).map(PlanSource::Written);
        }
        let Self { epochs, schedule, warmup_epochs, .. } = *self;
        if warmup_epochs > epochs as f64 {
            let reason = format!("--warmup-epochs {warmup_epochs} is longer than the {epochs} of --epochs");
            return Err(Failure::Mistake(reason));
        }
        let learning_rates = if self.lr.is_empty() { DEFAULT_LEARNING_RATES.into() } else { self.lr.clone() };
        Ok(PlanSource::Method(self.method, MethodOptions { epochs, learning_rates, schedule, warmup_epochs }))
    }
}

fn read(path: &Path) -> Result<Plan, Failure> {
    Plan::from_toml(&files::read_text(path)?).map_err(|error| Failure::in_file(path, error))
}
