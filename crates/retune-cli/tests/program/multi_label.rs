//! Images with several labels, from training to predictions.

use std::fs;

use crate::common::model;
use crate::labels::{list, workplace};
use serde_json::{Value, json};

#[test]
fn every_label_is_learned_and_stored_with_its_threshold() {
    let (here, images) = workplace();
    // The same data with a column for each label, as an additional set.
    let row = |(name, [green, red]): &(String, [bool; 2])| format!("{name},{},{}\n", u8::from(*red), u8::from(*green));
    let columns = format!("path,red,green\n{}", images.iter().map(row).collect::<String>());
    fs::write(here.path("columns.csv"), columns).unwrap();

    for (run, options) in [
        ("probe", "--method lp"),
        ("both", "--method lp-ft --epochs 2 --lr 1e-3 --mixup 0.2"),
        ("tuned", "--method ft --epochs 6 --lr 1e-2,3e-3"),
    ] {
        let line = format!("fit --model {} --data list.csv --multi-label --eval columns=columns.csv", model());
        let summary = here.json(&format!("{line} {options} --json --no-report --out {run}"));
        assert_eq!(summary["classes"], json!(["green", "red"]));
        for set in ["val", "columns"] {
            let precision = summary["splits"][set]["mean_average_precision"].as_f64().unwrap();
            let right = summary["splits"][set]["accuracy"].as_f64().unwrap();
            assert!(precision > 0.95 && right > 0.85, "{run} {set}: {summary}");
        }
        let config: Value = serde_json::from_slice(&here.file(&format!("{run}/model/config.json"))).unwrap();
        assert_eq!(config["retune"]["multi_label"], true);
        assert_eq!(config["retune"]["thresholds"], summary["thresholds"]);
        assert_eq!(config["label_names"], summary["classes"]);

        // What is stored evaluates to the same, by the stored thresholds.
        let found = here.json(&format!("eval --model {run} --data columns.csv --json"));
        let stored = &summary["splits"]["columns"];
        for number in ["accuracy", "micro_f1", "macro_f1", "mean_average_precision", "auroc", "loss"] {
            assert_eq!(found["splits"]["all"][number], stored[number], "{run}: {number}");
        }
        here.succeeds(&format!("verify {run} -q"));
    }

    let predictions = here.json("predict --model tuned photos/01.png photos/03.png --json");
    for (prediction, expected) in predictions.as_array().unwrap().iter().zip([vec!["green"], vec!["green", "red"]]) {
        let labels = prediction["classes"].as_array().unwrap();
        let predicted = labels.iter().filter(|label| label["predicted"] == true);
        let mut predicted: Vec<&str> = predicted.map(|label| label["class"].as_str().unwrap()).collect();
        predicted.sort_unstable();
        assert_eq!(predicted, expected, "{prediction}");
    }
    let text = here.succeeds("eval --model tuned --data list.csv -q");
    assert!(text.contains("mAP") && text.contains("micro F1"), "{text}");
    // No share of images is called the accuracy, which of all labels together is seldom high.
    assert!(text.contains("all labels right") && text.contains("Mean average precision on all is"), "{text}");
    let text = here.succeeds("eval --model tuned --data list.csv --per-class -q");
    assert!(text.contains("green") && text.contains("recall") && !text.contains("--per-class"), "{text}");
    here.succeeds("features --model tuned --data list.csv --out features.npz -q");
}

/// What each run said of every image is kept, and a comparison is by mean average precision with its interval.
#[test]
fn methods_are_compared_by_mean_average_precision() {
    let (here, mut images) = workplace();
    // A test set on which no model is perfect: every fifth image has what it lacks.
    images.iter_mut().step_by(5).for_each(|(_, labels)| *labels = labels.map(|has| !has));
    fs::write(here.path("test.csv"), list(&images)).unwrap();
    let line = format!("compare --model {} --data list.csv --multi-label --eval test=test.csv", model());
    let options = "--methods lp,ft --epochs 1 --lr 1e-4 --seeds 2 --no-report --json --out table";
    let found = here.json(&format!("{line} {options}"));
    let results = found["results"].as_array().unwrap();
    let of_test = results.iter().find(|result| result["set"] == "test").unwrap();
    assert_eq!((&of_test["basis"], &of_test["images"]), (&json!("predictions"), &json!(48)));
    for (method, label) in [(0, "lp"), (1, "ft")] {
        let own = |seed: usize| -> f64 {
            let summary = here.file(&format!("table/runs/{label}/seed-{seed}/summary.json"));
            let summary: Value = serde_json::from_slice(&summary).unwrap();
            summary["splits"]["test"]["mean_average_precision"].as_f64().unwrap()
        };
        let (mean, estimate) = ((own(0) + own(1)) / 2.0, &of_test["methods"][method]["estimate"]);
        // Logits in single precision come back from probabilities in double precision.
        assert!((estimate["mean"].as_f64().unwrap() - mean).abs() < 1e-9, "{mean} {estimate}");
        let [low, high] = [0, 1].map(|end| estimate["interval"][end].as_f64().unwrap());
        assert!(mean < 0.95 && low > 0.3 && low < mean - 0.02 && high > mean + 0.02 && high < 1.0, "{estimate}");
    }
    let text = String::from_utf8(here.file("table/comparison.md")).unwrap();
    assert!(
        text.contains("Highest mean average precision on test: ") && text.contains("Images have several labels"),
        "{text}"
    );
    let rows = String::from_utf8(here.file("table/runs/ft/seed-0/label_predictions.csv")).unwrap();
    assert!(rows.starts_with("set,path,labels,predicted,green,red\n"), "{rows}");
    assert_eq!(rows.lines().filter(|row| row.starts_with("test,")).count(), 48);
    // The page of runs that were made one by one has the same numbers.
    here.succeeds("report table/runs/lp/seed-0 table/runs/ft/seed-0 --out page.html -q");
    let page = String::from_utf8(here.file("page.html")).unwrap();
    assert!(page.contains("Mean average precision"));
}

/// The mean of the labels' areas, which medical images are judged by.
#[test]
fn auroc_of_labels_can_choose() {
    let (here, _) = workplace();
    let line = format!("fit --model {} --data list.csv --multi-label --select auroc --method ft", model());
    let summary = here.json(&format!("{line} --epochs 2 --lr 1e-2 --json --no-report --out run"));
    assert!(summary["splits"]["val"]["auroc"].as_f64().unwrap() > 0.9, "{summary}");
}

/// Labels that an image has together are no class.
#[test]
fn features_of_images_with_several_labels_have_no_classes() {
    let (here, _) = workplace();
    let line = format!("fit --model {} --data list.csv --multi-label --method lp", model());
    here.succeeds(&format!("{line} --no-report -q --out run"));
    for format in ["npz", "safetensors"] {
        here.succeeds(&format!("features --model run --data list.csv -q --out f.{format}"));
        let table = retune::features::read(&here.path(&format!("f.{format}"))).unwrap();
        assert_eq!((table.len(), table.classes.len()), (48, 0));
        assert!(table.labels.iter().all(Option::is_none));
    }
    assert!(here.refuses("probe --train f.npz").contains("its images need labels"));
    assert!(here.refuses("knn --train f.npz f.npz").contains("its images need labels"));
    let text = here.succeeds("cka --model run --data list.csv --max-images 16 -q");
    assert!(text.contains("Next:") && text.contains("audit --model run"), "{text}");
    let card = String::from_utf8(here.file("run/model/README.md")).unwrap();
    assert!(card.contains("metrics:\n- mAP\n"), "{card}");
    let report = here.run("report run");
    let page = String::from_utf8(here.file("run/report.html")).unwrap();
    assert!(report.status.success() && !page.contains("Penalties tried"));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (here, _) = workplace();
    let line = format!("fit --model {} --data list.csv --multi-label --method ft --out run", model());
    for (options, sentence) in [
        ("--class-weights balanced", "cannot be combined with class weights"),
        ("--sampling balanced", "cannot be combined with balanced sampling"),
        ("--label-smoothing 0.1", "cannot be combined with label smoothing"),
        ("--head-init keep", "is for one class of each image"),
    ] {
        let message = here.refuses(&format!("{line} {options}"));
        assert!(message.contains(sentence), "{options}: {message}");
    }
    let message = here.refuses(&format!("fit --model {} --data data --method ft --select map --out run", model()));
    assert!(message.contains("mean average precision is a measure of images with several labels"), "{message}");
    fs::write(here.path("none.csv"), "path,labels\nphotos/00.png,\nphotos/01.png,\n").unwrap();
    let message = here.refuses(&format!("fit --model {} --data none.csv --multi-label --out run", model()));
    assert!(message.contains("no training image in") && message.contains("has a label"), "{message}");
    fs::write(here.path("bad.csv"), "path,green,width\nphotos/00.png,1,0\nphotos/01.png,0,640\n").unwrap();
    let message = here.refuses(&format!("fit --model {} --data bad.csv --multi-label --out run", model()));
    assert!(message.contains("line 3: the column `width` holds 640"), "{message}");
    fs::write(here.path("twice.csv"), "path,green,green\nphotos/00.png,1,0\nphotos/01.png,0,1\n").unwrap();
    let message = here.refuses(&format!("fit --model {} --data twice.csv --multi-label --out run", model()));
    assert!(message.contains("line 1: two columns are called `green`"), "{message}");
    fs::write(here.path("one.csv"), "path,label\nphotos/00.png,green\nphotos/01.png,\nphotos/02.png,red\n").unwrap();
    let message = here.refuses(&format!("fit --model {} --data one.csv --out run", model()));
    assert!(message.contains("has no label") && message.contains("add --multi-label"), "{message}");
}
