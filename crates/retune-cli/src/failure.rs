//! Why a command ended early, and its exit status.
//!
//! Errors of the library speak of values and files. The hints about options that could help are added here.

use crate::output::tell;
use std::io;
use std::path::Path;

use retune::compare::runner::CompareError;
use retune::device::DeviceError;
use retune::export::ExportError;
use retune::features::FeaturesError;
use retune::files::FileError;
use retune::inference::InferenceError;
use retune::merge::MixError;
use retune::models::ModelError;
use retune::plan::PlanError;
use retune::report::findings::Command;
use retune::report::plot::PlotError;
use retune::report::run_page::ReportError;
use retune::run::FitError;
use retune::run::verify::VerifyError;
use retune::similarity::ModelCkaError;
use retune::sources::DataError;
use retune::train::{NotFinite, TrainError};
use retune::wording::{printable, refusal};

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// Something that the user can correct: one sentence that says what is wrong and what to do.
    Mistake(String),
    /// A mistake, too: what the user named is not there.
    Missing(String),
    /// A mistake, too: training went to infinity.
    Diverged(String),
    /// The user asked to stop. The text says how to continue, if that is possible.
    Interrupted(Option<String>),
    /// A check failed, and its details have been printed.
    Broken(String),
    /// The reader of standard output has closed it, as `head` does.
    OutputClosed,
}

impl Failure {
    /// Exit status of a panic and of a failed check.
    pub const DEFECT: u8 = 1;
    /// Exit status of a mistake of the user.
    pub const MISTAKE: u8 = 2;
    /// 128 + SIGINT, as shells count.
    pub const INTERRUPTED: u8 = 130;

    /// Prints the failure on standard error and returns the exit status.
    pub fn report(&self) -> u8 {
        match self {
            Self::Mistake(reason) | Self::Missing(reason) | Self::Diverged(reason) => {
                tell(&format!("error: {}", one_line(reason)));
                Self::MISTAKE
            }
            Self::Interrupted(advice) => {
                let advice = advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
                tell(&format!("interrupted{advice}"));
                Self::INTERRUPTED
            }
            Self::Broken(reason) => {
                tell(&format!("error: {}", one_line(reason)));
                Self::DEFECT
            }
            Self::OutputClosed => 0,
        }
    }

    /// What is wrong, in one line.
    ///
    /// # Errors
    /// A failure in which nothing is wrong, such as an interruption.
    pub fn into_reason(self) -> Result<String, Self> {
        match self {
            Self::Mistake(reason) | Self::Missing(reason) | Self::Diverged(reason) | Self::Broken(reason) => {
                Ok(one_line(&reason))
            }
            Self::Interrupted(_) | Self::OutputClosed => Err(self),
        }
    }

    /// A mistake in the content of a file that the user named.
    pub fn in_file(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Mistake(format!("{}: {reason}", path.display()))
    }

    /// A mistake with a hint about options.
    fn hinted(error: impl std::fmt::Display, hint: impl std::fmt::Display) -> Self {
        Self::Mistake(format!("{error}{hint}"))
    }

    /// The threads that the user asked for cannot be started.
    pub(crate) fn of_threads(threads: usize, error: &impl std::fmt::Display) -> Self {
        Self::Mistake(format!("cannot start {threads} threads: {error}"))
    }

    /// Standard output cannot be written.
    pub fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Mistake(format!("cannot write to standard output: {}", refusal(error))),
        }
    }
}

/// A message of several lines as one. Parsers quote the source in the middle of theirs, which is left out.
pub fn one_line(message: &str) -> String {
    let is_quotation = |line: &&str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    let lines = message.lines().filter(|line| !is_quotation(line)).map(str::trim).filter(|line| !line.is_empty());
    printable(&lines.collect::<Vec<_>>().join(": "), false)
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Mistake(reason)
    }
}

impl From<InferenceError> for Failure {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::Interrupted => Self::Interrupted(None),
            InferenceError::Data(ref data) if data.is_of_missing() => Self::Missing(error.to_string()),
            InferenceError::Device(error) => Self::hinted(&error, hint_of_device(&error)),
            other => Self::Mistake(other.to_string()),
        }
    }
}

impl From<FeaturesError> for Failure {
    fn from(error: FeaturesError) -> Self {
        match error {
            FeaturesError::Inference(InferenceError::Interrupted) => {
                Self::Interrupted(Some("run the same command again to continue from here".into()))
            }
            FeaturesError::Inference(error) => error.into(),
            other => Self::Mistake(other.to_string()),
        }
    }
}

impl From<ModelCkaError> for Failure {
    fn from(error: ModelCkaError) -> Self {
        match error {
            ModelCkaError::Inference(error) => error.into(),
            other => Self::Mistake(other.to_string()),
        }
    }
}

impl From<FitError> for Failure {
    fn from(error: FitError) -> Self {
        match error {
            FitError::Data(error @ DataError::Unlabeled { .. }) => {
                Self::hinted(&error, "; if an image may have several labels, add --multi-label")
            }
            error @ FitError::Data(_) if error.is_of_image() => Self::Mistake(format!("{error}{}", hint(&error))),
            FitError::Data(error) => error.into(),
            FitError::Model(error) => error.into(),
            error if error.is_interruption() => Self::Interrupted(None),
            error => {
                let sentence = format!("{error}{}", hint(&error));
                match &error {
                    FitError::Train(TrainError::Diverged { .. }) => Self::Diverged(sentence),
                    FitError::NotARun(run) if !run.exists() => Self::Missing(sentence),
                    FitError::File(error) if error.is_of_missing() => Self::Missing(sentence),
                    _ => Self::Mistake(sentence),
                }
            }
        }
    }
}

/// What a user of the command line can do about an error of a fit.
fn hint(error: &FitError) -> String {
    let hint = match error {
        FitError::OutputIsARun(run) => {
            return format!("; choose another --out, or resume the run with `{}`", resuming("fit", run));
        }
        FitError::OutputTaken(_) => "; choose another --out",
        FitError::Unfinished(run) => return resume(run),
        FitError::MultiLabel(_) => "; leave that option out, or --multi-label",
        FitError::SingleLabel => " (--multi-label)",
        FitError::NoLabelsToKeep => "; leave out --head-init keep",
        FitError::NoDescent(_) => "; fit its model with another --method (--model)",
        FitError::NoHeadToKeep => "; leave out --head-init keep",
        FitError::NothingToValidate(_) => " (--val-fraction)",
        FitError::NewHeadFrozen => " (--head-init keep)",
        FitError::DuplicateName(_) => " (--eval NAME=PATH)",
        FitError::Train(TrainError::Diverged { first, .. }) => match (first.what, first.epoch, first.step) {
            (NotFinite::Loss, 1, 1) => " (--mean, --std)",
            _ => " (--lr, for which `retune lr-find` has suggestions, --clip-norm 1, --warmup-epochs 1)",
        },
        error if error.is_of_image() => "; repair it, or leave out such images with --skip-bad",
        FitError::Model(error) => return hint_of_model(error).to_owned(),
        FitError::Data(error) => return hint_of_data(error).to_owned(),
        FitError::Train(TrainError::BatchNormInParts { .. }) => {
            " (--device cpu, --accumulate N with a smaller --batch-size, or --bn frozen)"
        }
        FitError::Train(TrainError::NoBfloat16) => "; leave out --device and --kernels, or compute in float32",
        FitError::Train(TrainError::Device(error) | TrainError::Inference(InferenceError::Device(error))) => {
            hint_of_device(error)
        }
        FitError::Train(TrainError::HalfActivationsOfSeveral) => " (leave out --half-activations)",
        _ => "",
    };
    hint.to_owned()
}

fn hint_of_model(error: &ModelError) -> &'static str {
    match error {
        ModelError::ArchitectureNeeded { .. } => "; name it with --arch (`retune models` lists the available ones)",
        ModelError::ArchitectureNotNeeded(_) => "; leave out --arch",
        ModelError::NoBfloat16 => "; leave out --device and --kernels, or compute in float32",
        _ => "",
    }
}

fn hint_of_device(error: &DeviceError) -> &'static str {
    match error {
        DeviceError::Failed(_) => "; if its memory is full, a smaller --batch-size needs less",
        _ => "",
    }
}

fn hint_of_data(error: &DataError) -> &'static str {
    match error {
        DataError::ClassCount { .. } => {
            "; name the model's classes with --classes FILE, or first fit the model to this data with a new head (without \
             --head-init keep)"
        }
        DataError::ClassNumber { .. } | DataError::NoSynset { .. } => "; name the model's classes with --classes FILE",
        _ => "",
    }
}

/// How to finish an unfinished run.
fn resume(run: &Path) -> String {
    format!("; resume it with `{}`", resuming("fit", run))
}

/// The command that goes on with a run (`fit`) or comparison (`compare`).
pub fn resuming(command: &str, directory: &Path) -> Command {
    Command::new(command).with("resume", directory.display().to_string())
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Self {
        match error {
            error if error.is_interruption() => Self::Interrupted(None),
            CompareError::Fit(error) => (*error).into(),
            CompareError::Run { ref source, .. } => {
                let sentence = format!("{error}{}", hint(source));
                match **source {
                    FitError::Train(TrainError::Diverged { .. }) => Self::Diverged(sentence),
                    _ => Self::Mistake(sentence),
                }
            }
            CompareError::NotFinished(ref path) => {
                let resume = format!("; resume it with `{}`", resuming("compare", path));
                Self::hinted(&error, resume)
            }
            CompareError::OtherOptions { .. } | CompareError::OutputTaken(_) => {
                Self::hinted(&error, "; choose another --out")
            }
            other => Self::Mistake(other.to_string()),
        }
    }
}

impl From<MixError> for Failure {
    fn from(error: MixError) -> Self {
        match error {
            error if error.is_interruption() => Self::Interrupted(None),
            MixError::Fit(error) => error.into(),
            MixError::Model(error) => error.into(),
            MixError::Train(error) => FitError::from(error).into(),
            MixError::Unfinished(ref run) => Self::hinted(&error, resume(run)),
            MixError::NoCommonValidation { .. } => Self::hinted(&error, " (without --greedy)"),
            other => Self::Mistake(other.to_string()),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            error if error.is_of_missing() => Self::Missing(error.to_string()),
            error => Self::hinted(&error, hint_of_data(&error)),
        }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::NotFound(_) => Self::Missing(error.to_string()),
            error => Self::hinted(&error, hint_of_model(&error)),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::File(error) => error.into(),
            ExportError::Model(ModelError::NoClassifier) => Self::hinted(&error, " (--output features)"),
            ExportError::Model(error) => error.into(),
            ExportError::Opset(_) | ExportError::OpsetCannotResize(_) => Self::hinted(&error, " (--opset)"),
            ExportError::Interpolation(_) | ExportError::Opacity(_) => {
                Self::hinted(&error, " (leave out --with-preprocessing)")
            }
            other => Self::Mistake(other.to_string()),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Run(error) => (*error).into(),
            ReportError::Unfinished(ref run) => Self::hinted(&error, resume(run)),
            ReportError::File(error) => error.into(),
            other => Self::Mistake(other.to_string()),
        }
    }
}

impl From<PlotError> for Failure {
    fn from(error: PlotError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        if error.is_of_missing() { Self::Missing(error.to_string()) } else { Self::Mistake(error.to_string()) }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Fit(error) => error.into(),
            VerifyError::Interrupted => Self::Interrupted(None),
            VerifyError::Unfinished(ref run) => Self::hinted(&error, resume(run)),
            other => Self::Mistake(other.to_string()),
        }
    }
}

#[cfg(feature = "hub")]
impl From<retune::hub::HubError> for Failure {
    fn from(error: retune::hub::HubError) -> Self {
        match error {
            retune::hub::HubError::Interrupted => Self::Interrupted(Some("run the command again to continue".into())),
            other => Self::Mistake(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(error: impl Into<Failure>) -> String {
        match error.into() {
            Failure::Mistake(sentence) => sentence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_of_the_library_get_hints_about_options() {
        let run = || std::path::PathBuf::from("runs/1");
        assert_eq!(
            sentence(FitError::OutputIsARun(run())),
            "runs/1 already holds a run; choose another --out, or resume the run with `retune fit --resume runs/1`"
        );
        let taken = || FitError::OutputTaken(run());
        assert_eq!(sentence(taken()), "runs/1 already exists; choose another --out");
        let nested = CompareError::Run { run: "ft, seed 0".into(), source: Box::new(taken()) };
        assert_eq!(sentence(nested), "ft, seed 0: runs/1 already exists; choose another --out");
        let expected = "runs/1 is not finished; resume it with `retune fit --resume runs/1`";
        assert_eq!(sentence(MixError::Unfinished(run())), expected);
        assert_eq!(sentence(VerifyError::Unfinished(run())), expected);
        assert_eq!(sentence(ReportError::Unfinished(run())), expected);
        assert_eq!(
            sentence(CompareError::NotFinished(run())),
            "runs/1 is not finished; resume it with `retune compare --resume runs/1`"
        );
        let odd = sentence(MixError::Unfinished("my run".into()));
        assert!(odd.ends_with("`retune fit --resume 'my run'`"), "{odd}");
        assert_eq!(resuming("compare", Path::new("-my")).to_string(), "retune compare --resume=-my");
        // The library itself speaks of no options.
        let failed = || DeviceError::Failed("out of memory".to_owned());
        let expected = "the device failed: out of memory; if its memory is full, a smaller --batch-size needs less";
        assert_eq!(sentence(FitError::Train(failed().into())), expected);
        assert_eq!(sentence(InferenceError::Device(failed())), expected);
        let rounding = [ModelError::NoBfloat16.into(), TrainError::NoBfloat16.into()];
        for error in [FitError::OutputIsARun(run()), taken(), FitError::NewHeadFrozen].into_iter().chain(rounding) {
            assert!(!error.to_string().contains("--"), "{error}");
        }
    }

    #[test]
    fn a_parsers_quotation_is_left_out() {
        let message =
            "not a plan: TOML parse error at line 3, column 10\n  |\n3 | epochs = x\n  |          ^\nno such value\n";
        assert_eq!(one_line(message), "not a plan: TOML parse error at line 3, column 10: no such value");
    }
}
