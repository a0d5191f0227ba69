//! Which plan trains.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::PossibleValue;
use clap::{Args, Command};
use retune::files;
use retune::methods::layers::LayerSelection;
use retune::methods::{self, Layers, Method, MethodOptions, MethodSpec, ProbePhase, UnknownMethod};
use retune::models::HeadInitialization;
use retune::plan::{Averaging, Gradient, Plan, Schedule, Search, Solver, Warmup};
use retune::run::PlanSource;

use super::declared::DeclaredOptionArguments;
use super::given::GivenOptions;
use super::parse::{self, Named, named};
use super::training::HeadArguments;
use crate::failure::Failure;

/// A method and its options, or a plan written by hand.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub struct MethodArguments {
    /// How to fine-tune
    #[arg(long, value_name = "NAME", default_value = methods::DEFAULT.name, value_parser = method_names())]
    method: Method,
    /// File with a plan to run in place of a method's (`retune plan --toml` prints one to start from)
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    options: MethodOptionArguments,
}

impl MethodArguments {
    /// Where the plan comes from, for a head that starts in this way. A plan that a file of options brings is changed by what
    /// is `given` beside it.
    pub fn source(&self, head: &HeadArguments, given: &GivenOptions) -> Result<PlanSource, Failure> {
        if let Some(path) = &self.plan {
            let plan = self.changed(read(path)?, path, given)?;
            return Ok(PlanSource::Written(match head.probe() {
                ProbePhase::Always => plan.from_probe(),
                ProbePhase::ByMethod | ProbePhase::Never => plan,
            }));
        }
        let options = self.options.resolve(head)?;
        match (self.method.layers, &options.layers) {
            (Layers::Whole, LayerSelection::Range { .. } | LayerSelection::Set(_)) => Err(Failure::Mistake(format!(
                "--method {} takes no layers; leave --first, --last, and --layers out",
                self.method
            ))),
            (Layers::Needed, LayerSelection::All) => Err(Failure::Mistake(format!(
                "--method {} needs layers: name --first and --last, or --layers (`retune layers` lists them)",
                self.method
            ))),
            _ => Ok(PlanSource::Method(self.method, options)),
        }
    }
}

impl MethodArguments {
    /// Options that can be given without a method for a run that goes on with a recorded plan.
    const OF_ANY_DESCENT: [&str; 9] =
        ["epochs", "lr", "search", "patience", "schedule", "warmup_epochs", "warmup", "ema", "swa_from"];

    /// Refuses options that are given and mean something to a method only; `instead` is what goes on without them.
    ///
    /// # Errors
    /// The first such option.
    pub fn check_that_none_needs_a_method(given: &GivenOptions, instead: &str) -> Result<(), Failure> {
        match Self::given_ones(given).find(|id| !Self::OF_ANY_DESCENT.contains(&id.as_str())) {
            Some(id) => Err(Failure::Mistake(format!(
                "--{} is part of a method; name --method too, or leave it out to go on with {instead}",
                id.replace('_', "-")
            ))),
            None => Ok(()),
        }
    }

    /// The options of methods that are given.
    fn given_ones(given: &GivenOptions) -> impl Iterator<Item = String> {
        let command = MethodOptionArguments::augment_args(Command::new("method"));
        let ids: Vec<String> = command.get_arguments().map(|argument| argument.get_id().to_string()).collect();
        ids.into_iter().filter(|id| given.has(id))
    }

    /// A plan with what is given beside its file: the last descent changes, as the one that ends a run.
    fn changed(&self, mut plan: Plan, path: &Path, given: &GivenOptions) -> Result<Plan, Failure> {
        Self::check_that_none_needs_a_method(given, &format!("the plan of {}", path.display()))?;
        let Some(first) = Self::given_ones(given).next() else { return Ok(plan) };
        let descents = plan.phases.iter_mut().rev().find_map(|phase| match &mut phase.solver {
            Solver::Gradient(settings) => Some(settings),
            Solver::LogisticRegression(_) | Solver::Interpolation(_) => None,
        });
        let Some(settings) = descents else {
            let reason = format!("it has no gradient descent that --{} could change", first.replace('_', "-"));
            return Err(Failure::in_file(path, reason));
        };
        self.change(given, settings)?;
        Ok(plan)
    }

    /// Changes a recorded descent by what is given.
    ///
    /// # Errors
    /// Numbers that do not go together.
    pub fn change(&self, given: &GivenOptions, settings: &mut Gradient) -> Result<(), Failure> {
        let options = &self.options;
        if given.has("epochs") {
            *settings = settings.shortened(options.epochs);
        }
        options.check_for(settings.epochs)?;
        if given.has("lr") {
            settings.learning_rates.clone_from(&options.lr);
            // Rates that are named are trained in full.
            settings.rungs.clear();
        }
        if let Some(search) = options.search {
            settings.rungs = search.rungs(settings.learning_rates.len(), settings.epochs);
        }
        settings.patience = options.patience.or(settings.patience);
        settings.schedule = options.schedule.unwrap_or(settings.schedule);
        if given.has("warmup_epochs") {
            settings.warmup_epochs = options.warmup_epochs;
        }
        if given.has("warmup") {
            settings.warmup = options.warmup;
        }
        settings.average = options.average().or(settings.average);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Plan, Failure> {
    Plan::from_toml(&files::read_text(path)?).map_err(|error| Failure::in_file(path, error))
}

/// Options of methods: those that all have, and those that methods declare for themselves.
#[derive(Args)]
#[command(next_help_heading = "Method")]
pub struct MethodOptionArguments {
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse::count, allow_hyphen_values = true)]
    epochs: usize,
    /// Learning rate; of several, separated by commas, validation chooses one [default: half decades from 1e-5 to 3e-3; soups:
    /// 1e-5,1e-4,1e-3]
    #[arg(long, value_name = "X", value_delimiter = ',', value_parser = parse::positive, allow_hyphen_values = true)]
    lr: Vec<f64>,
    /// Search among learning rates: `halving` trains all of them briefly, and then in full the best and the largest that is
    /// about as good; `full` trains all in full [default: halving; full if --lr names the rates, and for soups]
    #[arg(long, value_name = "NAME", value_parser = named::<Search>(Search::ALL.map(Search::name)))]
    search: Option<Search>,
    /// Stop a training after N epochs in a row without improvement on validation [default: train for all epochs]
    #[arg(long, value_name = "N", value_parser = parse::count, allow_hyphen_values = true)]
    patience: Option<usize>,
    #[arg(long, value_name = "NAME", help = schedule_help(),
          value_parser = named::<Schedule>(Schedule::ALL.map(Schedule::name)))]
    schedule: Option<Schedule>,
    /// Number of warm-up epochs; may be a fraction
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse::non_negative, allow_hyphen_values = true)]
    warmup_epochs: f64,
    /// How the rate warms up: linearly from 0 with every step, or tenfold with every epoch up to a tenth in the last
    #[arg(long, value_name = "NAME", default_value = "linear", value_parser = named::<Warmup>(Warmup::ALL.map(Warmup::name)))]
    warmup: Warmup,
    /// Keep an exponential moving average of the weights with this decay, such as 0.999, instead of the weights
    #[arg(long, value_name = "DECAY", value_parser = parse::below_one, allow_hyphen_values = true)]
    ema: Option<f64>,
    /// Keep the average of the weights after each epoch from this one on (stochastic weight averaging)
    #[arg(long, value_name = "EPOCH", value_parser = parse::count, conflicts_with = "ema", allow_hyphen_values = true)]
    swa_from: Option<usize>,
    #[arg(long, value_name = "LAYER", help = first_help())]
    first: Option<String>,
    /// Last layer to tune: a stage, block, or tensor
    #[arg(long, value_name = "LAYER")]
    last: Option<String>,
    /// Layers to tune, separated by commas, instead of a range
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', conflicts_with_all = ["first", "last"])]
    layers: Vec<String>,
    #[command(flatten)]
    declared: DeclaredOptionArguments,
}

impl MethodOptionArguments {
    /// As the library takes them, for a head that starts in this way.
    pub fn resolve(&self, head: &HeadArguments) -> Result<MethodOptions, Failure> {
        self.check_for(self.epochs)?;
        Ok(MethodOptions {
            epochs: self.epochs,
            learning_rates: self.lr.clone(),
            search: self.search,
            patience: self.patience,
            schedule: self.schedule,
            warmup_epochs: self.warmup_epochs,
            warmup: self.warmup,
            average: self.average(),
            new_head: head.initialization() != HeadInitialization::Keep,
            probe: head.probe(),
            layers: self.layers(),
            values: self.declared.0.clone(),
        })
    }

    /// Checks what must lie within so many epochs.
    fn check_for(&self, epochs: usize) -> Result<(), Failure> {
        if self.warmup_epochs > epochs as f64 {
            let reason = format!("--warmup-epochs {} is longer than the {epochs} of --epochs", self.warmup_epochs);
            return Err(Failure::Mistake(reason));
        }
        match self.swa_from {
            Some(from) if from > epochs => {
                Err(Failure::Mistake(format!("--swa-from {from} comes after the {epochs} of --epochs")))
            }
            _ => Ok(()),
        }
    }

    fn average(&self) -> Option<Averaging> {
        let exponential = self.ema.map(|decay| Averaging::Exponential { decay });
        exponential.or(self.swa_from.map(|from| Averaging::Epochs { from }))
    }

    fn layers(&self) -> LayerSelection {
        match (&self.first, &self.last) {
            (None, None) if self.layers.is_empty() => LayerSelection::All,
            (None, None) => LayerSelection::Set(self.layers.clone()),
            (first, last) => LayerSelection::Range { first: first.clone(), last: last.clone() },
        }
    }
}

/// The methods by name, each with its summary.
fn method_names() -> Named<Method> {
    let shown = |method: &Method| PossibleValue::new(method.name).help(method.summary);
    Named::showing(methods::ALL.iter().map(shown), |text| {
        text.parse().map_err(|error: UnknownMethod| error.to_string())
    })
}

fn schedule_help() -> String {
    let own = methods::ALL.iter().filter(|method| method.schedule != Method::PLAIN.schedule);
    let own: Vec<String> = own.map(|method| format!("; {} for {method}", method.schedule.name())).collect();
    format!("How the learning rate changes [default: {}{}]", Method::PLAIN.schedule.name(), own.concat())
}

fn first_help() -> String {
    let takers = methods::ALL.iter().filter(|method| method.layers != Layers::Whole);
    format!(
        "First layer to tune: a stage, block, or tensor, as `retune layers` and `retune layers --tensors` name them [{}]",
        methods::names(takers, ", ")
    )
}

/// What `--methods` stands for.
#[derive(Clone, Debug)]
pub enum MethodChoice {
    /// Every method that needs no layers named.
    All,
    /// A method that takes layers, once for each stage.
    EachStage(Method),
    /// A method, with its layers.
    One(MethodSpec),
}

impl MethodChoice {
    /// The methods that it stands for.
    pub fn methods(&self) -> Vec<Method> {
        match self {
            Self::All => methods::ALL.iter().copied().filter(|method| method.layers != Layers::Needed).collect(),
            Self::EachStage(method) => vec![*method],
            Self::One(spec) => vec![spec.method],
        }
    }
}

impl FromStr for MethodChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let named = |name: &str| name.parse().ok().filter(|method: &Method| method.layers != Layers::Whole);
        if let Some(method) = text.strip_suffix("-each").and_then(named) {
            return Ok(Self::EachStage(method));
        }
        let spec: MethodSpec = text.parse()?;
        if spec.method.layers == Layers::Needed && spec.layers == LayerSelection::All {
            return Err(format!("name the layers, as {text}:FIRST..LAST, or take {text}-each"));
        }
        Ok(Self::One(spec))
    }
}

/// Help of the option that takes such choices.
pub fn choices_help() -> String {
    let needing: Vec<&Method> = methods::ALL.iter().filter(|method| method.layers == Layers::Needed).collect();
    format!(
        "Methods, separated by commas, some with layers (NAME:layer1..layer2, NAME:layer3.0.conv1.weight..fc.bias, NAME:stem+head); \
         `all` is every method except {}, and `NAME-each` runs a method on each stage alone",
        methods::names(needing, " and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        method: MethodArguments,
        #[command(flatten)]
        head: HeadArguments,
    }

    fn options(line: &str) -> Result<MethodOptions, String> {
        let line = std::iter::once("fit").chain(line.split_whitespace());
        let parsed = Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
        match parsed.method.source(&parsed.head, &GivenOptions::default()) {
            Ok(PlanSource::Method(_, options)) => Ok(options),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    /// The plan of a file beside options, as where a file of options brings it.
    fn changed(plan: &Plan, options: &str) -> Result<Plan, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, plan.to_toml().unwrap()).unwrap();
        let words: Vec<&str> = ["fit"].into_iter().chain(options.split_whitespace()).collect();
        let given = GivenOptions::typed_in(&Line::command().get_matches_from(&words));
        let mut parsed = Line::parse_from(&words);
        parsed.method.plan = Some(path);
        match parsed.method.source(&parsed.head, &given) {
            Ok(PlanSource::Written(plan)) => Ok(plan),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    #[test]
    fn options_beside_a_files_plan_change_its_last_descent_and_nothing_else() {
        let text = "method = \"surgical\"\n[[phase]]\nname = \"tune\"\nsolver = \"gradient\"\nrate_factors = { head = 1.0 }\nepochs = 2\n\
                    learning_rates = [1e-3, 1e-2]\nwarmup_epochs = 0.5\n";
        let plan = Plan::from_toml(text).unwrap();
        assert_eq!(changed(&plan, "").unwrap(), plan);
        let mut expected = plan.clone();
        let Solver::Gradient(settings) = &mut expected.phases[0].solver else { panic!("{expected:?}") };
        // The warm-up keeps its share of the epochs.
        (settings.learning_rates, settings.epochs, settings.warmup_epochs) = (vec![0.5], 4, 1.0);
        assert_eq!(changed(&plan, "--lr 0.5 --epochs 4").unwrap(), expected);
        assert!(changed(&plan, "--first stem").unwrap_err().contains("--first is part of a method"));
        let probe = Plan { method: "lp".to_owned(), phases: Vec::new() }.from_probe();
        assert!(changed(&probe, "--lr 0.5").unwrap_err().contains("no gradient descent that --lr could change"));
    }

    #[test]
    fn nothing_said_is_the_librarys_default() {
        assert_eq!(options("").unwrap(), MethodOptions::default());
    }

    #[test]
    fn every_option_arrives() {
        let found = options(
            "--method discriminative --epochs 4 --lr 0.1,0.2 --search halving --patience 2 --schedule linear --warmup-epochs 0.5 \
             --warmup exponential --ema 0.9 --first layer1 --last layer3 --head-init probe",
        );
        let expected = MethodOptions {
            epochs: 4,
            learning_rates: vec![0.1, 0.2],
            search: Some(Search::Halving),
            patience: Some(2),
            schedule: Some(Schedule::Linear),
            warmup_epochs: 0.5,
            warmup: Warmup::Exponential,
            probe: ProbePhase::Always,
            average: Some(Averaging::Exponential { decay: 0.9 }),
            layers: LayerSelection::Range { first: Some("layer1".into()), last: Some("layer3".into()) },
            ..MethodOptions::default()
        };
        assert_eq!(found.unwrap(), expected);
        assert_eq!(options("--swa-from 3").unwrap().average, Some(Averaging::Epochs { from: 3 }));
    }

    #[test]
    fn the_head_decides_on_a_probe() {
        let found = |line: &str| options(line).map(|options| (options.new_head, options.probe)).unwrap();
        assert_eq!(found(""), (true, ProbePhase::ByMethod));
        assert_eq!(found("--head-init probe"), (true, ProbePhase::Always));
        assert_eq!(found("--head-init normal"), (true, ProbePhase::Never));
        assert_eq!(found("--head-init keep"), (false, ProbePhase::Never));
    }

    #[test]
    fn layers_go_with_methods_that_take_them() {
        assert!(options("--method surgical").unwrap_err().contains("needs layers"));
        assert!(options("--method ft --first stem").unwrap_err().contains("takes no layers"));
        let set = options("--method surgical --layers stem,head").unwrap().layers;
        assert_eq!(set, LayerSelection::Set(vec!["stem".into(), "head".into()]));
        assert!(options("--swa-from 11").unwrap_err().contains("comes after"));
    }
}
