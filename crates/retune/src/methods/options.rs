//! What a user can set about a method's plan: what gradient descent has in all methods, and the options that methods
//! declare for themselves.

mod declaration;
mod values;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::declaration::{AnyOption, Interval, Kind, MethodOption, OptionDeclaration, OptionValue, shown};
pub use self::values::{OptionError, OptionValues};
use super::layers::{LayerSelection, Selected};
use crate::models::Block;
use crate::plan::{Averaging, Gradient, PlanError, Schedule};

/// Learning rates that validation chooses from when the user names none.
///
/// They span what fine-tuning with Adam needs from a large transformer (1e-5) to a small
/// convolutional network (1e-3).
pub const DEFAULT_LEARNING_RATES: [f64; 3] = [1e-5, 1e-4, 1e-3];

/// What a user can set about a method's plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodOptions {
    /// Passes over the training images in a gradient phase.
    pub epochs: usize,
    /// Base learning rates; validation chooses among several.
    pub learning_rates: Vec<f64>,
    /// How the rate changes over a phase; `None` takes the method's own ([`Method::schedule`](super::Method)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Epochs of linear climb from 0.
    pub warmup_epochs: f64,
    /// An average of the weights over each gradient phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Averaging>,
    /// Whether the head is new: then methods that tune some layers only train it as well.
    pub new_head: bool,
    /// The layers to tune, in methods that take layers ([`Method::layers`](super::Method)).
    pub layers: LayerSelection,
    /// The options that methods declare for themselves, where they are set.
    #[serde(flatten)]
    pub values: OptionValues,
}

impl Default for MethodOptions {
    fn default() -> Self {
        Self {
            epochs: 10,
            learning_rates: DEFAULT_LEARNING_RATES.into(),
            schedule: None,
            warmup_epochs: 0.0,
            average: None,
            new_head: true,
            layers: LayerSelection::All,
            values: OptionValues::default(),
        }
    }
}

impl MethodOptions {
    /// These options with one that a method declares set to a value.
    ///
    /// # Errors
    /// As [`OptionValues::set`].
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Result<Self, OptionError> {
        self.values.set(name, value)?;
        Ok(self)
    }

    /// The value of an option that a method declares.
    pub fn get<T: OptionValue>(&self, option: &MethodOption<T>) -> T {
        self.values.get(option)
    }

    /// What every gradient phase has from the user, and nothing that trains yet.
    pub fn gradient(&self) -> Gradient {
        Gradient {
            epochs: self.epochs,
            learning_rates: self.learning_rates.clone(),
            schedule: self.schedule.unwrap_or_default(),
            warmup_epochs: self.warmup_epochs,
            average: self.average,
            ..Gradient::default()
        }
    }

    /// How much of each block the user picked; of a head that must be learned, all.
    ///
    /// # Errors
    /// As [`LayerSelection::resolve`].
    pub fn selected(&self, blocks: &[Block]) -> Result<Vec<Selected>, PlanError> {
        let mut selected = self.layers.resolve(blocks)?;
        if let Some(head) = selected.last_mut().filter(|_| self.new_head) {
            *head = Selected::Whole;
        }
        Ok(selected)
    }
}
