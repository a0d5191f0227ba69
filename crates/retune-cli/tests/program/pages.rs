//! Every page at three widths, light and dark: nothing is cut off, no label lies on another, and axe finds nothing.
//!
//! The screenshots are in `target/screenshots`, to be looked at. `scripts/axe.sh` fetches axe, an accessibility checker.

use std::fs;
use std::path::{Path, PathBuf};

use crate::browser::Browser;
use crate::common::{Workplace, model};
use crate::labels;
use serde_json::Value;

const WIDTHS: [u64; 3] = [390, 768, 1440];
/// Width of a sheet of A4 between its margins, in pixels of CSS.
const PAPER: u64 = 718;
const THEMES: [&str; 2] = ["light", "dark"];
/// Height of the window before the page's own is known, and at most, in pixels.
const HEIGHTS: [u64; 2] = [900, 16_000];

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

/// The source of axe, if it was fetched; in CI it must be.
fn axe() -> Option<String> {
    let path = target().join("axe/axe.min.js");
    let source = fs::read_to_string(&path).ok();
    if source.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs axe: run scripts/axe.sh");
        eprintln!("accessibility is not checked: run scripts/axe.sh to fetch axe");
    }
    source
}

/// A page of each command that writes one.
fn pages(here: &Workplace) -> Vec<(&'static str, PathBuf)> {
    for class in ["blue", "grey"] {
        here.images(&format!("data/{class}"), class, 24, 170);
        here.images(&format!("shifted/{class}"), class, 6, 90);
    }
    let model = model();
    let common = format!("--model {model} --data data --eval shifted=shifted --size 32 --epochs 3 --lr 1e-3,1e-2 -q");
    here.succeeds(&format!("fit {common} --method discriminative --out run"));
    here.succeeds(&format!("compare {common} --methods lp,ft,lp-ft --out both"));
    here.succeeds("cka --model run --data shifted --out filters.html -q");
    here.succeeds(&format!("cka --model run --against {model} --data data --out models.html -q"));
    here.succeeds("audit --model run --data shifted --sizes 24,48 --crop-pcts 0.8 --out audit.html -q");
    here.succeeds("umap --model run --data data --out umap.html -q");
    let images = labels::photos(here);
    fs::write(here.path("list.csv"), labels::list(&images)).unwrap();
    labels::disputed(here, &images);
    let line = format!("fit --model {model} --data list.csv --multi-label --eval disputed=disputed.csv --size 32");
    here.succeeds(&format!("{line} --method lp -q --out labels"));
    here.succeeds("audit --model labels --data disputed.csv --sizes 24,48 --out audit_labels.html -q");
    let pages = [
        ("run", "run/report.html"),
        ("labels", "labels/report.html"),
        ("audit_labels", "audit_labels.html"),
        ("compare", "both/report.html"),
        ("cka_filters", "filters.html"),
        ("cka_models", "models.html"),
        ("audit", "audit.html"),
        ("umap", "umap.html"),
    ];
    pages.map(|(name, page)| (name, here.path(page))).into()
}

/// Texts that are cut off, elements that reach out of the window, and labels of figures that lie on one another.
const PROBLEMS: &str = "
    const found = [];
    const scrolls = (node) => node.closest('.scroll, pre, nav, .drawn, .legend');
    for (const node of document.querySelectorAll('body *:not(script)')) {
      const box = node.getBoundingClientRect();
      if (!box.width || node.closest('svg') || scrolls(node)) continue;
      if (box.right > innerWidth + 1 || box.left < -1) found.push(`outside: ${node.tagName} ${node.className}`);
      const style = getComputedStyle(node);
      const clips = style.overflowX === 'hidden' && style.textOverflow !== 'ellipsis';
      if (clips && node.scrollWidth > node.clientWidth + 1) found.push(`cut: ${node.textContent.slice(0, 40)}`);
    }
    for (const word of document.querySelectorAll('.words pre span')) {
      if (word.getClientRects().length > 1) found.push(`a word of a command is broken: ${word.textContent}`);
    }
    // A number, its unit, and a range are read as one.
    const walk = document.createTreeWalker(document.querySelector('header').parentElement, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      if (node.parentElement.closest('svg, pre, script')) continue;
      for (const match of node.data.matchAll(/\\d[\\d.]*\\s%|\\d\\u2060?–\\u2060?\\d/gu)) {
        const range = document.createRange();
        range.setStart(node, match.index);
        range.setEnd(node, match.index + match[0].length);
        const tops = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
        if (tops.size > 1) found.push(`a number is broken: ${node.data.slice(0, 60)}`);
      }
    }
    for (const svg of document.querySelectorAll('figure svg')) {
      const frame = svg.getBoundingClientRect();
      const texts = [...svg.querySelectorAll('text')].map((text) => [text.textContent, text.getBoundingClientRect()])
        .filter(([, box]) => box.width > 0);
      texts.forEach(([one, a], at) => {
        if (a.left < frame.left - 1 || a.right > frame.right + 1) found.push(`label cut: ${one}`);
        for (const [other, b] of texts.slice(0, at)) {
          // Boxes are as high as the tallest letters; letters themselves touch only where boxes share more than a third.
          const [across, down] = [Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];
          if (across > 1 && down > Math.min(a.height, b.height) / 3) found.push(`labels overlap: ${one} and ${other}`);
        }
      });
    }
    return [...new Set(found)]";

/// Sections that stand above the one before them, or that the list of sections has elsewhere.
const ORDER: &str = "
    const sections = [...document.querySelectorAll('main > section')];
    const found = sections.slice(1)
      .filter((section, at) => section.getBoundingClientRect().top < sections[at].getBoundingClientRect().top - 1)
      .map(({ id }) => `${id} stands above the section before it`);
    const links = [...document.querySelectorAll('nav a')].map((link) => link.hash.slice(1));
    if (links.length && links.join() !== sections.map(({ id }) => id).join()) found.push(`listed as ${links.join()}`);
    return found";

/// Tables that are wider than the sheet, and views whose name is not said where none can be chosen.
const PAPER_PROBLEMS: &str = "
    const found = [];
    for (const table of document.querySelectorAll('table')) {
      if (table.getBoundingClientRect().right > innerWidth + 1) found.push(`cut: ${table.textContent.slice(0, 40)}`);
    }
    for (const pick of document.querySelectorAll('section > .choice, section > .picker')) {
      const name = pick.parentElement.querySelector('.view > .on-paper');
      if (!name || !name.textContent || !name.offsetHeight) found.push(`without a name: ${pick.textContent.slice(0, 40)}`);
    }
    return found";

/// Waits until the page has been drawn.
const DRAWN: &str = "
    const done = arguments[0];
    requestAnimationFrame(() => requestAnimationFrame(() => done(true)))";

const AXE: &str = "
    const done = arguments[0];
    axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations.map((violation) =>
      `${violation.id} (${violation.impact}): ${violation.nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`)))";

#[test]
fn pages_are_whole_at_every_width_in_light_and_dark() {
    let here = Workplace::new();
    let pages = pages(&here);
    let Some(browser) = Browser::start() else { return };
    let (axe, shots) = (axe(), target().join("screenshots"));
    fs::create_dir_all(&shots).unwrap();
    let mut problems = Vec::new();
    for (name, page) in pages {
        for (width, theme) in WIDTHS.into_iter().flat_map(|width| THEMES.map(|theme| (width, theme))) {
            browser.look([width, HEIGHTS[0]], theme);
            browser.open(&page);
            browser.wait_for("document.documentElement.dataset.ready === 'yes'");
            let height = browser.script("return document.documentElement.scrollHeight").as_u64().unwrap();
            browser.look([width, height.clamp(HEIGHTS[0], HEIGHTS[1])], theme);
            // What is drawn for a width is drawn when the page is next laid out.
            browser.asynchronous_script(DRAWN);
            fs::write(shots.join(format!("{name}_{width}_{theme}.png")), browser.screenshot()).unwrap();
            let mut found = texts(&browser.script(PROBLEMS));
            if let Some(axe) = &axe {
                browser.script(&format!("{axe}; window.axe = axe;"));
                found.extend(texts(&browser.asynchronous_script(AXE)));
            }
            problems.extend(found.into_iter().map(|problem| format!("{name}, {width} wide, {theme}: {problem}")));
        }
        problems.extend(texts(&browser.script(ORDER)).into_iter().map(|problem| format!("{name}: {problem}")));
        problems.extend(on_paper(&browser, &page).into_iter().map(|problem| format!("{name}, on paper: {problem}")));
        // Findings come first, in sentences that end.
        let verdict =
            texts(&browser.script("return [...document.querySelectorAll('.verdict p')].map((p) => p.textContent)"));
        assert!(!verdict.is_empty() && verdict.iter().all(|sentence| sentence.ends_with('.')), "{name}: {verdict:?}");
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// What of a page paper does not show.
fn on_paper(browser: &Browser, page: &Path) -> Vec<String> {
    browser.look([PAPER, HEIGHTS[0]], THEMES[0]);
    browser.open(page);
    browser.wait_for("document.documentElement.dataset.ready === 'yes'");
    browser.as_if_printed();
    texts(&browser.script(PAPER_PROBLEMS))
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_line_and_a_class_can_be_shown_alone() {
    let here = Workplace::new();
    let line = format!("fit --model {} --data data --size 32 --method ft --epochs 3 --lr 1e-3 -q --out run", model());
    here.succeeds(&line);
    let Some(browser) = Browser::start() else { return };
    browser.open(&here.path("run/report.html"));
    browser.wait_for("document.documentElement.dataset.ready === 'yes'");
    // Loss has a line for training and one for validation.
    let off = || {
        browser.script("return document.querySelector('[data-legend]').closest('svg').querySelectorAll('.off').length")
    };
    let press = "document.querySelector('[data-legend]').dispatchEvent(new MouseEvent('click', { bubbles: true }))";
    browser.wait_for("document.querySelector('[data-legend]')");
    assert_eq!(off(), 0);
    browser.script(press);
    assert!(off().as_u64().unwrap() >= 2);
    browser.script(press);
    assert_eq!(off(), 0);
    let shown =
        || browser.script("return Number(document.querySelector('.stage canvas').dataset.shown)").as_u64().unwrap();
    let (all, own) =
        (shown(), browser.script("return Number(document.querySelector('.map-side .legend .count').textContent)"));
    browser.script("document.querySelector('.map-side .only').click()");
    assert_eq!(shown(), own.as_u64().unwrap());
    browser.script("document.querySelector('.map-side .only').click()");
    assert_eq!(shown(), all);
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// A map of images with several labels tells of the label that is chosen, and the pointer's card names what is wrong.
#[test]
fn a_label_can_be_chosen_on_the_map() {
    let here = Workplace::new();
    let images = labels::photos(&here);
    fs::write(here.path("list.csv"), labels::list(&images)).unwrap();
    labels::disputed(&here, &images);
    let line = format!("fit --model {} --data list.csv --multi-label --eval disputed=disputed.csv", model());
    here.succeeds(&format!("{line} --size 32 --method lp -q --out run"));
    let Some(browser) = Browser::start() else { return };
    browser.open(&here.path("run/report.html"));
    browser.wait_for("document.documentElement.dataset.ready === 'yes'");
    browser.wait_for("document.querySelector('.map-side .legend .count')");
    let counts =
        "return [...document.querySelectorAll('.map-side .legend .count')].map((count) => Number(count.textContent))";
    // By hand from the page's own data.
    let expected = |label: &str| {
        browser.script(&format!(
            "const map = JSON.parse(document.getElementById('data').textContent).sections.flatMap((s) => s.views).find((v) => v.kind === 'map');
             const label = map.classes.indexOf('{label}');
             const states = map.label_sets.has.map((has, at) => [has.includes(label), map.label_sets.predicted[at].includes(label)].join());
             return ['true,true', 'true,false', 'false,true', 'false,false'].map((state) => states.filter((other) => other === state).length)"
        ))
    };
    for label in ["red", "green"] {
        browser.script(&format!(
            "const select = document.querySelector('.map-side select');
             select.value = [...select.options].find((option) => option.textContent === '{label}').value;
             select.dispatchEvent(new Event('change'))"
        ));
        assert_eq!(browser.script(counts), expected(label), "{label}");
    }
    // Only what is missed.
    browser.script("document.querySelectorAll('.map-side .only')[1].click()");
    let shown = browser.script("return Number(document.querySelector('.stage canvas').dataset.shown)");
    assert_eq!(shown, expected("green")[1]);
    // Another coloring has no label to choose.
    browser.script("[...document.querySelectorAll('.map-side .choice button')].find((one) => one.textContent === 'Correctness').click()");
    assert_eq!(browser.script("return document.querySelector('.map-side .picker').offsetHeight"), 0);
    // The gallery's captions name what was missed and what was given wrongly.
    let said =
        browser.script("return [...document.querySelectorAll('.gallery .said')].map((line) => line.textContent)");
    let said = texts(&said);
    assert!(said.iter().any(|line| line.starts_with("✗missed: ")), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("✗wrong: ")), "{said:?}");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn what_the_model_looked_at_can_be_switched_to() {
    let here = Workplace::new();
    // A model that has hardly learned anything is wrong or unsure.
    let line = format!(
        "fit --model {} --data data --size 64 --method ft --head-init normal --epochs 1 --lr 1e-6 -q --out run",
        model()
    );
    here.succeeds(&line);
    for file in ["run/samples/heat_maps.safetensors", "run/plots/heat_maps_val.png"] {
        assert!(!here.file(file).is_empty(), "{file}");
    }
    // A run without them has a page all the same.
    here.succeeds("report run --out with.html -q");
    fs::remove_file(here.path("run/samples/heat_maps.safetensors")).unwrap();
    here.succeeds("report run --out without.html -q");

    let Some(browser) = Browser::start() else { return };
    let open = |page: &str| {
        browser.open(&here.path(page));
        browser.wait_for("document.documentElement.dataset.ready === 'yes'");
    };
    open("with.html");
    let sheets = || {
        let all = "return [...new Set([...document.querySelectorAll('.gallery canvas')].map((canvas) => canvas.dataset.sheet))]";
        texts(&browser.script(all))
    };
    let plain = sheets();
    for class in ["predicted", "true"] {
        let press = format!(
            "[...document.querySelectorAll('#highest-losses .choice button')].find((button) => button.textContent.includes('{class}')).click()"
        );
        browser.script(&press);
        let note = browser.script("return document.querySelector('.overlay .note').textContent");
        assert!(note.as_str().unwrap().contains(class), "{note}");
        assert!(sheets().len() == 1 && sheets() != plain);
    }
    browser.script("document.querySelector('#highest-losses .choice button').click()");
    assert_eq!(sheets(), plain);
    open("without.html");
    assert_eq!(browser.script("return document.querySelectorAll('#highest-losses .choice').length"), 0);
    assert_eq!(browser.console(), Vec::<String>::new());
}
