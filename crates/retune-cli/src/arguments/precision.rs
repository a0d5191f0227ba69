//! The precision of matrix products: its values, its help, and what `auto` stands for.

use clap::builder::TypedValueParser;
use retune::device;
use retune::models::Precision;

use super::parse::Named;

/// The precision of products, or how it is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// This one.
    Always(Precision),
    /// The faster one.
    Faster,
}

impl PrecisionChoice {
    /// The precision of training on the device of this name. On the CPU, a layer is measured.
    pub fn of_training(self, device: &str) -> Precision {
        match self {
            Self::Always(precision) => precision,
            // That a device is missing is said where it is opened.
            Self::Faster if device::by_name(device).is_ok_and(|device| device::bfloat16_pays(&device)) => {
                Precision::Bfloat16
            }
            Self::Faster => Precision::Float32,
        }
    }
}

/// Reads a value of the option.
pub fn parser() -> impl TypedValueParser<Value = PrecisionChoice> {
    Named::read_by(["float32", "bfloat16", "auto"], read)
}

fn read(name: &str) -> Result<PrecisionChoice, String> {
    match name {
        "auto" => Ok(PrecisionChoice::Faster),
        name => name.parse().map(PrecisionChoice::Always).map_err(|_| "expected float32, bfloat16, or auto".to_owned()),
    }
}

/// What the help says of the option for the products in `part` of the work, such as ` in trained blocks`, and what `auto`
/// measures.
pub fn help(part: &str, measured: &str) -> String {
    format!("Precision of matrix products{part}; auto measures which is faster {measured}")
}
