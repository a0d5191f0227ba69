//! Which plan trains.

use std::path::{Path, PathBuf};

use clap::Args;
use retune::files;
use retune::methods::layers::{Granularity, LayerSelection};
use retune::methods::{self, DEFAULT_LEARNING_RATES, Method, MethodOptions, SignalToNoise, UnfreezeOrder};
use retune::models::HeadInitialization;
use retune::plan::{Anchor, Averaging, LayerKind, LowRank, Plan, Schedule};
use retune::run::PlanSource;

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
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    options: MethodOptionArguments,
}

impl MethodArguments {
    /// Where the plan comes from, for a head that starts in this way.
    pub fn source(&self, head: HeadInitialization) -> Result<PlanSource, Failure> {
        if let Some(path) = &self.plan {
            return read(path).map(PlanSource::Written);
        }
        let options = self.options.resolve(head)?;
        if options.layers != LayerSelection::All && !self.method.takes_layers() {
            let reason = format!("--method {} takes no layers; leave --first, --last and --layers out", self.method);
            return Err(Failure::Mistake(reason));
        }
        if self.method == Method::Surgical && options.layers == LayerSelection::All {
            let reason =
                "--method surgical needs layers: name --first and --last, or --layers (`retune layers` lists them)";
            return Err(Failure::Mistake(reason.to_owned()));
        }
        Ok(PlanSource::Method(self.method, options))
    }
}

fn read(path: &Path) -> Result<Plan, Failure> {
    Plan::from_toml(&files::read_text(path)?).map_err(|error| Failure::in_file(path, error))
}

/// Options of methods; each says which methods it is for, where it is not for all.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub struct MethodOptionArguments {
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse::count, allow_hyphen_values = true)]
    epochs: usize,
    /// Learning rate, or several with commas for validation to choose from [default: 1e-5,1e-4,1e-3]
    #[arg(long, value_name = "X", value_delimiter = ',', value_parser = parse::positive, allow_hyphen_values = true)]
    lr: Vec<f64>,
    /// How the learning rate changes [default: cosine; slanted for ulmfit]
    #[arg(long, value_name = "NAME", value_parser = named::<Schedule>(["constant", "linear", "cosine", "slanted"]))]
    schedule: Option<Schedule>,
    /// Epochs in which the rate climbs from 0, step by step; fractions count
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse::non_negative, allow_hyphen_values = true)]
    warmup_epochs: f64,
    /// Keep an exponential moving average of the weights with this decay, such as 0.999, instead of the weights
    #[arg(long, value_name = "DECAY", value_parser = parse::below_one, allow_hyphen_values = true)]
    ema: Option<f64>,
    /// Keep the average of the weights after each epoch from this one on (stochastic weight averaging)
    #[arg(long, value_name = "EPOCH", value_parser = parse::count, conflicts_with = "ema", allow_hyphen_values = true)]
    swa_from: Option<usize>,
    /// First layer to tune: a stage, block or tensor, as `retune layers` and `retune layers --tensors` name them [surgical,
    /// auto-rgn, auto-snr, discriminative, lora]
    #[arg(long, value_name = "LAYER")]
    first: Option<String>,
    /// Last layer to tune, a stage, block or tensor
    #[arg(long, value_name = "LAYER")]
    last: Option<String>,
    /// The layers to tune, with commas, instead of a range
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', conflicts_with_all = ["first", "last"])]
    layers: Vec<String>,
    /// What counts as one layer [discriminative: block, ulmfit: stage]
    #[arg(long, value_name = "NAME", value_parser = named::<Granularity>(["stage", "block", "tensor"]))]
    granularity: Option<Granularity>,
    /// Factor on the rate for each layer back from the last [discriminative: 0.9, ulmfit: 1/2.6, by tensor: 0.9]
    #[arg(long, value_name = "X", value_parser = parse::factor, allow_hyphen_values = true)]
    decay: Option<f64>,
    /// The factor is not lower than this [discriminative]
    #[arg(long, value_name = "X", default_value = "0", conflicts_with = "lr_range", value_parser = parse::share, allow_hyphen_values = true)]
    decay_min: f64,
    /// Rates of the first and the last layer, those between evenly spaced in logarithm, instead of a decay
    /// [discriminative]
    #[arg(long, value_name = "LOW..HIGH", value_parser = parse::rate_range, conflicts_with_all = ["lr", "decay"])]
    lr_range: Option<[f64; 2]>,
    /// Draw this many layers before the head anew first [discriminative]
    #[arg(long, value_name = "K", default_value = "0")]
    reinit: usize,
    /// In which order layers are unfrozen [ulmfit]
    #[arg(long, value_name = "ORDER", default_value = "last-to-first",
          value_parser = named::<UnfreezeOrder>(["last-to-first", "first-to-last"]))]
    unfreeze: UnfreezeOrder,
    /// Batches that rates are measured on before each epoch [auto-rgn, auto-snr]
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse::count, allow_hyphen_values = true)]
    rgn_batches: usize,
    /// What has a rate of its own [auto-rgn, auto-snr]
    #[arg(long, value_name = "NAME", default_value = "tensor",
          value_parser = named::<LayerKind>(["tensor", "block", "stage"]))]
    rgn_granularity: LayerKind,
    /// Which definition of the signal-to-noise ratio [auto-snr]
    #[arg(long, value_name = "NAME", default_value = "paper", value_parser = named::<SignalToNoise>(["paper", "official"]))]
    snr_mode: SignalToNoise,
    /// Layers with a lower ratio are frozen for the epoch [auto-snr; default: 0.5 for paper, 0.95 for official]
    #[arg(long, value_name = "X", value_parser = parse::non_negative, allow_hyphen_values = true)]
    snr_threshold: Option<f64>,
    /// Strength of the pull to the pretrained weights [l2-sp]
    #[arg(long, value_name = "X", default_value = "0.1", value_parser = parse::non_negative, allow_hyphen_values = true)]
    anchor: f64,
    /// Strength of the head's pull to zero [l2-sp]
    #[arg(long, value_name = "X", default_value = "0.01", value_parser = parse::non_negative, allow_hyphen_values = true)]
    anchor_head: f64,
    /// Rank of the changes [lora]
    #[arg(long, value_name = "N", default_value = "8", value_parser = parse::count, allow_hyphen_values = true)]
    lora_rank: usize,
    /// The changes are scaled by this over the rank [lora]
    #[arg(long, value_name = "X", default_value = "16", value_parser = parse::positive, allow_hyphen_values = true)]
    lora_alpha: f64,
    /// Share of the fine-tuned weights, or several with commas for validation to choose from [wise-ft]
    #[arg(long, value_name = "X", default_value = "0.5", value_delimiter = ',', value_parser = parse::share,
          allow_hyphen_values = true)]
    alpha: Vec<f64>,
}

impl MethodOptionArguments {
    /// As the library takes them, for a head that starts in this way.
    pub fn resolve(&self, head: HeadInitialization) -> Result<MethodOptions, Failure> {
        self.check()?;
        let learning_rates = if self.lr.is_empty() { DEFAULT_LEARNING_RATES.into() } else { self.lr.clone() };
        Ok(MethodOptions {
            epochs: self.epochs,
            learning_rates,
            schedule: self.schedule,
            warmup_epochs: self.warmup_epochs,
            average: self.average(),
            new_head: head != HeadInitialization::Keep,
            layers: self.layers(),
            granularity: self.granularity,
            decay: self.decay,
            lowest_factor: self.decay_min,
            rate_range: self.lr_range,
            reinitialize: self.reinit,
            unfreeze: self.unfreeze,
            adaptive_layer: self.rgn_granularity,
            adaptive_batches: self.rgn_batches,
            snr: self.snr_mode,
            snr_threshold: self.snr_threshold,
            anchor: Anchor { strength: self.anchor, head_strength: self.anchor_head },
            low_rank: LowRank { rank: self.lora_rank, alpha: self.lora_alpha },
            alphas: self.alpha.clone(),
        })
    }

    fn check(&self) -> Result<(), Failure> {
        let epochs = self.epochs;
        if self.warmup_epochs > epochs as f64 {
            let reason = format!("--warmup-epochs {} is longer than the {epochs} of --epochs", self.warmup_epochs);
            return Err(Failure::Mistake(reason));
        }
        match self.swa_from {
            Some(from) if from > epochs => {
                Err(Failure::Mistake(format!("--swa-from {from} comes after the {epochs} of --epochs")))
            }
            _ => Ok(()),
        }
    }

    fn average(&self) -> Option<Averaging> {
        let exponential = self.ema.map(|decay| Averaging::Exponential { decay });
        exponential.or(self.swa_from.map(|from| Averaging::Epochs { from }))
    }

    fn layers(&self) -> LayerSelection {
        match (&self.first, &self.last) {
            (None, None) if self.layers.is_empty() => LayerSelection::All,
            (None, None) => LayerSelection::Set(self.layers.clone()),
            (first, last) => LayerSelection::Range { first: first.clone(), last: last.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        method: MethodArguments,
    }

    fn options(line: &str) -> Result<MethodOptions, String> {
        let line = std::iter::once("fit").chain(line.split_whitespace());
        let parsed = Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
        match parsed.method.source(HeadInitialization::Zeros) {
            Ok(PlanSource::Method(_, options)) => Ok(options),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    #[test]
    fn nothing_said_is_the_librarys_default() {
        assert_eq!(options("").unwrap(), MethodOptions::default());
    }

    #[test]
    fn every_option_arrives() {
        let found = options(
            "--method discriminative --epochs 4 --schedule linear --warmup-epochs 0.5 --ema 0.9 --first layer1 --last \
             layer3 --granularity stage --lr-range 1e-6..1e-3 --reinit 2 --unfreeze first-to-last \
             --rgn-batches 3 --rgn-granularity block --snr-mode official --snr-threshold 2 --anchor 0.5 --anchor-head 0.2 \
             --lora-rank 4 --lora-alpha 8 --alpha 0.25,0.5",
        );
        let expected = MethodOptions {
            epochs: 4,
            schedule: Some(Schedule::Linear),
            warmup_epochs: 0.5,
            average: Some(Averaging::Exponential { decay: 0.9 }),
            layers: LayerSelection::Range { first: Some("layer1".into()), last: Some("layer3".into()) },
            granularity: Some(Granularity::Stage),
            rate_range: Some([1e-6, 1e-3]),
            reinitialize: 2,
            unfreeze: UnfreezeOrder::FirstToLast,
            adaptive_batches: 3,
            adaptive_layer: LayerKind::Block,
            snr: SignalToNoise::Official,
            snr_threshold: Some(2.0),
            anchor: Anchor { strength: 0.5, head_strength: 0.2 },
            low_rank: LowRank { rank: 4, alpha: 8.0 },
            alphas: vec![0.25, 0.5],
            ..MethodOptions::default()
        };
        assert_eq!(found.unwrap(), expected);
        assert_eq!(options("--swa-from 3").unwrap().average, Some(Averaging::Epochs { from: 3 }));
        assert_eq!(options("--method ulmfit --decay 0.5 --lr 0.1").unwrap().decay, Some(0.5));
        assert_eq!(options("--method discriminative --decay-min 0.1").unwrap().lowest_factor, 0.1);
        let granularity = options("--method discriminative --granularity tensor").unwrap().granularity;
        assert_eq!(granularity, Some(Granularity::Tensor));
    }

    #[test]
    fn layers_go_with_methods_that_take_them() {
        assert!(options("--method surgical").unwrap_err().contains("needs layers"));
        assert!(options("--method ft --first stem").unwrap_err().contains("takes no layers"));
        let set = options("--method surgical --layers stem,head").unwrap().layers;
        assert_eq!(set, LayerSelection::Set(vec!["stem".into(), "head".into()]));
        assert!(options("--swa-from 11").unwrap_err().contains("comes after"));
    }
}
