//! What was found, in sentences, and what to do next.

pub mod audit;
pub mod map;
pub mod rates;
pub mod similarity;

use serde::Serialize;

pub use super::verdict::{Confidence, evaluated};
pub use crate::run::command::{Command, quoted, typed};
use crate::wording::printable;

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
    /// A command with what it is for.
    pub fn new(purpose: impl Into<String>, command: &Command) -> Self {
        Self { purpose: purpose.into(), command: command.to_string() }
    }
}

impl Findings {
    /// The findings as text: a sentence a line, with control characters of names shown, then each next step with its command
    /// below it.
    pub fn text(&self) -> String {
        let mut text: String = self.sentences.iter().map(|sentence| printable(sentence, false) + "\n").collect();
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

/// How far one share is above another in percentage points, as a reader finds it by subtracting the two as they are
/// written.
pub fn points_between(low: f64, high: f64) -> String {
    points(shown_difference(low, high))
}

/// The same as a share.
pub fn shown_difference(low: f64, high: f64) -> f64 {
    let shown = |share: f64| format!("{:.1}", 100.0 * share).parse::<f64>().unwrap_or(f64::NAN);
    (shown(high) - shown(low)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_agree_with_the_numbers_beside_them() {
        // 20.432 points, but 98.8 and 78.3 are shown.
        assert_eq!(points_between(0.783_33, 0.987_65), "20.5");
        assert_eq!(points_between(0.5, 0.25), "−25.0");
    }

    #[test]
    fn sentences_come_first_and_commands_can_be_pasted() {
        let step = NextStep::new("look at it", &Command::new("eval").with("data", "my images"));
        let findings = Findings { sentences: vec!["It works on a\n\u{1b}[1mb.".into()], next: vec![step] };
        assert_eq!(
            findings.text(),
            "It works on a\\n\\u{1b}[1mb.\nNext: look at it:\n  retune eval --data 'my images'\n"
        );
    }
}
