//! Features judged by their nearest neighbors, as users do it.

use crate::common::{Workplace, model};

#[test]
fn features_are_judged_without_training() {
    let workplace = Workplace::new();
    let features = |data: &str| {
        let line = format!("features --model {} --size 32 --data {data} --out {data}.npz -q", model());
        workplace.succeeds(&line);
    };
    features("data");
    features("shifted");
    // Every image is its own nearest neighbor.
    let own = workplace.json("knn --train data.npz data.npz shifted.npz --neighbors 1 --json");
    assert_eq!(own["splits"]["data.npz"]["accuracy"], 1.0, "{own}");
    assert_eq!(own["splits"]["shifted.npz"]["n"], 12);
    let text = workplace.succeeds("knn --train data.npz shifted.npz");
    assert!(text.contains("shifted.npz") && text.contains("accuracy"), "{text}");
    let images = &own["splits"]["data.npz"]["n"];
    let output = workplace.run("knn --train data.npz shifted.npz --neighbors 1000 --json");
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains(&format!("data.npz has only {images} images to vote")), "{note}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(&found["neighbors"], images);

    workplace.images("other/blue", "green", 3, 200);
    features("other");
    assert!(workplace.refuses("knn --train data.npz other.npz").contains("'blue' is none of the classes of --train"));
    workplace.succeeds(&format!("features --model {} --layer logits --data data --out wide.npz -q", model()));
    assert!(workplace.refuses("knn --train data.npz wide.npz").contains("features, those of --train"));
}
