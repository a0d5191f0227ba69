//! `config.json` and `preprocessor_config.json` of Hugging Face transformers, as the `config.json` that timm would have
//! for the same model.
//!
//! The architecture is the one of timm's whose arguments are nearest; `model_args` say what differs. What timm cannot
//! express (an epsilon) goes where retune alone reads it.

mod labels;
mod preprocessing;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::architectures;
use crate::files;

/// Name of the file beside `config.json` that says how images are prepared.
pub const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// Why a transformers model cannot be had as a timm model, as a clause.
type Reason = String;

/// Whether a `config.json` is one of transformers and not one of timm.
pub(super) fn recognizes(document: &Value) -> bool {
    document.get("architecture").is_none() && document.get("model_type").is_some()
}

/// timm's `config.json` of the model whose transformers configuration is `config`; `directory` holds its
/// `preprocessor_config.json`, if there is one.
///
/// # Errors
/// A kind of model or a setting that no architecture here has.
pub(super) fn to_timm(config: &Value, directory: Option<&Path>) -> Result<Value, Reason> {
    let config = Config(config);
    let translated = translate(&config)?;
    let (architecture, arguments) = nearest(translated.candidates, translated.arguments);
    let preprocessor = match directory.map(|directory| directory.join(PREPROCESSOR_FILE)) {
        Some(path) if path.is_file() => {
            let text = files::read_text(&path).map_err(|error| error.to_string())?;
            let value = serde_json::from_str(&text).map_err(|error| format!("{PREPROCESSOR_FILE}: {error}"))?;
            Some(value)
        }
        _ => None,
    };

    let mut cfg = pretrained_cfg(architecture);
    if let Some(size) = translated.image_size {
        cfg.insert("input_size".into(), json!([3, size[0], size[1]]));
    }
    if let Some(preprocessor) = &preprocessor {
        let trained = translated.image_size.unwrap_or([224, 224]);
        let wrong = |reason: Reason| format!("{PREPROCESSOR_FILE}: {reason}");
        cfg.extend(preprocessing::to_timm(preprocessor, translated.processor, trained).map_err(wrong)?);
    }
    let names = labels::names(config.0)?;
    let classes = if translated.keeps_classifier { labels::count(config.0, names.as_deref())? } else { 0 };
    cfg.insert("num_classes".into(), classes.into());

    let (own, mut model_args): (Map<_, _>, Map<_, _>) =
        arguments.into_iter().partition(|(name, _)| NOT_TIMMS.contains(&name.as_str()));
    if let (Some(_), Some(size)) = (translated.image_size, cfg.get("input_size").and_then(Value::as_array)) {
        model_args.insert("img_size".into(), size[1..].into());
    }
    let mut document = json!({
        "architecture": architecture,
        "num_classes": classes,
        "num_features": translated.features,
        "model_args": model_args,
        "pretrained_cfg": cfg,
    });
    if !own.is_empty() {
        document["retune"] = json!({ "model_args": own });
    }
    if let Some(names) = names.filter(|_| classes > 0) {
        document["label_names"] = names.into();
    }
    Ok(document)
}

/// timm's configuration of the architecture, without what is so of timm's own weights alone.
fn pretrained_cfg(architecture: &str) -> Map<String, Value> {
    let mut cfg = architectures::find(architecture).map(|(_, entry)| entry.pretrained_cfg()).unwrap_or_default();
    cfg.retain(|key, value| !value.is_null() && !key.starts_with("test_"));
    cfg
}

/// Arguments that timm's constructors do not take as plain values.
const NOT_TIMMS: [&str; 2] = ["norm_eps", "head_norm_eps"];

/// What a transformers configuration says of a model, in timm's terms.
struct Translated {
    /// Architectures of timm's that the model can be, the most general first.
    candidates: &'static [&'static str],
    arguments: Map<String, Value>,
    /// Width of the pooled features.
    features: u64,
    /// Height and width for which a model with a position embedding was trained.
    image_size: Option<[u64; 2]>,
    processor: preprocessing::Processor,
    /// Whether timm's model has a place for the classifier.
    keeps_classifier: bool,
}

fn translate(config: &Config) -> Result<Translated, Reason> {
    if config.0.get("num_channels").is_some_and(|channels| *channels != 3) {
        return Err("'num_channels' must be 3".into());
    }
    match config.text("model_type", "") {
        "resnet" => resnet(config),
        "vit" => vision_transformer(config, Kind::ViT),
        "deit" => vision_transformer(config, Kind::DeiT),
        "dinov2" => vision_transformer(config, Kind::DinoV2),
        "dinov2_with_registers" => vision_transformer(config, Kind::DinoV2WithRegisters),
        "convnext" => convnext(config, false),
        "convnextv2" => convnext(config, true),
        other => Err(format!(
            "transformers' model type '{other}' is not supported; those that are: resnet, vit, deit, convnext, \
             convnextv2, dinov2, dinov2_with_registers"
        )),
    }
}

fn resnet(config: &Config) -> Result<Translated, Reason> {
    config.requires("embedding_size", json!(64), json!(64))?;
    config.requires("hidden_act", json!("relu"), json!("relu"))?;
    config.requires("downsample_in_first_stage", json!(false), json!(false))?;
    let widths = config.sizes("hidden_sizes", &[256, 512, 1024, 2048])?;
    let layers = config.sizes("depths", &[3, 4, 6, 3])?;
    let (candidates, channels): (&[_], Vec<u64>) = match config.text("layer_type", "bottleneck") {
        "basic" => (&["resnet18", "resnet34"], widths.clone()),
        "bottleneck" => {
            config.requires("downsample_in_bottleneck", json!(false), json!(false))?;
            if widths.iter().any(|width| width % 4 != 0) {
                return Err("'hidden_sizes' must be multiples of 4".into());
            }
            (&["resnet50", "resnet26", "resnet101", "resnet152"], widths.iter().map(|width| width / 4).collect())
        }
        other => return Err(format!("'layer_type' must be basic or bottleneck, not {other}")),
    };
    Ok(Translated {
        candidates,
        arguments: object(json!({ "layers": layers, "channels": channels })),
        features: widths.last().copied().unwrap_or(0),
        image_size: None,
        processor: preprocessing::Processor::ConvNeXt,
        keeps_classifier: config.has_classifier(),
    })
}

fn convnext(config: &Config, second: bool) -> Result<Translated, Reason> {
    let widths = config.sizes("hidden_sizes", &[96, 192, 384, 768])?;
    let depths = config.sizes("depths", &[3, 3, 9, 3])?;
    if let Some(stages) = config.0.get("num_stages")
        && *stages != depths.len()
    {
        return Err("'num_stages' must be the length of 'depths'".into());
    }
    let mut arguments = object(json!({
        "dims": widths,
        "depths": depths,
        "patch_size": config.size("patch_size", 4)?,
        "act_layer": config.activation()?,
        "head_norm_eps": config.epsilon()?,
    }));
    if !second {
        let scale = config.number("layer_scale_init_value", 1e-6)?;
        arguments.insert("ls_init_value".into(), if scale > 0.0 { scale.into() } else { Value::Null });
    }
    Ok(Translated {
        candidates: if second {
            &["convnextv2_tiny", "convnextv2_base", "convnextv2_large", "convnextv2_huge"]
        } else {
            &["convnext_tiny", "convnext_small", "convnext_base", "convnext_large", "convnext_xlarge"]
        },
        arguments,
        features: widths.last().copied().unwrap_or(0),
        image_size: None,
        processor: preprocessing::Processor::ConvNeXt,
        keeps_classifier: config.has_classifier(),
    })
}

/// The models of transformers that are vision transformers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ViT,
    DeiT,
    DinoV2,
    DinoV2WithRegisters,
}

fn vision_transformer(config: &Config, kind: Kind) -> Result<Translated, Reason> {
    use preprocessing::Processor;
    if config.flag("use_swiglu_ffn", false)? {
        return Err("DINOv2's SwiGLU ('use_swiglu_ffn') is not supported".into());
    }
    let width = config.size("hidden_size", 768)?;
    let mlp_ratio = match kind {
        Kind::ViT | Kind::DeiT => ratio(config.size("intermediate_size", 3072)?, width),
        _ => config.number("mlp_ratio", 4.0)?,
    };
    let image = config.height_and_width("image_size", 224)?;
    let patch = config.height_and_width("patch_size", if kind == Kind::DinoV2 { 14 } else { 16 })?;
    if patch[0] != patch[1] {
        return Err("'patch_size' must be square".into());
    }
    let mut arguments = object(json!({
        "img_size": image,
        "patch_size": patch[0],
        "embed_dim": width,
        "depth": config.size("num_hidden_layers", 12)?,
        "num_heads": config.size("num_attention_heads", 12)?,
        "mlp_ratio": mlp_ratio,
        "qkv_bias": config.flag("qkv_bias", true)?,
        "act_layer": config.activation()?,
        "norm_eps": config.epsilon()?,
    }));
    // DeiT's second token has no part in its plain classifier, which reads the first, as timm's head does.
    let tokens = match kind {
        Kind::ViT | Kind::DinoV2 => 0,
        Kind::DeiT => 1,
        Kind::DinoV2WithRegisters => config.size("num_register_tokens", 4)?,
    };
    arguments.insert("reg_tokens".into(), tokens.into());
    let (candidates, processor): (&[_], _) = match kind {
        Kind::ViT => (&VIT, Processor::ViT),
        Kind::DeiT => (&DEIT, Processor::DeiT),
        Kind::DinoV2 => {
            (&["vit_base_patch14_dinov2", "vit_small_patch14_dinov2", "vit_large_patch14_dinov2"], Processor::Bit)
        }
        Kind::DinoV2WithRegisters => (
            &["vit_base_patch14_reg4_dinov2", "vit_small_patch14_reg4_dinov2", "vit_large_patch14_reg4_dinov2"],
            Processor::Bit,
        ),
    };
    // DINOv2's classifier reads the class token beside the patches' average, and DeiT's teacher has two classifiers;
    // timm's heads read one vector.
    let reads_one_vector = matches!(kind, Kind::ViT | Kind::DeiT) && !config.task().ends_with("WithTeacher");
    Ok(Translated {
        candidates,
        arguments,
        features: width,
        image_size: Some(image),
        processor,
        keeps_classifier: config.has_classifier() && reads_one_vector,
    })
}

const VIT: [&str; 10] = [
    "vit_base_patch16_224",
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_small_patch32_224",
    "vit_base_patch32_224",
    "vit_base_patch16_384",
    "vit_base_patch32_384",
    "vit_large_patch16_224",
    "vit_large_patch32_384",
    "vit_huge_patch14_224",
];

const DEIT: [&str; 4] =
    ["deit_base_patch16_224", "deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_384"];

/// The candidate whose own arguments differ least from those wanted, and those that differ.
fn nearest(candidates: &'static [&'static str], wanted: Map<String, Value>) -> (&'static str, Map<String, Value>) {
    let differing = |name: &&'static str| {
        let own = architectures::find(name).map(|(_, entry)| entry.arguments()).unwrap_or_default();
        let same = |key: &str, value: &Value| match (own.get(key), value) {
            (Some(own), value) => own == value || own.as_f64().is_some_and(|own| value.as_f64() == Some(own)),
            // What the table does not hold has its default everywhere.
            (None, value) => key == "head_norm_eps" && *value == json!(1e-6),
        };
        // The initial layer scale matters where there is one at all.
        let scales = |key: &str| key == "ls_init_value" && own.get(key).is_some_and(Value::is_number);
        let mut differing = wanted.clone();
        differing.retain(|key, value| !(same(key, value) || scales(key) && value.is_number()));
        differing
    };
    let of_all = candidates.iter().map(|name| (*name, differing(name)));
    of_all.min_by_key(|(_, differing)| differing.len()).unwrap_or(("", wanted.clone()))
}

/// The factor from which timm computes a hidden width again.
fn ratio(hidden: u64, width: u64) -> f64 {
    let ratio = hidden as f64 / width as f64;
    // timm rounds the product down.
    if ((width as f64 * ratio) as u64) < hidden { ratio.next_up() } else { ratio }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// A transformers configuration, whose absent keys have the library's defaults.
struct Config<'a>(&'a Value);

impl Config<'_> {
    fn present(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str, default: &'static str) -> &str {
        self.present(key).and_then(Value::as_str).unwrap_or(default)
    }

    /// Name of the class that the weights are of, such as `ViTForImageClassification`.
    fn task(&self) -> &str {
        self.0.get("architectures").and_then(|classes| classes.get(0)).and_then(Value::as_str).unwrap_or("")
    }

    fn has_classifier(&self) -> bool {
        let task = self.task();
        if task.is_empty() { self.present("id2label").is_some() } else { task.contains("ForImageClassification") }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, Reason> {
        self.present(key).map_or(Some(default), Value::as_bool).ok_or_else(|| format!("'{key}' must be true or false"))
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, Reason> {
        self.present(key).map_or(Some(default), Value::as_f64).ok_or_else(|| format!("'{key}' must be a number"))
    }

    fn size(&self, key: &str, default: u64) -> Result<u64, Reason> {
        self.present(key)
            .map_or(Some(default), Value::as_u64)
            .filter(|size| (1..=65_536).contains(size))
            .ok_or_else(|| format!("'{key}' must be a whole number from 1 to 65536"))
    }

    fn sizes(&self, key: &str, default: &[u64]) -> Result<Vec<u64>, Reason> {
        let sizes = match self.present(key) {
            None => Some(default.to_vec()),
            Some(value) => value.as_array().and_then(|sizes| sizes.iter().map(Value::as_u64).collect()),
        };
        sizes.filter(|sizes| !sizes.is_empty()).ok_or_else(|| format!("'{key}' must be a list of whole numbers"))
    }

    fn height_and_width(&self, key: &str, default: u64) -> Result<[u64; 2], Reason> {
        match self.present(key) {
            Some(Value::Array(sides)) => {
                let sides: Option<Vec<u64>> = sides.iter().map(Value::as_u64).collect();
                sides.and_then(|sides| sides.try_into().ok()).ok_or_else(|| format!("'{key}' must be one or two sizes"))
            }
            _ => self.size(key, default).map(|side| [side, side]),
        }
    }

    fn epsilon(&self) -> Result<f64, Reason> {
        // What the configuration classes have where a file says nothing.
        let default = if self.text("model_type", "").starts_with("dinov2") { 1e-6 } else { 1e-12 };
        let epsilon = self.number("layer_norm_eps", default)?;
        if (0.0..=0.1).contains(&epsilon) { Ok(epsilon) } else { Err("'layer_norm_eps' must be from 0 to 0.1".into()) }
    }

    /// The nonlinearity by timm's name.
    fn activation(&self) -> Result<&'static str, Reason> {
        Ok(match self.text("hidden_act", "gelu") {
            "gelu" | "gelu_python" => "gelu",
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => "gelu_tanh",
            "quick_gelu" => "quick_gelu",
            "relu" => "relu",
            "silu" | "swish" => "silu",
            other => return Err(format!("the activation '{other}' ('hidden_act') is not supported")),
        })
    }

    /// Refuses another value than the only one that timm's model has.
    fn requires(&self, key: &str, only: Value, default: Value) -> Result<(), Reason> {
        match self.present(key).unwrap_or(&default) {
            value if *value == only => Ok(()),
            value => Err(format!("'{key}' must be {only}, not {value}")),
        }
    }
}

#[cfg(test)]
mod tests;
