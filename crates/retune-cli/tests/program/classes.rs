//! Classes of models and data are matched by what they are called, and what decided is said.

use std::fs;
use std::path::Path;

use crate::common::{Workplace, fit, model, spawn, wait_for};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

const CLASSES: u32 = 12;
/// Pictures of each class.
const PICTURES: u32 = 5;

/// A picture that only images of the class have: 4 × 4 fields of colors.
fn picture(class: u32, number: u32) -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| {
        let field = (x / 8 * 4 + y / 8) * 3;
        let channel = |channel: u32| (((class + 1) * (field + channel + 1) * 2_654_435_761u32) >> 24) as u8;
        Rgb([channel(0), channel(1), channel(2).wrapping_add(number as u8)])
    })
}

/// Folders of pictures, as many for each class.
fn pictures(here: &Workplace, folder: &str, name: impl Fn(u32) -> String) {
    for class in 0..CLASSES {
        let path = here.path(folder).join(name(class));
        fs::create_dir_all(&path).unwrap();
        for number in 0..PICTURES {
            picture(class, number).save(path.join(format!("{number}.png"))).unwrap();
        }
    }
}

fn change_config(here: &Workplace, model: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let path = here.path(model).join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    fs::write(path, config.to_string()).unwrap();
}

/// A model of twelve classes, once with names (`run/model`) and once without (`unnamed`).
fn twelve_classes() -> Workplace {
    let here = Workplace::new();
    pictures(&here, "padded", |class| format!("{class:02}"));
    here.succeeds(&format!("fit --model {} --data padded --method lp --no-report -q --out run", model()));
    fs::create_dir(here.path("unnamed")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(here.path("run/model").join(file), here.path("unnamed").join(file)).unwrap();
    }
    change_config(&here, "unnamed", |config| {
        assert!(config.remove("label_names").is_some());
    });
    here
}

/// What `eval --json` says of the only set, and the notes on standard error.
fn evaluated(here: &Workplace, line: &str) -> (Value, Vec<String>) {
    let output = here.run(&format!("eval {line} --json"));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{line}: {told}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let notes = told.lines().filter_map(|line| line.strip_prefix("note: ")).map(str::to_owned).collect();
    (document["splits"]["all"].clone(), notes)
}

#[test]
fn numbers_are_class_numbers_in_every_layout() {
    let here = twelve_classes();
    pictures(&here, "plain", |class| class.to_string());
    pictures(&here, "from_one", |class| (class + 1).to_string());
    pictures(&here, "beyond", |class| (class + 2).to_string());
    let rows = |data: &str, label: &dyn Fn(u32) -> String| -> String {
        let row = |image: u32| {
            let class = image / PICTURES;
            format!("{data}/{class:02}/{}.png,{}\n", image % PICTURES, label(class))
        };
        (0..PICTURES * CLASSES).map(row).collect()
    };
    fs::write(here.path("list.csv"), format!("path,label\n{}", rows("padded", &|class| class.to_string()))).unwrap();
    fs::write(here.path("floats.csv"), format!("path,label\n{}", rows("padded", &|class| format!("{class}.0"))))
        .unwrap();

    // The same images, of which each class is known by name.
    let (expected, notes) = evaluated(&here, "--model run/model --data padded");
    assert!(notes.is_empty() && expected["accuracy"].as_f64().unwrap() > 0.9, "{expected} {notes:?}");
    for (data, said) in [
        ("padded", "the model names no classes; the data's classes 00 … 11 are taken as class numbers"),
        ("plain", "the model names no classes; the data's classes 0 … 11 are taken as class numbers"),
        ("list.csv", "the model names no classes; the data's classes 0 … 11 are taken as class numbers"),
        ("floats.csv", "the model names no classes; the data's classes 0.0 … 11.0 are taken as class numbers"),
        ("from_one", "the data's classes 1 … 12 are taken in the order of their numbers, 1 as class number 0"),
    ] {
        let (found, notes) = evaluated(&here, &format!("--model unnamed --data {data}"));
        for key in ["n", "accuracy", "loss"] {
            // Batches hold other images in another order, so that sums round otherwise.
            let [found, expected] = [&found, &expected].map(|evaluation| evaluation[key].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-5, "{data}: {key} {found} {expected}");
        }
        assert!(notes.len() == 1 && notes[0].ends_with(said), "{data}: {notes:?}");
    }
    // Where the model has names, numbers are names that can be spelled in another way.
    let (found, notes) = evaluated(&here, "--model run/model --data plain");
    assert_eq!(found["accuracy"], expected["accuracy"]);
    assert!(notes.len() == 1 && notes[0].contains("`0` is the model's `00`"), "{notes:?}");

    let message = here.refuses("eval --model unnamed --data beyond");
    assert!(
        message.contains("the class `13`") && message.contains("from 0 to 11; name the model's classes"),
        "{message}"
    );
    let message = here.refuses("eval --model unnamed --data shifted");
    assert!(message.contains("shifted has 2 classes, and the model has 12 and does not name them"), "{message}");
    assert!(message.contains("--classes FILE"), "{message}");

    // A head that is kept keeps its order, and the classes get the data's names.
    let line = "fit --model unnamed --data plain --head-init keep --method ft --epochs 1 --lr 1e-6 --no-report --json";
    let output = here.run(&format!("{line} --out kept"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(told.matches("note: the model names no classes; the data's classes 0 … 11").count(), 1, "{told}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["classes"], json!((0..12).map(|class| class.to_string()).collect::<Vec<_>>()));
    assert!(summary["splits"]["val"]["accuracy"].as_f64().unwrap() > 0.9, "{summary}");
    here.succeeds("verify kept -q");
}

#[test]
fn a_file_names_the_models_classes() {
    let here = twelve_classes();
    let name = |class: u32| format!("kind {}", char::from(b'a' + (class * 5 % 12) as u8));
    pictures(&here, "named", name);
    let names: Vec<String> = (0..CLASSES).map(name).collect();
    let (expected, _) = evaluated(&here, "--model run/model --data padded");
    let numbered: serde_json::Map<String, Value> =
        names.iter().enumerate().map(|(class, name)| (class.to_string(), name.as_str().into())).collect();
    let by_name: serde_json::Map<String, Value> =
        names.iter().enumerate().map(|(class, name)| (name.clone(), class.into())).collect();
    for (file, text) in [
        ("lines.txt", names.join("\n") + "\n"),
        ("list.json", json!(names).to_string()),
        ("numbered.json", json!(numbered).to_string()),
        ("by_name.json", json!(by_name).to_string()),
    ] {
        fs::write(here.path(file), text).unwrap();
        let (found, notes) = evaluated(&here, &format!("--model unnamed --classes {file} --data named"));
        assert_eq!(found["accuracy"], expected["accuracy"], "{file}");
        assert!(notes.is_empty(), "{file}: {notes:?}");
    }
    let predictions = here.json("predict --model unnamed --classes lines.txt padded/03/0.png --json");
    assert_eq!(predictions[0]["classes"][0]["class"], name(3));
    here.succeeds("umap --model unnamed --classes lines.txt --data named --color correctness --out map.csv");
    assert!(String::from_utf8(here.file("map.csv")).unwrap().contains("kind c"));

    let line = "fit --model unnamed --classes lines.txt --data named --method ft --epochs 1 --lr 1e-6 --no-report -q";
    let message = here.refuses(&format!("{line} --head-init zeros --out kept"));
    assert!(message.contains("--head-init keep"), "{message}");
    here.succeeds(&format!("{line} --head-init keep --out kept"));
    let config: Value = serde_json::from_slice(&here.file("kept/model/config.json")).unwrap();
    assert_eq!(config["label_names"], json!(names));
    // What the file said is part of the run.
    fs::remove_file(here.path("lines.txt")).unwrap();
    here.succeeds("verify kept -q");

    fs::write(here.path("short.txt"), names[1..].join("\n")).unwrap();
    let message = here.refuses("eval --model unnamed --classes short.txt --data named");
    assert!(message.contains("short.txt names 11 classes, and the model has 12"), "{message}");
    assert!(here.refuses("eval --model unnamed --classes absent.txt --data named").contains("absent.txt"));
}

#[test]
fn a_model_of_imagenet_knows_its_classes() {
    let here = Workplace::new();
    fs::create_dir(here.path("model")).unwrap();
    fs::copy(Path::new(&model()).join("config.json"), here.path("model/config.json")).unwrap();
    change_config(&here, "model", |config| {
        config.insert("num_classes".into(), 1000.into());
        config["pretrained_cfg"]["num_classes"] = 1000.into();
        config["pretrained_cfg"].as_object_mut().unwrap().remove("tag");
    });
    // As ImageNet-A and -R have some of the classes. The numbers are timm's (imagenet_synsets.txt, counted from 0).
    let line = "eval --model model --from-scratch --per-class --json --data";
    let classes = [("n01440764", "tench", 0), ("n01498041", "stingray", 6), ("n02233338", "Cockroach", 314)];
    for (data, said) in
        [("ids", "ImageNet-1k, by their number, and matched by WordNet id"), ("names", "`Cockroach` is n02233338")]
    {
        for (count, (id, name, _)) in (1..).zip(classes) {
            here.images(&format!("{data}/{}", if data == "ids" { id } else { name }), "red", count, 200);
        }
        let output = here.run(&format!("{line} {data}"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && told.contains(said), "{told}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (count, (_, name, class)) in (1..).zip(classes) {
            let row = &found["classes"]["all"][class];
            assert_eq!((row["class"].as_str().unwrap(), row["n"].as_u64().unwrap()), (&*name.to_lowercase(), count));
        }
    }
    let message = here.refuses(&format!("{line} shifted"));
    assert!(
        message.contains("`green`, which is neither the WordNet id nor the name") && message.contains("ImageNet-1k"),
        "{message}"
    );

    // Weights whose tag says so need no note, and what was trained on something else is not ImageNet's.
    let set_tag = |tag: &str| change_config(&here, "model", |config| config["pretrained_cfg"]["tag"] = tag.into());
    set_tag("a1_in1k");
    let output = here.run("predict --model model --from-scratch shifted/red/00.png --json");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("note:"));
    let predictions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(predictions[0]["classes"][0]["id"].as_str().unwrap().starts_with('n'), "{predictions}");
    set_tag("inat21");
    let predictions = here.json("predict --model model --from-scratch shifted/red/00.png --json");
    assert_eq!(predictions[0]["classes"][0].get("id"), None);
}

/// The sentence of a check that does not hold.
fn broken(here: &Workplace, run: &str) -> String {
    let output = here.run(&format!("verify {run} --json -q"));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = found[0]["checks"].as_array().unwrap();
    let of =
        |what: &str| checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("{what}: {found}"));
    assert_eq!(of("frozen tensors")["outcome"], "holds");
    assert_eq!(of("accuracies")["outcome"], "broken");
    of("accuracies")["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_class_that_came_or_went_since_a_run_is_said_in_a_sentence() {
    let here = Workplace::new();
    for (run, seed) in [("run0", 0), ("run1", 1)] {
        here.succeeds(&fit(&format!("--method ft --seed {seed} --no-report -q --out {run}")));
    }
    here.succeeds(&fit("--method ft --head-init zeros --eval shifted=shifted --no-report -q --out with_eval"));
    let (expected, _) = evaluated(&here, "--model run0 --data data");

    // A class more, in the place of the first: every position has moved.
    here.images("data/bird", "red", 12, 90);
    let gained = "now has the class `bird`, which the run did not know";
    assert!(broken(&here, "run0").ends_with(gained));
    for line in ["soup run0 run1 --out soup", "soup run0 run1 --greedy --out soup", "wise-ft run0 --alphas 0,1"] {
        let message = here.refuses(line);
        // A greedy soup of other seeds has no images to choose by, which comes first.
        assert!(message.contains(gained) || message.contains("held out different images"), "{line}: {message}");
    }
    let (found, notes) = evaluated(&here, "--model run0 --data data");
    assert_eq!((&found["n"], &found["accuracy"]), (&expected["n"], &expected["accuracy"]));
    assert_eq!(notes, ["the model does not know the data's class `bird`: its 12 images are left out"]);
    // Of a model that is no run's, nothing says that the data was ever its own.
    assert!(
        here.refuses("eval --model run0/model --data data").contains("`bird`, which is none of the model's classes")
    );
    fs::remove_dir_all(here.path("data/bird")).unwrap();
    here.succeeds("verify run0 run1 -q");

    // Renamed, so that the order is another.
    fs::rename(here.path("data/red"), here.path("data/amber")).unwrap();
    let renamed = "now has the class `amber`, which the run did not know, and no longer has the class `red`";
    assert!(broken(&here, "run1").ends_with(renamed));
    assert!(here.refuses("soup run0 run1 --out soup").contains(renamed));
    fs::rename(here.path("data/amber"), here.path("data/red")).unwrap();

    // In a further set.
    here.images("shifted/bird", "red", 3, 90);
    assert!(broken(&here, "with_eval").contains("shifted has the class `bird`, which is none"));
}

#[cfg(unix)]
#[test]
fn a_run_does_not_go_on_with_other_classes() {
    let here = Workplace::new();
    let options = "--method ft --epochs 100000 --lr 1e-4 --checkpoint-every 1 --save last -q";
    let mut child = spawn(here.command(&format!("fit --model {} --data data {options} --out run", model())));
    wait_for(&here.path("run/checkpoint/progress.json"), &mut child);
    here.interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    here.images("data/bird", "red", 12, 90);
    let message = here.refuses("fit --resume run");
    assert!(message.contains("now has the class `bird`, which the run did not know; put it back"), "{message}");
}

#[test]
fn models_of_other_classes_are_not_mixed() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --no-report -q --out colors"));
    fs::rename(here.path("data/red"), here.path("data/amber")).unwrap();
    here.succeeds(&fit("--method lp --no-report -q --out ambers"));
    let message = here.refuses("soup colors ambers --out soup");
    assert!(
        message.contains(
            "colors and ambers cannot be mixed: the first has the class `red`, which the second does not know"
        ),
        "{message}"
    );
}
