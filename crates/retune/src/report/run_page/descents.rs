//! Phases of gradient descent, for the sections on training.

use super::RunRecord;
use crate::train::PhaseOutcome;
use crate::train::metrics::MetricsRow;

/// A phase with the rows of each learning rate, the chosen one first.
pub(super) struct Descent<'a> {
    pub name: &'a str,
    pub outcome: &'a PhaseOutcome,
    pub chosen: f64,
    pub rates: Vec<(f64, Vec<&'a MetricsRow>)>,
}

impl<'a> Descent<'a> {
    /// Those of a run, in the order of its phases.
    pub fn all(record: &'a RunRecord) -> Vec<Self> {
        record.summary.phases.iter().filter_map(|phase| Self::of_phase(phase, &record.metrics)).collect()
    }

    fn of_phase(outcome: &'a PhaseOutcome, metrics: &'a [MetricsRow]) -> Option<Self> {
        let chosen = outcome.learning_rate.or_else(|| outcome.soup.as_ref()?.first().copied())?;
        let mut rates: Vec<(f64, Vec<&MetricsRow>)> = Vec::new();
        let in_full = |row: &&MetricsRow| row.phase == outcome.phase && row.short_epochs.is_none();
        for row in metrics.iter().filter(in_full) {
            let Some(rate) = row.learning_rate else { continue };
            match rates.iter_mut().find(|(known, _)| *known == rate) {
                Some((_, rows)) => rows.push(row),
                None => rates.push((rate, vec![row])),
            }
        }
        rates.sort_by_key(|(rate, _)| *rate != chosen);
        (!rates.is_empty()).then_some(Self { name: &outcome.phase, outcome, chosen, rates })
    }

    /// The rows of the chosen learning rate.
    pub fn chosen_rows(&self) -> impl Iterator<Item = &'a MetricsRow> + '_ {
        self.rates.iter().filter(|(rate, _)| *rate == self.chosen).flat_map(|(_, rows)| rows.iter().copied())
    }
}

/// A view's name, with the phase's where there are several.
pub(super) fn named(view: &str, descent: &Descent, descents: &[Descent]) -> String {
    if descents.len() == 1 { view.to_owned() } else { format!("{}: {view}", descent.name) }
}
