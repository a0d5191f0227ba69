//! A page's data, style and scripts put into one HTML file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use retune_figures::names::{is_deceptive, visible};
use retune_figures::{OTHERS, SERIES, SHAPES};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Page;
use crate::report::heat_maps;

const STYLE: &str = include_str!("assets/style.css");

/// The scripts, in order of dependency.
const SCRIPTS: [&str; 12] = [
    include_str!("assets/elements.js"),
    include_str!("assets/format.js"),
    include_str!("assets/colors.js"),
    include_str!("assets/tooltip.js"),
    include_str!("assets/thumbnails.js"),
    include_str!("assets/table.js"),
    include_str!("assets/figure.js"),
    include_str!("assets/confusion.js"),
    include_str!("assets/gallery.js"),
    include_str!("assets/map_points.js"),
    include_str!("assets/map.js"),
    include_str!("assets/page.js"),
];

/// A content security policy: the page fetches nothing, and only this script runs.
fn policy(script: &str) -> String {
    let hash = STANDARD.encode(Sha256::digest(script));
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; \
         form-action 'none'"
    )
}

/// What a page's script reads.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    page: &'a Page,
    looks: Looks,
}

/// How points look, the same as in figures of files: script draws those of maps.
#[derive(Serialize)]
struct Looks {
    /// Colors of groups on a light page; a dark one has its own.
    series: [&'static str; 20],
    /// The color of what is in no group of its own.
    others: &'static str,
    /// Corners of each group's marker, of radius 1; none for a circle.
    shapes: [&'static [[f64; 2]]; 7],
    /// Colors of values from high to low, at equal steps, as they are painted over images.
    values: [[u8; 3]; heat_maps::STEPS],
}

impl Default for Looks {
    fn default() -> Self {
        let values = std::array::from_fn(|step| heat_maps::color(1.0 - step as f64 / (heat_maps::STEPS - 1) as f64));
        Self { series: SERIES, others: OTHERS, shapes: SHAPES, values }
    }
}

pub(super) fn render(page: &Page) -> Result<String, serde_json::Error> {
    let data = inert(&serde_json::to_string(&Document { page, looks: Looks::default() })?);
    let title = escaped(&visible(&page.title));
    let generator = escaped(&page.generator);
    let script = format!("\n\"use strict\";\n(() => {{\n{}}})();\n", SCRIPTS.concat());
    let policy = policy(&script);
    Ok(format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="{generator}">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<noscript>This report is drawn by scripts in this file; they are switched off here.</noscript>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"#
    ))
}

/// JSON without anything that an HTML parser takes for a tag or comment. `<`, `>`, and `&` occur only inside strings,
/// where their escapes mean the same, and so do the separators that old JavaScript takes for line ends. Characters that
/// could hide in a name or turn the text after it are shown by their code.
fn inert(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            // The backslash of the number is one inside a string, too.
            other if is_deceptive(other) && !other.is_control() => {
                text.push('\\');
                text.extend(other.escape_unicode());
            }
            other => text.push(other),
        }
    }
    text
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use retune_figures::figure::PointMap;
    use retune_figures::{Figure, Style};

    use crate::report::page::{Section, Text};

    const HOSTILE: &str = "</script><script>alert(1)</script><!-- \u{2028} & \" ' \\ <img src=x onerror=y>";

    #[test]
    fn a_map_in_a_page_has_the_colors_and_markers_of_one_in_a_file() {
        let html = Page::new("map").html().unwrap();
        let data = html.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
        let looks = &serde_json::from_str::<serde_json::Value>(data).unwrap()["looks"];
        let names: Vec<String> = (0..20).map(|group| format!("group {group}")).collect();
        let (points, groups) = ((0..20).map(|at| [at as f32, 0.0]).collect(), (0..20).collect());
        let map = PointMap { points, groups, names, ..PointMap::default() };
        let svg = Figure::from(map).draw(&Style::default()).svg().to_owned();
        // The legend comes last, a marker and a name for each group in order: its color, and as many corners as it has.
        for (group, name) in (0..20).map(|group| (group, format!(">group {group}</text>"))) {
            let marker = svg.split(&name).next().unwrap().rsplit("<path d=\"").next().unwrap();
            let corners = looks["shapes"][group % 7].as_array().unwrap().len();
            assert!(marker.contains(looks["series"][group].as_str().unwrap()), "{group}: {marker}");
            let outline = marker.split('"').next().unwrap();
            // k corners are written with 2k − 2 spaces between numbers.
            let drawn = if outline.contains('a') { 0 } else { (outline.matches(' ').count() + 2) / 2 };
            assert_eq!(drawn, corners, "{group}: {outline}");
        }
    }

    /// Relative luminance of `#rrggbb` (WCAG 2.2).
    fn luminance(hex: &str) -> f64 {
        let linear = [1, 3, 5].map(|at| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    #[test]
    fn every_series_is_seen_on_a_dark_page() {
        let value = |rule: &str, name: &str| {
            rule.split_once(&format!("--{name}: ")).unwrap().1.split(';').next().unwrap().to_owned()
        };
        // One rule for readers whose system is dark, and one for those who choose it on the page.
        let rules: Vec<&str> = STYLE.split("--dark: 1;").skip(1).collect();
        assert_eq!(rules.len(), 2);
        for rule in rules {
            let surface = luminance(&value(rule, "surface"));
            for series in 0..SERIES.len() {
                let color = value(rule, &format!("series-{series}"));
                // WCAG 2.2, 1.4.11: graphical objects have a contrast of 3 : 1.
                assert!((luminance(&color) + 0.05) / (surface + 0.05) >= 3.0, "series {series}: {color}");
            }
        }
    }

    #[test]
    fn hostile_names_stay_text() {
        let mut page = Page::new(HOSTILE);
        page.facts.push((HOSTILE.into(), HOSTILE.into()));
        page.sections.push(Section::new(HOSTILE, HOSTILE).with(HOSTILE, Text::new(HOSTILE)));
        let html = page.html().unwrap();
        assert_eq!(html.matches("</script>").count(), 2);
        assert!(!html.contains("<img src=x") && !html.contains("<!-- \u{2028}"));
        assert!(html.contains("<title>&lt;/script&gt;&lt;script&gt;alert(1)"));

        let (start, end) = ("id=\"data\">", "</script>\n<script>");
        let data = html.split_once(start).unwrap().1.split_once(end).unwrap().0;
        let read: serde_json::Value = serde_json::from_str(data).unwrap();
        for place in ["/title", "/facts/0/1", "/sections/0/note", "/sections/0/views/0/text"] {
            assert_eq!(read.pointer(place).unwrap(), HOSTILE, "{place}");
        }
        assert_eq!(read["sections"][0]["views"][0]["kind"], "text");
    }

    #[test]
    fn names_cannot_turn_the_text_after_them() {
        let mut page = Page::new("a\u{202E}b");
        page.facts.push(("c\u{200B}".into(), "\u{1F469}\u{200D}\u{1F52C}".into()));
        let html = page.html().unwrap();
        assert!(!html.contains(['\u{202E}', '\u{200B}']) && html.contains("<title>a\\u{202e}b"));
        let data = html.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
        let read: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!((&read["title"], &read["facts"][0][0]), (&"a\\u{202e}b".into(), &"c\\u{200b}".into()));
        // What joins letters and emoji stays.
        assert_eq!(read["facts"][0][1], "\u{1F469}\u{200D}\u{1F52C}");
    }

    #[test]
    fn a_page_names_nothing_outside_itself() {
        let html = Page::new("empty").html().unwrap();
        assert!(html.contains("default-src 'none'"));
        let namespace = "http://www.w3.org/2000/svg";
        assert!(!html.replace(namespace, "").contains("://"), "an address outside the page");
    }

    #[test]
    fn numbers_that_are_none_become_null() {
        let json = serde_json::to_string(&[f64::NAN, f64::INFINITY, 0.5]).unwrap();
        assert_eq!(json, "[null,null,0.5]");
    }
}
