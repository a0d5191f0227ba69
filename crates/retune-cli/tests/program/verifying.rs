//! `retune verify`: a run is what it says, and every way of not being so is noticed.

use std::fs;

use crate::common::{Workplace, fit, model};
use serde_json::Value;

/// What became of each check, by its name.
fn outcome(checked: &Value, check: &str) -> String {
    let checks = checked[0]["checks"].as_array().unwrap();
    let found = checks.iter().find(|found| found["what"] == check);
    found.unwrap_or_else(|| panic!("{check} is not among {checks:?}"))["outcome"].as_str().unwrap().to_owned()
}

fn verified(here: &Workplace, code: i32) -> Value {
    let output = here.run("verify run --json -q");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_sound_run_verifies_whatever_made_it() {
    let here = Workplace::new();
    for (number, method) in
        ["lp", "lp-ft", "surgical --first layer4 --last layer4", "wise-ft", "lora", "norms"].into_iter().enumerate()
    {
        let method = method.to_owned() + if method == "lora" { " --half-activations" } else { "" };
        here.succeeds(&fit(&format!("--method {method} --eval shifted=shifted -q --out run{number}")));
        let text = here.succeeds(&format!("verify run{number} -q"));
        for check in [
            "model/model.safetensors",
            "metrics.jsonl",
            "summary.json",
            "predictions.csv",
            "samples/thumbnails.jpg",
            "command.txt",
            "frozen tensors",
            "accuracy on val",
        ] {
            let line = text.lines().find(|line| line.contains(check)).unwrap_or_else(|| panic!("{check}: {text}"));
            assert!(line.starts_with("ok"), "{method}: {text}");
        }
        assert!(text.contains("accuracy on shifted"), "{text}");
    }
}

#[test]
fn whatever_is_changed_afterwards_is_noticed() {
    let here = Workplace::new();
    here.succeeds(&fit("--method surgical --first layer4 --last layer4 --eval shifted=shifted -q --out run"));
    assert_eq!(outcome(&verified(&here, 0), "frozen tensors"), "holds");

    // A row of the metrics.
    let metrics = here.file("run/metrics.jsonl");
    fs::write(here.path("run/metrics.jsonl"), String::from_utf8(metrics.clone()).unwrap().replacen('1', "2", 1))
        .unwrap();
    assert_eq!(outcome(&verified(&here, 1), "metrics.jsonl"), "broken");
    fs::write(here.path("run/metrics.jsonl"), metrics).unwrap();

    // An accuracy.
    let summary = here.file("run/summary.json");
    let mut told: Value = serde_json::from_slice(&summary).unwrap();
    told["splits"]["shifted"]["accuracy"] = 0.25.into();
    fs::write(here.path("run/summary.json"), told.to_string()).unwrap();
    let checked = verified(&here, 1);
    assert_eq!(outcome(&checked, "accuracy on shifted"), "broken");
    assert_eq!(outcome(&checked, "accuracy on val"), "holds");
    fs::write(here.path("run/summary.json"), summary).unwrap();

    // One bit of a frozen tensor: the last mantissa bit of the first convolution's first weight.
    let whole = here.file("run/model/model.safetensors");
    let mut model = whole.clone();
    let header = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
    let table: Value = serde_json::from_slice(&model[8..8 + header]).unwrap();
    let start = table["conv1.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
    model[8 + header + start] ^= 1;
    fs::write(here.path("run/model/model.safetensors"), &model).unwrap();
    let checked = verified(&here, 1);
    assert_eq!(outcome(&checked, "frozen tensors"), "broken");
    assert_eq!(outcome(&checked, "model/model.safetensors"), "broken");

    // A file that is cut off.
    fs::write(here.path("run/model/model.safetensors"), &whole[..whole.len() - 9]).unwrap();
    assert_eq!(outcome(&verified(&here, 1), "model"), "broken");
    fs::write(here.path("run/model/model.safetensors"), &whole).unwrap();

    // Images that are gone cannot be checked against, which is said and is no fault of the run.
    fs::rename(here.path("shifted"), here.path("elsewhere")).unwrap();
    assert_eq!(outcome(&verified(&here, 0), "accuracies"), "unchecked");
}

#[test]
fn what_is_no_finished_run_is_a_mistake() {
    let here = Workplace::new();
    assert!(here.refuses("verify data").contains("not a run directory"));
    here.succeeds(&format!("fit --model {} --data data --method lp -q --out run", model()));
    fs::remove_file(here.path("run/summary.json")).unwrap();
    assert!(here.refuses("verify run").contains("retune fit --resume run"));
}

#[test]
fn a_model_card_may_be_edited() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --no-report -q --out run"));
    let card = here.path("run/model/README.md");
    let text = fs::read_to_string(&card).unwrap();
    assert!(text.contains("| val | ") && text.contains("Method: `lp`"), "{text}");
    assert!(!text.contains(here.path("").to_str().unwrap()), "{text}");
    fs::write(&card, text + "\nLicense: mine.\n").unwrap();
    here.succeeds("verify run -q");
}
