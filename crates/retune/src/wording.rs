//! How messages word what they speak of: numbers of things, names that may hold any sign, and what the system says.

use std::io;

/// A number of things, such as `1 image` or `1,200 classes`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { noun.to_owned() } else { plural(noun) })
}

fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if noun.ends_with(['s', 'x']) || noun.ends_with("tch") => format!("{noun}es"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

/// A whole number with a comma after every three digits.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Words with commas, and `and` before the last.
pub fn listed(words: &[String]) -> String {
    with_conjunction(words, "and")
}

/// The same with `or`.
pub fn alternatives(words: &[String]) -> String {
    with_conjunction(words, "or")
}

fn with_conjunction(words: &[String], conjunction: &str) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [one, other] => format!("{one} {conjunction} {other}"),
        [others @ .., last] => format!("{}, {conjunction} {last}", others.join(", ")),
    }
}

/// A list of names of which there may be very many: the first ones, and how many more.
pub fn first_of(names: &[String]) -> String {
    const SHOWN: usize = 10;
    match names.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{}, and {more} more", names[..SHOWN].join(", ")),
    }
}

/// Words with a capital at the start.
pub fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| format!("{}{}", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// Words as a sentence of their own.
pub fn sentence(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("{}.", capitalized(words)) }
}

/// An interval; a dash between its ends would be taken for a sign where one of them is negative.
pub fn interval([low, high]: [f64; 2], decimals: usize) -> String {
    let end = |value: f64| format!("{value:.decimals$}").replace('-', "−");
    let between = if low < 0.0 { " to " } else { "–" };
    format!("{}{between}{}", end(low), end(high))
}

/// Text whose control characters are shown and not obeyed, as names of files and classes may have any; `lines` lets line
/// breaks be.
pub fn printable(text: &str, lines: bool) -> String {
    let shown = |character: char| match character {
        '\n' if lines => character.to_string(),
        character if character.is_control() => character.escape_default().to_string(),
        character => character.to_string(),
    };
    if text.chars().any(char::is_control) { text.chars().map(shown).collect() } else { text.to_owned() }
}

/// Why the system refused a file or folder, in words that need no manual.
pub fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::StorageFull => "no space left on the disk".into(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
        io::ErrorKind::FileTooLarge => "the file is larger than the system allows".into(),
        io::ErrorKind::IsADirectory => "it is a folder, not a file".into(),
        io::ErrorKind::NotADirectory => "a part of the path is a file, not a folder".into(),
        io::ErrorKind::AlreadyExists => "a file of this name is there".into(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_singular() {
        let one = ["run", "class", "batch"].map(|noun| counted(1, noun));
        assert_eq!(one, ["1 run", "1 class", "1 batch"]);
        let several = ["run", "class", "batch", "epoch", "day", "penalty"].map(|noun| counted(1200, noun));
        let expected =
            ["runs", "classes", "batches", "epochs", "days", "penalties"].map(|noun| format!("1,200 {noun}"));
        assert_eq!((several, counted(0, "image").as_str()), (expected, "0 images"));
    }

    #[test]
    fn lists_have_a_comma_before_the_conjunction() {
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([1, 2, 3].map(|count| listed(&words[..count])), ["a", "a and b", "a, b, and c"]);
        assert_eq!(alternatives(&words), "a, b, or c");
        let names: Vec<String> = (0..12).map(|name| name.to_string()).collect();
        assert_eq!(first_of(&names), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more");
        assert_eq!(first_of(&names[..10]), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9");
    }

    #[test]
    fn sentences_begin_with_a_capital_and_end() {
        assert_eq!((capitalized("input shift"), capitalized("")), ("Input shift".into(), String::new()));
        assert_eq!((sentence("über all"), sentence("")), ("Über all.".into(), String::new()));
    }

    #[test]
    fn negative_ends_are_no_dashes() {
        assert_eq!(interval([0.25, 0.5], 2), "0.25–0.50");
        assert_eq!(interval([-0.337, 0.5087], 4), "−0.3370 to 0.5087");
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(printable("a\n\u{1b}[1m", false), r"a\n\u{1b}[1m");
        assert_eq!(printable("a\nb\t", true), "a\nb\\t");
    }

    #[test]
    fn the_systems_numbers_are_left_out() {
        // Numbers of Linux: EISDIR, EROFS, EEXIST, ENOSPC, ENOTDIR, EFBIG.
        for number in [21, 30, 17, 28, 20, 27] {
            let text = refusal(&io::Error::from_raw_os_error(number));
            assert!(cfg!(not(target_os = "linux")) || !text.contains("os error"), "{text}");
        }
    }
}
