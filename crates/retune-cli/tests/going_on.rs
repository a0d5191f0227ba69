//! `fit --from`: a new run that trains the model of a finished one further.

mod common;

use common::{Workplace, fit, model};
use serde_json::Value;

/// A workplace with a run of two epochs at 1e-3.
fn trained(options: &str) -> Workplace {
    let here = Workplace::new();
    here.succeeds(&fit(&format!("--no-report -q --out run {options}")));
    here
}

fn text(here: &Workplace, file: &str) -> String {
    String::from_utf8(here.file(file)).unwrap()
}

/// What a command that must succeed says on standard error.
fn told(here: &Workplace, line: &str) -> String {
    let output = here.run(line);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{line}: {told}");
    told
}

/// The plain way is to name the model, its head, and every option again.
#[test]
fn a_run_goes_on_with_its_own_options_at_the_rate_that_was_chosen() {
    let options = "--method ft --optimizer sgd --batch-size 8 --seed 5 --augment flip --eval shifted=shifted";
    let here = Workplace::new();
    let searching = format!("{options} --epochs 2 --lr 1e-3,1e-5 --warmup-epochs 1 --no-report -q --out run");
    here.succeeds(&format!("fit --model {} --data data {searching}", model()));
    let chosen = here.json("fit --resume run --json")["phases"][0]["learning_rate"].to_string();
    let said = told(&here, "fit --from run --epochs 3 --no-report --out further");
    assert!(said.contains("goes on from run after epoch") && said.contains("for 3 epochs at learning rate"), "{said}");
    assert!(said.contains("with a new cosine schedule"), "{said}");

    let by_hand = format!("--model run --data data --head-init keep --epochs 3 --lr {chosen} {options}");
    here.succeeds(&format!("fit {by_hand} --no-report -q --out by_hand"));
    here.assert_same("further", "by_hand");
    assert_eq!(text(&here, "further/plan.toml"), text(&here, "by_hand/plan.toml"));
    // A run that goes on trains by a plan, and has no method of its own to record.
    let options = |run: &str| text(&here, run).split("[method]").next().map(|text| text.trim_end().to_owned());
    assert_eq!(options("further/run.toml"), options("by_hand/run.toml"));
    here.succeeds("verify further -q");
}

#[test]
fn what_is_typed_goes_on_top() {
    let here = trained("--method ft --optimizer sgd --batch-size 8");
    let typed = "--lr 1e-4 --schedule linear --optimizer adamw --batch-size 4 --eval dark=shifted";
    here.succeeds(&format!("fit --from run --epochs 1 {typed} --no-report -q --out further"));
    let (plan, run) = (text(&here, "further/plan.toml"), text(&here, "further/run.toml"));
    for (file, lines) in [
        (&plan, ["epochs = 1", "learning_rates = [0.0001]", "schedule = \"linear\"", "method = \"ft\""]),
        (&run, ["batch_size = 4", "kind = \"adamw\"", "name = \"dark\"", "head_initialization = \"keep\""]),
    ] {
        for line in lines {
            assert!(file.contains(line), "{line}: {file}");
        }
    }
    // Another method begins from the same head, at the rate that was chosen.
    here.succeeds("fit --from run --method surgical --first layer4 --epochs 1 --no-report -q --out other");
    let plan = text(&here, "other/plan.toml");
    assert!(plan.contains("learning_rates = [0.001]") && !plan.contains("logistic-regression"), "{plan}");
}

#[test]
fn a_class_more_keeps_what_the_head_knows() {
    let here = trained("--method ft");
    for class in ["green", "red"] {
        here.images(&format!("more/{class}"), class, 12, 200);
    }
    here.images("more/bird", "red", 12, 90);
    let line = "fit --from run --data more --epochs 1 --lr 1e-12 --no-report --out further";
    let said = told(&here, line);
    assert!(said.contains("note: head: 2 of 3 classes known by name keep their rows, 1 new\n"), "{said}");
    assert!(said.contains("images are held out anew"), "{said}");
    // At a rate of nothing, the model still tells the classes apart that it knew.
    let summary: Value = serde_json::from_slice(&here.file("further/summary.json")).unwrap();
    assert_eq!(summary["classes"], serde_json::json!(["bird", "green", "red"]));
    here.succeeds("verify further -q");

    // A fit that only names the model does the same.
    let said = told(&here, "fit --model run --data more --method ft --epochs 1 --lr 1e-12 --no-report --out named");
    assert!(said.contains("head: 2 of 3 classes known by name"), "{said}");
    here.assert_same("further", "named");
    // A probe trains the whole head, so that nothing is kept.
    let said = told(&here, "fit --model run --data more --method lp --no-report --out probe");
    assert!(!said.contains("known by name"), "{said}");
}

#[test]
fn what_cannot_go_on_is_refused() {
    let here = trained("--method ft");
    here.succeeds(&format!("fit --model {} --data data --method lp --no-report -q --out probe", model()));
    for (line, sentence) in [
        ("fit --from probe --out new", "probe has no gradient descent to go on with"),
        ("fit --from data --out new", "data is not a run directory"),
        ("fit --from run", "--out is missing"),
        ("fit --from run --model run --out new", "cannot be used with"),
        ("fit --from run --first stem --out new", "--first is part of a method; name --method too"),
        ("fit --from run --epochs 2 --warmup-epochs 3 --out new", "longer than the 2 of --epochs"),
        ("fit --from run --out run", "already holds a run"),
    ] {
        let message = here.refuses(line);
        assert!(message.contains(sentence), "{line}: {message}");
    }
}
