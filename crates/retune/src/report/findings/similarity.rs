//! What CKA says changed, and where.

use super::{Command, Findings, NextStep};
use crate::similarity::CkaMatrix;
use crate::wording;

/// Below this, representations are called different.
const ALIKE: f64 = 0.9;

/// A value with its interval and what it is between.
struct Cell {
    name: String,
    value: f64,
    interval: Option<[f64; 2]>,
}

impl Cell {
    fn of(matrix: &CkaMatrix, row: usize, column: usize, name: String) -> Option<Self> {
        let value = (*matrix.matrix.get(row)?.get(column)?)?;
        let interval = matrix.intervals.get(row).and_then(|row| *row.get(column)?);
        Some(Self { name, value, interval })
    }

    fn shown(&self) -> String {
        let interval = self.interval.map(|ends| format!(" (95 % interval {})", wording::interval(ends, 2)));
        format!("CKA {:.2}{}", self.value, interval.unwrap_or_default())
    }
}

fn least(cells: &[Cell]) -> Option<&Cell> {
    cells.iter().min_by(|one, other| one.value.total_cmp(&other.value))
}

fn most(cells: &[Cell]) -> Option<&Cell> {
    cells.iter().max_by(|one, other| one.value.total_cmp(&other.value))
}

/// What differs between two models: the same layer of both, from input to output. `command` gives another command with
/// what was typed for this one, as it does below.
pub fn between_models(matrix: &CkaMatrix, command: impl Fn(&str) -> Command) -> Findings {
    let columns = matrix.column_names();
    let same = |(row, name): (usize, &String)| {
        let column = columns.iter().position(|column| column == name)?;
        Cell::of(matrix, row, column, name.clone())
    };
    let cells: Vec<Cell> = matrix.names.iter().enumerate().filter_map(same).collect();
    let mut sentences = Vec::new();
    if let Some(changed) = least(&cells) {
        sentences.push(format!("The models differ most at {}: {}.", changed.name, changed.shown()));
    }
    // What comes after the last layer that is alike.
    let alike = cells.iter().rposition(|cell| cell.value >= ALIKE);
    sentences.extend(match alike {
        _ if cells.is_empty() => None,
        None => Some(format!("No layer is alike: CKA is below {ALIKE} everywhere.")),
        _ if cells.iter().all(|cell| cell.value >= ALIKE) => {
            Some(format!("All layers are alike in both: CKA is {ALIKE} or more."))
        }
        Some(last) if last + 1 == cells.len() => {
            Some(format!("The last layer, {}, is alike in both.", cells[last].name))
        }
        Some(last) => Some(format!(
            "From {} on, CKA stays below {ALIKE}: the change is in the later layers.",
            cells[last + 1].name
        )),
    });
    let next = NextStep::new("measure which layers are worth tuning on these images", &command("advise"));
    Findings { sentences, next: vec![next] }
}

/// Where the layers of one model differ from the ones after them.
pub fn between_layers(matrix: &CkaMatrix, command: impl Fn(&str) -> Command) -> Findings {
    let pair =
        |row: usize| Cell::of(matrix, row, row + 1, format!("{} and {}", matrix.names[row], matrix.names[row + 1]));
    let cells: Vec<Cell> = (0..matrix.names.len().saturating_sub(1)).filter_map(pair).collect();
    let mut sentences = Vec::new();
    sentences
        .extend(least(&cells).map(|cell| format!("Features change most between {}: {}.", cell.name, cell.shown())));
    sentences.extend(
        most(&cells)
            .filter(|_| cells.len() > 1)
            .map(|cell| format!("They change least between {}: {}.", cell.name, cell.shown())),
    );
    let against = command("cka").with("against", "OTHER_MODEL");
    let next = NextStep::new("see what fine-tuning changed, against the model before it", &against);
    Findings { sentences, next: vec![next] }
}

/// Which resampling filters change the features, at one layer or several; `own` is the model's.
pub fn between_filters(matrices: &[CkaMatrix], own: &str, command: impl Fn(&str) -> Command) -> Findings {
    let of_matrix = |matrix: &CkaMatrix| {
        let place = matrix.layer.as_deref().unwrap_or("the output").to_owned();
        let cell = |column: usize| Cell::of(matrix, 0, column, format!("{} at {place}", matrix.names[column]));
        (1..matrix.names.len()).filter_map(cell).collect::<Vec<_>>()
    };
    let cells: Vec<Cell> = matrices.iter().flat_map(of_matrix).collect();
    let mut sentences = Vec::new();
    sentences.extend(least(&cells).map(|cell| match cell.value {
        // Rounded to two digits, it is equal.
        0.995.. => format!(
            "No resampling filter changes the features: CKA with {own}, the model's own, is {:.2} or more.",
            cell.value
        ),
        _ => format!(
            "Images resized with {} differ most from {own}, the model's own filter: {}.",
            cell.name,
            cell.shown()
        ),
    }));
    sentences.extend(
        most(&cells)
            .filter(|cell| cells.len() > 1 && cell.value > least(&cells).map_or(1.0, |least| least.value))
            .map(|cell| format!("Closest to {own}: {}, {}.", cell.name, cell.shown())),
    );
    let next = NextStep::new("measure what this does to accuracy", &command("audit"));
    Findings { sentences, next: vec![next] }
}

#[cfg(test)]
mod tests {
    use retune_analysis::cka::{Estimator, Kernel};

    use super::*;

    fn typed(subcommand: &str) -> Command {
        Command::new(subcommand).with("model", "run").with("data", "images").with("size", "64")
    }

    fn matrix(names: &[&str], values: &[&[f64]]) -> CkaMatrix {
        CkaMatrix {
            names: names.iter().map(ToString::to_string).collect(),
            columns: None,
            matrix: values.iter().map(|row| row.iter().copied().map(Some).collect()).collect(),
            layer: None,
            kernel: Kernel::Linear,
            estimator: Estimator::default(),
            n: 100,
            minibatches: 1,
            intervals: Vec::new(),
            undefined: Vec::new(),
            preprocessing: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn what_changed_between_models_and_from_where_on() {
        let names = ["stem", "layer1", "head"];
        let mut found = matrix(&names, &[&[0.99, 0.5, 0.2], &[0.5, 0.8, 0.3], &[0.1, 0.2, 0.41]]);
        found.columns = Some(names.map(str::to_owned).to_vec());
        let findings = between_models(&found, typed);
        assert_eq!(findings.sentences[0], "The models differ most at head: CKA 0.41.");
        assert!(findings.sentences[1].starts_with("From layer1 on, CKA stays below 0.9"));
        assert_eq!(findings.next[0].command, "retune advise --model run --data images --size 64");
    }

    #[test]
    fn layers_and_filters() {
        let found = matrix(&["a", "b", "c"], &[&[1.0, 0.9, 0.1], &[0.9, 1.0, 0.6], &[0.1, 0.6, 1.0]]);
        let layers = between_layers(&found, typed);
        assert_eq!(layers.sentences[0], "Features change most between b and c: CKA 0.60.");
        let found = CkaMatrix { layer: Some("pooled".into()), ..found };
        let filters = between_filters(std::slice::from_ref(&found), "a", typed);
        assert_eq!(
            filters.sentences[0],
            "Images resized with c at pooled differ most from a, the model's own filter: CKA 0.10."
        );
        let same = CkaMatrix { layer: Some("pooled".into()), ..matrix(&["a", "b"], &[&[1.0, 0.999], &[0.999, 1.0]]) };
        assert!(between_filters(&[same], "a", typed).sentences[0].starts_with("No resampling filter changes"));
    }
}
