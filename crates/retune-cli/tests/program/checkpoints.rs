//! Checkpoints of training scripts on the command line: what is said of them, and what they are refused for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::Workplace;
use retune::device;
use retune::models::Model;
use retune::models::weights::{NamedTensor, read_tensors, write_tensors};

/// A place with `moco.pth.tar`: an encoder without a classifier, and a queue.
fn with_encoder() -> Workplace {
    let here = Workplace::new();
    let cpu = device::by_name("cpu").unwrap();
    Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu).unwrap().save(&here.path("whole")).unwrap();
    let tensors = read_tensors(&here.path("whole/model.safetensors")).unwrap();
    let body = tensors.into_iter().filter(|(name, _)| !name.starts_with("fc."));
    let mut renamed: BTreeMap<String, NamedTensor> =
        body.map(|(name, tensor)| (format!("module.encoder_q.{name}"), tensor)).collect();
    renamed.insert("module.queue".into(), NamedTensor { shape: vec![2], values: vec![1.0; 2] });
    write_tensors(Path::new(&here.path("moco.pth.tar")), renamed).unwrap();
    here
}

const MODEL: &str = "--model moco.pth.tar --arch test_resnet --size 32";

#[test]
fn what_was_taken_and_left_out_is_said_once() {
    let here = with_encoder();
    let note = "note: moco.pth.tar: took the tensors under module.encoder_q.; left 1 of another purpose out (a queue)";
    for (line, lists) in [
        (format!("features {MODEL} --data data --out f.npz"), false),
        (format!("audit {MODEL} --data shifted --sizes 32,48 -v"), true),
        (format!("fit {MODEL} --data data --method lp --no-report --out run -v"), true),
    ] {
        let output = here.run(&line);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {told}");
        assert_eq!(told.lines().filter(|line| *line == note).count(), 1, "{line}: {told}");
        assert_eq!(told.contains("left out: module.queue"), lists, "{line}: {told}");
    }
    // The head is new, and the run is whole.
    here.succeeds("eval --model run --data shifted -q");
}

#[test]
fn without_a_classifier_what_needs_one_refuses() {
    let here = with_encoder();
    for line in [
        format!("eval {MODEL} --data data"),
        format!("predict {MODEL} data/red/00.png"),
        format!("features {MODEL} --data data --layer logits --out f.npz"),
        format!("fit {MODEL} --data data --method ft --head-init keep --out run"),
    ] {
        let message = here.refuses(&line);
        assert!(message.contains("the model has no classifier"), "{line}: {message}");
    }
}

#[test]
fn an_architecture_that_nothing_names_is_asked_for() {
    let here = with_encoder();
    for line in ["eval --model moco.pth.tar --data data", "fit --model moco.pth.tar --data data --out run"] {
        let message = here.refuses(line);
        assert!(
            message.contains("nothing in it names its architecture") && message.contains("name it with --arch"),
            "{line}: {message}"
        );
    }
}
