//! Weights under other projects' tensor names, renamed to timm's: one file for each scheme.
//!
//! A scheme is told by a few names that no other has (`TELLTALES`). Each scheme says of every name where its tensor goes
//! (`Place`); then it fuses, transposes or reshapes what timm keeps in another form. Names that a scheme does not know
//! stay as they are, so whoever assigns the tensors reports them as it does for timm's own files.

mod clip;
mod dinov2;
mod torchvision;
mod transformers;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::architectures::Network;
use super::weights::NamedTensor;

/// Tensors by name, as a weights file holds them.
type Tensors = BTreeMap<String, NamedTensor>;

/// Whose tensor names a weights file has, where they are not timm's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// torchvision 0.29's ViT, ConvNeXt and EfficientNet (its ResNet has timm's names).
    Torchvision,
    /// Hugging Face transformers 5.24's ResNet, ViT, DeiT, ConvNeXt and DINOv2.
    Transformers,
    /// The image tower of OpenAI's CLIP and of open_clip 3.3.
    Clip,
    /// DINOv2 as its authors keep it.
    DinoV2,
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Torchvision => "torchvision's names",
            Self::Transformers => "transformers' names",
            Self::Clip => "CLIP's names",
            Self::DinoV2 => "DINOv2's names",
        })
    }
}

/// Why tensors could not be put under timm's names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamingError {
    /// Two tensors of the file would have one name.
    #[error("the tensors '{first}' and '{second}' are both timm's '{name}'")]
    Twice {
        /// timm's name.
        name: String,
        /// One tensor of the file.
        first: String,
        /// The other.
        second: String,
    },
    /// Tensors that timm keeps as one, or adds, do not fit together.
    #[error("{what} have shapes {shapes:?}, which do not fit together")]
    Shapes {
        /// Which tensors, in words.
        what: String,
        /// Their shapes.
        shapes: Vec<Vec<usize>>,
    },
    /// A tensor that has to be transposed is no matrix.
    #[error("the tensor '{name}' has shape {shape:?}; expected a matrix")]
    NotMatrix {
        /// The name in the file.
        name: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A model that no architecture here computes.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The architecture has the file's shapes, but computes something else.
    #[error("torchvision's EfficientNet {convention}, which the architecture does not; {remedy}")]
    Convention {
        /// How torchvision computes.
        convention: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

/// Tensors under timm's names.
#[derive(Clone, Debug)]
pub(super) struct Renamed {
    /// The tensors.
    pub tensors: Tensors,
    /// Names in the file of what the model has no use for, such as a text tower or a mask token.
    pub left_out: Vec<String>,
}

/// Names that tell a scheme, all of them under the same prefix.
const TELLTALES: [(Scheme, &[&str]); 11] = [
    (Scheme::Torchvision, &["class_token", "conv_proj.weight"]),
    (Scheme::Torchvision, &["features.1.0.layer_scale"]),
    (Scheme::Torchvision, &["features.0.0.weight", "features.1.0.block.0.0.weight"]),
    (Scheme::Transformers, &["embedder.embedder.convolution.weight"]),
    (Scheme::Transformers, &["embeddings.patch_embeddings.weight"]),
    (Scheme::Transformers, &["embeddings.patch_embeddings.projection.weight"]),
    (Scheme::Clip, &["class_embedding", "positional_embedding", "conv1.weight"]),
    (Scheme::Clip, &["attnpool.positional_embedding", "conv1.weight"]),
    (Scheme::DinoV2, &["blocks.0.0.ls1.gamma"]),
    (Scheme::DinoV2, &["blocks.0.ls1.gamma", "mask_token"]),
    (Scheme::DinoV2, &["blocks.0.ls1.gamma", "register_tokens"]),
];

/// The scheme whose names are among `names`, and what stands before them: nothing, or a prefix that a training script
/// put there, with its dot. Where a scheme has parts side by side (a classifier and a body, an image and a text tower),
/// the prefix is the one before all of them.
pub(super) fn recognize<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> Option<(Scheme, &'a str)> {
    let known: HashSet<&str> = names.clone().collect();
    names.find_map(|name| {
        TELLTALES.iter().find_map(|(scheme, telltales)| {
            let prefix = name.strip_suffix(telltales[0])?;
            let bounded = prefix.is_empty() || prefix.ends_with('.');
            let complete = telltales[1..].iter().all(|other| known.contains(format!("{prefix}{other}").as_str()));
            (bounded && complete).then(|| (*scheme, scheme.before_parts(prefix)))
        })
    })
}

impl Scheme {
    /// The prefix without the name of the part that it ends with.
    fn before_parts(self, prefix: &str) -> &str {
        let parts: &[&str] = match self {
            Self::Transformers => &transformers::BODIES,
            Self::Clip => &[clip::TOWER],
            Self::Torchvision | Self::DinoV2 => &[],
        };
        let before =
            |part: &&str| prefix.strip_suffix(*part).filter(|before| before.is_empty() || before.ends_with('.'));
        parts.iter().find_map(before).unwrap_or(prefix)
    }
}

/// Puts tensors under the names and into the shapes that timm has for them; tensors under timm's own names stay as they
/// are.
///
/// # Errors
/// A tower that is not supported, or tensors whose shapes do not fit together.
pub(super) fn to_timm(tensors: Tensors, network: &Network) -> Result<Renamed, NamingError> {
    let scheme = match recognize(tensors.keys().map(String::as_str)) {
        Some((scheme, "")) => scheme,
        _ => return Ok(Renamed { tensors, left_out: Vec::new() }),
    };
    match scheme {
        Scheme::Torchvision => torchvision::rename(tensors, network),
        Scheme::Transformers => transformers::rename(tensors, network),
        Scheme::Clip => clip::rename(tensors, network),
        Scheme::DinoV2 => dinov2::rename(tensors),
    }
}

/// Where a scheme puts a tensor.
enum Place {
    /// Under this name of timm's.
    Named(String),
    /// Nowhere: the model has no use for it.
    LeftOut,
    /// Under its own name, which the scheme does not know.
    Unknown,
}

impl From<Option<String>> for Place {
    fn from(name: Option<String>) -> Self {
        name.map_or(Self::Unknown, Self::Named)
    }
}

/// Puts every tensor where `place` says.
fn place_all(tensors: Tensors, place: impl Fn(&str) -> Place) -> Result<Renamed, NamingError> {
    let mut placed: BTreeMap<String, (String, NamedTensor)> = BTreeMap::new();
    let mut left_out = Vec::new();
    for (own, tensor) in tensors {
        let name = match place(&own) {
            Place::Named(name) => name,
            Place::Unknown => own.clone(),
            Place::LeftOut => {
                left_out.push(own);
                continue;
            }
        };
        if let Some((first, _)) = placed.get(&name) {
            return Err(NamingError::Twice { first: first.clone(), second: own, name });
        }
        placed.insert(name, (own, tensor));
    }
    let tensors = placed.into_iter().map(|(name, (_, tensor))| (name, tensor)).collect();
    Ok(Renamed { tensors, left_out })
}

/// Whether the network has a parameter called `name`.
fn has_parameter(network: &Network, name: &str) -> bool {
    network.specs.iter().any(|spec| spec.name == name)
}

/// Puts axes of length 1 in front until a tensor has `rank` axes.
fn with_leading_axes(tensor: &mut NamedTensor, rank: usize) {
    while tensor.shape.len() < rank {
        tensor.shape.insert(0, 1);
    }
}

/// Drops axes of length 1 from the end, down to `rank` axes.
fn without_trailing_axes(tensor: &mut NamedTensor, rank: usize) {
    while tensor.shape.len() > rank && tensor.shape.last() == Some(&1) {
        tensor.shape.pop();
    }
}

/// The tensors one below another, along their first axis.
fn stacked(parts: [NamedTensor; 3], what: impl Fn() -> String) -> Result<NamedTensor, NamingError> {
    let [first, others @ ..] = &parts;
    let rows = first.shape.first().and_then(|rows| rows.checked_mul(parts.len()));
    let (Some(rows), true) = (rows, others.iter().all(|other| other.shape == first.shape)) else {
        let shapes = parts.map(|part| part.shape).into();
        return Err(NamingError::Shapes { what: what(), shapes });
    };
    let mut shape = first.shape.clone();
    shape[0] = rows;
    Ok(NamedTensor { shape, values: parts.into_iter().flat_map(|part| part.values).collect() })
}

/// The transpose of a matrix; `name` is for messages.
fn transposed(matrix: NamedTensor, name: &'static str) -> Result<NamedTensor, NamingError> {
    let (rows, columns) = match matrix.shape.as_slice() {
        // Without an element, a side can be of any length.
        &[rows, columns] if !matrix.values.is_empty() => (rows, columns),
        _ => return Err(NamingError::NotMatrix { name, shape: matrix.shape }),
    };
    let column = |index: usize| matrix.values.iter().skip(index).step_by(columns).copied();
    Ok(NamedTensor { shape: vec![columns, rows], values: (0..columns).flat_map(column).collect() })
}

/// Moves the class token's position into the token: register models of timm embed positions of patches alone.
/// `cls_token` becomes their sum, `pos_embed` loses its first position.
fn fold_class_position(tensors: &mut Tensors) -> Result<(), NamingError> {
    let (Some(token), Some(positions)) = (tensors.get("cls_token"), tensors.get("pos_embed")) else { return Ok(()) };
    let (&[1, 1, width], &[1, count, position_width]) = (token.shape.as_slice(), positions.shape.as_slice()) else {
        return Err(unfit_positions(token, positions));
    };
    let kept = positions.values.get(width..);
    let (true, Some(count), Some(kept)) = (width == position_width, count.checked_sub(1), kept) else {
        return Err(unfit_positions(token, positions));
    };
    let summed = token.values.iter().zip(&positions.values).map(|(token, position)| token + position).collect();
    let token = NamedTensor { shape: token.shape.clone(), values: summed };
    let positions = NamedTensor { shape: vec![1, count, width], values: kept.to_vec() };
    tensors.insert("cls_token".into(), token);
    tensors.insert("pos_embed".into(), positions);
    Ok(())
}

fn unfit_positions(token: &NamedTensor, positions: &NamedTensor) -> NamingError {
    let what = "the class token and the position embedding".into();
    NamingError::Shapes { what, shapes: vec![token.shape.clone(), positions.shape.clone()] }
}

#[cfg(test)]
mod tests;
