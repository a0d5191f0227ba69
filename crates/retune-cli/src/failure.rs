//! Why a command ended early, and the exit status that says so.

use crate::output::table::printable;
use crate::output::tell;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use retune::features::FeaturesError;
use retune::files::FileError;
use retune::inference::InferenceError;
use retune::models::ModelError;
use retune::plan::PlanError;
use retune::report::plot::PlotError;
use retune::report::run_page::ReportError;
use retune::run::FitError;
use retune::run::verify::VerifyError;
use retune::similarity::ModelCkaError;
use retune::sources::DataError;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The user can put it right: one sentence that says what is wrong and what to do.
    Mistake(String),
    /// The user asked to stop: what to do to go on, if there is anything.
    Interrupted(Option<String>),
    /// Something is not as it should be, and what it is has been printed.
    Broken(String),
    /// Whoever read standard output has gone, as `head` does.
    OutputClosed,
}

impl Failure {
    /// Exit status of a panic, and of what is broken.
    pub const DEFECT: u8 = 1;
    const MISTAKE: u8 = 2;
    /// 128 + SIGINT, as shells count.
    pub const INTERRUPTED: u8 = 130;

    /// Prints it on standard error and says with which status to exit.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Mistake(reason) => {
                tell(&format!("error: {}", one_line(reason)));
                ExitCode::from(Self::MISTAKE)
            }
            Self::Interrupted(advice) => {
                let advice = advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
                tell(&format!("interrupted{advice}"));
                ExitCode::from(Self::INTERRUPTED)
            }
            Self::Broken(reason) => {
                tell(&format!("error: {}", one_line(reason)));
                ExitCode::from(Self::DEFECT)
            }
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }

    /// A mistake in the content of a file that the user named.
    pub fn in_file(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Mistake(format!("{}: {reason}", path.display()))
    }

    fn of_model(error: &ModelError) -> Self {
        let hint = match error {
            ModelError::ArchitectureNeeded { .. } => "; name it with --arch (`retune models` lists what can be built)",
            _ => "",
        };
        Self::Mistake(format!("{error}{hint}"))
    }

    /// Standard output cannot be written.
    pub fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Mistake(format!("cannot write to standard output: {error}")),
        }
    }
}

/// A message of several lines (parsers quote the source in the middle of theirs) as one.
fn one_line(message: &str) -> String {
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
            other => Self::Mistake(other.to_string()),
        }
    }
}

impl From<FeaturesError> for Failure {
    fn from(error: FeaturesError) -> Self {
        match error {
            FeaturesError::Inference(InferenceError::Interrupted) => {
                Self::Interrupted(Some("run the same command again to go on from here".into()))
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
            FitError::Data(error) => error.into(),
            FitError::Model(error) => error.into(),
            error if error.is_interruption() => Self::Interrupted(None),
            error => Self::Mistake(error.to_string()),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let hint = match error {
            DataError::ClassCount { .. } => {
                "; name the model's classes with --classes FILE, or fit it to this data first with a new head (without \
                 --head-init keep)"
            }
            DataError::ClassNumber { .. } | DataError::NoSynset { .. } => {
                "; name the model's classes with --classes FILE"
            }
            _ => "",
        };
        Self::Mistake(format!("{error}{hint}"))
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::of_model(&error)
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<PlotError> for Failure {
    fn from(error: PlotError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Fit(error) => error.into(),
            VerifyError::Interrupted => Self::Interrupted(None),
            other => Self::Mistake(other.to_string()),
        }
    }
}

#[cfg(feature = "hub")]
impl From<retune::hub::HubError> for Failure {
    fn from(error: retune::hub::HubError) -> Self {
        match error {
            retune::hub::HubError::Interrupted => Self::Interrupted(Some("run the command again to go on".into())),
            other => Self::Mistake(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parsers_quotation_is_left_out() {
        let message =
            "not a plan: TOML parse error at line 3, column 10\n  |\n3 | epochs = x\n  |          ^\nno such value\n";
        assert_eq!(one_line(message), "not a plan: TOML parse error at line 3, column 10: no such value");
    }
}
