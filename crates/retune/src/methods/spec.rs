//! A method with the layers that it tunes.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::layers::LayerSelection;
use super::{Layers, Method, MethodOptions, UnknownMethod};

/// A method with the layers that it tunes, as `surgical:layer1..layer2` or `surgical:stem+head`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodSpec {
    /// The method.
    pub method: Method,
    /// Its layers, where it takes any.
    #[serde(default)]
    pub layers: LayerSelection,
}

impl MethodSpec {
    /// A short name of its own, such as `surgical:layer1..layer2`.
    pub fn label(&self) -> String {
        match self.layers {
            LayerSelection::All => self.method.name.to_owned(),
            _ => format!("{}:{}", self.method, self.layers),
        }
    }

    /// `options` with this method's layers.
    pub fn options(&self, options: &MethodOptions) -> MethodOptions {
        match self.layers {
            LayerSelection::All => options.clone(),
            _ => MethodOptions { layers: self.layers.clone(), ..options.clone() },
        }
    }
}

impl From<Method> for MethodSpec {
    /// The method with every layer.
    fn from(method: Method) -> Self {
        Self { method, layers: LayerSelection::All }
    }
}

impl FromStr for MethodSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, layers) = text.split_once(':').map_or((text, None), |(name, layers)| (name, Some(layers)));
        let method: Method = name.parse().map_err(|error: UnknownMethod| error.to_string())?;
        let Some(layers) = layers else { return Ok(method.into()) };
        if method.layers == Layers::Whole {
            return Err(format!("method '{method}' takes no layers"));
        }
        Ok(Self { method, layers: layers.parse()? })
    }
}
