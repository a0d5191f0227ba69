//! `umap --onto`: new images on a map that stays as it is.

use std::fs;

use crate::common::{Workplace, fit, model};

/// The rows of a map in CSV without its header.
fn rows(here: &Workplace, file: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(here.file(file)).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn new_images_join_a_map_and_move_nothing() {
    let here = Workplace::new();
    for (data, file) in [("data", "old.npz"), ("shifted", "new.npz")] {
        here.succeeds(&format!("features --model {} --data {data} --out {file} -q", model()));
    }
    here.succeeds("umap --features old.npz --neighbors 5 --out map.csv -q");
    let onto = "umap --features new.npz --neighbors 5 --onto map.csv --onto-features old.npz";
    let told = here.succeeds(&format!("{onto} --out both.csv -q"));
    assert!(told.contains("12 images placed among 48 of map.csv"), "{told}");
    let (before, after) = (rows(&here, "map.csv"), rows(&here, "both.csv"));
    assert_eq!(after.len(), 60);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before[..4], after[4].as_str()), (&after[..4], "map.csv"));
    }
    // Darker images of a color lie where that color is.
    let place = |row: &[String]| [row[0].parse::<f64>().unwrap(), row[1].parse::<f64>().unwrap()];
    let mean = |rows: &[&Vec<String>]| {
        let sum = rows.iter().map(|row| place(row)).fold([0.0; 2], |sum, [x, y]| [sum[0] + x, sum[1] + y]);
        sum.map(|axis| axis / rows.len() as f64)
    };
    let of = |label: &str| mean(&after[..48].iter().filter(|row| row[2] == label).collect::<Vec<_>>());
    let distance = |[x, y]: [f64; 2], [u, v]: [f64; 2]| (x - u).hypot(y - v);
    let right = after[48..].iter().filter(|row| {
        assert_eq!(row[4], "new");
        let other = if row[2] == "red" { "green" } else { "red" };
        distance(place(row), of(&row[2])) < distance(place(row), of(other))
    });
    assert!(right.count() >= 10, "{after:?}");
    // A page and a picture show all of them, by color of the file.
    here.succeeds(&format!("{onto} --color file --out both.html -q"));
    here.succeeds(&format!("{onto} --color file --out both.svg -q"));
}

#[test]
fn a_run_has_a_map_and_what_does_not_fit_is_refused() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --eval shifted=shifted --out run -q"));
    here.succeeds("umap --model run --data shifted --onto run --neighbors 5 --out map.json -q");
    for (data, file) in [("data", "old.npz"), ("shifted", "new.npz")] {
        here.succeeds(&format!("features --model {} --data {data} --out {file} -q", model()));
    }
    here.succeeds(&format!("features --model {} --data shifted --layer stem --out other.npz -q", model()));
    here.succeeds("umap --features old.npz --neighbors 5 --out map.csv -q");
    // Labels that are none of the model's classes make no prediction right or wrong.
    let text = here.succeeds(&format!("umap --model {} --data data --neighbors 5 --out other.csv -q", model()));
    assert!(!text.contains("The model predicts") && !text.contains("retune eval"), "{text}");
    let text = here.succeeds("umap --model run --data data --neighbors 5 --out own.csv -q");
    assert!(text.contains("The model predicts") && text.contains("retune eval"), "{text}");
    fs::write(here.path("table.csv"), "a,b\n1,2\n").unwrap();
    for (line, sentence) in [
        ("--features new.npz --onto map.csv", "name the files that it was made of with --onto-features"),
        ("--features new.npz --onto map.csv --onto-features new.npz", "it has 48 images, and --onto-features 12"),
        ("--features other.npz --onto map.csv --onto-features old.npz", "features, the new ones"),
        ("--features new.npz --onto run --onto-features old.npz", "has features of its own"),
        ("--features new.npz --onto table.csv --onto-features old.npz", "this is no map that `retune umap` wrote"),
        ("--features new.npz --onto data", "data is not a run directory"),
    ] {
        let message = here.refuses(&format!("umap {line} --out placed.csv"));
        assert!(message.contains(sentence), "{line}: {message}");
    }
}
