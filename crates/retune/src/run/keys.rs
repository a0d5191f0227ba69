//! What each key of a `run.toml` is on the command line: whoever reads a file of options and whoever writes a run's command
//! go by this list.

use toml::{Table, Value};

use crate::train::options::TrainOptions;

/// What a key stands for. Options go by their names with `_` between words.
pub enum Meaning {
    /// An option with the same value.
    Option(&'static str),
    /// A switch that is on if the value is `on`.
    Switch {
        /// The switch.
        id: &'static str,
        /// The value that turns it on.
        on: bool,
    },
    /// An option whose values are `balanced` and `none`.
    Balanced(&'static str),
    /// An option in MiB; the value is in bytes.
    Bytes(&'static str),
    /// An option that takes NAME=PATH, once for each entry of the list.
    Sets(&'static str),
    /// It is read together with other keys, or changes no result.
    Elsewhere,
    /// The command line has no option for it, so it can only be the default.
    Fixed(fn() -> Value),
    /// An option that takes a file, of which the key holds the content: the file with the key will do.
    Within(&'static str),
}

/// The keys of the table `method` besides the options that methods declare.
pub const OF_METHODS: [&str; 11] = [
    "name",
    "epochs",
    "learning_rates",
    "search",
    "patience",
    "schedule",
    "warmup_epochs",
    "warmup",
    "average",
    "probe",
    "layers",
];

/// Every key outside the table `method`, in the order in which options are typed.
pub const KEYS: &[(&str, Meaning)] = &[
    ("model.path", Meaning::Option("model")),
    ("model.architecture", Meaning::Option("arch")),
    ("model.from_scratch", Meaning::Switch { id: "from_scratch", on: true }),
    ("model.classes", Meaning::Within("classes")),
    ("data", Meaning::Option("data")),
    ("evaluations", Meaning::Sets("evaluations")),
    ("validation_fraction", Meaning::Option("val_fraction")),
    ("split_by", Meaning::Option("split_by")),
    ("head_initialization", Meaning::Elsewhere),
    ("device", Meaning::Option("device")),
    ("multi_label", Meaning::Switch { id: "multi_label", on: true }),
    ("skip_bad", Meaning::Switch { id: "skip_bad", on: true }),
    ("preprocessing.in_chans", Meaning::Option("in_chans")),
    ("preprocessing.size", Meaning::Option("size")),
    ("preprocessing.interpolation", Meaning::Option("interpolation")),
    ("preprocessing.crop_mode", Meaning::Option("crop_mode")),
    ("preprocessing.crop_pct", Meaning::Option("crop_pct")),
    ("preprocessing.mean", Meaning::Option("mean")),
    ("preprocessing.std", Meaning::Option("std")),
    ("preprocessing.white", Meaning::Option("white")),
    ("train.seed", Meaning::Option("seed")),
    ("train.budget", Meaning::Option("budget")),
    ("train.batch_size", Meaning::Option("batch_size")),
    ("train.accumulate", Meaning::Option("accumulate")),
    ("train.sampling", Meaning::Option("sampling")),
    ("train.drop_path", Meaning::Option("drop_path")),
    ("train.shuffle", Meaning::Switch { id: "no_shuffle", on: false }),
    ("train.clip_norm", Meaning::Option("clip_norm")),
    ("train.batch_norm", Meaning::Option("bn")),
    ("train.keep", Meaning::Option("save")),
    ("train.select", Meaning::Option("select")),
    ("train.label_smoothing", Meaning::Option("label_smoothing")),
    ("train.balanced_classes", Meaning::Balanced("class_weights")),
    ("train.checkpoint_every", Meaning::Option("checkpoint_every")),
    ("train.cache_bytes", Meaning::Bytes("cache_mb")),
    ("train.precision", Meaning::Option("precision")),
    ("train.frozen_precision", Meaning::Option("frozen_precision")),
    ("train.threads", Meaning::Elsewhere),
    ("train.optimizer.kind", Meaning::Option("optimizer")),
    ("train.optimizer.momentum", Meaning::Option("momentum")),
    ("train.optimizer.weight_decay", Meaning::Option("weight_decay")),
    ("train.optimizer.betas", Meaning::Fixed(|| default(&["optimizer", "betas"]))),
    ("train.optimizer.epsilon", Meaning::Fixed(|| default(&["optimizer", "epsilon"]))),
    ("train.augmentation.policy", Meaning::Option("augment")),
    ("train.augmentation.scale", Meaning::Fixed(|| default(&["augmentation", "scale"]))),
    ("train.augmentation.ratio", Meaning::Fixed(|| default(&["augmentation", "ratio"]))),
    ("train.augmentation.hflip", Meaning::Fixed(|| default(&["augmentation", "hflip"]))),
    ("train.augmentation.rand_augment", Meaning::Fixed(|| default(&["augmentation", "rand_augment"]))),
    ("train.mix.mixup_alpha", Meaning::Option("mixup")),
    ("train.mix.cutmix_alpha", Meaning::Option("cutmix")),
    ("train.activations.memory_bytes", Meaning::Bytes("activation_mb")),
    ("train.activations.half", Meaning::Switch { id: "half_activations", on: true }),
    ("train.activations.views", Meaning::Option("views")),
];

/// The values of a table with their keys, joined by dots. What a key means as a whole is not taken apart.
pub fn flattened(table: &Table) -> Vec<(String, Value)> {
    let mut entries = Vec::new();
    flatten("", table, &mut entries);
    entries
}

fn flatten(before: &str, table: &Table, entries: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
        match value {
            Value::Table(inner) if KEYS.iter().all(|(known, _)| *known != key) => flatten(&key, inner, entries),
            value => entries.push((key, value.clone())),
        }
    }
}

/// The library's default of an option of training, written and read again as a file is.
fn default(keys: &[&str]) -> Value {
    let text = toml::to_string(&TrainOptions::default()).unwrap_or_default();
    let whole = toml::from_str(&text).map_or(Value::Boolean(false), Value::Table);
    keys.iter().try_fold(&whole, |value, key| value.get(key)).cloned().unwrap_or(Value::Boolean(false))
}
