//! `config.json`, as the Hugging Face hub keeps it for timm models.

use std::num::NonZeroU16;
use std::path::Path;

use retune_pixels::channels::{Channels, UnknownChannels};
use retune_pixels::preprocess::{CropMode, Preprocessing};
use retune_pixels::resize::Interpolation;
use serde_json::{Map, Value, json};

use super::architectures::{self, ArchitectureError};
use super::class_file::ClassNames;
use super::transformers;
use crate::files::{self, FileError};

/// Why a `config.json` could not be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not JSON, or not an object.
    #[error("{path} is not a JSON object: {reason}")]
    NotJson {
        /// The file.
        path: String,
        /// The parser's reason, with line and column.
        reason: String,
    },
    /// A key is missing, or its value is not what it must be.
    #[error("{path}: '{key}' must be {expected}")]
    Key {
        /// The file.
        path: String,
        /// The key.
        key: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// An architecture that was asked for cannot be built.
    #[error(transparent)]
    NoArchitecture(#[from] ArchitectureError),
    /// The architecture that a file names cannot be built.
    #[error("{path}: {source}")]
    Architecture {
        /// The file.
        path: String,
        /// Why not.
        source: ArchitectureError,
    },
    /// The model takes images of a number of channels that image files do not have.
    #[error("{path}: {source}")]
    Channels {
        /// The file.
        path: String,
        /// The number of channels.
        source: UnknownChannels,
    },
    /// The configuration is one of transformers, and timm's architectures cannot do what it says.
    #[error("{path}: {reason}")]
    Transformers {
        /// The file.
        path: String,
        /// What cannot be done, as a clause.
        reason: String,
    },
}

/// The content of a `config.json`. Keys that retune does not know are kept as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    document: Map<String, Value>,
    architecture: String,
    num_classes: usize,
    preprocessing: Preprocessing,
}

impl ModelConfig {
    /// The configuration of an architecture without weights: timm's defaults.
    ///
    /// # Errors
    /// An architecture that is unknown or not supported.
    pub fn of_architecture(name: &str) -> Result<Self, ConfigError> {
        let (name, entry) = architectures::find(name)?;
        let document = json!({ "architecture": name, "pretrained_cfg": entry.pretrained_cfg() });
        Self::from_document(document, name)
    }

    /// Reads a `config.json`: timm's, or one of transformers with the `preprocessor_config.json` beside it.
    ///
    /// # Errors
    /// A file that cannot be read, is not JSON, names an unknown architecture, has a key of the
    /// wrong type, or describes a transformers model that no architecture here computes.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path)?;
        let shown = path.display().to_string();
        let document = Self::parse_document(&text, &shown)?;
        if !transformers::recognizes(&document) {
            return Self::from_document(document, &shown);
        }
        let translated = transformers::to_timm(&document, path.parent());
        let document = translated.map_err(|reason| ConfigError::Transformers { path: shown.clone(), reason })?;
        Self::from_document(document, &shown)
    }

    /// Parses the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        Self::from_document(Self::parse_document(text, path)?, path)
    }

    fn parse_document(text: &str, path: &str) -> Result<Value, ConfigError> {
        serde_json::from_str(text)
            .map_err(|error| ConfigError::NotJson { path: path.to_owned(), reason: error.to_string() })
    }

    fn from_document(document: Value, path: &str) -> Result<Self, ConfigError> {
        let Value::Object(document) = document else {
            let reason = "it holds another kind of value".into();
            return Err(ConfigError::NotJson { path: path.into(), reason });
        };
        let wrong = |key, expected| ConfigError::Key { path: path.into(), key, expected };
        let architecture = document
            .get("architecture")
            .and_then(Value::as_str)
            .ok_or_else(|| wrong("architecture", "the name of a timm architecture"))?;
        let (architecture, entry) = architectures::find(architecture)
            .map_err(|source| ConfigError::Architecture { path: path.into(), source })?;

        // Older hub files keep pretrained_cfg's keys at the top.
        let given = document.get("pretrained_cfg").and_then(Value::as_object).unwrap_or(&document);
        let mut cfg = entry.pretrained_cfg();
        cfg.extend(given.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())));

        let classes = document.get("num_classes").or_else(|| cfg.get("num_classes"));
        let num_classes = classes
            .and_then(Value::as_u64)
            .filter(|&count| count <= 1_000_000)
            .ok_or_else(|| wrong("num_classes", "a whole number"))? as usize;
        // As timm reads them: the constructor's argument, else what the images of the weights had.
        let in_chans = document.get("model_args").and_then(|args| args.get("in_chans"));
        let in_chans = in_chans.or_else(|| cfg.get("input_size")?.get(0)).and_then(Value::as_u64);
        let in_chans = in_chans.ok_or_else(|| wrong("in_chans", "a whole number"))?;
        let channels =
            Channels::try_from(in_chans).map_err(|source| ConfigError::Channels { path: path.into(), source })?;
        let mut preprocessing = preprocessing(&cfg, channels, path)?;
        if let Some(white) = document.get(OWN).and_then(|own| own.get("white")) {
            let white = white.as_u64().and_then(|white| u16::try_from(white).ok()).and_then(NonZeroU16::new);
            preprocessing.white = Some(white.ok_or_else(|| wrong("white", "a whole number from 1 to 65535"))?);
        }
        if let Some(own) = document.get(OWN).and_then(|own| own.get("interpolation")) {
            preprocessing.interpolation = own
                .as_str()
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| wrong("interpolation", "the name of an interpolation"))?;
        }
        if let Some(temperature) = document.get(OWN).and_then(|own| own.get("temperature")) {
            let temperature = temperature.as_f64().filter(|value| value.is_finite() && *value > 0.0);
            temperature.ok_or_else(|| wrong("temperature", "a number above 0"))?;
        }
        Ok(Self { architecture: architecture.into(), num_classes, preprocessing, document })
    }

    /// timm's name of the architecture, without a tag.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Width of the logits; 0 for a model that only extracts features.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Names of the classes, in the order of the logits, where the file has them.
    pub fn label_names(&self) -> Option<Vec<String>> {
        let names = self.document.get("label_names").or_else(|| self.pretrained("label_names"))?;
        let name = |name: &Value| name.as_str().map(str::to_owned);
        let names: Vec<String> = match names {
            // timm takes an object from numbers to names, too.
            Value::Object(names) => {
                (0..names.len()).map(|class| names.get(&class.to_string()).and_then(name)).collect::<Option<_>>()?
            }
            names => names.as_array()?.iter().filter_map(name).collect(),
        };
        (names.len() == self.num_classes).then_some(names)
    }

    /// What the file says that a class is, by its name.
    pub(super) fn label_description(&self, name: &str) -> Option<&str> {
        let descriptions = self.document.get("label_descriptions");
        descriptions.or_else(|| self.pretrained("label_descriptions"))?.get(name)?.as_str()
    }

    /// What timm calls the weights, as `a1_in1k`, where the file says so.
    pub(super) fn pretrained_tag(&self) -> Option<&str> {
        let in_name = || self.document.get("architecture")?.as_str()?.split_once('.').map(|(_, tag)| tag);
        self.pretrained("tag").and_then(Value::as_str).or_else(in_name).filter(|tag| !tag.is_empty())
    }

    fn pretrained(&self, key: &str) -> Option<&Value> {
        self.document.get("pretrained_cfg")?.get(key)
    }

    /// Overrides of the architecture's own arguments, those that timm has no name for included.
    pub fn model_args(&self) -> Map<String, Value> {
        let mut args = self.document.get("model_args").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(own) = self.own("model_args").and_then(Value::as_object) {
            args.extend(own.clone());
        }
        if self.preprocessing.channels != Channels::Rgb {
            args.insert("in_chans".into(), self.preprocessing.channels.count().into());
        }
        args
    }

    /// The temperature that calibrates the probabilities of these weights on the images that validated them, where one was
    /// fitted (Guo et al. 2017, arXiv 1706.04599).
    pub fn temperature(&self) -> Option<f64> {
        self.own("temperature")?.as_f64()
    }

    /// The same model with another temperature, or without one.
    pub fn with_temperature(mut self, temperature: Option<f64>) -> Self {
        self.set_own("temperature", temperature.map(|value| json!(value)));
        self
    }

    /// Whether an image may have several of the classes, or none: probabilities are then sigmoids of the logits.
    pub fn is_multi_label(&self) -> bool {
        self.own("multi_label").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The same model for images that may have several of its classes.
    #[must_use]
    pub fn for_several_labels(mut self) -> Self {
        self.set_own("multi_label", Some(true.into()));
        self
    }

    /// The probability of each label from which on an image is taken to have it, as chosen on validation.
    pub fn thresholds(&self) -> Option<Vec<f64>> {
        self.own("thresholds")?.as_array()?.iter().map(Value::as_f64).collect()
    }

    /// The same model with other thresholds, or without any.
    #[must_use]
    pub fn with_thresholds(mut self, thresholds: Option<Vec<f64>>) -> Self {
        self.set_own("thresholds", thresholds.map(|values| json!(values)));
        self
    }

    fn own(&self, key: &str) -> Option<&Value> {
        self.document.get(OWN)?.get(key)
    }

    /// Sets what timm has no name for, or removes it.
    fn set_own(&mut self, key: &str, value: Option<Value>) {
        let mut own = self.document.get(OWN).and_then(Value::as_object).cloned().unwrap_or_default();
        match value {
            Some(value) => drop(own.insert(key.into(), value)),
            None => drop(own.shift_remove(key)),
        }
        if own.is_empty() {
            self.document.shift_remove(OWN);
        } else {
            self.document.insert(OWN.into(), Value::Object(own));
        }
    }

    /// How images are prepared for this model.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The same model with other classes.
    pub fn with_classes(mut self, classes: &[String]) -> Self {
        let described = self.label_names().is_some_and(|names| names == classes);
        self.num_classes = classes.len();
        for key in ["temperature", "multi_label", "thresholds"] {
            self.set_own(key, None);
        }
        self.document.insert("num_classes".into(), classes.len().into());
        self.document.insert("label_names".into(), classes.into());
        self.set_cfg("num_classes", classes.len().into());
        let cfg = self.document.get_mut("pretrained_cfg").and_then(Value::as_object_mut);
        if let Some(cfg) = cfg {
            cfg.remove("label_names");
            if !described {
                cfg.remove("label_descriptions");
            }
        }
        if !described {
            for key in ["label_descriptions", "label_name_to_index"] {
                self.document.remove(key);
            }
        }
        self
    }

    /// The same classes under the names of a file.
    pub(super) fn with_label_names(self, classes: &ClassNames) -> Self {
        let mut config = self.with_classes(&classes.names);
        if let Some(descriptions) = &classes.descriptions {
            let described = classes.names.iter().cloned().zip(descriptions.iter().map(|text| text.as_str().into()));
            config.document.insert("label_descriptions".into(), Value::Object(described.collect()));
        }
        config
    }

    /// The same model with another number of classes, whose names nobody knows.
    pub(super) fn with_class_count(mut self, count: usize) -> Self {
        if self.num_classes != count {
            self.num_classes = count;
            self.document.insert("num_classes".into(), count.into());
            self.set_cfg("num_classes", count.into());
        }
        self
    }

    /// The same vision transformer with the average of its patches pooled and then normalized, as MAE is fine-tuned;
    /// `None` for other architectures and where it does so already.
    pub(super) fn with_average_pooling(mut self) -> Option<Self> {
        const KEY: &str = "global_pool";
        let (_, entry) = architectures::find(&self.architecture).ok()?;
        let mut args = self.document.get("model_args").and_then(Value::as_object).cloned().unwrap_or_default();
        let pools = args.insert(KEY.into(), "avg".into());
        if !entry.family.takes_global_pool() || pools.is_some_and(|own| own == "avg") {
            return None;
        }
        self.document.insert("model_args".into(), args.into());
        Some(self)
    }

    /// The same model with images prepared otherwise; timm reads the same from what is written.
    pub fn with_preprocessing(mut self, preprocessing: Preprocessing) -> Self {
        let (old, new) = (self.preprocessing.clone(), &preprocessing);
        let size = |of: &Preprocessing| [of.channels.count() as u32, of.height, of.width];
        // What stays is left as it is written, to the digit.
        let changes = [
            ("input_size", size(&old) != size(new), json!(size(new))),
            ("interpolation", old.interpolation != new.interpolation, json!(new.interpolation.pillow())),
            ("crop_pct", old.crop_pct != new.crop_pct, json!(new.crop_pct)),
            ("crop_mode", old.crop_mode != new.crop_mode, json!(new.crop_mode)),
            ("mean", old.mean != new.mean, json!(shortest(&new.mean))),
            ("std", old.std != new.std, json!(shortest(&new.std))),
        ];
        for (key, changed, value) in changes {
            if changed {
                self.set_cfg(key, value);
            }
        }
        let beyond_timm = new.interpolation != new.interpolation.pillow();
        self.set_own("interpolation", beyond_timm.then(|| json!(new.interpolation)));
        self.set_own("white", new.white.map(|white| json!(white)));
        self.set_channels(new, old.channels);
        let (height, width) = (new.height, new.width);
        if let Some(Value::Object(args)) = self.document.get_mut("model_args")
            && args.contains_key("img_size")
        {
            args.insert("img_size".into(), json!([height, width]));
        }
        self.preprocessing = preprocessing;
        self
    }

    /// Writes the channels where timm's constructor and its users' pipelines read them. What a file of three channels says
    /// stays as it is.
    fn set_channels(&mut self, new: &Preprocessing, old: Channels) {
        let count = new.channels.count();
        if (new.channels, old) == (Channels::Rgb, Channels::Rgb) {
            return;
        }
        let cfg = self.document.get("pretrained_cfg").and_then(Value::as_object).unwrap_or(&self.document);
        let holds = |key: &str| cfg.get(key).and_then(Value::as_array).map(Vec::len) == Some(count);
        let missing = [("mean", &new.mean), ("std", &new.std)].into_iter().filter(|(key, _)| !holds(key));
        let mut missing: Vec<(&str, Value)> = missing.map(|(key, values)| (key, json!(shortest(values)))).collect();
        if cfg.get("input_size").and_then(|size| size.get(0)?.as_u64()) != Some(count as u64) {
            missing.push(("input_size", json!([count, new.height, new.width])));
        }
        if let Some([channels, height, width]) = cfg.get("test_input_size").and_then(Value::as_array).map(Vec::as_slice)
            && *channels != count
        {
            missing.push(("test_input_size", json!([count, height, width])));
        }
        for (key, value) in missing {
            self.set_cfg(key, value);
        }
        let args = self.document.entry("model_args").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(args) = args {
            args.insert("in_chans".into(), count.into());
        }
    }

    fn set_cfg(&mut self, key: &str, value: Value) {
        let cfg = self.document.entry("pretrained_cfg").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(cfg) = cfg {
            cfg.insert(key.into(), value);
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        let mut text = serde_json::to_string_pretty(&self.document)
            .map_err(|error| ConfigError::NotJson { path: path.display().to_string(), reason: error.to_string() })?;
        text.push('\n');
        files::write_atomically(path, |out| out.write_all(text.as_bytes()))?;
        Ok(())
    }
}

fn preprocessing(cfg: &Map<String, Value>, channels: Channels, path: &str) -> Result<Preprocessing, ConfigError> {
    let wrong = |key, expected| ConfigError::Key { path: path.into(), key, expected };
    let size = cfg.get("input_size").and_then(Value::as_array).map(Vec::as_slice);
    let (height, width) = match size {
        Some([channels, height, width]) if channels.is_u64() => (image_side(height), image_side(width)),
        _ => (None, None),
    };
    let (Some(height), Some(width)) = (height, width) else {
        return Err(wrong("input_size", "[channels, height, width]"));
    };
    let values = |key: &'static str| -> Result<Vec<f32>, ConfigError> {
        cfg.get(key)
            .and_then(|value| serde_json::from_value::<Vec<f32>>(value.clone()).ok())
            .filter(|values| !values.is_empty() && values.iter().all(|value| value.is_finite()))
            .filter(|values| [1, 3, channels.count()].contains(&values.len()))
            .map(|values| channels.statistics(&values))
            .ok_or_else(|| wrong(key, "a finite number for each channel"))
    };
    let std = values("std")?;
    if std.iter().any(|&value| value <= 0.0) {
        return Err(wrong("std", "a positive number for each channel"));
    }
    Ok(Preprocessing {
        width,
        height,
        interpolation: cfg
            .get("interpolation")
            .and_then(Value::as_str)
            .and_then(|name| name.parse::<Interpolation>().ok())
            .ok_or_else(|| wrong("interpolation", "the name of an interpolation"))?,
        crop_pct: cfg
            .get("crop_pct")
            .and_then(Value::as_f64)
            .filter(|value| (0.01..=1.0).contains(value))
            .ok_or_else(|| wrong("crop_pct", "a number between 0.01 and 1"))?,
        crop_mode: cfg
            .get("crop_mode")
            .and_then(Value::as_str)
            .and_then(|name| name.parse::<CropMode>().ok())
            .ok_or_else(|| wrong("crop_mode", "center, squash, or border"))?,
        channels,
        mean: values("mean")?,
        std,
        white: None,
    })
}

/// Key of what timm has no name for; it passes over keys that it does not know.
const OWN: &str = "retune";

/// The values as a user would write them: 0.485, not the digits of its nearest `f32`.
fn shortest(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| value.to_string().parse().unwrap_or_else(|_| f64::from(*value))).collect()
}

fn image_side(value: &Value) -> Option<u32> {
    value.as_u64().filter(|side| (1..=16_384).contains(side)).map(|side| side as u32)
}
