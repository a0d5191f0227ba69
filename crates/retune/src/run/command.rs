//! A command as it is typed, and the one that is typed for a run.
//!
//! What a report suggests is the run's own command with a change: every option that the run recorded and that is not the
//! default, under the names of [`keys`](super::keys).

use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::keys::{self, KEYS, Meaning};
use super::{FitOptions, ModelSource, PreprocessingChange};
use crate::inference::Metric;
use crate::methods::layers::LayerSelection;
use crate::methods::options::{Kind, shown};
use crate::methods::{Layers, Method, MethodOptions, ProbePhase, declared_options};
use crate::models::HeadInitialization;
use crate::plan::Averaging;
use crate::sources::SplitBy;
use crate::train::optimizer::{OptimizerKind, OptimizerOptions};
use crate::train::options::TrainOptions;

/// A command of this program with its options, as they are typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    subcommand: String,
    /// Names without dashes, and values of those that are no switches.
    options: Vec<(String, Option<String>)>,
    operands: Vec<String>,
}

impl Command {
    /// A command without options.
    pub fn new(subcommand: &str) -> Self {
        Self { subcommand: subcommand.to_owned(), options: Vec::new(), operands: Vec::new() }
    }

    /// The command for a run with these options, without a method: the options that are not the defaults. `typed` is what
    /// was typed for the run, which alone names the file of the model's classes.
    pub fn of_run(subcommand: &str, options: &FitOptions, typed: Option<&str>) -> Self {
        let mut command = Self::new(subcommand);
        let (recorded, defaults) = (entries(options), entries(&defaults(options)));
        for (key, meaning) in KEYS {
            let of_key = |entries: &[(String, Value)]| {
                entries.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
            };
            if let Some(value) = of_key(&recorded).filter(|value| of_key(&defaults).as_ref() != Some(value)) {
                command = command.with_key(meaning, &value, typed);
            }
        }
        command
    }

    fn with_key(self, meaning: &Meaning, value: &Value, typed: Option<&str>) -> Self {
        match *meaning {
            Meaning::Option(id) => {
                let text = text(value);
                // Paths of models and data are recorded from the root.
                let text = if matches!(id, "model" | "data") { self::typed(Path::new(&text)) } else { text };
                self.with(id, text)
            }
            Meaning::Switch { id, on } if value.as_bool() == Some(on) => self.switch(id),
            Meaning::Balanced(id) if value.as_bool() == Some(true) => self.with(id, "balanced"),
            Meaning::Bytes(id) => self.with(id, (value.as_integer().unwrap_or_default() >> 20).to_string()),
            Meaning::Sets(_) => value.as_array().into_iter().flatten().fold(self, |command, set| {
                let part = |name: &str| set.get(name).and_then(Value::as_str).unwrap_or_default();
                command.also("eval", format!("{}={}", part("name"), self::typed(Path::new(part("path")))))
            }),
            // The file of options has the content of the other one.
            Meaning::Within(id) => {
                match typed.and_then(|typed| value_in(typed, id).or_else(|| value_in(typed, "config"))) {
                    Some(value) => self.with(id, value),
                    None => self,
                }
            }
            Meaning::Switch { .. } | Meaning::Balanced(_) | Meaning::Elsewhere | Meaning::Fixed(_) => self,
        }
    }

    /// The same with a method's options that are not the defaults, as far as one of `methods` takes them.
    #[must_use]
    pub fn with_method_options(self, options: &MethodOptions, methods: &[Method]) -> Self {
        let defaults = MethodOptions::default();
        let rates: Vec<String> = options.learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
        let changed = |name: &str, differs: bool, value: String| differs.then(|| (name.to_owned(), value));
        let named = |name: &str, value: Option<&str>| value.map(|value| (name.to_owned(), value.to_owned()));
        let shared = [
            changed("epochs", options.epochs != defaults.epochs, options.epochs.to_string()),
            changed("lr", !rates.is_empty(), rates.join(",")),
            named("search", options.search.map(|search| search.name())),
            options.patience.map(|patience| ("patience".to_owned(), patience.to_string())),
            named("schedule", options.schedule.map(|schedule| schedule.name())),
            changed("warmup-epochs", options.warmup_epochs != 0.0, number(options.warmup_epochs)),
            changed("warmup", options.warmup != defaults.warmup, options.warmup.name().to_owned()),
            options.average.map(|average| match average {
                Averaging::Exponential { decay } => ("ema".to_owned(), number(decay)),
                Averaging::Epochs { from } => ("swa-from".to_owned(), from.to_string()),
            }),
        ];
        let takes_layers = methods.iter().any(|method| method.layers != Layers::Whole);
        let layers = if takes_layers { of_layers(&options.layers) } else { Vec::new() };
        let own = of_declared(options, methods);
        let all = shared.into_iter().flatten().chain(layers).chain(own);
        all.fold(self, |command, (name, value)| command.with(&name, value))
    }

    /// The same with the option that starts the head as it did for these options; `probe` is unknown of a plan by hand.
    #[must_use]
    pub fn with_head(self, initialization: HeadInitialization, probe: Option<ProbePhase>) -> Self {
        match probe {
            Some(ProbePhase::Always) => self.with("head-init", "probe"),
            Some(ProbePhase::ByMethod) => self,
            None if initialization == HeadInitialization::Known => self,
            Some(ProbePhase::Never) | None => match Value::try_from(initialization) {
                Ok(name) => self.with("head-init", text(&name)),
                Err(_) => self,
            },
        }
    }

    /// The same with an option, in the place of what it had of that name. Names may have `_` between words.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        let (name, value) = (name.replace('_', "-"), Some(value.into()));
        match self.options.iter().position(|(own, _)| *own == name) {
            Some(place) => {
                self.options[place].1 = value;
                let mut index = 0;
                self.options.retain(|(own, _)| (index, index += 1).0 <= place || *own != name);
            }
            None => self.options.push((name, value)),
        }
        self
    }

    /// The same with one more value of an option that can be typed several times.
    #[must_use]
    pub fn also(mut self, name: &str, value: impl Into<String>) -> Self {
        self.options.push((name.replace('_', "-"), Some(value.into())));
        self
    }

    /// The same with a switch.
    #[must_use]
    pub fn switch(mut self, name: &str) -> Self {
        let name = name.replace('_', "-");
        if self.options.iter().all(|(own, _)| *own != name) {
            self.options.push((name, None));
        }
        self
    }

    /// The same without some options.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.options.retain(|(own, _)| !names.contains(&own.as_str()));
        self
    }

    /// The same with something that is no option.
    #[must_use]
    pub fn operand(mut self, value: &str) -> Self {
        self.operands.push(value.to_owned());
        self
    }
}

/// The command as a shell reads it.
impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "retune {}", self.subcommand)?;
        for (name, value) in &self.options {
            match value {
                // A value that looks like an option belongs to the name before it.
                Some(value) if value.starts_with('-') => {
                    write!(formatter, " {}", quoted(&format!("--{name}={value}")))?
                }
                Some(value) => write!(formatter, " --{name} {}", quoted(value))?,
                None => write!(formatter, " --{name}")?,
            }
        }
        if self.operands.iter().any(|operand| operand.starts_with('-')) {
            write!(formatter, " --")?;
        }
        self.operands.iter().try_for_each(|operand| write!(formatter, " {}", quoted(operand)))
    }
}

/// An argument as a POSIX shell reads it back.
///
/// What needs no quotes is what Python's `shlex.quote` leaves as it is. The crate `shlex` quotes `=` and `,` as well, which
/// are in half of the options.
pub fn quoted(argument: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_./=:,@+%".contains(sign);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// A path as it is typed: relative to the current folder where it lies below it.
pub fn typed(path: &Path) -> String {
    let below = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.filter(|below| !below.as_os_str().is_empty()).unwrap_or_else(|| path.to_owned()).display().to_string()
}

/// What a run has of which nothing was typed.
fn defaults(options: &FitOptions) -> FitOptions {
    let mut train = TrainOptions { threads: options.train.threads, ..TrainOptions::default() };
    if options.train.optimizer.kind != OptimizerKind::AdamW {
        train.optimizer = OptimizerOptions { weight_decay: 0.0, ..train.optimizer };
    }
    if options.multi_label {
        train.select = Metric::MeanAveragePrecision;
    }
    FitOptions {
        data: Path::new("").to_owned(),
        validation_fraction: 0.2,
        split_by: SplitBy::default(),
        head_initialization: options.head_initialization,
        device: "cpu".to_owned(),
        model: ModelSource { path: None, architecture: None, from_scratch: false, classes: None },
        preprocessing: PreprocessingChange::default(),
        train,
        multi_label: false,
        skip_bad: false,
        evaluations: Vec::new(),
    }
}

fn entries(options: &FitOptions) -> Vec<(String, Value)> {
    // Every option can be written as TOML, or no run could have begun.
    keys::flattened(&Table::try_from(options).unwrap_or_default())
}

/// Whether a command that a shell reads has a switch.
pub fn has_switch(command: &str, name: &str) -> bool {
    let switch = format!("--{name}");
    shlex::split(command).is_some_and(|words| words.iter().take_while(|word| *word != "--").any(|word| *word == switch))
}

/// The value of an option in a command that a shell reads.
fn value_in(command: &str, id: &str) -> Option<String> {
    let name = format!("--{}", id.replace('_', "-"));
    let words = shlex::split(command)?;
    let with_value = |word: &String| Some(word.strip_prefix(&name)?.strip_prefix('=')?.to_owned());
    let place = words.iter().position(|word| *word == name);
    place.and_then(|place| words.get(place + 1).cloned()).or_else(|| words.iter().find_map(with_value))
}

/// A typed command with a value of an option in the place of what it had of `names`. `None` of what a shell cannot read.
pub fn with_value(command: &str, names: &[&str], (name, value): (&str, &str)) -> Option<String> {
    let is_named = |word: &str| names.iter().any(|name| word.strip_prefix("--") == Some(name));
    let has_value = |word: &str| word.split_once('=').is_some_and(|(name, _)| is_named(name));
    let mut words = shlex::split(command)?;
    let replaced = |(at, word): (usize, &String)| {
        is_named(word) || has_value(word) || at.checked_sub(1).is_some_and(|before| is_named(&words[before]))
    };
    let dropped: Vec<bool> = words.iter().enumerate().map(replaced).collect();
    let mut dropped = dropped.into_iter();
    words.retain(|_| !dropped.next().unwrap_or(false));
    words.extend([format!("--{name}"), value.to_owned()]);
    Some(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

fn of_layers(layers: &LayerSelection) -> Vec<(String, String)> {
    let end = |name: &str, layer: &Option<String>| layer.clone().map(|layer| (name.to_owned(), layer));
    match layers {
        LayerSelection::All => Vec::new(),
        LayerSelection::Range { first, last } => {
            [end("first", first), end("last", last)].into_iter().flatten().collect()
        }
        LayerSelection::Set(names) => vec![("layers".to_owned(), names.join(","))],
    }
}

/// The options that methods declare for themselves.
fn of_declared(options: &MethodOptions, methods: &[Method]) -> Vec<(String, String)> {
    let set = Value::try_from(&options.values).ok();
    let declared = declared_options();
    let taken = declared.iter().filter(|option| option.methods.iter().any(|(taker, _)| methods.contains(taker)));
    let value = |option: &crate::methods::DeclaredOption| {
        let declaration = option.declaration;
        let value = serde_json::to_value(set.as_ref()?.get(declaration.name)?).ok()?;
        let text = match declaration.kind {
            Kind::Range(_) => shown(&value).replace(',', ".."),
            _ => shown(&value),
        };
        Some((declaration.name.to_owned(), text))
    };
    taken.filter_map(value).collect()
}

/// A value as it is typed: lists with commas.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(value) => number(*value),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A number with no more digits than say which it is, of those in single precision as well.
fn number(value: f64) -> String {
    let single = value as f32;
    if f64::from(single) == value { single.to_string() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ClassNames;

    #[test]
    fn a_typed_command_gets_another_value() {
        let with = |typed: &str| with_value(typed, &["seed", "seeds"], ("seeds", "5")).unwrap();
        assert_eq!(with("retune compare --seeds 2 --data 'my images'"), "retune compare --data 'my images' --seeds 5");
        assert_eq!(with("retune compare --seed=3 -o out"), "retune compare -o out --seeds 5");
        assert_eq!(with("retune compare"), "retune compare --seeds 5");
        assert_eq!(with_value("retune 'open", &[], ("seeds", "5")), None);
    }

    #[test]
    fn an_option_takes_the_place_of_another_and_the_rest_stays() {
        let command =
            Command::new("eval").with("model", "run").also("eval", "a=x").also("eval", "b=y z").with("size", "96");
        let other =
            command.clone().with("model", "my run").with("crop_pct", "0.9").switch("per_class").switch("per-class");
        assert_eq!(
            other.to_string(),
            "retune eval --model 'my run' --eval a=x --eval 'b=y z' --size 96 --crop-pct 0.9 --per-class"
        );
        assert_eq!(command.clone().without(&["eval", "size"]).to_string(), "retune eval --model run");
        assert_eq!(command.with("eval", "c=z").to_string(), "retune eval --model run --eval c=z --size 96");
        let predict = Command::new("predict").with("model", "run").operand("a b.jpg");
        assert_eq!(predict.to_string(), "retune predict --model run 'a b.jpg'");
        assert_eq!(Command::new("report").operand("-my").to_string(), "retune report -- -my");
        assert_eq!(Command::new("fit").with("lr", "-1").to_string(), "retune fit --lr=-1");
    }

    #[test]
    fn what_is_quoted_is_read_back() {
        let words = ["a=b c", "it's", "", "$HOME", "x@fog:3", "1e-3,3e-4", "ünï", "~/x", "a\nb", "*"];
        let line = words.map(quoted).join(" ");
        assert_eq!(shlex::split(&line).unwrap(), words);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([f64::from(0.01f32), 0.01, 0.9, 4.0].map(number), ["0.01", "0.01", "0.9", "4"]);
    }

    #[test]
    fn the_file_of_classes_is_the_one_that_was_typed() {
        let file = |typed| value_in(typed, "classes");
        assert_eq!(file("retune fit --model m --classes 'my classes.txt' --data d").unwrap(), "my classes.txt");
        assert_eq!(file("retune fit --classes=c.txt").unwrap(), "c.txt");
        assert_eq!(file("retune fit --data classes"), None);

        let names = ClassNames::parse("cat\ndog", Path::new("c.txt")).unwrap();
        let options = FitOptions {
            data: "d".into(),
            validation_fraction: 0.2,
            split_by: SplitBy::default(),
            head_initialization: HeadInitialization::Keep,
            device: "cpu".to_owned(),
            model: ModelSource { path: None, architecture: None, from_scratch: false, classes: Some(names) },
            preprocessing: PreprocessingChange::default(),
            train: TrainOptions::default(),
            multi_label: false,
            skip_bad: false,
            evaluations: Vec::new(),
        };
        let command = |typed| Command::of_run("fit", &options, Some(typed)).to_string();
        assert_eq!(command("retune fit --config run/run.toml"), "retune fit --classes run/run.toml --data d");
    }

    #[test]
    fn a_switch_is_a_word_of_its_own() {
        assert!(has_switch("retune fit --data d --no-report", "no-report"));
        for command in ["retune fit --data=--no-report", "retune fit --data d", "retune fit -- --no-report"] {
            assert!(!has_switch(command, "no-report"), "{command}");
        }
    }

    #[test]
    fn paths_below_the_current_folder_are_short() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(typed(&here.join("runs/1")), "runs/1");
        assert_eq!(typed(Path::new("/elsewhere/runs")), "/elsewhere/runs");
    }
}
