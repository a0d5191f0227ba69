//! A model card: the `README.md` beside a model's weights, with the metadata that the Hugging Face hub reads
//! (<https://huggingface.co/docs/hub/model-cards>).

use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::caveat::Caveat;
use super::{FitOptions, Summary};
use crate::files::{self, FileError};
use crate::inference::Evaluation;
use crate::methods::{Method, Paper};
use crate::models::ModelConfig;
use crate::train::PhaseOutcome;
use crate::wording::{printable, sentence};

/// Name of the card's file.
pub const CARD_FILE: &str = "README.md";

/// Classes that a card names; of more, it gives the number.
const MAX_CLASSES: usize = 100;

/// What a card tells of a model.
pub struct ModelCard<'a> {
    /// The model's configuration.
    pub config: &'a ModelConfig,
    /// The model that training began with, as people know it.
    pub base: Option<String>,
    /// Name of the data that it was trained on.
    pub data: String,
    /// How it was made: a line each.
    pub making: Vec<String>,
    /// Accuracy and loss on each set.
    pub splits: &'a IndexMap<String, Evaluation>,
    /// What makes some of these say less than they seem to.
    pub caveats: &'a [Caveat],
}

impl<'a> ModelCard<'a> {
    /// The card of a run's model.
    pub(super) fn of_run(config: &'a ModelConfig, options: &FitOptions, summary: &'a Summary) -> Self {
        Self {
            config,
            base: base_model(options),
            data: last_name(&options.data),
            making: making(options, summary),
            splits: &summary.splits,
            caveats: &summary.caveats,
        }
    }

    /// The card of a model whose weights are made of those of runs like this one; `making` says how.
    pub(crate) fn of_mixture(
        config: &'a ModelConfig,
        options: &FitOptions,
        making: String,
        splits: &'a IndexMap<String, Evaluation>,
    ) -> Self {
        let (base, data) = (base_model(options), last_name(&options.data));
        Self { config, base, data, making: vec![making], splits, caveats: &[] }
    }

    /// Writes the card into a model's directory.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), FileError> {
        files::write_atomically(&directory.join(CARD_FILE), |file| file.write_all(self.text().as_bytes()))
    }

    /// The card as Markdown below its metadata.
    pub fn text(&self) -> String {
        let sections =
            [self.metadata(), self.introduction(), self.results(), self.making(), self.usage(), self.classes()];
        sections.join("\n")
    }

    fn name(&self) -> String {
        format!("{} on {}", self.config.architecture(), self.data)
    }

    /// The YAML block that the hub reads. Strings stand in quotes as JSON, which YAML reads too.
    fn metadata(&self) -> String {
        let base = self.base.as_deref().filter(|base| base.contains('/'));
        let base = base.map(|base| format!("base_model: {}\n", quoted(base))).unwrap_or_default();
        let results: Vec<Value> = self.splits.iter().map(|(set, evaluation)| self.result(set, evaluation)).collect();
        let index = json!([{ "name": self.name(), "results": results }]);
        let metric = if self.config.is_multi_label() { "mAP" } else { "accuracy" };
        format!(
            "---\nlibrary_name: timm\npipeline_tag: image-classification\ntags:\n- image-classification\n- timm\n- \
             retune\n{base}metrics:\n- {metric}\nmodel-index: {index}\n---\n"
        )
    }

    /// A set's entry in the hub's index of results.
    fn result(&self, set: &str, evaluation: &Evaluation) -> Value {
        let metric = |kind: &str, name: &str, value: f64| json!({ "type": kind, "name": name, "value": value });
        let metrics: Vec<Value> = match evaluation.mean_average_precision {
            Some(precision) => vec![metric("mAP", "Mean average precision", precision)],
            None => vec![metric("accuracy", "Accuracy", evaluation.accuracy)],
        };
        json!({
            "task": { "type": "image-classification", "name": "Image classification" },
            "dataset": { "type": self.data, "name": format!("{}, {set}", self.data), "split": set },
            "metrics": metrics,
        })
    }

    fn introduction(&self) -> String {
        let begun = self.base.as_deref().map(|base| format!(", fine-tuned from {}", code(base))).unwrap_or_default();
        let (name, architecture) = (prose(&self.name()), self.config.architecture());
        format!("# {name}\n\nAn image classifier: `{architecture}`{begun} on {} with retune.\n", code(&self.data))
    }

    fn results(&self) -> String {
        let several_labels = self.config.is_multi_label();
        let measure = if several_labels { "mean average precision | all labels right" } else { "accuracy" };
        let mut text = format!(
            "## Results\n\n| images | number | {measure} (95 % interval) | loss |\n|---|---:|---:|---:|{}\n",
            if several_labels { "---:|" } else { "" }
        );
        for (set, evaluation) in self.splits {
            let percent = |share: f64| format!("{:.1}", 100.0 * share);
            let [low, high] = evaluation.accuracy_interval.map(percent);
            let mut measured = format!("{} % ({low}–{high})", percent(evaluation.accuracy));
            if let Some(precision) = evaluation.mean_average_precision {
                measured = format!("{} % | {measured}", percent(precision));
            }
            let set = prose(set);
            text += &format!("| {set} | {} | {measured} | {:.3} |\n", evaluation.n, evaluation.loss);
        }
        if self.splits.contains_key("val") {
            text += "\n`val` chose among learning rates and epochs, so its numbers flatter the model.\n";
        }
        for caveat in self.caveats {
            text += &format!("\n{}\n", prose(&sentence(&caveat.to_string())));
        }
        text
    }

    fn making(&self) -> String {
        let lines: String = self.making.iter().map(|line| format!("- {line}\n")).collect();
        format!("## Training\n\n{lines}")
    }

    fn usage(&self) -> String {
        let look = self.config.preprocessing();
        let size = match look.width == look.height {
            true => format!("{} × {0}", look.width),
            false => format!("{} × {} (width × height)", look.width, look.height),
        };
        format!(
            "## Use\n\nThe model sees images of {size} pixels ({} interpolation); `config.json` holds all of its \
             preprocessing.\n\n```python\nimport timm\n\nmodel = timm.create_model(\"local-dir:PATH/TO/THIS/FOLDER\", \
             pretrained=True).eval()\ntransform = \
             timm.data.create_transform(**timm.data.resolve_model_data_config(model))\n```\n\n```console\n$ retune \
             predict --model PATH/TO/THIS/FOLDER IMAGE.jpg\n```\n",
            look.interpolation
        )
    }

    fn classes(&self) -> String {
        let count = self.config.num_classes();
        let kind = if self.config.is_multi_label() { "labels, of which an image may have several" } else { "classes" };
        match self.config.label_names() {
            Some(names) if names.len() <= MAX_CLASSES => {
                let names: Vec<String> = names.iter().map(|name| code(name)).collect();
                format!("## Classes\n\n{count} {kind}: {}.\n", names.join(", "))
            }
            _ => format!("## Classes\n\n{count} {kind}; `config.json` names them.\n"),
        }
    }
}

/// The lines of how a run made its model.
fn making(options: &FitOptions, summary: &Summary) -> Vec<String> {
    let known = summary.method.parse::<Method>().ok();
    let method = match known {
        Some(method) => {
            let paper = method.paper.map(|paper| format!(" ({})", cited(paper))).unwrap_or_default();
            format!("Method: `{method}`, {}{paper}", method.summary)
        }
        None => format!("Method: {}, a plan written by hand", code(&summary.method)),
    };
    let train = &options.train;
    let held_out =
        summary.splits.get("val").map(|val| format!(" to train on, {} to validate", val.n)).unwrap_or_default();
    let mut lines = vec![method, format!("Images: {}{held_out}", summary.training_images)];
    lines.extend(summary.phases.iter().map(phase));
    lines.push(format!("Trained parameters: {}", summary.trained_parameters));
    lines.push(format!("Batch size {}, seed {}", train.batch_size, train.seed));
    if let Some(scaling) = &summary.temperature {
        let temperature = scaling.temperature;
        lines.push(format!("Temperature of the probabilities, chosen on validation: {temperature:.3}"));
    }
    lines.push(format!("retune {}", env!("CARGO_PKG_VERSION")));
    lines
}

fn phase(outcome: &PhaseOutcome) -> String {
    let mut facts = Vec::new();
    if let Some(strength) = outcome.inverse_strength {
        facts.push(format!("inverse penalty {strength:.3e}"));
    }
    if let Some(rate) = outcome.learning_rate {
        facts.push(format!("learning rate {rate}"));
    }
    if let Some(rates) = &outcome.soup {
        let rates: Vec<String> = rates.iter().map(f64::to_string).collect();
        facts.push(format!("average over the learning rates {}", rates.join(", ")));
    }
    if let Some(alpha) = outcome.alpha {
        facts.push(format!("alpha {alpha}"));
    }
    if outcome.epoch > 0 {
        facts.push(format!("weights after epoch {}", outcome.epoch));
    }
    format!("Phase {}: {}", code(&outcome.phase), facts.join(", "))
}

fn cited(paper: Paper) -> String {
    format!("{} {}, [arXiv {}](https://arxiv.org/abs/{2})", paper.authors, paper.year, paper.arxiv)
}

/// The name of the model that training began with; `None` of one from scratch.
fn base_model(options: &FitOptions) -> Option<String> {
    let source = &options.model;
    source.path.as_deref().filter(|_| !source.from_scratch).map(known_as)
}

/// The name of the hub's repository in whose cached copy a model lies, or else of its folder or file.
fn known_as(path: &Path) -> String {
    let mut parts = path.components().filter_map(|part| part.as_os_str().to_str());
    let of_hub = parts.find_map(|part| part.strip_prefix("models--")?.split_once("--"));
    match of_hub {
        Some((owner, name)) => format!("{owner}/{name}"),
        None => last_name(path),
    }
}

/// The last name of a path, without the folders above, which are nobody else's business. A run's model is the run's.
fn last_name(path: &Path) -> String {
    let path = match path.file_name() {
        Some(name) if name == super::MODEL_FOLDER => path.parent().unwrap_or(path),
        _ => path,
    };
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Text that is neither markup nor HTML to Markdown, and leaves a heading or a table's row whole.
fn prose(text: &str) -> String {
    let escaped = |sign: char| match sign {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '\\' | '|' | '`' | '*' | '[' | ']' => format!("\\{sign}"),
        sign => sign.to_string(),
    };
    printable(text, false).chars().map(escaped).collect()
}

/// Text as Markdown's code, between more backticks than it has in a row (CommonMark 0.31, section 6.1).
fn code(text: &str) -> String {
    let text = printable(text, false);
    let longest = text.split(|sign| sign != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    // A space on both sides is left out by readers.
    let space = if longest > 0 || text.trim().is_empty() { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(accuracy: f64) -> Evaluation {
        serde_json::from_value(json!({
            "n": 10, "accuracy": accuracy, "accuracy_interval": [accuracy - 0.1, accuracy + 0.1],
            "balanced_accuracy": accuracy, "loss": 0.5,
        }))
        .unwrap()
    }

    #[test]
    fn the_metadata_is_what_the_hub_reads() {
        let config = ModelConfig::of_architecture("resnet18").unwrap().with_classes(&["a|b".into(), "c".into()]);
        let splits = IndexMap::from([("val".to_owned(), evaluation(0.875)), ("a|\"b".to_owned(), evaluation(0.5))]);
        let card = ModelCard {
            config: &config,
            base: Some("timm/resnet18.a1_in1k".to_owned()),
            data: "photos: \"mine\"".to_owned(),
            making: vec!["Method: `ft`".to_owned()],
            splits: &splits,
            caveats: &[Caveat::MissingClasses { set: "fog".to_owned(), classes: vec!["a|b".to_owned()] }],
        };
        let text = card.text();
        assert!(text.contains("'fog' has no images of a\\|b, so its accuracy is over fewer classes.\n"), "{text}");
        let metadata = text.strip_prefix("---\n").and_then(|text| text.split_once("\n---\n")).unwrap().0;
        let index = metadata.lines().find_map(|line| line.strip_prefix("model-index: ")).unwrap();
        let index: Value = serde_json::from_str(index).unwrap();
        let results = &index[0]["results"];
        assert_eq!(results[0]["metrics"][0]["value"], 0.875);
        assert_eq!(results[1]["dataset"]["split"], "a|\"b");
        assert!(metadata.contains("base_model: \"timm/resnet18.a1_in1k\"\n"), "{metadata}");
        assert!(text.contains("| a\\|\"b | 10 | 50.0 % (40.0–60.0) | 0.500 |"), "{text}");
        assert!(text.contains("2 classes: `a|b`, `c`."), "{text}");
    }

    #[test]
    fn names_of_any_sign_are_shown_as_they_are() {
        for (name, shown) in
            [("cat", "`cat`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("a\n\u{1b}", r"`a\n\u{1b}`")]
        {
            assert_eq!(code(name), shown);
        }
        assert_eq!(prose("<i> a|b *x*\n"), r"&lt;i&gt; a\|b \*x\*\\n");

        let config = ModelConfig::of_architecture("resnet18").unwrap().with_classes(&["a`b".into(), "c\nd".into()]);
        let splits = IndexMap::from([("<b>val".to_owned(), evaluation(0.5))]);
        let data = "my `pets` <x>".to_owned();
        let text =
            ModelCard { config: &config, base: None, data, making: Vec::new(), splits: &splits, caveats: &[] }.text();
        assert!(text.contains(r"2 classes: `` a`b ``, `c\nd`."), "{text}");
        assert!(text.contains("# resnet18 on my \\`pets\\` &lt;x&gt;\n"), "{text}");
        assert!(
            text.contains("on `` my `pets` <x> `` with retune") && text.contains("| &lt;b&gt;val | 10 |"),
            "{text}"
        );
        assert!(text.contains("\n- accuracy\nmodel-index"), "{text}");
        let config = config.for_several_labels();
        let text = ModelCard {
            config: &config,
            base: None,
            data: "d".into(),
            making: Vec::new(),
            splits: &splits,
            caveats: &[],
        }
        .text();
        assert!(text.contains("\n- mAP\nmodel-index"), "{text}");
    }

    #[test]
    fn a_model_is_named_as_people_know_it() {
        for (path, name) in [
            ("hub/models--timm--resnet18.a1_in1k/snapshots/abc", "timm/resnet18.a1_in1k"),
            ("runs/first/model", "first"),
            ("moco.pth.tar", "moco.pth.tar"),
        ] {
            assert_eq!(known_as(Path::new(path)), name);
        }
    }
}
