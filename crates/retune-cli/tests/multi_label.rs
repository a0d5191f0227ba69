//! Images with several labels, from training to predictions.

mod common;

use std::fs;

use common::{Workplace, model};
use serde_json::{Value, json};

/// `photos/` with green, red, both, and neither, 12 of each; the labels of each image in order.
fn photos(here: &Workplace) -> Vec<(String, [bool; 2])> {
    let mut images = Vec::new();
    for number in 0..48u32 {
        let [green, red] = [number % 2 == 1, number / 2 % 2 == 1];
        let image = image::RgbImage::from_fn(32, 32, |x, y| {
            let noise = ((x * 7 + y * 13 + number * 29) % 50) as u8;
            let bright = |on: bool| if on { 200 - noise } else { noise };
            image::Rgb([bright(red), bright(green), 30])
        });
        let name = format!("photos/{number:02}.png");
        fs::create_dir_all(here.path("photos")).unwrap();
        image.save(here.path(&name)).unwrap();
        images.push((name, [green, red]));
    }
    images
}

fn list(images: &[(String, [bool; 2])]) -> String {
    let row = |(name, [green, red]): &(String, [bool; 2])| {
        let labels = [green.then_some("green"), red.then_some("red")];
        format!("{name},{}\n", labels.into_iter().flatten().collect::<Vec<_>>().join("|"))
    };
    format!("path,labels\n{}", images.iter().map(row).collect::<String>())
}

fn workplace() -> (Workplace, Vec<(String, [bool; 2])>) {
    let here = Workplace::new();
    let images = photos(&here);
    fs::write(here.path("list.csv"), list(&images)).unwrap();
    (here, images)
}

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
        for number in ["accuracy", "micro_f1", "macro_f1", "mean_average_precision"] {
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
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (here, _) = workplace();
    let line = format!("fit --model {} --data list.csv --multi-label --method ft --out run", model());
    for (options, sentence) in [
        ("--class-weights balanced", "cannot be combined with class weights"),
        ("--sampling balanced", "cannot be combined with balanced sampling"),
        ("--label-smoothing 0.1", "cannot be combined with label smoothing"),
        ("--select auroc", "cannot be combined with AUROC"),
        ("--head-init keep", "is for one class of each image"),
    ] {
        let message = here.refuses(&format!("{line} {options}"));
        assert!(message.contains(sentence), "{options}: {message}");
    }
    let message = here.refuses(&format!("fit --model {} --data data --method ft --select map --out run", model()));
    assert!(message.contains("mean average precision is a measure of images with several labels"), "{message}");
    let compare = format!("compare --model {} --data list.csv --multi-label --methods ft --out table", model());
    assert!(here.refuses(&compare).contains("compare is for images of one class each"));
    fs::write(here.path("bad.csv"), "path,green,width\nphotos/00.png,1,0\nphotos/01.png,0,640\n").unwrap();
    let message = here.refuses(&format!("fit --model {} --data bad.csv --multi-label --out run", model()));
    assert!(message.contains("line 3: the column `width` holds 640"), "{message}");
}
