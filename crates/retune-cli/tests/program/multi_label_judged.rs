//! Images with several labels, judged: intervals, audits, advice, and what a run's report shows of them.

use std::fs;

use crate::common::{Workplace, model};
use crate::labels::{disputed, list, workplace};
use serde_json::{Value, json};

/// The data of a page.
fn page(here: &Workplace, path: &str) -> Value {
    let text = String::from_utf8(here.file(path)).unwrap();
    let (_, data) = text.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

fn interval(of: &Value) -> [f64; 2] {
    [0, 1].map(|end| of[end].as_f64().unwrap())
}

#[test]
fn precision_has_an_interval_and_no_two_sets_a_name() {
    let (here, images) = workplace();
    disputed(&here, &images);
    here.succeeds(&format!(
        "fit --model {} --data list.csv --multi-label --method lp --no-report -q --out run",
        model()
    ));
    let found = here.json("eval --model run --data disputed.csv --eval all=list.csv --json");
    let splits = found["splits"].as_object().unwrap();
    assert_eq!(splits.keys().collect::<Vec<_>>(), ["data", "all"]);
    let of = &splits["data"];
    let (precision, [low, high]) =
        (of["mean_average_precision"].as_f64().unwrap(), interval(&of["mean_average_precision_interval"]));
    assert!(0.3 < low && low < precision - 0.02 && precision + 0.02 < high && high < 1.0, "{of}");
    // The same resamples as in a comparison and in a run's report.
    let line = format!("compare --model {} --data list.csv --multi-label --eval disputed=disputed.csv", model());
    let compared = here.json(&format!("{line} --methods lp --no-report --json --out table"));
    let of_set = compared["results"].as_array().unwrap().iter().find(|result| result["set"] == "disputed").unwrap();
    for (end, stored) in [low, high].into_iter().zip(interval(&of_set["methods"][0]["estimate"]["interval"])) {
        // Logits in single precision come back from probabilities in double precision.
        assert!((end - stored).abs() < 1e-9, "{end} {stored}");
    }
    let text = here.succeeds("eval --model run --data disputed.csv -q");
    assert!(text.contains(&format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high)), "{text}");
    assert!(text.contains(" (95 % interval "), "{text}");
    assert!(
        here.refuses("eval --model run --data list.csv --eval all=list.csv --eval data=list.csv")
            .contains("--eval all=")
    );
}

#[test]
fn preprocessing_is_audited_by_mean_average_precision() {
    let (here, images) = workplace();
    disputed(&here, &images);
    here.succeeds(&format!(
        "fit --model {} --data list.csv --multi-label --method lp --no-report -q --out run",
        model()
    ));
    let line = "audit --model run --data disputed.csv --interpolations nearest --sizes 24 --bootstrap 40";
    let found = here.json(&format!("{line} --out a.csv --json"));
    assert_eq!(found["several_labels"], true);
    let evaluated = here.json("eval --model run --data disputed.csv --json");
    let own = &found["rows"][0];
    assert_eq!(own["mean_average_precision"]["value"], evaluated["splits"]["all"]["mean_average_precision"]);
    assert_eq!(
        own["mean_average_precision"]["interval"],
        evaluated["splits"]["all"]["mean_average_precision_interval"]
    );
    assert_eq!(own["accuracy"]["value"], evaluated["splits"]["all"]["accuracy"]);
    let small = &found["rows"][2];
    let difference = &small["mean_average_precision_difference"];
    let expected = small["mean_average_precision"]["value"].as_f64().unwrap()
        - own["mean_average_precision"]["value"].as_f64().unwrap();
    assert!((difference["mean"].as_f64().unwrap() - expected).abs() < 1e-12, "{small}");
    let [low, high] = interval(&difference["interval"]);
    assert!(low < expected && expected < high, "{small}");
    let table = String::from_utf8(here.file("a.csv")).unwrap();
    assert!(
        table.lines().next().unwrap().ends_with(",mean_average_precision_low,mean_average_precision_high"),
        "{table}"
    );
    let text = here.succeeds(&format!("{line} -q"));
    assert!(
        text.contains("mAP") && text.contains("labels changed") && text.contains("Mean average precision with"),
        "{text}"
    );
    // Images of other labels, or of none, are audited too, but for precision.
    here.images("plain", "green", 24, 200);
    let output = here.run("audit --model run --data plain --interpolations nearest");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("mean average precision is not measured"), "{said}");
}

#[test]
fn advice_goes_by_mean_average_precision() {
    let (here, images) = workplace();
    disputed(&here, &images);
    let quick = "--gradient-batches 2 --trial-epochs 1 --trial-lr 1e-3 --batch-size 8 -q";
    let line = format!("advise --model {} --data disputed.csv --multi-label --val-fraction 0.4 {quick}", model());
    let advice = here.json(&format!("{line} --source list.csv --json"));
    assert_eq!(advice["pairing"], "same-images");
    for candidate in advice["candidates"].as_array().unwrap() {
        let trial = &candidate["trial"];
        let precision = trial["mean_average_precision"].as_f64().unwrap();
        let [low, high] = interval(&trial["mean_average_precision_interval"]);
        assert!(low <= precision && precision <= high && low < high, "{candidate}");
    }
    let standings = advice["verdict"]["standings"].as_array().unwrap();
    let best = advice["full"]["mean_average_precision"].as_f64().into_iter();
    let best = best.chain(
        advice["candidates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|candidate| candidate["trial"]["mean_average_precision"].as_f64().unwrap()),
    );
    let best = best.fold(0.0, f64::max);
    for (standing, candidate) in standings.iter().zip(advice["candidates"].as_array().unwrap()) {
        let own = candidate["trial"]["mean_average_precision"].as_f64().unwrap();
        assert!((standing["behind"].as_f64().unwrap() - (best - own)).abs() < 1e-12, "{standing}");
    }
    let text = here.succeeds(&line);
    assert!(text.contains("trial, mAP") && text.contains(" best: mean average precision "), "{text}");
    let command = text.lines().find_map(|line| line.trim().strip_prefix("retune ")).expect(&text);
    assert!(command.starts_with("fit --model ") && command.contains("--multi-label"), "{command}");

    // A run's own labels; images of another folder are paired by their combination of labels, whatever its spelling.
    here.succeeds(&format!(
        "fit --model {} --data list.csv --multi-label --method lp --no-report -q --out run",
        model()
    ));
    here.copy("photos", "source/photos");
    let swapped = list(&images).replace("green|red", "red|green");
    fs::write(here.path("source/list.csv"), swapped).unwrap();
    let line = format!("advise --model run --data disputed.csv --multi-label --head-init keep {quick}");
    let advice = here.json(&format!("{line} --source source/list.csv --json"));
    assert_eq!(advice["pairing"], "same-class");
    assert!(advice["untuned"]["mean_average_precision"].as_f64().unwrap() < 1.0);
    assert!(advice["verdict"]["untuned"]["behind"].as_f64().is_some());
    fs::write(here.path("other.csv"), "path,labels\nphotos/00.png,blue\nphotos/01.png,blue|gray\n").unwrap();
    let message = here.refuses(&format!("{line} --source other.csv"));
    assert!(message.contains("shares no image and no combination of labels"), "{message}");
}

/// What a run keeps of each image is what its report shows.
#[test]
fn a_run_keeps_features_and_its_report_has_a_map_and_the_hardest_images() {
    let (here, images) = workplace();
    disputed(&here, &images);
    let line = format!("fit --model {} --data list.csv --multi-label --eval disputed=disputed.csv", model());
    here.succeeds(&format!("{line} --method lp -q --out run"));
    let features = retune::run::record::read_features(&here.path("run")).unwrap().unwrap();
    let predictions = retune::run::record::LabelPredictions::read(&here.path("run")).unwrap().unwrap();
    assert_eq!(features.values.len() / features.width, predictions.sampled().len());
    let data = page(&here, "run/report.html");
    let views = |kind: &str| -> Vec<Value> {
        let sections = data["sections"].as_array().unwrap();
        let views = sections.iter().flat_map(|section| section["views"].as_array().unwrap());
        views.filter(|view| view["kind"] == kind).cloned().collect()
    };
    let map = &views("map")[0];
    assert_eq!(map["classes"], json!(["green", "red"]));
    assert_eq!(map["x"].as_array().unwrap().len(), predictions.sampled().len());
    assert_eq!(map["colorings"][0]["name"], "Label");
    let gallery = views("gallery").into_iter().find(|view| view["name"] == "disputed").unwrap();
    let items = gallery["items"].as_array().unwrap();
    let losses: Vec<f64> = items.iter().map(|item| item["loss"].as_f64().unwrap()).collect();
    assert!(losses.windows(2).all(|pair| pair[0] >= pair[1]) && losses.len() >= 10, "{losses:?}");
    // The probe is right about the colors, so the hardest images are those whose labels were turned around.
    for item in &items[..10] {
        let number: usize = item["path"].as_str().unwrap()["photos/".len()..][..2].parse().unwrap();
        assert_eq!(number % 5, 0, "{item}");
        let [green, red] = images[number].1;
        let named = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|label| label[0].as_str().unwrap().to_owned()).collect()
        };
        let mut wrong = named(&item["mistakes"]["wrong"]);
        wrong.sort();
        let expected: Vec<&str> =
            [(green, "green"), (red, "red")].into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
        assert_eq!(wrong, expected, "{item}");
        assert_eq!(named(&item["mistakes"]["missed"]).len(), 2 - wrong.len(), "{item}");
    }
    for file in ["hardest_disputed.png", "map.png"] {
        assert!(!here.file(&format!("run/plots/{file}")).is_empty(), "{file}");
    }
    here.succeeds("verify run -q");
    here.succeeds("umap --model run --data list.csv --onto run --out onto.csv -q");

    // A run from before features were kept still has a page, without them.
    fs::remove_dir_all(here.path("run/samples")).unwrap();
    here.succeeds("report run --out plain.html -q");
    let plain = page(&here, "plain.html");
    assert!(plain["sections"].as_array().unwrap().iter().all(|section| section["id"] != "map"));
    here.succeeds("report run run --out both.html -q");
}
