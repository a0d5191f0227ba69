//! The embedded font and how wide texts are in it.

use std::sync::{Arc, OnceLock};

use resvg::usvg::Options;
use resvg::usvg::fontdb::{Database, FaceInfo, ID, Stretch, Style};
use ttf_parser::Face;
use unicode_width::UnicodeWidthChar;

/// Inter, Latin, Greek and Cyrillic (SIL Open Font License, see `assets/fonts`).
const REGULAR: &[u8] = include_bytes!("../assets/fonts/Inter-Regular.otf");
const SEMIBOLD: &[u8] = include_bytes!("../assets/fonts/Inter-SemiBold.otf");

/// Fonts that a viewer of an SVG may have, the embedded one first; none of the others is wider on average.
pub(crate) const FAMILIES: &str = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif";

/// Widths of the characters below U+2800 in ems, 0 where the font has no glyph.
struct Widths {
    regular: Vec<f32>,
    semibold: Vec<f32>,
}

const KNOWN: usize = 0x2800;

fn widths() -> &'static Widths {
    static WIDTHS: OnceLock<Widths> = OnceLock::new();
    WIDTHS.get_or_init(|| Widths { regular: read(REGULAR), semibold: read(SEMIBOLD) })
}

fn read(font: &[u8]) -> Vec<f32> {
    let Ok(face) = Face::parse(font, 0) else { return vec![0.0; KNOWN] };
    let em = f32::from(face.units_per_em());
    let width = |code: u32| -> Option<f32> {
        let glyph = face.glyph_index(char::from_u32(code)?)?;
        Some(f32::from(face.glyph_hor_advance(glyph)?) / em)
    };
    (0..KNOWN as u32).map(|code| width(code).unwrap_or(0.0)).collect()
}

/// The width of a text in the embedded font, and what other scripts take at most in common fonts.
pub(crate) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let table = if bold { &widths().semibold } else { &widths().regular };
    let of = |character: char| match table.get(character as usize) {
        Some(&known) if known > 0.0 => f64::from(known),
        _ => match character.width().unwrap_or(0) {
            0 => 0.0,
            1 => 0.68,
            _ => 1.05,
        },
    };
    size * text.chars().map(of).sum::<f64>()
}

/// Whether the embedded font has every visible character of a text.
fn covers(text: &str) -> bool {
    let known = |character: char| widths().regular.get(character as usize).is_some_and(|&width| width > 0.0);
    text.chars().all(|character| character.width().unwrap_or(0) == 0 || known(character))
}

/// How the renderer draws the texts of an SVG: with the embedded font, and with those of the system where letters need them.
pub(crate) fn options_for(svg: &str) -> Options<'static> {
    let mut options = Options { fontdb: fonts(!covers(svg)), ..Options::default() };
    options.font_resolver.select_fallback = Box::new(|letter, tried, fonts| fallback(letter, tried, fonts));
    options
}

fn fonts(system: bool) -> Arc<Database> {
    static EMBEDDED: OnceLock<Arc<Database>> = OnceLock::new();
    static WITH_SYSTEM: OnceLock<Arc<Database>> = OnceLock::new();
    let load = || {
        let mut fonts = Database::new();
        fonts.load_font_data(REGULAR.to_vec());
        fonts.load_font_data(SEMIBOLD.to_vec());
        if system {
            fonts.load_system_fonts();
        }
        fonts.set_sans_serif_family("Inter");
        fonts.set_serif_family("Inter");
        Arc::new(fonts)
    };
    Arc::clone(if system { &WITH_SYSTEM } else { &EMBEDDED }.get_or_init(load))
}

/// The font of the system for a letter: of those that have it the one that looks most like the font that lacks it.
fn fallback(letter: char, tried: &[ID], fonts: &Database) -> Option<ID> {
    let wanted = fonts.face(*tried.first()?)?.weight.0;
    let has = |id: ID| {
        fonts.with_face_data(id, |data, index| {
            Face::parse(data, index).is_ok_and(|face| face.glyph_index(letter).is_some())
        })
    };
    let unlike = |face: &FaceInfo| {
        (face.style != Style::Normal, face.weight.0.abs_diff(wanted), face.stretch != Stretch::Normal, face.monospaced)
    };
    let mut faces: Vec<&FaceInfo> = fonts.faces().filter(|face| !tried.contains(&face.id)).collect();
    faces.sort_by_key(|face| unlike(face));
    faces.into_iter().map(|face| face.id).find(|&id| has(id) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_font_covers_latin_greek_and_cyrillic() {
        assert!(covers("Süßgräser Łódź Ελλάδα Лиса Қазақ tiếng Việt 2×10⁻⁵ → ± − … ≤"));
        assert!(!covers("北京") && !covers("كلب"));
    }

    #[test]
    fn widths_are_the_fonts_own() {
        // fontTools: hmtx of "zero" in Inter 4.0 beta 7 is 1,712 of 2,816 units... see the ratio to any two letters.
        let one = width("n", 10.0, false);
        assert!((width("nn", 20.0, false) - 4.0 * one).abs() < 1e-9 && one > 5.0 && one < 7.0);
        assert!(width("n", 10.0, true) > one);
        assert!(width("狗", 10.0, false) >= 10.0);
    }
}
