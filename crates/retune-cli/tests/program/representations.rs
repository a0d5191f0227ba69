//! The commands that show what a model sees, driven as users drive them.

use crate::common::{Workplace, fit, model};
use serde_json::Value;

#[test]
fn cka_compares_resizings_layers_and_models() {
    let here = Workplace::new();
    let base = format!("cka --model {} --data data --bootstrap 40", model());
    let matrix = here.json(&format!("{base} --interpolations nearest,bilinear,opencv-nearest --out c.json --json"));
    let file: Value = serde_json::from_slice(&here.file("c.json")).unwrap();
    assert_eq!(file, matrix);
    // The model's own comes first, whether named or not.
    let names: Vec<&str> = matrix["names"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    assert!(names.len() >= 3 && names.contains(&"opencv-nearest"), "{names:?}");
    assert_eq!((matrix["layer"].as_str(), matrix["n"].as_u64()), (Some("pooled"), Some(48)));
    assert_eq!(matrix["estimator"], "debiased");
    for (row, values) in matrix["matrix"].as_array().unwrap().iter().enumerate() {
        assert!((values[row].as_f64().unwrap() - 1.0).abs() < 1e-12, "{values}");
    }

    let all = here.json(&format!("{base} --interpolations nearest,lanczos --layer all --out c.csv --json"));
    let layers = all["matrices"].as_array().unwrap();
    assert!(layers.iter().any(|matrix| matrix["layer"] == "layer1.0"), "{all}");
    let csv = String::from_utf8(here.file("c.csv")).unwrap();
    assert!(csv.starts_with("layer,row,column,cka,low,high\ninput,"), "{csv}");

    let between = here.json(&format!("{base} --layers --layer layer1,layer4,pooled --out c.png --json"));
    assert_eq!(between["names"], serde_json::json!(["layer1", "layer4", "pooled"]));
    here.succeeds(&fit("--method ft --out run"));
    let moved = here.json(&format!("{base} --against run --layer input,pooled --json"));
    // Both models get the same input.
    assert!((moved["matrix"][0][0].as_f64().unwrap() - 1.0).abs() < 1e-9, "{moved}");
    // The same bytes on any number of threads.
    let line = |threads| format!("{base} --interpolations nearest,box --layer layer2 --threads {threads} --json");
    assert_eq!(here.succeeds(&line(1)), here.succeeds(&line(3)));
}

#[test]
fn it_is_said_when_there_is_nothing_to_resize() {
    let here = Workplace::new();
    let seen = format!("--model {} --data data --interpolations nearest,box --bootstrap 40", model());
    for (command, size, note) in [
        ("cka", 32, "every value is 1: the model sees the same pixels each time"),
        ("cka", 31, ""),
        ("audit", 32, "all resampling filters gave the same pixels"),
        ("audit", 31, ""),
    ] {
        let output = here.run(&format!("{command} {seen} --size {size} --crop-pct 1"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.contains("same pixels"), !note.is_empty(), "{command} {size}: {said}");
        assert!(said.contains(note), "{said}");
    }
}

#[test]
fn audit_tables_what_resizing_changes() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --out run"));
    let line =
        "audit --model run --data data --interpolations nearest,bicubic --sizes 24 --crop-pcts 0.5 --bootstrap 40";
    let audit = here.json(&format!("{line} --out a.csv --json"));
    let own = &audit["rows"][0];
    // Nothing differs from itself.
    assert_eq!(own["changed_predictions"]["value"], 0.0);
    assert_eq!((&own["logit_change"], &own["pixel_difference"]), (&Value::from(0.0), &Value::from(0.0)));
    assert!((own["cka"].as_f64().unwrap() - 1.0).abs() < 1e-12);
    let rows = audit["rows"].as_array().unwrap();
    let named = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert!(named("size 24")["pixel_difference"].is_null());
    assert!(named("crop-pct 0.5")["pixel_difference"].as_f64().unwrap() > 0.0);
    assert_eq!(String::from_utf8(here.file("a.csv")).unwrap().lines().count(), rows.len() + 1);
    here.succeeds(&format!("{line} --out a.svg"));
}

#[test]
fn umap_maps_files_and_models() {
    let here = Workplace::new();
    for (data, file) in [("data", "a.npz"), ("shifted", "b.safetensors")] {
        here.succeeds(&format!("features --model {} --data {data} --out {file}", model()));
    }
    let text = here.succeeds("umap --features a.npz --out u.csv");
    assert!(text.contains("trustworthiness"), "{text}");
    let csv = String::from_utf8(here.file("u.csv")).unwrap();
    assert!(csv.starts_with("x,y,label,path\n") && csv.lines().count() == 49, "{csv}");
    assert!(csv.contains(",red,red/00.png"), "{csv}");
    here.succeeds("umap --features a.npz --threads 3 --out again.csv");
    assert_eq!(here.file("u.csv"), here.file("again.csv"));

    here.succeeds("umap --features a.npz --features b.safetensors --color file --out u.svg");
    assert!(String::from_utf8(here.file("u.svg")).unwrap().contains("b.safetensors"));
    here.succeeds("umap --features a.npz b.safetensors --metric cosine --out u2.csv");
    assert!(here.file("u2.csv").starts_with(b"x,y,label,path,file\n"));
    here.succeeds(&fit("--method lp --out run"));
    here.succeeds("umap --model run --data data --color correctness --out u.png");
    for class in ["green", "red"] {
        here.images(&format!("split/train/{class}"), class, 9, 200);
        here.images(&format!("split/test/{class}"), class, 6, 90);
    }
    here.succeeds("umap --model run --data split --color split --out split.csv");
    let csv = String::from_utf8(here.file("split.csv")).unwrap();
    let of_split = |split: &str| csv.lines().filter(|line| line.contains(&format!(",{split},"))).count();
    assert_eq!((of_split("train"), of_split("test")), (18, 12), "{csv}");

    for (line, expected) in [
        ("umap --out u.csv", "--features"),
        ("umap --features a.npz --out u.gif", ".png"),
        ("umap --features absent.npz --out new.csv", "absent.npz"),
        ("umap --features a.npz --color file --out new.csv", "several files"),
        ("umap --model run --data data --color split --out new.csv", "several splits"),
        ("umap --features a.npz --neighbors 1 --out new.csv", "neighbors"),
        ("umap --features a.npz --out nowhere/new.csv", "nowhere"),
    ] {
        let message = here.refuses(line);
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[test]
fn mistakes_of_comparisons_get_one_sentence() {
    let here = Workplace::new();
    let base = format!("cka --model {} --data data", model());
    for (options, expected) in [
        ("--interpolations sharp", "unknown interpolation"),
        ("--layer layer9", "layer9"),
        ("--max-images 3", "too few"),
        ("--out c.gif", ".png"),
        ("--against absent", "absent"),
        ("--kernel cubic", "rbf"),
        ("--layers --interpolations nearest", "--interpolations"),
        ("--estimator biased --layer all --memory 1", "biased"),
    ] {
        let message = here.refuses(&format!("{base} {options}"));
        assert!(message.contains(expected), "{options}: {message}");
    }
}
