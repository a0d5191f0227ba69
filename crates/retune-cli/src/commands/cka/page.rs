//! The page of a comparison of features.

use indicatif::HumanCount;
use retune::report::findings::Findings;
use retune::report::page::{Cell, Column, Page, Section, Table};
use retune::report::similarity::{Missing, Similarities, section_of};
use retune::similarity::{CkaMatrix, UndefinedCell};
use retune::wording::{self, sentence};

use super::{Document, Pair, asked_for};
use crate::output::Subject;

impl Document {
    /// The page; `against` is the other model as it was typed.
    pub fn page(&self, subject: &Subject, against: Option<&str>, findings: &Findings) -> Page {
        let mut page = Page::new(match against {
            Some(against) => format!("Similarity of features: {}, against {against}", subject.names()),
            None => format!("Similarity of features: {}", subject.names()),
        });
        (page.verdict, page.next) = (findings.sentences.clone(), findings.next.clone());
        page.verdict.extend(self.warnings().into_iter().map(sentence));
        page.facts = subject.facts();
        page.facts.extend(against.map(|against| ("Against".to_owned(), against.to_owned())));
        // Of several layers, the views have the names.
        let layer = if let [only] = self.matrices() { only.layer.clone() } else { None };
        page.facts.extend(layer.map(|layer| ("Layer".to_owned(), layer)));
        page.facts.extend(self.matrices().first().map(facts).unwrap_or_default());
        let axes = against.map(|against| [&subject.model, against].map(|model| format!("layer of {}", last(model))));
        let maps = section_of(self.matrices().iter().map(|matrix| similarities(matrix, axes.clone())));
        page.sections.push(maps.opened_at(self.most_changed()));
        if let Self::One(matrix) = self {
            page.sections.extend(intervals(matrix));
        }
        page
    }

    /// The layer at which a value is least.
    fn most_changed(&self) -> Option<&String> {
        let least =
            |matrix: &&CkaMatrix| matrix.matrix.iter().flatten().flatten().copied().fold(f64::INFINITY, f64::min);
        self.matrices().iter().min_by(|one, other| least(one).total_cmp(&least(other)))?.layer.as_ref()
    }
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn similarities(matrix: &CkaMatrix, axes: Option<[String; 2]>) -> Similarities {
    let missing = |cell: &UndefinedCell| Missing {
        row: cell.row.clone(),
        column: cell.column.clone(),
        reason: cell.reason.clone(),
    };
    Similarities {
        names: matrix.names.clone(),
        columns: matrix.columns.clone(),
        axes,
        matrix: matrix.matrix.clone(),
        layer: matrix.layer.clone(),
        n: matrix.n,
        intervals: matrix.intervals.clone(),
        undefined: matrix.undefined.iter().map(missing).collect(),
    }
}

/// What was compared, and how.
fn facts(matrix: &CkaMatrix) -> Vec<(String, String)> {
    let preprocessing =
        matrix.preprocessing.as_ref().map(|shared| ("Preprocessing of both models".to_owned(), shared.to_string()));
    let measured = [
        ("Images".to_owned(), HumanCount(matrix.n as u64).to_string()),
        ("Estimator".to_owned(), matrix.estimator.to_string()),
        ("Kernel".to_owned(), matrix.kernel.to_string()),
    ];
    measured.into_iter().chain(preprocessing).collect()
}

/// The values that are asked for most, with their intervals.
fn intervals(matrix: &CkaMatrix) -> Option<Section> {
    let pairs = asked_for(matrix);
    let row = |(name, value, interval): &Pair| {
        let number = |value: f64| Cell::number(format!("{value:.4}"), value);
        let interval = interval.map(|ends| Cell::number(wording::interval(ends, 4), ends[0]));
        vec![
            Cell::text(name),
            value.map_or_else(|| Cell::text("–"), number),
            interval.unwrap_or_else(|| Cell::text("–")),
        ]
    };
    let (heading, title) = match matrix.columns.is_some() {
        true => ("Layer of both", "Same layers"),
        false => ("Between", "The model’s own filter and others"),
    };
    let column = |(heading, number): (&str, bool)| Column { heading: heading.to_owned(), number };
    let table = Table {
        columns: [(heading, false), ("CKA", true), ("95 % interval", true)].map(column).into(),
        rows: pairs.iter().map(row).collect(),
        caption: String::new(),
    };
    (!pairs.is_empty()).then(|| Section::new(title, "The values of the map with their intervals.").with("", table))
}
