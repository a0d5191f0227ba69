//! Options that compare representations, of `cka` and `audit`.

use clap::Args;
use retune::analysis::cka::{Estimator, Kernel};
use retune::inference::layers::Positions;
use retune::pixels::resize::Interpolation;
use retune::similarity::CkaOptions;

use super::data::BatchArguments;
use super::parse::{self, named};
use crate::output::Console;

/// Which images are compared, and how much memory that may take.
#[derive(Args)]
#[command(next_help_heading = "Comparison")]
pub struct ComparisonArguments {
    /// Number of random halves of the images for the 95 % intervals; 0 for no intervals
    #[arg(long, value_name = "N", default_value = "200", allow_hyphen_values = true)]
    bootstrap: usize,
    /// Compare at most this many images, chosen by the seed [default: all]
    #[arg(long, value_name = "N", value_parser = parse::count, allow_hyphen_values = true)]
    max_images: Option<usize>,
    /// Random seed, for the choice of images and for the intervals
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse::seed, allow_hyphen_values = true)]
    seed: u64,
    /// Memory for features and kernel matrices, in MiB; images that do not fit are compared in minibatches
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = parse::count, allow_hyphen_values = true)]
    memory: usize,
}

/// How similarity is measured.
#[derive(Args)]
#[command(next_help_heading = "Comparison")]
pub struct SimilarityArguments {
    /// Kernel
    #[arg(long, value_name = "NAME", default_value = "linear", value_parser = ["linear", "rbf"])]
    kernel: String,
    /// Width of the RBF kernel, as a fraction of the median distance between images
    #[arg(long, value_name = "X", default_value_t = Kernel::DEFAULT_BANDWIDTH, value_parser = parse::positive,
          allow_hyphen_values = true)]
    bandwidth: f64,
    /// Estimator; the first paper's, biased, approaches 1 if images are few
    #[arg(long, value_name = "NAME", default_value = "debiased", value_parser = named::<Estimator>(Estimator::ALL.map(Estimator::name)))]
    estimator: Estimator,
    /// Compare blocks by the mean over positions or tokens instead of every value of their output
    #[arg(long)]
    pool: bool,
}

impl ComparisonArguments {
    /// As the library takes them.
    pub fn options(&self, batches: &BatchArguments, console: &Console) -> CkaOptions {
        CkaOptions {
            resamples: self.bootstrap,
            max_images: self.max_images,
            seed: self.seed,
            batch_size: batches.batch_size,
            threads: console.threads,
            memory: (self.memory as u64) << 20,
            ..CkaOptions::default()
        }
    }
}

impl SimilarityArguments {
    /// The options with these in them.
    pub fn apply(&self, options: CkaOptions) -> CkaOptions {
        let kernel = match self.kernel.as_str() {
            "rbf" => Kernel::Rbf { bandwidth: self.bandwidth },
            _ => Kernel::Linear,
        };
        let positions = if self.pool { Positions::Mean } else { Positions::All };
        CkaOptions { kernel, estimator: self.estimator, positions, ..options }
    }
}

/// Which ways of resizing are compared.
#[derive(Args)]
#[command(next_help_heading = "Comparison")]
pub struct InterpolationArguments {
    /// Resampling filters, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',',
          value_parser = named::<Interpolation>(Interpolation::ALL.map(Interpolation::name)))]
    interpolations: Vec<Interpolation>,
}

impl InterpolationArguments {
    /// Whether any were named.
    pub fn are_given(&self) -> bool {
        !self.interpolations.is_empty()
    }

    /// The model's own, then the others, each once.
    pub fn with_own(&self, own: Interpolation) -> Vec<Interpolation> {
        let all = if self.are_given() { &self.interpolations } else { Interpolation::ALL.as_slice() };
        let mut chosen = vec![own];
        for &interpolation in all {
            if !chosen.contains(&interpolation) {
                chosen.push(interpolation);
            }
        }
        chosen
    }
}
