//! Names in any script, as figures and pages show them.

use std::iter;

use unicode_width::UnicodeWidthChar;

/// First strong isolate: what follows has a direction of its own.
const ISOLATE: char = '\u{2068}';
/// Pop directional isolate: the end of that.
const END_OF_ISOLATE: char = '\u{2069}';

/// Whether the character could hide itself, hide others or turn the direction of what follows: controls, marks and
/// embeddings of direction, and characters without width. Joiners are none of them, because Persian, Indic scripts and
/// emoji need them.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{FEFF}')
        || matches!(character, '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFB}')
        || matches!(character, '\u{FFFE}' | '\u{FFFF}' | '\u{E0000}'..='\u{E007F}')
}

/// A name in which [deceptive](is_deceptive) characters are spelled by their numbers.
pub fn visible(name: &str) -> String {
    let shown = |character: char| -> String {
        if is_deceptive(character) { character.escape_unicode().collect() } else { character.into() }
    };
    name.chars().map(shown).collect()
}

/// A name whose middle gives way to an ellipsis where it is more than `most` columns wide, because names that are alike
/// often differ in their ends only. East Asian letters are two columns wide.
pub fn shortened(name: &str, most: usize) -> String {
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

/// Whether a letter's script runs to the left.
fn runs_to_the_left(character: char) -> bool {
    matches!(character, '\u{590}'..='\u{8FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}')
        || matches!(character, '\u{10800}'..='\u{10FFF}' | '\u{1E800}'..='\u{1EFFF}')
}

/// A name that neither turns the text around it nor is turned by it.
pub fn isolated(name: &str) -> String {
    if name.contains(runs_to_the_left) { format!("{ISOLATE}{name}{END_OF_ISOLATE}") } else { name.to_owned() }
}

/// A name ready to draw: visible, at most `most` columns wide, and isolated.
pub fn label(name: &str, most: usize) -> String {
    isolated(&shortened(&visible(name), most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deceptive_characters_are_shown_by_their_numbers() {
        for character in ["\u{202E}", "\u{200B}", "\u{1B}", "\u{2066}", "\u{FEFF}", "\0", "\u{E0041}"] {
            let number: String = character.escape_unicode().collect();
            assert_eq!(label(&format!("a{character}b"), 40), format!("a{number}b"));
        }
    }

    #[test]
    fn names_that_run_to_the_left_are_isolated() {
        assert_eq!(label("كلب", 40), "\u{2068}كلب\u{2069}");
        assert_eq!(label("北京", 40), "北京");
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
        fn any_name_has_a_bounded_width(name in proptest::string::string_regex("(?s).{0,60}").unwrap(), most in 1_usize..40) {
            let short = label(&name, most);
            let width: usize = short.chars().map(|c| c.width().unwrap_or(0)).sum();
            proptest::prop_assert!(width <= most, "{short:?}");
        }
    }
}
