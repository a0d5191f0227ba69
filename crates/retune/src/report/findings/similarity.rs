//! What CKA says changed, and where.

use super::{Command, Findings, NextStep};
use crate::similarity::CkaMatrix;
use crate::wording;

/// Below this, representations are called different.
const ALIKE: f64 = 0.9;
/// From here on, values differ in their third or fourth decimal.
const NEARLY_EQUAL: f64 = 0.985;
/// From here on, representations are called equal: rounded to two decimals, they are.
const EQUAL: f64 = 0.995;

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
        // Near 1, two decimals are the same for everything.
        let decimals = if self.value >= NEARLY_EQUAL { 4 } else { 2 };
        let interval = self.interval.map(|ends| format!(" (95 % interval {})", wording::interval(ends, decimals)));
        format!("CKA {:.decimals$}{}", self.value, interval.unwrap_or_default())
    }
}

fn least(cells: &[Cell]) -> Option<&Cell> {
    cells.iter().min_by(|one, other| one.value.total_cmp(&other.value))
}

fn most(cells: &[Cell]) -> Option<&Cell> {
    cells.iter().max_by(|one, other| one.value.total_cmp(&other.value))
}

/// What differs between two models: the same layer of both, from input to output. `next` is the step that follows.
pub fn between_models(matrix: &CkaMatrix, next: NextStep) -> Findings {
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
    Findings { sentences, next: vec![next] }
}

/// Where the layers of one model differ from the ones after them. `command` gives another command with what was typed for
/// this one; `base` is the model that this one was fine-tuned from, where that is known.
pub fn between_layers(matrix: &CkaMatrix, command: impl Fn(&str) -> Command, base: Option<&str>) -> Findings {
    let pair =
        |row: usize| Cell::of(matrix, row, row + 1, format!("{} and {}", matrix.names[row], matrix.names[row + 1]));
    let cells: Vec<Cell> = (0..matrix.names.len().saturating_sub(1)).filter_map(pair).collect();
    let most_changed = least(&cells);
    let sentences = most_changed.map(|cell| format!("Features change most between {}: {}.", cell.name, cell.shown()));
    let against = command("cka").without(&["layers"]).with("against", base.unwrap_or("OTHER_MODEL"));
    let purpose = match base {
        Some(_) => "see what fine-tuning changed, against the model before it",
        None => "see what differs from another model",
    };
    Findings { sentences: sentences.into_iter().collect(), next: vec![NextStep::new(purpose, &against)] }
}

/// Which resampling filters change the features, at one layer or several; `own` is the model's.
pub fn between_filters(matrices: &[CkaMatrix], own: &str, command: impl Fn(&str) -> Command) -> Findings {
    let of_matrix = |matrix: &CkaMatrix| {
        let cell = |column: usize| Cell::of(matrix, 0, column, matrix.names[column].clone());
        (1..matrix.names.len()).filter_map(cell).collect::<Vec<_>>()
    };
    let layers: Vec<(&CkaMatrix, Vec<Cell>)> = matrices.iter().map(|matrix| (matrix, of_matrix(matrix))).collect();
    let value = |cells: &[Cell]| least(cells).map_or(f64::INFINITY, |cell| cell.value);
    let changed_most = layers.iter().min_by(|one, other| value(&one.1).total_cmp(&value(&other.1)));
    let sentences = changed_most.map_or_else(Vec::new, |(matrix, cells)| of_filters(matrix, cells, own));
    let next = NextStep::new("measure what this does to accuracy", &command("audit"));
    Findings { sentences, next: vec![next] }
}

/// What filters do to the features at a layer.
fn of_filters(matrix: &CkaMatrix, cells: &[Cell], own: &str) -> Vec<String> {
    let Some(far) = least(cells) else { return Vec::new() };
    let place = place(matrix.layer.as_deref());
    let first = match far.value {
        EQUAL.. => format!(
            "No resampling filter changes the features: CKA with {own}, the model's own, is {:.4} or more.",
            // Rounded up, it would be more than the least.
            (10_000.0 * far.value).floor() / 10_000.0
        ),
        _ => format!(
            "At {place}, images resized with {} differ most from {own}, the model's own filter: {}.",
            far.name,
            far.shown()
        ),
    };
    let near = most(cells).filter(|near| near.value > far.value);
    let closest = near.map(|near| format!("Closest to {own} at {place}: {}, {}.", near.name, near.shown()));
    std::iter::once(first).chain(closest).collect()
}

/// A layer as a sentence names it.
fn place(layer: Option<&str>) -> String {
    match layer {
        None => "the output".to_owned(),
        Some("pooled") => "the pooled features".to_owned(),
        Some(end @ ("input" | "logits")) => format!("the {end}"),
        Some(layer) => layer.to_owned(),
    }
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
        let findings = between_models(&found, NextStep::new("look on", &typed("advise")));
        assert_eq!(findings.sentences[0], "The models differ most at head: CKA 0.41.");
        assert!(findings.sentences[1].starts_with("From layer1 on, CKA stays below 0.9"));
        assert_eq!(findings.next[0].command, "retune advise --model run --data images --size 64");
    }

    #[test]
    fn layers_and_filters() {
        let found = matrix(&["a", "b", "c"], &[&[1.0, 0.9, 0.1], &[0.9, 1.0, 0.6], &[0.1, 0.6, 1.0]]);
        // Layers of one model and of two are not compared at once.
        let layers = between_layers(&found, |to| typed(to).switch("layers"), None);
        assert!(!layers.next[0].command.contains("--layers"));
        assert_eq!(layers.sentences, ["Features change most between b and c: CKA 0.60."]);
        assert!(layers.next[0].command.ends_with("--against OTHER_MODEL"));
        let of_run = between_layers(&found, typed, Some("base"));
        assert!(of_run.next[0].command.ends_with("--against base") && of_run.next[0].purpose.contains("fine-tuning"));
        let found = CkaMatrix { layer: Some("pooled".into()), ..found };
        let filters = between_filters(std::slice::from_ref(&found), "a", typed);
        assert_eq!(
            filters.sentences,
            [
                "At the pooled features, images resized with c differ most from a, the model's own filter: CKA 0.10.",
                "Closest to a at the pooled features: b, CKA 0.90."
            ]
        );
    }

    #[test]
    fn values_near_one_have_the_decimals_that_differ() {
        let near = |layer: &str, [one, other]: [f64; 2]| CkaMatrix {
            layer: Some(layer.into()),
            intervals: vec![vec![None, Some([one - 0.001, one + 0.001]), None]],
            ..matrix(&["a", "b", "c"], &[&[1.0, one, other], &[one, 1.0, 1.0], &[other, 1.0, 1.0]])
        };
        // The input is the closest of all, and says nothing.
        let found = between_filters(&[near("input", [0.9999, 0.9998]), near("stem", [0.9912, 0.9961])], "a", typed);
        assert_eq!(
            found.sentences,
            [
                "At stem, images resized with b differ most from a, the model's own filter: CKA 0.9912 (95 % interval \
                 0.9902–0.9922).",
                "Closest to a at stem: c, CKA 0.9961."
            ]
        );
        let same = between_filters(&[near("pooled", [0.99879, 0.9999])], "a", typed);
        assert_eq!(
            same.sentences[0],
            "No resampling filter changes the features: CKA with a, the model's own, is 0.9987 or more."
        );
    }
}
