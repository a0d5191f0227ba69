//! The temperature that a run fits, and the measures of an evaluation, as users see them.

use crate::common::{Workplace, fit};
use serde_json::Value;

#[test]
fn a_run_fits_a_temperature_that_changes_probabilities_and_no_class() {
    let workplace = Workplace::new();
    // Half of what is called red is green, which leaves mistakes: without any there is no temperature.
    workplace.images("data/red", "green", 12, 200);
    workplace.succeeds(&fit("--method lp --out run --eval shifted=shifted -q"));
    let summary: Value = serde_json::from_slice(&workplace.file("run/summary.json")).unwrap();
    let config: Value = serde_json::from_slice(&workplace.file("run/model/config.json")).unwrap();
    let scaling = &summary["temperature"];
    assert_eq!(scaling["temperature"], config["retune"]["temperature"]);
    let temperature = scaling["temperature"].as_f64().unwrap();
    for set in ["val", "shifted"] {
        let errors = &scaling["calibration_errors"][set];
        assert!(errors["before"].is_f64() && errors["after"].is_f64(), "{errors}");
    }

    let probabilities = |options: &str| -> Vec<(u64, f64)> {
        let images = workplace.json(&format!("predict --model run shifted --top 99 --json {options}"));
        let classes = images.as_array().unwrap().iter().flat_map(|image| image["classes"].as_array().unwrap());
        let entry = |class: &Value| (class["index"].as_u64().unwrap(), class["probability"].as_f64().unwrap());
        classes.map(entry).collect()
    };
    let (scaled, plain) = (probabilities(""), probabilities("--temperature none"));
    assert_eq!(scaled, probabilities(&format!("--temperature {temperature}")));
    let classes = summary["classes"].as_array().unwrap().len();
    for (scaled, plain) in scaled.chunks(classes).zip(plain.chunks(classes)) {
        assert!(scaled.iter().zip(plain).all(|(scaled, plain)| scaled.0 == plain.0));
        // The logarithm of two probabilities' ratio is the difference of their logits.
        let ratio = |of: &[(u64, f64)]| (of[0].1 / of[classes - 1].1).ln();
        assert!((ratio(scaled) * temperature - ratio(plain)).abs() < 1e-6, "{} {}", ratio(scaled), ratio(plain));
    }
    assert!(workplace.refuses("predict --model run shifted --temperature 0").contains("above 0, or none"));

    let evaluated = workplace.json("eval --model run --data shifted --json");
    let errors = &scaling["calibration_errors"]["shifted"];
    let close = |one: &Value, other: &Value| (one.as_f64().unwrap() - other.as_f64().unwrap()).abs() < 1e-6;
    assert!(close(&evaluated["calibration"]["all"]["softmax"], &errors["before"]), "{evaluated}");
    assert!(close(&evaluated["calibration"]["all"]["at_temperature"], &errors["after"]), "{evaluated}");
    for measure in ["macro_f1", "auroc", "loss"] {
        let (found, stored) = (&evaluated["splits"]["all"][measure], &summary["splits"]["shifted"][measure]);
        assert!(close(found, stored), "{measure}: {found} {stored}");
    }
    let text = workplace.succeeds("eval --model run --data shifted");
    assert!(text.contains("macro F1") && text.contains("at temperature"), "{text}");

    // Other weights are calibrated otherwise.
    workplace.copy("run", "copy");
    workplace.succeeds("soup run copy --out soup -q");
    let soup: Value = serde_json::from_slice(&workplace.file("soup/config.json")).unwrap();
    assert!(soup["retune"]["temperature"].is_null(), "{soup}");
}
