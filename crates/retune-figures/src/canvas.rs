//! The marks that every figure is made of, written as SVG.

use std::fmt::Write;

use crate::color::{self, MISSING, SERIES};
use crate::font::{self, FAMILIES};
use crate::{Drawing, Style, Theme};

/// A color by what it is for, so that pages can follow the reader's theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Titles and names.
    Ink,
    /// Ticks, axis titles and captions.
    Muted,
    /// Lines of a grid.
    Grid,
    /// What lies behind a figure.
    Surface,
}

impl Tone {
    /// The color as SVG has it.
    pub fn paint(self, theme: Theme) -> &'static str {
        match (theme, self) {
            (Theme::Light, Self::Ink) => "#1b1d21",
            (Theme::Light, Self::Muted) => "#585e69",
            (Theme::Light, Self::Grid) => "#e4e6ea",
            (Theme::Light, Self::Surface) => "#ffffff",
            (Theme::Page, Self::Ink) => "var(--ink,#1b1d21)",
            (Theme::Page, Self::Muted) => "var(--muted,#585e69)",
            (Theme::Page, Self::Grid) => "var(--line,#e4e6ea)",
            (Theme::Page, Self::Surface) => "var(--surface,#ffffff)",
        }
    }
}

/// Where a text starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of text; `y` is that of its baseline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub x: f64,
    pub y: f64,
    pub content: &'a str,
    pub size: f64,
    pub anchor: Anchor,
    pub bold: bool,
    /// Degrees, clockwise, about its place.
    pub turn: f64,
}

impl<'a> Text<'a> {
    /// Text from a place to the right.
    pub fn at(x: f64, y: f64, content: &'a str, size: f64) -> Self {
        Self { x, y, content, size, anchor: Anchor::Start, bold: false, turn: 0.0 }
    }

    pub fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }
}

/// A drawing that grows.
pub(crate) struct Canvas {
    pub style: Style,
    body: String,
}

impl Canvas {
    pub fn new(style: &Style) -> Self {
        Self { style: *style, body: String::new() }
    }

    pub fn tone(&self, tone: Tone) -> &'static str {
        tone.paint(self.style.theme)
    }

    /// The color of a cell without a value, which is neither that of a value nor that of what lies behind.
    pub fn missing(&self) -> &'static str {
        match self.style.theme {
            Theme::Light => MISSING,
            Theme::Page => Tone::Grid.paint(Theme::Page),
        }
    }

    /// The color of a series by its position. Pages may have other colors in the dark.
    pub fn series(&self, index: usize) -> String {
        let index = index % SERIES.len();
        match self.style.theme {
            Theme::Light => SERIES[index].to_owned(),
            Theme::Page => format!("var(--series-{index},{})", SERIES[index]),
        }
    }

    /// The color of one of `count` things that have an order.
    pub fn ordered(&self, index: usize, count: usize) -> String {
        // Neither end may vanish, on paper or on a page that is dark.
        let [dark, pale] = if self.style.theme == Theme::Light { [0.95, 0.3] } else { [0.72, 0.3] };
        let share = if count > 1 { index as f64 / (count - 1) as f64 } else { 0.0 };
        color::hex(color::value(dark + (pale - dark) * share))
    }

    pub fn rectangle(&mut self, [x, y, width, height]: [f64; 4], fill: &str) {
        self.rectangle_with([x, y, width, height], fill, "");
    }

    /// A rectangle with further attributes.
    pub fn rectangle_with(&mut self, [x, y, width, height]: [f64; 4], fill: &str, attributes: &str) {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(short);
        self.push(format_args!(
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"{attributes}/>"#
        ));
    }

    pub fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], stroke: &str, width: f64, attributes: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(short);
        self.push(format_args!(
            r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{stroke}" stroke-width="{width}"{attributes}/>"#
        ));
    }

    /// A path with its data and attributes.
    pub fn path(&mut self, data: &str, attributes: &str) {
        self.push(format_args!(r#"<path d="{data}" {attributes}/>"#));
    }

    /// A picture from an address with its data.
    pub fn image(&mut self, [x, y, width, height]: [f64; 4], address: &str, attributes: &str) {
        let [x, y, width, height] = [x, y, width, height].map(short);
        self.push(format_args!(
            r#"<image x="{x}" y="{y}" width="{width}" height="{height}" preserveAspectRatio="none" href="{address}"{attributes}/>"#
        ));
    }

    pub fn text(&mut self, text: Text, tone: Tone) {
        let fill = self.tone(tone);
        self.text_in(text, fill);
    }

    /// A text in a color.
    pub fn text_in(&mut self, text: Text, fill: &str) {
        if text.content.trim().is_empty() {
            return;
        }
        let [x, y] = [text.x, text.y].map(short);
        let anchor = match text.anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let weight = if text.bold { r#" font-weight="600""# } else { "" };
        let turn =
            if text.turn == 0.0 { String::new() } else { format!(r#" transform="rotate({} {x} {y})""#, text.turn) };
        let content = match self.style.theme {
            Theme::Light => escaped(text.content),
            // Pages isolate names by style: their data shows characters that turn others by number.
            Theme::Page => escaped(&text.content.replace(['\u{2068}', '\u{2069}'], "")),
        };
        self.push(format_args!(
            r#"<text x="{x}" y="{y}" font-size="{size}"{anchor}{weight}{turn} fill="{fill}">{content}</text>"#,
            size = text.size
        ));
    }

    /// Draws inside a rectangle alone. A drawing in the drawing needs no name, as a clip would, which figures on the same
    /// page could share.
    pub fn clipped(&mut self, [x, y, width, height]: [f64; 4], draw: impl FnOnce(&mut Self)) {
        let [x, y, width, height] = [x, y, width.max(1.0), height.max(1.0)].map(short);
        self.push(format_args!(
            r#"<svg x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{x} {y} {width} {height}" overflow="hidden">"#
        ));
        draw(self);
        self.push(format_args!("</svg>"));
    }

    /// Draws what belongs to a series, which a page can show alone or hide.
    pub fn in_series(&mut self, index: usize, draw: impl FnOnce(&mut Self)) {
        self.grouped(&format!(r#"data-series="{index}""#), draw);
    }

    /// Draws the name of a series, by which a page shows it alone or hides it.
    pub fn as_legend(&mut self, index: usize, name: &str, draw: impl FnOnce(&mut Self)) {
        self.grouped(&format!(r#"data-series="{index}" data-legend="{}""#, escaped(name)), draw);
    }

    fn grouped(&mut self, attributes: &str, draw: impl FnOnce(&mut Self)) {
        // A file has nothing to click.
        if self.style.theme != Theme::Page {
            return draw(self);
        }
        self.push(format_args!("<g {attributes}>"));
        draw(self);
        self.push(format_args!("</g>"));
    }

    /// What a page says of the mark at the pointer; nothing in a file.
    pub fn tip(&self, content: impl FnOnce() -> String) -> String {
        match self.style.theme {
            Theme::Light => String::new(),
            Theme::Page => format!(r#" data-tip="{}""#, escaped(&content())),
        }
    }

    /// The drawing of a size, described for those who cannot see it.
    pub fn finish(self, width: f64, height: f64, description: &str) -> Drawing {
        let (width, height) = (width.ceil().max(1.0), height.ceil().max(1.0));
        let background = match self.style.theme {
            Theme::Light => format!(r#"<rect width="{width}" height="{height}" fill="{}"/>"#, self.tone(Tone::Surface)),
            Theme::Page => String::new(),
        };
        let label = escaped(description);
        let svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" font-family="{FAMILIES}">{background}{body}</svg>"#,
            body = self.body
        );
        Drawing { svg, width, height }
    }

    fn push(&mut self, part: std::fmt::Arguments) {
        // Writing to a string has no error.
        let _ = self.body.write_fmt(part);
    }
}

/// A coordinate with as many digits as can be seen.
pub(crate) fn short(value: f64) -> f64 {
    // Far outside any drawing, digits say nothing.
    if value.is_finite() { (value.clamp(-1e5, 1e5) * 100.0).round() / 100.0 + 0.0 } else { 0.0 }
}

/// Text as XML, without the characters that XML has no way to hold.
pub(crate) fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => {}
            '\n' | '\t' => xml.push(' '),
            control if control.is_control() => {}
            other => xml.push(other),
        }
    }
    xml
}

/// The widest of some texts.
pub(crate) fn widest<'a>(texts: impl IntoIterator<Item = &'a str>, size: f64) -> f64 {
    texts.into_iter().map(|text| font::width(text, size, false)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_controls_are_left_out() {
        assert_eq!(escaped("a<b> & \"c\"\u{1}\n"), "a&lt;b&gt; &amp; &quot;c&quot; ");
    }

    #[test]
    fn coordinates_are_short_and_never_broken() {
        assert_eq!([1.0 / 3.0, f64::NAN, f64::INFINITY, -0.0].map(short), [0.33, 0.0, 0.0, 0.0]);
        assert_eq!(format!("{}", short(-0.0001)), "0");
    }
}
