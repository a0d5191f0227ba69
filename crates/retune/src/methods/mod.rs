//! Fine-tuning methods. Each is a small file that turns a list of blocks and a few options into a
//! [`Plan`]; the trainer runs the plan and does not know who made it.
//!
//! A method's file declares all that is known of it as a constant [`Method`]: its name, a summary, its paper, the options
//! that are its own, and its phases. The command line, its help and the manual's tables follow from these declarations. A new
//! method is a file and a line in the list below.

pub mod layers;
pub mod options;
mod spec;

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::layers::Selected;
use self::options::{AnyOption, shown};
pub use self::options::{DECADES, HALF_DECADES, MethodOptions, OptionDeclaration, ProbePhase};
pub use self::spec::MethodSpec;
use crate::models::Block;
use crate::names::closest;
use crate::plan::{Phase, Plan, PlanError, Schedule};

/// Makes the list of methods, of a file and a name in Rust for each.
macro_rules! methods {
    ($($file:ident: $name:ident,)+) => {
        $(mod $file;)+

        /// All methods, in the order in which tables show them.
        pub const ALL: &[Method] = &[$(Method::$name),+];

        impl Method {
            $(
                #[doc = concat!("`", stringify!($file), "`: see [`Method::summary`].")]
                pub const $name: Self = self::$file::METHOD;
            )+
        }
    };
}

methods! {
    lp: LP,
    ft: FT,
    lp_ft: LP_FT,
    freeze_embed: FREEZE_EMBED,
    surgical: SURGICAL,
    auto_rgn: AUTO_RGN,
    auto_snr: AUTO_SNR,
    discriminative: DISCRIMINATIVE,
    ulmfit: ULMFIT,
    wise_ft: WISE_FT,
    uniform_soup: UNIFORM_SOUP,
    greedy_soup: GREEDY_SOUP,
    l2_sp: L2_SP,
    norms: NORMS,
    biases: BIASES,
    lora: LORA,
}

/// The method to take where none is named: the book's "The defaults, judged" says why it is this one.
pub const DEFAULT: Method = Method::FT;

/// A fine-tuning method.
#[derive(Clone, Copy)]
pub struct Method {
    /// The name that users type.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: Option<Paper>,
    /// Whether a user picks the layers that it tunes.
    pub layers: Layers,
    /// The learning rates that it tries, unless the user names some.
    pub learning_rates: &'static [f64],
    /// How its learning rate changes, unless the user says how.
    pub schedule: Schedule,
    /// Whether it descends by gradients at all, and so has a use for epochs, learning rates and the like.
    pub descends: bool,
    /// Whether it measures gradients, to which a new head must fit first: a linear probe comes before its phases.
    pub probes_new_head: bool,
    /// Whether it averages what several learning rates gave, where others take the best.
    pub averages_rates: bool,
    /// The options that are its own.
    pub options: &'static [&'static dyn AnyOption],
    /// Its phases for a model with these blocks.
    pub phases: fn(&[Block], &MethodOptions) -> Result<Vec<Phase>, PlanError>,
}

/// A paper on arXiv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paper {
    /// Its authors, as text cites them.
    pub authors: &'static str,
    /// The year in which it appeared.
    pub year: u16,
    /// Its number on arXiv.
    pub arxiv: &'static str,
}

/// Whether a user picks the layers that a method tunes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// It tunes the whole model, or picks by itself.
    Whole,
    /// Those that the user picks, or all.
    Taken,
    /// Those that the user picks; without any it is `ft`.
    Needed,
}

impl Method {
    /// A method of gradient descent over the whole model that has no options, to declare others from: those state what
    /// is different. It has no name and no phases.
    pub const PLAIN: Self = Self {
        name: "",
        summary: "",
        paper: None,
        layers: Layers::Whole,
        learning_rates: &HALF_DECADES,
        schedule: Schedule::Cosine,
        descends: true,
        probes_new_head: false,
        averages_rates: false,
        options: &[],
        phases: |_, _| Err(PlanError::Empty),
    };

    /// The method's plan for a model with these blocks.
    ///
    /// # Errors
    /// A layer that the model does not have, or a range of layers that ends before it begins.
    pub fn plan(&self, blocks: &[Block], options: &MethodOptions) -> Result<Plan, PlanError> {
        let options = options.settled(self);
        let plan = Plan { method: self.name.to_owned(), phases: (self.phases)(blocks, &options)? };
        let probes = match options.probe {
            ProbePhase::ByMethod => self.probes_new_head && options.new_head,
            ProbePhase::Always => true,
            ProbePhase::Never => false,
        };
        Ok(if probes { plan.from_probe() } else { plan })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Method({})", self.name)
    }
}

impl PartialEq for Method {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Method {}

/// No method has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown method '{name}'; {advice}", advice = self.advice())]
pub struct UnknownMethod {
    name: String,
}

impl UnknownMethod {
    /// The closest name, or all of them.
    fn advice(&self) -> String {
        match closest(&self.name, ALL.iter().map(|method| method.name)) {
            Some(close) => format!("did you mean '{close}'?"),
            None => format!("choose one of {}", names(ALL, ", ")),
        }
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        let known = ALL.iter().find(|method| method.name == name);
        known.copied().ok_or_else(|| UnknownMethod { name: name.to_owned() })
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The names of methods in a row.
pub fn names<'a>(methods: impl IntoIterator<Item = &'a Method>, between: &str) -> String {
    methods.into_iter().map(|method| method.name).collect::<Vec<_>>().join(between)
}

/// An option that methods declare.
#[derive(Clone)]
pub struct DeclaredOption {
    /// What the first of them says of it; they share name, kind and help.
    pub declaration: OptionDeclaration,
    /// The methods, each with what it says, of which the default may be its own.
    pub methods: Vec<(Method, &'static dyn AnyOption)>,
}

impl DeclaredOption {
    /// The methods that take the option and its defaults, such as `auto-rgn, auto-snr; default: 5`.
    pub fn usage(&self) -> String {
        let default = |option: &dyn AnyOption| {
            let words = option.declaration().default_in_words.map(str::to_owned);
            words.or_else(|| option.default().as_ref().map(shown))
        };
        let defaults: Vec<Option<String>> = self.methods.iter().map(|(_, option)| default(*option)).collect();
        let methods = names(self.methods.iter().map(|(method, _)| method), ", ");
        match defaults.as_slice() {
            [None, ..] => methods,
            [Some(first), others @ ..] if others.iter().all(|other| other.as_ref() == Some(first)) => {
                format!("{methods}; default: {first}")
            }
            _ => {
                let methods = self.methods.iter().zip(&defaults);
                let shown =
                    methods.map(|((method, _), default)| format!("{method}: {}", default.as_deref().unwrap_or("–")));
                shown.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// Every option that methods declare, in the order in which they do.
pub fn declared_options() -> Vec<DeclaredOption> {
    let mut options: IndexMap<&str, DeclaredOption> = IndexMap::new();
    for (method, option) in ALL.iter().flat_map(|method| method.options.iter().map(move |option| (method, *option))) {
        let declaration = *option.declaration();
        let entry = || DeclaredOption { declaration, methods: Vec::new() };
        options.entry(declaration.name).or_insert_with(entry).methods.push((*method, option));
    }
    options.into_values().collect()
}

/// The rate factor 1 for everything selected.
fn equal_rate_factors(blocks: &[Block], selected: &[Selected]) -> IndexMap<String, f64> {
    let names = blocks.iter().zip(selected).flat_map(|(block, selected)| selected.names(block, false));
    names.map(|name| (name, 1.0)).collect()
}

#[cfg(test)]
mod tests;
