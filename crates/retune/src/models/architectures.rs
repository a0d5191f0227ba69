//! The architectures that can be built, by timm's names: a table read off timm
//! (`scripts/architectures.py`), and the network that an entry and its overrides describe.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::chain::{Block, Chain};
pub use super::families::Family;
use super::families::{Convention, ImageSizes};
use super::parameters::{ParameterBuilder, ParameterSpec};
use super::position_embedding::PositionGrid;
use crate::names::suggestion;

/// One entry of the table.
#[derive(Clone, Debug, Deserialize)]
pub struct Architecture {
    /// Its family.
    pub family: Family,
    args: Map<String, Value>,
    cfg: Map<String, Value>,
    /// Learnable scalars with the default number of classes.
    pub parameters: u64,
    tags: Vec<String>,
}

impl Architecture {
    /// Hub repositories that hold weights for it, timm's default first.
    pub fn repositories(&self, name: &str) -> Vec<String> {
        let repository = |tag: &String| {
            if tag.contains('/') { tag.clone() } else { format!("timm/{name}.{tag}") }
        };
        self.tags.iter().map(repository).collect()
    }

    /// Its constructor's arguments, complete.
    pub(super) fn arguments(&self) -> Map<String, Value> {
        merged(TABLE.defaults.get(self.family.key()), &self.args)
    }

    /// timm's `pretrained_cfg` for it, complete.
    pub fn pretrained_cfg(&self) -> Map<String, Value> {
        merged(TABLE.defaults.get("pretrained_cfg"), &self.cfg)
    }
}

#[derive(Deserialize)]
struct Table {
    defaults: BTreeMap<String, Map<String, Value>>,
    architectures: BTreeMap<String, Architecture>,
    aliases: BTreeMap<String, String>,
    unsupported: BTreeMap<String, String>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // The file is part of the program; a unit test parses it.
    serde_json::from_str(include_str!("architectures.json"))
        .expect("the table of architectures compiled into the program is valid")
});

fn merged(base: Option<&Map<String, Value>>, over: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = base.cloned().unwrap_or_default();
    merged.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
    merged
}

/// Why an architecture cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// No such name.
    #[error("unknown architecture '{name}'{suggestion}; `retune models` lists those that can be built", suggestion = did_you_mean(name))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// timm has it, retune does not.
    #[error("the architecture '{name}' is not supported: {reason}")]
    Unsupported {
        /// The name asked for.
        name: String,
        /// What it would need.
        reason: String,
    },
    /// `model_args` holds something that does not fit.
    #[error("model_args of '{name}' do not fit: {reason}")]
    Arguments {
        /// The architecture.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

fn did_you_mean(name: &str) -> String {
    suggestion(name, TABLE.architectures.keys().map(String::as_str))
}

/// The hub repository of weights that people call by timm's name alone: `resnet18` means its default weights,
/// `resnet18.tv_in1k` those with that tag.
pub fn repository_of(name: &str) -> Option<String> {
    let (architecture, entry) = TABLE.architectures.get_key_value(name.split('.').next()?)?;
    let repositories = entry.repositories(architecture);
    match name.contains('.') {
        false => repositories.into_iter().next(),
        true => repositories.into_iter().find(|repository| repository.strip_prefix("timm/") == Some(name)),
    }
}

/// All names that can be built with their entries, sorted.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Architecture)> {
    TABLE.architectures.iter().map(|(name, entry)| (name.as_str(), entry))
}

/// Looks a name up; a tag behind a dot (`resnet18.a1_in1k`) is left out, timm's old names are
/// understood.
///
/// # Errors
/// An unknown name (with the closest known one) or one that is not supported (with the reason).
pub fn find(name: &str) -> Result<(&'static str, &'static Architecture), ArchitectureError> {
    let plain = name.split('.').next().unwrap_or(name);
    let plain = TABLE.aliases.get(plain).map_or(plain, String::as_str);
    if let Some((name, entry)) = TABLE.architectures.get_key_value(plain) {
        return Ok((name, entry));
    }
    Err(match TABLE.unsupported.get(plain) {
        Some(reason) => ArchitectureError::Unsupported { name: plain.to_owned(), reason: reason.clone() },
        None => ArchitectureError::Unknown { name: plain.to_owned() },
    })
}

/// A network without its parameters' values: the chain of blocks and the parameters' specs.
pub struct Network {
    pub(crate) chain: Box<dyn Chain>,
    blocks: Vec<Block>,
    /// Names, shapes and roles of its parameters.
    pub specs: Arc<[ParameterSpec]>,
    pub(crate) positions: Option<PositionGrid>,
    /// What the shapes of its tensors do not tell.
    pub(super) convention: Option<Convention>,
    family: Family,
    image_sizes: ImageSizes,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Network").field("family", &self.family).finish_non_exhaustive()
    }
}

impl Network {
    /// The ordered list of blocks; the last is the classifier `head`.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The weight of the convolution that takes the images.
    pub(super) fn input_weight(&self) -> Option<&ParameterSpec> {
        // In every family the stem's convolution comes first; what comes before it are tokens.
        self.specs.iter().find(|spec| spec.shape.len() == 4)
    }

    /// Side of the squares that images are cut into, for who cuts them.
    pub(crate) fn patch_size(&self) -> Option<usize> {
        self.image_sizes.patch
    }

    /// How many numbers the parameters that `counts` picks have together.
    pub(crate) fn scalars(&self, counts: impl Fn(&ParameterSpec) -> bool) -> u128 {
        let scalars = |spec: &ParameterSpec| spec.shape.iter().map(|&size| size as u128).product::<u128>();
        self.specs.iter().filter(|spec| counts(spec)).map(scalars).sum()
    }

    /// Whether images of this height and width can go in; the reason where they cannot.
    pub fn check_input_size(&self, height: usize, width: usize) -> Result<(), String> {
        self.image_sizes.check(height, width)
    }
}

/// Arguments that act in training alone, of which the trainer reads `drop_rate` and `drop_path_rate`, or on the random start
/// that weights replace.
const WITHOUT_EFFECT: [&str; 13] = [
    "drop_rate",
    "drop_path_rate",
    "drop_block_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "weight_init",
    "fix_init",
    "zero_init_last",
    "head_init_scale",
    "dynamic_img_size",
    "dynamic_img_pad",
];

/// Builds the network of an architecture with `model_args` laid over timm's own arguments.
/// `image_size` is height and width; transformers need it.
///
/// # Errors
/// An unknown or unsupported name, or an argument that does not fit.
pub fn build(
    name: &str,
    model_args: &Map<String, Value>,
    num_classes: usize,
    image_size: Option<(usize, usize)>,
) -> Result<Network, ArchitectureError> {
    let (name, entry) = find(name)?;
    let wrong = |reason: String| ArchitectureError::Arguments { name: name.to_owned(), reason };

    let mut given = model_args.clone();
    given.retain(|key, _| !WITHOUT_EFFECT.contains(&key.as_str()));
    given.remove("num_classes");
    if let Some(value) = given.remove("output_stride")
        && value != 32
    {
        return Err(wrong(format!("output_stride must be 32, not {value}")));
    }
    if !entry.family.takes_global_pool()
        && let Some(value) = given.remove("global_pool")
        && value != "avg"
    {
        return Err(wrong(format!("global_pool must be \"avg\", not {value}")));
    }

    let mut args = merged(TABLE.defaults.get(entry.family.key()), &entry.args);
    args.extend(given);
    args.insert("num_classes".into(), num_classes.into());
    if entry.family.takes_image_size()
        && let Some((height, width)) = image_size
    {
        args.insert("img_size".into(), vec![height, width].into());
    }
    let network = network(entry.family, args).map_err(wrong)?;
    // 16 GiB; no image model comes near it.
    const MAX_SCALARS: u128 = 1 << 32;
    match network.scalars(|_| true) {
        scalars if scalars > MAX_SCALARS => Err(wrong(format!("{scalars} weights are more than {MAX_SCALARS}"))),
        _ => Ok(network),
    }
}

fn network(family: Family, args: Map<String, Value>) -> Result<Network, String> {
    let mut builder = ParameterBuilder::new();
    let design = family.design(args, &mut builder)?;
    let specs = builder.finish();
    Ok(Network {
        blocks: with_parameters(design.chain.blocks(), &specs),
        chain: design.chain,
        specs,
        positions: design.positions,
        convention: design.convention,
        family,
        image_sizes: design.image_sizes,
    })
}

/// The blocks with the parameters that are theirs.
fn with_parameters(blocks: &[Block], specs: &[ParameterSpec]) -> Vec<Block> {
    let mut blocks = blocks.to_vec();
    for spec in specs.iter().filter(|spec| spec.role.is_trainable()) {
        blocks[spec.block].parameters.push(spec.clone());
    }
    blocks
}

/// The architecture with the fewest parameters of each family, for tests of all families.
#[cfg(test)]
pub(crate) fn smallest_of_each_family() -> impl Iterator<Item = (&'static str, Network)> {
    Family::ALL.iter().map(|family| {
        let entries = all().filter(|(_, entry)| entry.family == *family);
        let (name, _) = entries.min_by_key(|(_, entry)| entry.parameters).expect("every family has an entry");
        (name, build(name, &Map::new(), 10, None).unwrap())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_timm_alone_means_its_weights_on_the_hub() {
        assert_eq!(repository_of("resnet18").as_deref(), Some("timm/resnet18.a1_in1k"));
        assert_eq!(repository_of("resnet18.tv_in1k").as_deref(), Some("timm/resnet18.tv_in1k"));
        assert_eq!((repository_of("resnet18.absent"), repository_of("photos")), (None, None));
    }

    /// Each of these would take more memory or time than any file can justify, or overflow.
    #[test]
    fn sizes_beyond_any_model_are_refused() {
        for (name, args) in [
            ("resnet18", serde_json::json!({"layers": [60000, 60000, 60000, 60000]})),
            ("vit_tiny_patch16_224", serde_json::json!({"depth": 60000})),
            ("vit_tiny_patch16_224", serde_json::json!({"reg_tokens": 1u64 << 40})),
            ("vit_tiny_patch16_224", serde_json::json!({"embed_dim": 65536, "num_heads": 1, "depth": 1024})),
            ("convnext_tiny", serde_json::json!({"depths": vec![1; 70], "dims": vec![8; 70]})),
            ("convnext_tiny", serde_json::json!({"depths": [60000, 1, 1, 1]})),
        ] {
            let error = build(name, args.as_object().unwrap(), 10, Some((224, 224))).unwrap_err().to_string();
            assert!(error.starts_with(&format!("model_args of '{name}' do not fit")), "{error}");
        }
    }

    #[test]
    fn every_entry_builds_with_timms_parameter_count() {
        for (name, entry) in all() {
            let classes = entry.pretrained_cfg()["num_classes"].as_u64().unwrap() as usize;
            let network = build(name, &Map::new(), classes, None).unwrap_or_else(|error| panic!("{name}: {error}"));
            let learnable = network.specs.iter().filter(|spec| spec.role.is_trainable());
            let count: u64 = learnable.map(|spec| spec.len() as u64).sum();
            assert_eq!(count, entry.parameters, "{name}");
        }
    }

    #[test]
    fn a_typo_is_answered_with_the_closest_name() {
        let error = find("convnextt_tiny").unwrap_err().to_string();
        assert!(error.contains("did you mean 'convnext_tiny'"), "{error}");
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused() {
        let refused = |args: Value| {
            let args = args.as_object().unwrap().clone();
            build("resnet18", &args, 10, None).unwrap_err().to_string()
        };
        assert!(refused(serde_json::json!({"channels": [0, 1, 2, 3]})).contains("channels"));
        assert!(refused(serde_json::json!({"in_chans": 0})).contains("in_chans must be between 1 and"));
        assert!(refused(serde_json::json!({"output_stride": 16})).contains("output_stride must be 32"));
        assert!(refused(serde_json::json!({"attention": "yes"})).contains("attention"));
    }
}
