//! `fit --from`: a new run that trains the model of a finished one further.

use std::fs;

use crate::common::{Workplace, fit, model};
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

/// The command line before the file, the file before the run, the run before the defaults: each pair, by one option that
/// only the two have and by one that all have.
#[test]
fn the_command_line_counts_more_than_a_file_and_that_more_than_the_run() {
    // The run has a seed, a batch size, an accumulation, and a smoothing that are not the defaults.
    let here = trained("--method ft --seed 7 --batch-size 8 --accumulate 2 --label-smoothing 0.1 --eval dark=shifted");
    let file = "[train]\nbatch_size = 6\naccumulate = 3\nclip_norm = 2.0\n";
    fs::write(here.path("options.toml"), file).unwrap();
    let line =
        "fit --from run --config options.toml --batch-size 4 --drop-path 0.2 --epochs 1 --no-report --out further -q";
    here.succeeds(line);
    let further = text(&here, "further/run.toml");
    for (line, why) in [
        ("batch_size = 4", "command line over file, run, and default"),
        ("accumulate = 3", "file over run"),
        ("clip_norm = 2.0", "file over default"),
        ("label_smoothing = 0.1", "run over default"),
        ("drop_path = 0.2", "command line over default"),
        ("seed = 7", "run over default, although the file says nothing"),
        ("weight_decay = 0.05", "the default"),
        ("name = \"dark\"", "a set of the run"),
    ] {
        assert!(further.contains(line), "{why}: {line}: {further}");
    }
    assert!(text(&here, "further/plan.toml").contains("epochs = 1"), "command line over run");

    // The whole file of another run: its data, its method with the rate, and none of its model.
    let other = "--method surgical --first layer4 --epochs 3 --lr 2e-3 --seed 9 --no-report -q --out other";
    here.succeeds(&format!("fit --model {} --data data {other}", model()));
    let said = told(&here, "fit --from run --config other/run.toml --epochs 1 --no-report --out third");
    // Other images would be held out by the seed of the file; the data is the same.
    assert!(said.contains("by another method") && said.contains("held out anew"), "{said}");
    let (plan, options) = (text(&here, "third/plan.toml"), text(&here, "third/run.toml"));
    assert!(plan.contains("learning_rates = [0.002]") && plan.contains("epochs = 1"), "{plan}");
    assert!(plan.contains("surgical") && options.contains("seed = 9"), "{plan}");
    assert!(options.lines().any(|line| line.starts_with("path = ") && line.ends_with("/run\"")), "{options}");
    assert!(options.contains("head_initialization = \"keep\""), "the data is the run's: {options}");

    // The run's own file changes nothing.
    here.succeeds("fit --from run --epochs 1 --no-report -q --out plain");
    let said = told(&here, "fit --from run --config run/run.toml --method ft --epochs 1 --no-report --out again");
    assert!(!said.contains("held out anew"), "{said}");
    here.assert_same("plain", "again");
}

/// What a report suggests for a run of a written plan: its options with another rate.
#[test]
fn the_options_of_a_run_bring_its_plan_and_the_names_of_its_classes() {
    let here = trained("--method surgical --first head");
    here.succeeds("fit --from run --no-report -q --out further");
    here.succeeds("fit --config further/run.toml --lr 0.25 --epochs 1 --no-report -q --out again");
    let (before, after) = (text(&here, "further/plan.toml"), text(&here, "again/plan.toml"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let changed = lines(&after).into_iter().filter(|line| !lines(&before).contains(line)).collect::<Vec<_>>();
    assert_eq!(changed, ["epochs = 1", "learning_rates = [0.25]"]);
    let message = here.refuses("fit --config further/run.toml --first stem --out other");
    assert!(message.contains("--first is part of a method"), "{message}");
    here.succeeds("fit --config further/run.toml --method lp --no-report -q --out lp");
    assert!(text(&here, "lp/plan.toml").contains("method = \"lp\""));

    fs::write(here.path("names.txt"), "ant\nbee\ncat\ngreen\nred\n").unwrap();
    let named = fit("--classes names.txt --head-init keep --method ft --no-report -q --out named");
    here.succeeds(&named);
    fs::remove_file(here.path("names.txt")).unwrap();
    here.succeeds("fit --config named/run.toml --no-report -q --out twin");
    here.assert_same("named", "twin");
    assert_eq!(text(&here, "named/run.toml"), text(&here, "twin/run.toml"));
}

#[test]
fn a_run_that_goes_on_shows_its_plan_before_it_trains() {
    let here = trained("--method ft --batch-size 8");
    let before = here.listing();
    let shown = here.succeeds("fit --from run --epochs 3 --dry-run -q");
    assert!(shown.contains("3 epochs") && shown.contains("1e-3"), "{shown}");
    assert_eq!(here.listing(), before);
}

#[test]
fn a_run_of_one_class_each_goes_on_with_several_labels() {
    let here = trained("--method ft");
    here.succeeds("fit --from run --multi-label --epochs 1 --no-report -q --out labels");
    let options = text(&here, "labels/run.toml");
    assert!(options.contains("select = \"map\"") && options.contains("multi_label = true"), "{options}");
    here.succeeds("verify labels -q");
    let options = "--config labels/run.toml --no-report -q --out again";
    here.succeeds(&format!("fit {options}"));
    here.assert_same("labels", "again");
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
