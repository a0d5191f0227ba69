//! `retune models`: lists architectures and where their weights are.

use clap::Args;
use retune::models::architectures::{self, Architecture, Family};
use retune::names::closest;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Console;
use crate::output::table::{Align, Table};

/// Options of `retune models`.
#[derive(Args)]
pub struct ModelsArguments {
    /// Show only names that contain this text, or that match this pattern with *
    filter: Option<String>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    family: Family,
    parameters: u64,
    /// Height and width of images, in pixels.
    input_size: [u64; 2],
    /// Names on the Hugging Face hub, the default first.
    repositories: Vec<String>,
}

/// Prints the architectures whose names pass the filter.
pub fn run(arguments: &ModelsArguments, console: &Console) -> Result<(), Failure> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let found = architectures::all().filter(|(name, _)| passes(name, filter));
    let entries: Vec<Entry> = found.map(|(name, architecture)| entry(name, architecture)).collect();
    if entries.is_empty() {
        let advice = match closest(filter, architectures::all().map(|(name, _)| name)) {
            Some(close) => format!("did you mean '{close}'?"),
            None => "`retune models` lists them all".to_owned(),
        };
        let reason = format!("no architecture's name matches '{filter}'; {advice}");
        return Err(Failure::Mistake(reason));
    }
    console.print(&entries, || {
        let first = entries.first().map_or("", |entry| entry.name);
        let hint = format!("\n(+N): more weights of the same architecture; `retune models {first}` lists them\n");
        format!("{}{}", table(&entries), if entries.len() > MAX_IN_FULL { hint.as_str() } else { "" })
    })
}

fn entry(name: &'static str, architecture: &Architecture) -> Entry {
    let cfg = architecture.pretrained_cfg();
    let side = |axis: usize| cfg["input_size"][axis].as_u64().unwrap_or(0);
    Entry {
        name,
        family: architecture.family,
        parameters: architecture.parameters,
        input_size: [side(1), side(2)],
        repositories: architecture.repositories(name),
    }
}

/// Architectures up to which every name on the hub is listed; of more, the default one is.
const MAX_IN_FULL: usize = 3;

fn table(entries: &[Entry]) -> Table {
    let mut table = Table::new([
        ("name", Align::Left),
        ("family", Align::Left),
        ("parameters", Align::Right),
        ("input", Align::Left),
        ("weights on the hub", Align::Left),
    ]);
    for entry in entries {
        let [height, width] = entry.input_size;
        let parameters = format!("{:.1} M", entry.parameters as f64 / 1e6);
        let input = format!("{height} × {width}");
        let (default, others) =
            entry.repositories.split_first().map_or(("–", &[][..]), |(first, rest)| (first, rest));
        let in_full = entries.len() <= MAX_IN_FULL;
        let more = if in_full || others.is_empty() { String::new() } else { format!(" (+{})", others.len()) };
        table.row([entry.name, entry.family.name(), &parameters, &input, &format!("{default}{more}")]);
        for other in others.iter().filter(|_| in_full) {
            table.row(["", "", "", "", other]);
        }
    }
    table
}

/// Whether a name contains the filter or, where that has a `*`, matches it from end to end.
fn passes(name: &str, filter: &str) -> bool {
    if filter.contains('*') { matches(name, filter) } else { name.contains(filter) }
}

/// Whether `pattern`, in which `*` stands for any text, matches the whole of `text`.
fn matches(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let mut ends = text.char_indices().map(|(end, _)| end).chain([text.len()]);
            ends.any(|end| matches(&text[end..], rest))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_architectures_show_all_their_weights_and_many_the_default() {
        let entry = || Entry {
            name: "resnet18",
            family: Family::ResNet,
            parameters: 11_689_512,
            input_size: [224, 224],
            repositories: vec!["timm/resnet18.a1_in1k".into(), "timm/resnet18.a2_in1k".into()],
        };
        let few = table(&[entry()]).to_string();
        assert!(few.contains("a1_in1k\n") && few.contains("a2_in1k"), "{few}");
        let many = table(&[entry(), entry(), entry(), entry()]).to_string();
        assert!(many.contains("a1_in1k (+1)") && !many.contains("a2_in1k"), "{many}");
    }

    #[test]
    fn filters_are_parts_of_names_or_patterns() {
        assert!(passes("resnet18", "net1") && passes("resnet18", ""));
        assert!(!passes("resnet18", "resnet50"));
        assert!(passes("resnet18", "resnet*") && passes("vit_small_patch16_224", "vit_*_224"));
        assert!(!passes("resnet18d", "resnet*8") && !passes("seresnet18", "resnet*"));
        assert!(passes("resnet18", "*") && passes("resnet18", "**18"));
    }
}
