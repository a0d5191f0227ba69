//! Names of classes and sets as pictures and pages show them, whatever their script.
//!
//! A browser or viewer finds fonts for any script and lays it out; a PNG is drawn with the one font that the plotting
//! library carries (DejaVu Sans), letter after letter from left to right. For a PNG, Arabic letters are joined and
//! text that runs to the left is put in the order of the eye here, and what the font lacks is spelled in Latin letters.

use std::iter;

use unicode_bidi::{BidiInfo, Level};
use unicode_width::UnicodeWidthChar;

/// First strong isolate: what follows has a direction of its own.
const ISOLATE: char = '\u{2068}';
/// Pop directional isolate: the end of that.
const END_OF_ISOLATE: char = '\u{2069}';

/// Characters that DejaVu Sans 2.37 draws well one by one in its regular and bold faces, first and last; sorted.
const DRAWN: [(u32, u32); 38] = [
    (0x20, 0x7E),   // ASCII
    (0xA0, 0xAC),   // Latin-1
    (0xAE, 0x2E9),  // Latin-1, Latin Extended, phonetic letters
    (0x300, 0x34E), // combining accents
    (0x370, 0x377), // Greek
    (0x37A, 0x37E),
    (0x384, 0x38A),
    (0x38C, 0x38C),
    (0x38E, 0x3A1),
    (0x3A3, 0x525), // Greek, Cyrillic
    (0x531, 0x556), // Armenian
    (0x559, 0x55F),
    (0x561, 0x587),
    (0x5D0, 0x5EA), // Hebrew
    (0x5F0, 0x5F4),
    (0x60C, 0x60C), // Arabic punctuation
    (0x61B, 0x61B),
    (0x61F, 0x61F),
    (0x640, 0x640), // what makes Arabic words longer
    (0x660, 0x66D), // Arabic digits
    (0x6F0, 0x6F9),
    (0x10A0, 0x10C5), // Georgian
    (0x10D0, 0x10FC),
    (0x1E00, 0x1EFB), // Latin Extended Additional
    (0x2010, 0x2027), // punctuation
    (0x2030, 0x205E),
    (0x2070, 0x2071), // superscripts and subscripts
    (0x2074, 0x208E),
    (0x20A0, 0x20B5), // currencies
    (0x2190, 0x2311), // arrows, mathematics
    (0x2500, 0x269C), // boxes, shapes, symbols
    (0xFB00, 0xFB06), // ligatures
    (0xFB52, 0xFBA3), // joined forms of Arabic
    (0xFBAA, 0xFBAD),
    (0xFBE4, 0xFBE9),
    (0xFBFC, 0xFBFF),
    (0xFE76, 0xFEFC),
    (0x1F600, 0x1F623), // faces
];

/// Whether the character could hide itself, hide others, or change the direction of the text after it: controls, marks
/// and embeddings of direction, and characters without width. Pictures show such characters by their code. Joiners do
/// not count, because Persian, Indic scripts, and emoji need them.
pub(super) fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{FEFF}')
        || matches!(character, '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFB}')
        || matches!(character, '\u{FFFE}' | '\u{FFFF}' | '\u{E0000}'..='\u{E007F}')
}

/// The target of a drawing, which determines how names are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// A viewer with fonts and a layout of its own.
    Svg,
    /// The plotting library's font.
    Png,
}

impl Medium {
    /// A name as part of a text, at most `most` columns wide; [`text`](Self::text) makes it ready to draw.
    pub fn name(self, name: &str, most: usize) -> String {
        let visible = visible(name);
        let spelled = match self {
            Self::Svg => visible,
            Self::Png => spelled(&visible),
        };
        isolated(&shortened(&spelled, most))
    }

    /// A text, ready to draw.
    pub fn text(self, text: &str) -> String {
        match self {
            Self::Svg => text.to_owned(),
            Self::Png => in_order_of_the_eye(&spelled(text)),
        }
    }

    /// A name alone, ready to draw.
    pub fn label(self, name: &str, most: usize) -> String {
        self.text(&self.name(name, most))
    }
}

/// A name in which [deceptive](is_deceptive) characters are spelled by their numbers.
pub(super) fn visible(name: &str) -> String {
    let shown = |character: char| -> String {
        if is_deceptive(character) { character.escape_unicode().collect() } else { character.into() }
    };
    name.chars().map(shown).collect()
}

/// A name with its middle replaced by an ellipsis if it is more than `most` columns wide, because similar names often
/// differ only at their ends. East Asian letters are two columns wide.
pub(super) fn shortened(name: &str, most: usize) -> String {
    let width = |character: char| character.width().unwrap_or(0);
    if name.chars().map(width).sum::<usize>() <= most {
        return name.to_owned();
    }
    let rooms = (most.saturating_sub(1).div_ceil(2), most.saturating_sub(1) / 2);
    let fitting = |room: usize, characters: &mut dyn Iterator<Item = char>| -> Vec<char> {
        let mut used = 0;
        let fits = |character: &char| {
            used += width(*character);
            used <= room
        };
        characters.take_while(fits).collect()
    };
    let start = fitting(rooms.0, &mut name.chars());
    let mut end = fitting(rooms.1, &mut name.chars().rev());
    // An accent or joiner at the cut belongs to a letter that is left out.
    while end.last().is_some_and(|&character| width(character) == 0) {
        end.pop();
    }
    start.into_iter().chain(iter::once('…')).chain(end.into_iter().rev()).collect()
}

/// Whether a letter's script runs from right to left.
fn runs_to_the_left(character: char) -> bool {
    matches!(character, '\u{590}'..='\u{8FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}')
        || matches!(character, '\u{10800}'..='\u{10FFF}' | '\u{1E800}'..='\u{1EFFF}')
}

/// A name isolated from the direction of the text around it.
fn isolated(name: &str) -> String {
    if name.contains(runs_to_the_left) { format!("{ISOLATE}{name}{END_OF_ISOLATE}") } else { name.to_owned() }
}

fn is_drawn(character: char) -> bool {
    let code = u32::from(character);
    let at = DRAWN.partition_point(|&(_, last)| last < code);
    DRAWN.get(at).is_some_and(|&(first, _)| first <= code)
}

/// Whether a character says how its neighbors are drawn, and is not drawn itself.
fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200C}' | '\u{200D}' | ISOLATE | END_OF_ISOLATE)
}

/// A text with only letters of the plotting library's font. Others are transliterated (Běijīng becomes `BeiJing`, an
/// emoji of a cat `:cat:`).
fn spelled(text: &str) -> String {
    let joined = joined(text);
    let keeps_script = joined.chars().all(|letter| is_drawn(letter) || is_joiner(letter) || !runs_to_the_left(letter));
    let mut spelled = String::with_capacity(text.len());
    for character in text.chars() {
        if is_drawn(character) || is_joiner(character) || (keeps_script && runs_to_the_left(character)) {
            spelled.push(character);
        } else {
            spelled.push_str(any_ascii::any_ascii_char(character));
        }
    }
    if spelled.is_empty() && !text.is_empty() { text.escape_unicode().collect() } else { spelled }
}

/// Arabic letters in the forms that their neighbors ask for.
fn joined(text: &str) -> String {
    if text.contains(runs_to_the_left) { ar_reshaper::reshape_line(text) } else { text.to_owned() }
}

/// The letters of a line from left to right as they are read, by the Unicode bidirectional algorithm.
fn in_order_of_the_eye(text: &str) -> String {
    let joined = joined(text);
    let ordered = if joined.contains(runs_to_the_left) {
        let found = BidiInfo::new(&joined, Some(Level::ltr()));
        found.paragraphs.iter().map(|line| found.reorder_line(line, line.range.clone())).collect()
    } else {
        joined
    };
    let mut drawn = String::with_capacity(ordered.len());
    for character in ordered.chars().filter(|&character| !is_joiner(character)) {
        // A shortened name may ask for a form of a letter that the whole name did not.
        match is_drawn(character) {
            true => drawn.push(character),
            false => drawn.push_str(any_ascii::any_ascii_char(character)),
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_font_lacks_is_spelled_in_latin_letters() {
        for (name, expected) in [
            ("Süßgräser", "Süßgräser"),
            ("Лиса", "Лиса"),
            ("北京", "BeiJing"),
            ("ねこ", "neko"),
            ("🐱 tabby", ":cat: tabby"),
            ("\u{1F469}\u{200D}\u{1F52C}", ":woman::microscope:"),
            ("แมว", "aemw"),
            ("$5", "$5"),
        ] {
            assert_eq!(Medium::Png.label(name, 40), expected, "{name}");
            assert_eq!(Medium::Svg.label(name, 40), name);
        }
        // A letter for private use has no Latin spelling.
        assert_eq!(Medium::Png.label("\u{E123}", 40), "\\u{e123}");
    }

    #[test]
    fn arabic_is_joined_and_runs_to_the_left() {
        // kaf, lam, ba ("dog"): initial, medial and final form (Unicode 16, Arabic Presentation Forms-B), the last at the left.
        assert_eq!(Medium::Png.label("كلب", 40), "\u{FE90}\u{FEE0}\u{FEDB}");
        assert_eq!(Medium::Png.label("חתול", 40), "לותח");
        assert_eq!(Medium::Svg.label("كلب", 40), "\u{2068}كلب\u{2069}");
        // Numbers keep their order, and two names theirs in a sentence from left to right.
        let names = ["חתול 12", "כלב"].map(|name| Medium::Png.name(name, 40));
        assert_eq!(Medium::Png.text(&format!("{} → {}", names[0], names[1])), "12 לותח → בלכ");
        // A letter of Urdu that the font lacks: the whole name is spelled, not half of it.
        assert!(Medium::Png.label("کتے", 40).is_ascii());
    }

    #[test]
    fn deceptive_characters_are_shown_by_their_numbers() {
        let hidden = ["\u{202E}", "\u{200B}", "\u{1B}", "\u{2066}", "\u{FEFF}", "\0", "\u{E0041}"];
        for character in hidden {
            let number: String = character.escape_unicode().collect();
            for medium in [Medium::Svg, Medium::Png] {
                assert_eq!(medium.label(&format!("a{character}b"), 40), format!("a{number}b"));
            }
        }
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shortened("class_of_things_number_12", 11), "class…er_12");
        assert_eq!(shortened("class_12", 8), "class_12");
        // Letters of two columns: 4 of them are 8 wide.
        assert_eq!(shortened("北京大学", 8), "北京大学");
        assert_eq!(shortened("北京大学狗狗", 7), "北…狗");
        // The accent whose letter is cut off goes with it.
        assert_eq!(shortened("aaaaae\u{301}bc", 5), "aa…bc");
        assert_eq!((shortened("abc", 1).as_str(), shortened("abc", 0).as_str()), ("…", "…"));
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_drawn_in_a_bounded_width(name in proptest::string::string_regex("(?s).{0,60}").unwrap(), most in 1_usize..40) {
            let label = Medium::Png.label(&name, most);
            proptest::prop_assert!(label.chars().all(is_drawn), "{label:?}");
            let short = Medium::Svg.name(&name, most);
            let width: usize = short.chars().filter(|&c| !is_joiner(c)).map(|c| c.width().unwrap_or(0)).sum();
            proptest::prop_assert!(width <= most.max(1), "{short:?}");
        }
    }
}
