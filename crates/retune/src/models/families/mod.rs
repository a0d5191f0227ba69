//! Families of architectures, one file each, which reads like its paper.
//!
//! A file starts from timm's arguments of a constructor, a [`FamilyConfig`], and builds a [`Chain`] of them. The rest of
//! the program knows no family: what it has to know, the configuration says. A new family is a file and a line in the list
//! below.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::chain::Chain;
use super::parameters::ParameterBuilder;
use super::position_embedding::PositionGrid;

/// Makes the list of families, of a name, a file, and its configuration for each. The table of architectures calls a
/// family as its file.
macro_rules! families {
    ($($(#[$doc:meta])* $name:ident: $file:ident::$config:ident,)+) => {
        $(mod $file;)+

        /// A family of architectures, one source file each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Family {
            $($(#[$doc])* $name,)+
        }

        impl Family {
            /// All families, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The name by which it is known.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Its name in the table of architectures.
            pub(super) fn key(self) -> &'static str {
                match self { $(Self::$name => stringify!($file),)+ }
            }

            /// Whether its networks are built for images of one size: the argument `img_size`.
            pub(super) fn takes_image_size(self) -> bool {
                match self { $(Self::$name => $file::$config::TAKES_IMAGE_SIZE,)+ }
            }

            /// Whether it can pool in several ways: the argument `global_pool`. The others average.
            pub(super) fn takes_global_pool(self) -> bool {
                match self { $(Self::$name => $file::$config::TAKES_GLOBAL_POOL,)+ }
            }

            /// The network that these arguments describe; the reason where there is none.
            pub(super) fn design(self, args: Map<String, Value>, builder: &mut ParameterBuilder) -> Result<Design, String> {
                match self { $(Self::$name => Design::of::<$file::$config>(args, builder),)+ }
            }
        }
    };
}

families! {
    /// Residual networks.
    ResNet: resnet::ResNetConfig,
    /// Vision transformers.
    ViT: vit::ViTConfig,
    /// ConvNeXt V1 and V2.
    ConvNeXt: convnext::ConvNeXtConfig,
    /// EfficientNet, Lite, V2 and MobileNetV2.
    EfficientNet: efficientnet::EfficientNetConfig,
}

/// timm's arguments of a family's constructor, and all that the rest of the program has to know of the family.
pub(super) trait FamilyConfig: DeserializeOwned {
    /// Whether `img_size` is an argument: its networks are built for images of one size.
    const TAKES_IMAGE_SIZE: bool = false;
    /// Whether `global_pool` is an argument. The others average.
    const TAKES_GLOBAL_POOL: bool = false;

    /// Refuses sizes that no network can have, with the reason.
    fn check(&self) -> Result<(), String>;

    /// Declares the parameters, and makes the chain that uses them.
    fn chain(&self, builder: &mut ParameterBuilder) -> Box<dyn Chain>;

    /// The sizes of images that the network takes.
    fn image_sizes(&self) -> ImageSizes {
        ImageSizes::default()
    }

    /// The layout of its position embedding, if it has one.
    fn position_grid(&self) -> Option<PositionGrid> {
        None
    }

    /// What other projects may do otherwise in tensors of the same shapes.
    fn convention(&self) -> Option<Convention> {
        None
    }
}

/// The sizes of images that a network takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageSizes {
    /// The only height and width, if there is one.
    pub required: Option<(usize, usize)>,
    /// Side of the squares that images are cut into, if they are.
    pub patch: Option<usize>,
    /// The shortest side.
    pub least: usize,
}

impl Default for ImageSizes {
    /// Padded convolutions take any size; below 8 pixels nothing is left to see.
    fn default() -> Self {
        Self { required: None, patch: None, least: 8 }
    }
}

impl ImageSizes {
    /// Whether images of this height and width can go in; the reason where they cannot.
    pub fn check(&self, height: usize, width: usize) -> Result<(), String> {
        if let Some(patch) = self.patch.filter(|&patch| height < patch || width < patch) {
            return Err(format!("it takes sides that are multiples of {patch}"));
        }
        match self.required {
            Some(size) if size == (height, width) => Ok(()),
            Some((height, width)) => Err(format!("it takes images of {height}×{width}")),
            None if height.min(width) < self.least => {
                Err(format!("it takes images of at least {least}×{least}", least = self.least))
            }
            None => Ok(()),
        }
    }
}

/// What the shapes of tensors do not tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convention {
    /// Whether convolutions pad as TensorFlow's `SAME` does.
    pub pads_as_tensorflow: bool,
    /// Epsilon of every BatchNorm.
    pub epsilon: f64,
}

/// A network as its family describes it.
pub(super) struct Design {
    pub chain: Box<dyn Chain>,
    pub image_sizes: ImageSizes,
    pub positions: Option<PositionGrid>,
    pub convention: Option<Convention>,
}

impl Design {
    fn of<C: FamilyConfig>(args: Map<String, Value>, builder: &mut ParameterBuilder) -> Result<Self, String> {
        let config: C = serde_json::from_value(Value::Object(args)).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(Self {
            chain: config.chain(builder),
            image_sizes: config.image_sizes(),
            positions: config.position_grid(),
            convention: config.convention(),
        })
    }
}

/// Checks that every named size is between 1 and a bound beyond any real model's.
fn check_sizes<'a>(sizes: impl IntoIterator<Item = (&'a str, usize)>) -> Result<(), String> {
    const MAX: usize = 65_536;
    for (name, size) in sizes {
        if size == 0 || size > MAX {
            return Err(format!("{name} must be between 1 and {MAX}, not {size}"));
        }
    }
    Ok(())
}

/// Checks that a network has between 1 and a bound of blocks, beyond any real model's.
fn check_depth(depths: impl IntoIterator<Item = usize>) -> Result<(), String> {
    const MAX: usize = 1024;
    match depths.into_iter().fold(0usize, usize::saturating_add) {
        0 => Err("there must be a block".into()),
        depth if depth > MAX => Err(format!("{depth} blocks are more than {MAX}")),
        _ => Ok(()),
    }
}
