//! What a user can set about a method's plan: what gradient descent has in all methods, and the options that methods
//! declare for themselves.

mod declaration;
mod values;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::declaration::{AnyOption, Interval, Kind, MethodOption, OptionDeclaration, OptionValue, shown};
pub use self::values::{OptionError, OptionValues};
use super::Method;
use super::layers::{LayerSelection, Selected};
use crate::models::Block;
use crate::plan::{Averaging, Gradient, PlanError, Schedule, Search, Warmup};

/// Learning rates that validation chooses from when the user names none.
///
/// They span what fine-tuning with Adam needs from a large transformer (1e-5) to a small convolutional network (1e-3), and
/// half a decade more.
pub const HALF_DECADES: [f64; 6] = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3];

/// Learning rates of methods that use every model, and so have to train all of them in full.
pub const DECADES: [f64; 3] = [1e-5, 1e-4, 1e-3];

/// With fewer epochs there is no training short enough for a search to pay.
const MIN_HALVED_EPOCHS: usize = 3;

/// What a user can set about a method's plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodOptions {
    /// Passes over the training images in a gradient phase.
    pub epochs: usize,
    /// Base learning rates; validation chooses among several. None at all takes the method's own
    /// ([`Method::learning_rates`](super::Method)).
    pub learning_rates: Vec<f64>,
    /// How the best rate is searched; `None` trains every rate in full where rates are named here, and halves
    /// the method's own. Methods that average what all rates gave train every rate in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// Epochs in a row without a better one that end a training early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// How the rate changes over a phase; `None` takes the method's own ([`Method::schedule`](super::Method)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Epochs in which the rate climbs first.
    pub warmup_epochs: f64,
    /// How it climbs in them.
    #[serde(default, skip_serializing_if = "is_linear")]
    pub warmup: Warmup,
    /// An average of the weights over each gradient phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Averaging>,
    /// Whether the head is new: then methods that tune some layers only train it as well.
    pub new_head: bool,
    /// Whether a linear probe comes before the method's own phases.
    #[serde(default = "ProbePhase::of_older_comparisons")]
    pub probe: ProbePhase,
    /// The layers to tune, in methods that take layers ([`Method::layers`](super::Method)).
    pub layers: LayerSelection,
    /// The options that methods declare for themselves, where they are set.
    #[serde(flatten)]
    pub values: OptionValues,
}

/// Whether a linear probe comes before a method's own phases. A method that has one keeps it in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbePhase {
    /// Where the method asks for one and the head is new ([`Method::probes_new_head`](super::Method)).
    #[default]
    ByMethod,
    /// Before every method.
    Always,
    /// Only where it is the method's own.
    Never,
}

impl ProbePhase {
    /// Comparisons of versions that had no choice.
    fn of_older_comparisons() -> Self {
        Self::Never
    }
}

fn is_linear(warmup: &Warmup) -> bool {
    *warmup == Warmup::Linear
}

impl Default for MethodOptions {
    fn default() -> Self {
        Self {
            epochs: 10,
            learning_rates: Vec::new(),
            search: None,
            patience: None,
            schedule: None,
            warmup_epochs: 0.0,
            warmup: Warmup::default(),
            average: None,
            new_head: true,
            probe: ProbePhase::default(),
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

    /// These options with the learning rates that a method tries, and how it searches among them.
    pub(super) fn settled(&self, method: &Method) -> Self {
        let named = !self.learning_rates.is_empty();
        let asked = self.search.unwrap_or(if named { Search::Full } else { Search::Halving });
        let search = if method.averages_rates { Search::Full } else { asked };
        // So few epochs leave no room for shorter trainings: every second rate in full takes as long.
        let few = !named && search == Search::Halving && self.epochs < MIN_HALVED_EPOCHS;
        let (search, step) = if few { (Search::Full, 2) } else { (search, 1) };
        let rates = if named { self.learning_rates.as_slice() } else { method.learning_rates };
        Self { learning_rates: rates.iter().copied().step_by(step).collect(), search: Some(search), ..self.clone() }
    }

    /// What every gradient phase has from the user, and nothing that trains yet.
    pub fn gradient(&self) -> Gradient {
        let rungs = self.search.map(|search| search.rungs(self.learning_rates.len(), self.epochs)).unwrap_or_default();
        Gradient {
            epochs: self.epochs,
            learning_rates: self.learning_rates.clone(),
            rungs,
            patience: self.patience,
            schedule: self.schedule.unwrap_or_default(),
            warmup_epochs: self.warmup_epochs,
            warmup: self.warmup,
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
