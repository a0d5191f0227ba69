//! Runs of models of one and of four channels, from images to predictions, and what is refused of them.

use std::fs;

use crate::common::{Workplace, model};
use serde_json::{Value, json};

/// A run of each number of channels on the same images.
fn runs(counts: &[u32]) -> Workplace {
    let here = Workplace::new();
    for count in counts {
        let augmented =
            "--augment randaugment --mixup 0.2 --cutmix 1 --method lp-ft --epochs 1 --lr 0.01 --eval fog=shifted@fog:2";
        let line = format!("fit --model {} --in-chans {count} --data data {augmented} --out run{count}", model());
        let output = here.run(&line);
        let messages = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{line}: {messages}");
        let notes = messages.lines().filter(|line| line.contains("conv1.weight is for 3 channels"));
        assert_eq!(notes.count(), usize::from(*count != 3), "{messages}");
    }
    here
}

#[test]
fn a_run_keeps_its_channels() {
    let here = runs(&[1, 4]);
    for count in [1, 4] {
        let run = format!("run{count}");
        let config: Value =
            serde_json::from_slice(&fs::read(here.path(&run).join("model/config.json")).unwrap()).unwrap();
        assert_eq!(config["model_args"]["in_chans"], json!(count));
        assert_eq!(config["pretrained_cfg"]["input_size"], json!([count, 33, 33]));
        let layers = here.json(&format!("layers --model {run} --json"));
        assert_eq!(layers["input"][0], json!(count));

        let summary: Value = serde_json::from_slice(&fs::read(here.path(&run).join("summary.json")).unwrap()).unwrap();
        let evaluated = here.json(&format!("eval --model {run} --data shifted@fog:2 --json"));
        assert_eq!(evaluated["splits"]["all"]["accuracy"], summary["splits"]["fog"]["accuracy"]);
        here.succeeds(&format!("predict --model {run} shifted/red/00.png"));
        here.succeeds(&format!("features --model {run} --data shifted --layer input --out {run}.npz"));
        here.succeeds(&format!("cka --model {run} --data shifted --out {run}.json"));
        here.succeeds(&format!("audit --model {run} --data shifted --out {run}.html"));
        here.succeeds(&format!("wise-ft {run} --out {run}-line"));
        here.copy(&run, &format!("{run}-copy"));
        here.succeeds(&format!("soup {run} {run}-copy --out {run}-soup"));
        here.succeeds(&format!("verify {run}"));
        here.succeeds(&format!("fit --resume {run}"));
    }
}

#[test]
fn other_channels_are_refused_in_a_sentence() {
    let here = runs(&[1, 3]);
    let error = here.refuses("soup run1 run3 --out mixed");
    assert!(error.contains("images differ in channels: 1 channel (gray) and 3 channels (RGB)"), "{error}");
    for command in ["cka --out c.json", "eval"] {
        let error = here.refuses(&format!("{command} --model run1 --against run3 --data shifted"));
        assert!(error.contains("run3 takes images of 3 channels (RGB)"), "{error}");
    }
    let fit = format!("fit --model {} --data data --out refused", model());
    let error = here.refuses(&format!("{fit} --in-chans 5"));
    assert!(error.contains("channels, not 5"), "{error}");
    let error = here.refuses(&format!("{fit} --in-chans 1 --mean 0.5,0.5,0.5"));
    assert!(error.contains("images of 1 channel (gray) need as many values in mean and std, not 3 and 1"), "{error}");
}
