//! Runs of many classes, and of classes whose names are in any script, end with pictures that can be opened and read.

use std::fs;

use crate::browser::Browser;
use crate::common::{Workplace, model};
use image::{Rgb, RgbImage};

/// What two pictures of a class each, one to train on, make of a model that knows nothing: nearly everything is wrong.
const CLASSES: usize = 300;
/// In Chinese, Arabic and Hebrew, in pictures, very long, and with letters that turn or hide what follows.
const NAMES: [&str; 6] = ["北京的狗", "قطة", "חתול", "🐱", "evil\u{202E}gnp", "zero\u{200B}width"];

fn workplace() -> Workplace {
    let here = Workplace::new();
    let mut names: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
    names.push("long_".repeat(40));
    names.extend((names.len()..CLASSES).map(|class| format!("class{class:05}")));
    for (class, name) in names.iter().enumerate() {
        for split in ["train", "val"] {
            let folder = here.path(&format!("many/{split}/{name}"));
            fs::create_dir_all(&folder).unwrap();
            let color = Rgb([class as u8, (class / 2) as u8, (class * 7) as u8]);
            RgbImage::from_pixel(16, 16, color).save(folder.join("0.png")).unwrap();
        }
    }
    here
}

fn fit(options: &str) -> String {
    format!("fit --model {} --data many --size 32 --method ft --epochs 1 --lr 1e-3 -q {options}", model())
}

#[test]
fn three_hundred_classes_in_any_script_make_small_pictures() {
    let here = workplace();
    here.succeeds(&fit("--out run"));
    for entry in fs::read_dir(here.path("run/plots")).unwrap() {
        let entry = entry.unwrap();
        // What two million bytes hold is opened at once. A number in every cell took 14 million.
        let bytes = entry.metadata().unwrap().len();
        assert!(bytes < 1_000_000, "{}: {bytes} bytes", entry.path().display());
    }
    let svg = String::from_utf8(here.file("run/plots/confusion_val.svg")).unwrap();
    for part in ["Confused most often", "Hardest classes", "Each row and column stands for 3 classes"] {
        assert!(svg.contains(part), "{part}");
    }
    // 300 thumbnails of one color each, and a JSON that is linear in what is shown.
    let page = String::from_utf8(here.file("run/report.html")).unwrap();
    assert!(page.len() < 1_000_000, "{}", page.len());
    assert!(page.contains("北京的狗") && page.contains("evil\\\\u{202e}gnp") && page.contains("zero\\\\u{200b}width"));
    for hidden in ['\u{202E}', '\u{200B}'] {
        assert!(!page.contains(hidden) && !svg.contains(hidden));
    }

    let Some(browser) = Browser::start() else { return };
    browser.open(&here.path("run/report.html"));
    browser.wait_for("document.documentElement.dataset.ready === 'yes'");
    let entries = || browser.script("return document.querySelectorAll('.map-side .legend .entry').length");
    // 59 classes and the others; a search leaves what it finds.
    assert_eq!(entries(), 60);
    assert_eq!(
        browser.script("return [...document.querySelectorAll('.map-side .name')].at(-1).textContent"),
        "241 others"
    );
    let find = |name: &str| {
        browser.script(&format!(
            "const search = document.querySelector('.map-side input'); search.value = '{name}'; search.dispatchEvent(new Event('input'))"
        ));
        browser.script("return Number(document.querySelector('.stage canvas').dataset.shown)")
    };
    assert_eq!((find("北京"), entries()), (1.into(), 1.into()));
    assert_eq!((find("CLASS0001"), entries()), (10.into(), 10.into()));
    assert_eq!(find(""), 300);
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn without_a_report_there_are_no_pictures_until_they_are_asked_for() {
    let here = Workplace::new();
    let line = format!("fit --model {} --data data --size 32 --method ft --epochs 1 --lr 1e-3 -q --out run", model());
    let text = here.succeeds(&format!("{line} --no-report"));
    assert!(!text.contains("report:"), "{text}");
    let made = ["report.html", "samples/map.json", "plots"].map(|name| here.path("run").join(name));
    assert!(made.iter().all(|path| !path.exists()));
    here.succeeds("report run");
    assert!(made.iter().all(|path| path.exists()) && here.path("run/plots/confusion_val.png").is_file());
    // A page that goes elsewhere leaves the run as it is.
    fs::remove_dir_all(here.path("run/plots")).unwrap();
    here.succeeds("report run --out page.html");
    assert!(!here.path("run/plots").exists());

    let line = format!("compare --model {} --data data --size 32 --methods lp --no-report -q --out both", model());
    here.succeeds(&line);
    assert!(here.path("both/comparison.md").is_file());
    assert!(!here.path("both/runs/lp/seed-0/plots").exists());
}

#[test]
fn a_picture_that_cannot_be_made_leaves_a_finished_run_finished() {
    let here = Workplace::new();
    let line = format!("fit --model {} --data data --size 32 --method ft --epochs 1 --lr 1e-3 -q --out run", model());
    here.succeeds(&line);
    // A folder where the page goes, and a file where the pictures go.
    fs::remove_file(here.path("run/report.html")).unwrap();
    fs::remove_dir_all(here.path("run/plots")).unwrap();
    fs::create_dir(here.path("run/report.html")).unwrap();
    fs::write(here.path("run/plots"), "").unwrap();
    let output = here.run("fit --resume run -q");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("model: run/model"));
    let notes: Vec<&str> = errors.lines().collect();
    assert_eq!(notes.len(), 2, "{errors}");
    assert!(notes[0].starts_with("note: run/report.html is not written: "), "{errors}");
    assert!(notes[1].starts_with("note: run/plots is not written: "), "{errors}");
    assert!(notes.iter().all(|note| note.ends_with("; `retune report run` writes the report")), "{errors}");

    // Whoever asks for the report itself is refused, until there is room for it.
    assert!(here.refuses("report run").contains("report.html"));
    fs::remove_dir(here.path("run/report.html")).unwrap();
    fs::remove_file(here.path("run/plots")).unwrap();
    here.succeeds("report run");
    assert!(here.path("run/plots/loss.svg").is_file());
}
