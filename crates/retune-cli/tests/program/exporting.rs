//! `retune export` on the command line: what it takes, what it writes, and what it refuses.

use std::fs;
use std::path::Path;

use crate::common::{Workplace, fit, model};
use serde_json::json;

/// Whether a file of ONNX holds a text, such as a value of its metadata.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_run_a_model_and_a_checkpoint_are_exported() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp -q --out run"));
    let text = here.succeeds("export run --out a.onnx");
    assert!(text.starts_with("pixel_values [batch, 3, "), "{text}");
    assert!(text.contains("→ logits [batch, 2], opset 18\nmodel: a.onnx\n"), "{text}");
    let file = here.file("a.onnx");
    for told in ["green", "red", "lp", "retune_version"] {
        assert!(holds(&file, told), "{told}");
    }
    // The same model by other names; only a run says by which method it was made.
    here.succeeds("export --model run/model --out b.onnx -q");
    assert!(here.file("b.onnx").len() < file.len());
    fs::create_dir(here.path("other")).unwrap();
    here.succeeds("export --arch test_resnet --from-scratch --to onnx --out other/c.onnx -q");
    let weights = Path::new(&model()).join("model.safetensors").display().to_string();
    let error = here.refuses(&format!("export {weights} --out d.onnx"));
    assert!(error.contains("--arch"), "{error}");
}

#[test]
fn json_says_what_was_written() {
    let here = Workplace::new();
    let line = format!("export {} --output features --external-data --opset 20 --json", model());
    let found = here.json(&line);
    assert_eq!((found["path"].as_str(), found["weights"].as_str()), (Some("model.onnx"), Some("model.onnx.data")));
    assert_eq!((found["opset"].as_u64(), found["output"]["name"].as_str()), (Some(20), Some("features")));
    assert_eq!((&found["input"]["shape"][0], &found["input"]["shape"][1]), (&json!("batch"), &json!(3)));
    for file in ["model.onnx", "model.onnx.data"] {
        assert!(!here.file(file).is_empty());
    }
    // A file that is there is replaced.
    fs::write(here.path("model.onnx"), "old").unwrap();
    here.succeeds(&line);
    assert!(here.file("model.onnx").len() > 100);
    // With its weights in it, nothing of the one before stays beside it.
    let found = here.json(&line.replace("--external-data", ""));
    assert!(found["weights"].is_null() && !here.path("model.onnx.data").exists(), "{found}");
}

#[test]
fn mistakes_are_named_and_nothing_is_written() {
    let here = Workplace::new();
    fs::create_dir(here.path("folder.onnx")).unwrap();
    let model = model();
    for (options, said) in [
        ("--out model.pt", "must end with .onnx"),
        ("--out .onnx", "must end with .onnx, after a name"),
        ("--out folder.onnx", "cannot write folder.onnx: it is a folder, not a file"),
        ("--out nowhere/model.onnx", "cannot write nowhere/model.onnx: no such file or folder"),
        ("--opset 16", "must be a whole number from 17 to 22"),
        ("--opset x", "must be a whole number from 17 to 22"),
        ("--opset 17 --with-preprocessing", "opset 17 cannot resize images as the model needs it; 18 can (--opset)"),
        ("--interpolation lanczos --with-preprocessing", "(leave out --with-preprocessing)"),
        ("--in-chans 4 --with-preprocessing", "(leave out --with-preprocessing)"),
        ("--output scores", "logits"),
        ("--to torchscript", "onnx"),
        ("--model other", "cannot be used with"),
    ] {
        let error = here.refuses(&format!("export {model} {options}"));
        assert!(error.contains(said), "{options}: {error}");
    }
    let error = here.refuses("export");
    assert!(error.contains("--model"), "{error}");
    fs::write(here.path("preprocessor_config.json"), "{}").unwrap();
    let error = here.refuses(&format!("export {model} --crop-mode center"));
    assert!(error.contains("preprocessor_config.json describes another preprocessing"), "{error}");
    fs::write(here.path("preprocessor_config.json"), "{").unwrap();
    let error = here.refuses(&format!("export {model} --crop-mode center"));
    assert!(error.contains("preprocessor_config.json is not JSON"), "{error}");
}

#[test]
fn a_model_without_a_classifier_gives_features() {
    let here = Workplace::new();
    let narrow = here.path("narrow");
    fs::create_dir(&narrow).unwrap();
    let config = fs::read_to_string(Path::new(&model()).join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["num_classes"] = 0.into();
    config["pretrained_cfg"]["num_classes"] = 0.into();
    fs::write(narrow.join("config.json"), config.to_string()).unwrap();
    let error = here.refuses("export --model narrow --from-scratch");
    assert!(error.contains("gives no logits; take its pooled features (--output features)"), "{error}");
    here.succeeds("export --model narrow --from-scratch --output features -q");
}
