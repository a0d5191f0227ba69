//! What was found, in sentences, and what to do next.

pub mod audit;
pub mod map;
pub mod similarity;

use std::path::Path;

use serde::Serialize;

pub use super::verdict::evaluated;

/// What was found, the most important first, and what to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// A sentence each.
    pub sentences: Vec<String>,
    /// What to run next, the most useful first.
    pub next: Vec<NextStep>,
}

/// A command to run next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextStep {
    /// What it is for, as a clause that starts with a verb.
    pub purpose: String,
    /// The command, as a shell reads it.
    pub command: String,
}

impl NextStep {
    /// A command of this program from its arguments, which are quoted where a shell needs it.
    pub fn new<A: AsRef<str>>(purpose: impl Into<String>, arguments: impl IntoIterator<Item = A>) -> Self {
        let words = arguments.into_iter().map(|argument| quoted(argument.as_ref()));
        let command = std::iter::once("retune".to_owned()).chain(words).collect::<Vec<_>>().join(" ");
        Self { purpose: purpose.into(), command }
    }
}

impl Findings {
    /// The findings as text: a sentence a line, then each next step with its command below it.
    pub fn text(&self) -> String {
        let mut text: String = self.sentences.iter().map(|sentence| format!("{sentence}\n")).collect();
        for NextStep { purpose, command } in &self.next {
            text.push_str(&format!("Next: {purpose}:\n  {command}\n"));
        }
        text
    }
}

/// A difference of shares in percentage points.
pub fn points(share: f64) -> String {
    // A minus sign as typographers have it.
    format!("{:.1}", 100.0 * share).replace('-', "−")
}

/// Words with commas, and `and` before the last.
pub fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [one, other] => format!("{one} and {other}"),
        [others @ .., last] => format!("{}, and {last}", others.join(", ")),
    }
}

/// An argument as a POSIX shell reads it back.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_come_first_and_commands_can_be_pasted() {
        let step = NextStep::new("look at it", ["eval", "--data", "my images"]);
        let findings = Findings { sentences: vec!["It works.".into()], next: vec![step] };
        assert_eq!(findings.text(), "It works.\nNext: look at it:\n  retune eval --data 'my images'\n");
    }

    #[test]
    fn paths_below_the_current_folder_are_short() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(typed(&here.join("runs/1")), "runs/1");
        assert_eq!(typed(Path::new("/elsewhere/runs")), "/elsewhere/runs");
    }
}
