//! The report, opened in a browser.

use crate::browser::Browser;
use crate::common::{Workplace, fit, model};

/// A class whose name would be markup if it were not escaped.
const HOSTILE: &str = "red <img src=x onerror=alert(1)> & </script>";

fn workplace() -> Workplace {
    let here = Workplace::new();
    for folder in ["data", "shifted"] {
        // The name has a slash, which no folder can; a manifest can have any class.
        let mut rows = String::from("path,label\n");
        for class in ["green", "red"] {
            for entry in std::fs::read_dir(here.path(&format!("{folder}/{class}"))).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let label = if class == "red" { HOSTILE } else { class };
                rows.push_str(&format!("{folder}/{class}/{name},\"{label}\"\n"));
            }
        }
        std::fs::write(here.path(&format!("{folder}.csv")), rows).unwrap();
    }
    here
}

#[test]
fn the_report_of_a_run_works_in_a_browser_and_asks_for_nothing() {
    let here = workplace();
    let text = here.succeeds(&fit("--out run --eval shifted=shifted.csv -q").replace("--data data", "--data data.csv"));
    assert!(text.contains("report: run/report.html"), "{text}");
    for plot in ["confusion_val.svg", "calibration_shifted.png", "map.svg"] {
        assert!(!here.file(&format!("run/plots/{plot}")).is_empty());
    }
    let Some(browser) = Browser::start() else { return };
    browser.open(&here.path("run/report.html"));
    browser.wait_for("document.documentElement.dataset.ready === 'yes'");
    assert_eq!(browser.script("return getComputedStyle(document.documentElement).scrollBehavior"), "auto");

    let titles = browser.script("return [...document.querySelectorAll('h2')].map((title) => title.textContent)");
    for title in [
        "Accuracy",
        "Map of the images",
        "Confusion",
        "Calibration",
        "Images with the highest loss",
        "Plan and options",
    ] {
        assert!(titles.as_array().unwrap().iter().any(|found| found == title), "{title}: {titles}");
    }
    // The hostile name is there as text, and only as text.
    assert!(browser.script("return document.body.textContent").as_str().unwrap().contains(HOSTILE));
    assert_eq!(browser.script("return document.querySelectorAll('img').length"), 0);

    for class in ["green", HOSTILE] {
        hovers(&browser, class);
    }
    taps(&browser);
    hides_a_class(&browser);
    arrow_keys_move(&browser);
    turns_dark(&browser);

    assert_eq!(browser.console(), Vec::<String>::new());
    let requests = browser.requests();
    assert!(requests.iter().any(|address| address.starts_with("file://")), "{requests:?}");
    let outside: Vec<&String> = requests
        .iter()
        .filter(|address| !address.starts_with("data:") && !address.ends_with("/run/report.html"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

/// The pointer on an image of a class shows that image: its path, its class, and pixels of its color.
fn hovers(browser: &Browser, class: &str) {
    browser.show(".stage canvas");
    let found = browser.script(&format!(
        "const canvas = document.querySelector('.stage canvas');
         const map = JSON.parse(document.getElementById('data').textContent).sections.flatMap((s) => s.views).find((v) => v.kind === 'map');
         const index = map.label.indexOf(map.classes.indexOf({class:?}));
         const [x, y] = canvas.map.place(index);
         const box = canvas.getBoundingClientRect();
         return {{ index, path: map.path[index], x: box.x + x, y: box.y + y }}"
    ));
    // From elsewhere, so that there is a movement even if the pointer is there already.
    browser.move_pointer(2.0, 2.0);
    browser.move_pointer(found["x"].as_f64().unwrap(), found["y"].as_f64().unwrap());
    browser.wait_for("!document.querySelector('.tooltip').hidden");
    // Points that lie on one another are told apart by whole pixels only: what is shown must be what is said to be hovered.
    let shown = browser.script(
        "const map = JSON.parse(document.getElementById('data').textContent).sections.flatMap((s) => s.views).find((v) => v.kind === 'map');
         const index = Number(document.querySelector('.stage canvas').dataset.hovered);
         const canvas = document.querySelector('.tooltip canvas');
         const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
         const sums = [0, 0, 0];
         for (let at = 0; at < pixels.length; at += 1) if (at % 4 < 3) sums[at % 4] += pixels[at];
         return { index, sums, tile: Number(canvas.dataset.tile), label: map.classes[map.label[index]],
                  head: document.querySelector('.tooltip .head').textContent,
                  path: document.querySelector('.tooltip .path').textContent, expected: map.path[index] }",
    );
    assert_eq!(shown["tile"], shown["index"]);
    assert_eq!((&shown["path"], &shown["head"]), (&shown["expected"], &shown["label"]));
    let [red, green] = [0, 1].map(|channel| shown["sums"][channel].as_f64().unwrap());
    assert_eq!(shown["label"] == "green", green > red, "{shown}");
    assert!(red != green, "{shown}");
}

/// A finger's tap shows an image, and one beside all images hides it again.
fn taps(browser: &Browser) {
    browser.show(".stage canvas");
    browser.move_pointer(2.0, 2.0);
    browser.wait_for("document.querySelector('.tooltip').hidden");
    let found = browser.script(
        "const canvas = document.querySelector('.stage canvas');
         const [box, [x, y]] = [canvas.getBoundingClientRect(), canvas.map.place(0)];
         return { x: box.x + x, y: box.y + y, left: box.x + 4, top: box.y + 4 }",
    );
    let at = |name: &str| found[name].as_f64().unwrap();
    browser.tap(at("x"), at("y"));
    browser.wait_for("!document.querySelector('.tooltip').hidden");
    browser.tap(at("left"), at("top"));
    browser.wait_for("document.querySelector('.tooltip').hidden");
}

fn hides_a_class(browser: &Browser) {
    let shown =
        || browser.script("return Number(document.querySelector('.stage canvas').dataset.shown)").as_u64().unwrap();
    let count: u64 = browser
        .script("return Number(document.querySelector('.map-side .legend .count').textContent)")
        .as_u64()
        .unwrap();
    let all = shown();
    assert!(count > 0 && count < all);
    browser.click(".map-side .legend button");
    browser.wait_for(&format!("Number(document.querySelector('.stage canvas').dataset.shown) === {}", all - count));
    assert_eq!(browser.script("return document.querySelector('.map-side .legend button').ariaPressed"), "false");
    browser.click(".map-side .legend button");
    browser.wait_for(&format!("Number(document.querySelector('.stage canvas').dataset.shown) === {all}"));
}

fn arrow_keys_move(browser: &Browser) {
    const RIGHT: &str = "\u{E014}";
    let hovered =
        || browser.script("return Number(document.querySelector('.stage canvas').dataset.hovered)").as_i64().unwrap();
    browser.move_pointer(2.0, 2.0);
    browser.script("document.querySelector('.stage canvas').focus({ preventScroll: true })");
    browser.press(RIGHT);
    let first = hovered();
    browser.press("\u{E012}");
    browser.press("\u{E012}");
    browser.press(RIGHT);
    assert!(first >= 0 && hovered() >= 0);
    browser.press("\u{E00C}");
    assert_eq!(hovered(), -1);
}

fn turns_dark(browser: &Browser) {
    let background = "getComputedStyle(document.documentElement).backgroundColor";
    let light = browser.script(&format!("return {background}"));
    browser.click(".top .choice button:nth-child(3)");
    // A style is computed when the page is next drawn, which may be later.
    browser.wait_for(&format!("{background} !== {light}"));
}

#[test]
fn a_comparison_sorts_and_several_runs_make_a_page() {
    let here = Workplace::new();
    let line = format!(
        "compare --model {} --data data --eval shifted=shifted --size 32 --epochs 1 --lr 1e-3 -q --methods lp,ft --out both",
        model()
    );
    here.succeeds(&line);
    assert!(!here.file("both/report.html").is_empty());
    here.succeeds("report both/runs/lp/seed-0 both/runs/ft/seed-0 --out page.html");
    assert!(here.refuses("report data").contains("not a run directory"));
    here.succeeds(&format!("{line} --no-report").replace("--out both", "--out bare"));
    assert!(!here.path("bare/report.html").exists());
    // As it began.
    here.succeeds("compare --resume bare -q");
    assert!(!here.path("bare/report.html").exists() && !here.path("bare/runs/lp/seed-0/plots").exists());

    let Some(browser) = Browser::start() else { return };
    for page in ["both/report.html", "page.html"] {
        browser.open(&here.path(page));
        browser.wait_for("document.documentElement.dataset.ready === 'yes'");
        let methods = || {
            browser.script(
                "return [...document.querySelectorAll('section:first-child tbody th')].map((cell) => cell.textContent)",
            )
        };
        browser.click("thead th:first-child button");
        let ascending = methods();
        assert_eq!(ascending, serde_json::json!(["ft", "lp"]));
        browser.click("thead th:first-child button");
        assert_eq!(methods(), serde_json::json!(["lp", "ft"]));
        assert_eq!(browser.console(), Vec::<String>::new());
    }
}
