//! Options of training that are not part of the plan.

use std::num::NonZeroUsize;

use clap::Args;
use retune::collective::Processes;
use retune::inference::Metric;
use retune::loading::mix::Mix;
use retune::methods::{self, ProbePhase};
use retune::models::HeadInitialization;
use retune::pixels::augment::{AugmentPolicy, Augmentation};
use retune::sources::SplitBy;
use retune::train::optimizer::{OptimizerKind, OptimizerOptions};
use retune::train::options::{ActivationOptions, BatchNormPolicy, Keep, Precision, Sampling, TrainOptions};

use super::parse::{self, Named, named};
use super::precision::{self, PrecisionChoice};

/// Options of training.
#[derive(Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArguments {
    /// Images have several labels, or none: binary cross-entropy for each label, and mean average precision to choose by.
    /// Labels are a list, a text such as `cat|dog`, or a column of 0 and 1 for each
    #[arg(long)]
    pub multi_label: bool,
    /// Fraction of each class to hold out for validation, if the data has no validation split
    #[arg(long, value_name = "X", default_value = "0.2", value_parser = parse::proper_fraction, allow_hyphen_values = true)]
    pub val_fraction: f64,
    /// Unit to hold out: single images, or whole groups (of one patient, place, or video) named in the data's `group`
    /// column
    #[arg(long, value_name = "NAME", default_value = "image", value_parser = named::<SplitBy>(["image", "group"]))]
    pub split_by: SplitBy,
    /// Images per batch
    #[arg(long, value_name = "N", default_value = "32", value_parser = parse::count, allow_hyphen_values = true)]
    batch_size: usize,
    /// Accumulate the gradients of this many batches for each update, as if a batch were that many times as large
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse::count, allow_hyphen_values = true)]
    accumulate: usize,
    /// Images of an epoch: all of them, or the same number with every class equally frequent
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = named::<Sampling>(["all", "balanced"]),
          conflicts_with = "no_shuffle")]
    sampling: Sampling,
    /// Stochastic depth: drop residual branches at a rate that grows to X in the last block [default: the model's
    /// drop_path_rate]
    #[arg(long, value_name = "X", value_parser = parse::below_one, allow_hyphen_values = true)]
    drop_path: Option<f64>,
    /// Use the same order of images in every epoch
    #[arg(long)]
    no_shuffle: bool,
    /// Fraction of each target to spread evenly over all classes
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse::below_one, allow_hyphen_values = true)]
    label_smoothing: f64,
    /// Weight classes by the inverse of their number of images
    #[arg(long, value_name = "NAME", default_value = "none",
          value_parser = Named::read_by(["none", "balanced"], class_weights))]
    class_weights: ClassWeights,
    /// Random augmentation of training images
    #[arg(long, value_name = "NAME", default_value = "none",
          value_parser = named::<AugmentPolicy>(AugmentPolicy::ALL.map(AugmentPolicy::name)))]
    augment: AugmentPolicy,
    /// Mixup: blend images in proportions from Beta(X, X); 0 is off
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse::non_negative, allow_hyphen_values = true)]
    mixup: f64,
    /// CutMix: paste rectangles between images, with areas from Beta(X, X); 0 is off
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse::non_negative, allow_hyphen_values = true)]
    cutmix: f64,
    /// Optimizer
    #[arg(long, value_name = "NAME", default_value = "adamw",
          value_parser = named::<OptimizerKind>(["sgd", "adam", "adamw"]))]
    optimizer: OptimizerKind,
    /// Momentum of sgd
    #[arg(long, value_name = "X", default_value = "0.9", value_parser = parse::below_one, allow_hyphen_values = true)]
    momentum: f64,
    /// Weight decay [default: 0.05 for adamw, 0 for sgd and adam]
    #[arg(long, value_name = "X", value_parser = parse::non_negative, allow_hyphen_values = true)]
    weight_decay: Option<f64>,
    /// Clip gradients to this norm [default: no clipping]
    #[arg(long, value_name = "X", value_parser = parse::positive, allow_hyphen_values = true)]
    clip_norm: Option<f64>,
    /// Running statistics of BatchNorm in trained blocks: keep them, let them follow the batches, or measure them again
    /// after each epoch
    #[arg(long, value_name = "NAME", default_value = "frozen",
          value_parser = named::<BatchNormPolicy>(["frozen", "train", "recalibrate"]))]
    bn: BatchNormPolicy,
    #[command(flatten)]
    pub head: HeadArguments,
    /// Which epoch's model to keep: the best on validation, or the last
    #[arg(long, value_name = "NAME", default_value = "best", value_parser = named::<Keep>(["best", "last"]))]
    save: Keep,
    /// Metric by which validation chooses epochs, learning rates, averages, and the penalty of a linear probe [default:
    /// accuracy; map, mean average precision, with --multi-label]
    #[arg(long, value_name = "NAME",
          value_parser = named::<Metric>(Metric::ALL.map(Metric::name)))]
    select: Option<Metric>,
    /// Write a checkpoint every STEPS steps and after every epoch [default: after epochs, at least 30 seconds apart]
    #[arg(long, value_name = "STEPS", value_parser = parse::count, allow_hyphen_values = true)]
    checkpoint_every: Option<usize>,
    /// Memory for decoded images, in MiB; the rest goes to a temporary file
    #[arg(long, value_name = "N", default_value = "256")]
    cache_mb: u32,
    #[arg(long, value_name = "NAME", default_value = "float32", value_parser = precision::parser(),
          help = precision::help(" in trained blocks", "on this CPU"))]
    precision: PrecisionChoice,
    /// Precision of matrix products in frozen blocks, for training images
    #[arg(long, value_name = "NAME", default_value = "float32", value_parser = named::<Precision>(["float32", "bfloat16"]))]
    frozen_precision: Precision,
    /// Memory for activations of frozen blocks and for features of a linear probe, in MiB; the rest goes to a temporary
    /// file (activations up to 8 GiB or eight times N); with 0, no activations are kept
    #[arg(long, value_name = "N", default_value = "256")]
    activation_mb: u32,
    /// Store activations of frozen blocks in 16 bits
    #[arg(long)]
    half_activations: bool,
    /// Limit augmentation to this many versions of each image, so that activations of frozen blocks can be kept
    /// [default: a new version in every epoch]
    #[arg(long, value_name = "K", value_parser = parse::count, allow_hyphen_values = true)]
    views: Option<usize>,
    /// Skip images that cannot be read, and list them [default: stop at the first]
    #[arg(long)]
    pub skip_bad: bool,
    /// Random seed
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse::seed, allow_hyphen_values = true)]
    seed: u64,
}

/// How the head starts.
#[derive(Args)]
#[command(next_help_heading = "Training")]
pub struct HeadArguments {
    #[arg(long, value_name = "NAME", help = head_help(),
          value_parser = Named::read_by(["known", "zeros", "normal", "probe", "keep"], head_initialization))]
    pub head_init: Option<HeadInitialization>,
}

impl HeadArguments {
    /// How the head starts.
    pub fn initialization(&self) -> HeadInitialization {
        self.head_init.unwrap_or(HeadInitialization::Known)
    }

    /// Whether a linear probe comes before a method's own phases.
    pub fn probe(&self) -> ProbePhase {
        match self.head_init {
            None => ProbePhase::ByMethod,
            Some(HeadInitialization::Probe) => ProbePhase::Always,
            Some(_) => ProbePhase::Never,
        }
    }
}

fn head_help() -> String {
    let probing = methods::ALL.iter().filter(|method| method.probes_new_head);
    format!(
        "Initialization of the head; `known` keeps the rows of classes that the model knows by name, if these are most of \
         them, and sets the others to zero, `probe` fits a linear probe before the method's own phases, and `keep` uses the model's own head, for data \
         with the same classes [default: known; probe for {}]",
        methods::names(probing, " and ")
    )
}

impl TrainingArguments {
    /// As the library takes them, for the device of this name.
    pub fn options(&self, threads: usize, device: &str) -> TrainOptions {
        TrainOptions {
            seed: self.seed,
            budget: None,
            batch_size: self.batch_size,
            accumulate: NonZeroUsize::new(self.accumulate).unwrap_or(NonZeroUsize::MIN),
            sampling: self.sampling,
            drop_path: self.drop_path,
            shuffle: !self.no_shuffle,
            optimizer: self.optimizer(),
            clip_norm: self.clip_norm,
            batch_norm: self.bn,
            keep: self.save,
            select: self.select.unwrap_or(if self.multi_label {
                Metric::MeanAveragePrecision
            } else {
                Metric::Accuracy
            }),
            label_smoothing: self.label_smoothing,
            balanced_classes: self.class_weights == ClassWeights::Balanced,
            augmentation: Augmentation::new(self.augment),
            mix: Mix { mixup_alpha: self.mixup, cutmix_alpha: self.cutmix },
            checkpoint_every: self.checkpoint_every,
            cache_bytes: u64::from(self.cache_mb) << 20,
            precision: self.precision.of_training(device),
            frozen_precision: self.frozen_precision,
            activations: ActivationOptions {
                memory_bytes: u64::from(self.activation_mb) << 20,
                half: self.half_activations,
                views: self.views,
            },
            threads,
            processes: Processes::default(),
        }
    }

    fn optimizer(&self) -> OptimizerOptions {
        let defaults = OptimizerOptions::default();
        // Decay that is added to the gradient, as sgd and adam do, means something else than adamw's.
        let weight_decay = match (self.weight_decay, self.optimizer) {
            (Some(decay), _) => decay as f32,
            (None, OptimizerKind::AdamW) => defaults.weight_decay,
            (None, OptimizerKind::Sgd | OptimizerKind::Adam) => 0.0,
        };
        OptimizerOptions { kind: self.optimizer, momentum: self.momentum as f32, weight_decay, ..defaults }
    }
}

/// Whether classes weigh the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClassWeights {
    None,
    Balanced,
}

fn class_weights(name: &str) -> Result<ClassWeights, String> {
    match name {
        "none" => Ok(ClassWeights::None),
        "balanced" => Ok(ClassWeights::Balanced),
        _ => Err("expected none or balanced".into()),
    }
}

fn head_initialization(name: &str) -> Result<HeadInitialization, String> {
    match name {
        "known" => Ok(HeadInitialization::Known),
        "zeros" => Ok(HeadInitialization::Zeros),
        "normal" => Ok(HeadInitialization::Normal),
        "probe" => Ok(HeadInitialization::Probe),
        "keep" => Ok(HeadInitialization::Keep),
        _ => Err("expected known, zeros, normal, probe, or keep".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        training: TrainingArguments,
    }

    fn options(line: &[&str]) -> TrainOptions {
        let line = ["fit"].iter().chain(line);
        Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).training.options(2, "cpu")
    }

    #[test]
    fn weight_decay_suits_the_optimizer_unless_it_is_given() {
        assert_eq!(options(&[]).optimizer.weight_decay, 0.05);
        assert_eq!(options(&["--optimizer", "sgd"]).optimizer.weight_decay, 0.0);
        assert_eq!(options(&["--optimizer", "sgd", "--weight-decay", "0.1"]).optimizer.weight_decay, 0.1);
    }

    #[test]
    fn auto_is_the_precision_that_pays_on_this_machine() {
        let fastest = if retune_kernels::bfloat16_pays() { Precision::Bfloat16 } else { Precision::Float32 };
        assert_eq!(options(&["--precision", "auto"]).precision, fastest);
        assert_eq!(options(&["--precision", "bfloat16"]).precision, Precision::Bfloat16);
    }

    #[test]
    fn sampling_arrives_and_nothing_said_is_the_librarys_default() {
        assert_eq!(options(&["--sampling", "balanced"]).sampling, Sampling::Balanced);
        assert_eq!(options(&[]), TrainOptions { threads: 2, ..TrainOptions::default() });
    }

    #[test]
    fn every_option_arrives() {
        let line = "--batch-size 7 --no-shuffle --label-smoothing 0.1 --class-weights balanced --augment flip --mixup 0.2 \
                    --cutmix 1 --momentum 0.5 --clip-norm 2 --bn train --save last --select loss --checkpoint-every 5 --cache-mb 3 --seed 9 \
                    --activation-mb 7 --half-activations --views 2 --precision bfloat16 --frozen-precision bfloat16 --accumulate 3 --drop-path 0.25";
        let options = options(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!((options.batch_size, options.shuffle, options.seed, options.threads), (7, false, 9, 2));
        assert_eq!((options.label_smoothing, options.balanced_classes), (0.1, true));
        assert_eq!((options.accumulate.get(), options.drop_path), (3, Some(0.25)));
        assert_eq!(options.augmentation.policy, AugmentPolicy::Flip);
        assert_eq!(options.mix, Mix { mixup_alpha: 0.2, cutmix_alpha: 1.0 });
        assert_eq!((options.optimizer.momentum, options.clip_norm), (0.5, Some(2.0)));
        assert_eq!((options.batch_norm, options.keep), (BatchNormPolicy::Train, Keep::Last));
        assert_eq!((options.checkpoint_every, options.cache_bytes), (Some(5), 3 << 20));
        assert_eq!(options.select, Metric::Loss);
        assert_eq!((options.precision, options.frozen_precision), (Precision::Bfloat16, Precision::Bfloat16));
        assert_eq!(options.activations, ActivationOptions { memory_bytes: 7 << 20, half: true, views: Some(2) });
    }
}
