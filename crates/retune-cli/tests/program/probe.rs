//! A linear probe of feature files, as users do it.

use std::fs;

use crate::common::{Workplace, model};
use serde_json::{Value, json};

/// The two ways to the same head: features that are extracted once, and a fit that extracts them itself.
#[test]
fn a_probe_of_features_is_the_head_that_lp_finds() {
    let here = Workplace::new();
    for data in ["data", "shifted"] {
        let line = format!("features --model {} --data {data} --out {data}.safetensors -q", model());
        here.succeeds(&line);
    }
    let line = "probe --train data.safetensors shifted.safetensors --seed 3 --save head.safetensors --json";
    let probe = here.json(line);
    let line = format!("fit --model {} --data data --eval shifted=shifted --method lp --seed 3", model());
    let fitted = here.json(&format!("{line} --no-report --json --out run"));

    let splits = [("val", "val"), ("shifted.safetensors", "shifted")];
    for (own, of_fit) in splits {
        for number in ["n", "accuracy", "accuracy_interval", "macro_f1"] {
            assert_eq!(probe["splits"][own][number], fitted["splits"][of_fit][number], "{own}: {number}");
        }
    }
    assert_eq!(probe["training_images"], fitted["training_images"]);
    assert_eq!(probe["inverse_strength"], fitted["phases"][0]["inverse_strength"]);
    // The features are the same numbers, in the same order.
    let tensors = |file: &str| -> (Vec<f32>, Vec<f32>, Option<Value>) {
        let bytes = here.file(file);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let values = |names: [&str; 2]| -> Vec<f32> {
            let tensor = names.iter().find_map(|name| file.tensor(name).ok()).unwrap();
            tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
        };
        let classes = header.metadata().as_ref().and_then(|metadata| metadata.get("classes").cloned());
        (
            values(["weight", "fc.weight"]),
            values(["bias", "fc.bias"]),
            classes.map(|text| serde_json::from_str(&text).unwrap()),
        )
    };
    let (weight, bias, classes) = tensors("head.safetensors");
    let (fit_weight, fit_bias, _) = tensors("run/model/model.safetensors");
    assert_eq!((weight, bias), (fit_weight, fit_bias));
    assert_eq!(classes, Some(json!(["green", "red"])));
    // Features of a file of its own can choose.
    let found = here.json("probe --train data.safetensors --val shifted.safetensors --json");
    assert_eq!((&found["splits"]["val"]["n"], &found["training_images"]), (&json!(12), &json!(48)));
    let text = here.succeeds("probe --train data.safetensors shifted.safetensors");
    assert!(text.contains("inverse strength") && text.contains("95 % interval"), "{text}");
}

#[test]
fn what_is_no_task_for_a_probe_is_refused() {
    let here = Workplace::new();
    here.images("one/green", "green", 4, 200);
    here.images("other/blue", "green", 4, 200);
    for data in ["data", "one", "other"] {
        here.succeeds(&format!("features --model {} --data {data} --out {data}.npz -q", model()));
    }
    here.succeeds(&format!("features --model {} --layer logits --data data --out wide.npz -q", model()));
    fs::write(here.path("cut.npz"), &here.file("data.npz")[..400]).unwrap();
    assert!(here.refuses("probe --train cut.npz").contains("one that is cut off or damaged"));
    let weights = std::path::Path::new(&model()).join("model.safetensors").display().to_string();
    let message = here.refuses(&format!("probe --train {weights}"));
    assert!(message.contains("no tensor `features`") && message.contains(" more"), "{message}");
    assert!(message.matches(".weight").count() <= 10, "{message}");
    for (line, sentence) in [
        ("probe --train one.npz", "a probe needs images of at least two classes"),
        ("probe --train data.npz other.npz", "'blue' is none of the classes of --train"),
        ("probe --train data.npz wide.npz", "features, those of --train"),
        ("probe --train data.npz --save head.bin", "must end in .safetensors"),
        ("probe --train data.npz --val one.npz --val-fraction 0.3", "cannot be used with"),
        ("probe --train absent.npz", "absent.npz"),
        ("probe --train data.npz --select map", "--select map is for images with several labels"),
        ("probe --train data.npz --save absent/head.safetensors", "cannot write absent/head.safetensors"),
        ("probe --train data.npz --seed x", "must be a whole number from 0 to"),
    ] {
        let message = here.refuses(line);
        assert!(message.contains(sentence), "{line}: {message}");
    }
}
