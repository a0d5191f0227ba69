//! The classes and the pairs of classes that cost most on a set.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::percent;
use crate::report::confusion::{Confusion, Hard};
use crate::wording::{grouped, listed};

/// Classes that are named; of more that matter, the first [`FEW`].
const CLASSES: usize = 5;
const FEW: usize = 3;
/// The share of the costliest class's errors from which on a class matters.
const MATTERS: f64 = 0.5;
/// Predicted classes that may attract errors, and the share of all errors that these have then.
const ATTRACTING: usize = 2;
const ATTRACTED: f64 = 0.8;

/// The classes that cost most, and what they are mistaken for.
pub(super) fn of(found: &Confusion, classes: &[String], set: &str) -> Vec<String> {
    let hard = found.hardest(usize::MAX);
    if hard.is_empty() || classes.len() < 3 {
        return Vec::new();
    }
    let mistaken_for = attracting(found, classes, set, &hard).or_else(|| most_frequent(found, classes, set));
    std::iter::once(costliest(hard, classes, set)).chain(mistaken_for).collect()
}

fn wrong(class: &Hard) -> usize {
    class.n - class.right
}

/// The classes with about as many errors as the worst.
fn costliest(mut hard: Vec<Hard>, classes: &[String], set: &str) -> String {
    let errors: usize = hard.iter().map(wrong).sum();
    hard.sort_by_key(|class| Reverse(wrong(class)));
    let most = wrong(&hard[0]) as f64;
    let matter = hard.iter().filter(|class| wrong(class) as f64 >= MATTERS * most).count();
    let named = hard.iter().take(if matter > CLASSES { FEW } else { matter });
    let shown: Vec<String> = named
        .clone()
        .map(|class| format!("{} ({} of {} wrong)", classes[class.class], grouped(wrong(class)), grouped(class.n)))
        .collect();
    let shown = listed(&shown);
    if matter > CLASSES {
        return format!("Errors on {set} are spread over {} classes, such as {shown}.", grouped(hard.len()));
    }
    match (2 * named.map(wrong).sum::<usize>() > errors, matter) {
        (true, _) => format!("Most errors on {set} are in {shown}."),
        (false, 1) => format!("The class with the most errors on {set} is {shown}."),
        (false, _) => format!("The classes with the most errors on {set} are {shown}."),
    }
}

/// The few classes that images of many others are taken for, if there are such.
fn attracting(found: &Confusion, classes: &[String], set: &str, hard: &[Hard]) -> Option<String> {
    let mut errors: BTreeMap<usize, usize> = BTreeMap::new();
    for &(_, predicted, n) in found.counts.iter().filter(|count| count.0 != count.1) {
        *errors.entry(predicted).or_default() += n;
    }
    let all: usize = errors.values().sum();
    let mut predicted: Vec<(usize, usize)> = errors.into_iter().collect();
    predicted.sort_by_key(|&(_, n)| Reverse(n));
    let share = |most: usize| predicted.iter().take(most).map(|(_, n)| n).sum::<usize>() as f64 / all as f64;
    let most = (1..=ATTRACTING).find(|&most| share(most) >= ATTRACTED)?;
    // Where few classes have errors, their pairs say as much.
    if hard.len() <= 2 * most {
        return None;
    }
    let named = |(at, &(class, n)): (usize, &(usize, usize))| {
        let what = if at == 0 { "predictions of " } else { "of " };
        let verb = if at == 0 { "are " } else { "" };
        format!("{} {verb}{what}{}", grouped(n), classes[class])
    };
    let named: Vec<String> = predicted.iter().take(most).enumerate().map(named).collect();
    Some(format!("Of {} errors on {set}, {}.", grouped(all), listed(&named)))
}

/// The pair of classes confused most often.
fn most_frequent(found: &Confusion, classes: &[String], set: &str) -> Option<String> {
    let &(label, predicted, n) = found.most_confused(1).first()?;
    let of = found.totals(classes.len())[label];
    let (label, predicted) = (&classes[label], &classes[predicted]);
    let (n, of, share) = (grouped(n), grouped(of), percent(n as f64 / of as f64));
    Some(format!("Most frequent confusion on {set}: {label} predicted as {predicted}, {n} of {of} ({share})."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(classes: usize, counts: &[(usize, usize, usize)]) -> (Vec<String>, Confusion) {
        ((0..classes).map(|class| format!("c{class}")).collect(), Confusion { counts: counts.to_vec() })
    }

    #[test]
    fn the_classes_and_the_pair_that_cost_most_are_named() {
        let classes = ["cat", "dog", "fox"].map(str::to_owned);
        let found = Confusion::count([(0, 0), (0, 1), (0, 1), (1, 1), (1, 0), (2, 2)]);
        let sentences = of(&found, &classes, "test");
        assert_eq!(sentences[0], "Most errors on test are in cat (2 of 3 wrong) and dog (1 of 2 wrong).");
        assert_eq!(sentences[1], "Most frequent confusion on test: cat predicted as dog, 2 of 3 (66.7 %).");
        assert!(of(&Confusion::count([(0, 0)]), &classes, "test").is_empty());
    }

    #[test]
    fn a_class_with_few_errors_is_not_among_those_with_most() {
        let (classes, found) = counted(3, &[(0, 0, 36), (0, 1, 64), (1, 0, 1), (1, 1, 99), (2, 2, 100)]);
        assert_eq!(of(&found, &classes, "other")[0], "Most errors on other are in c0 (64 of 100 wrong).");
    }

    #[test]
    fn classes_that_attract_errors_of_all_others_are_the_story() {
        // A run on sketches of PACS: nearly everything is a giraffe (2) or a guitar (3).
        let counts = [
            (0, 2, 32),
            (0, 3, 11),
            (1, 2, 29),
            (1, 3, 14),
            (2, 2, 36),
            (2, 3, 6),
            (2, 4, 1),
            (3, 3, 43),
            (4, 2, 39),
            (4, 3, 4),
        ];
        let (classes, found) = counted(5, &counts);
        let expected = [
            "Most errors on sketch are in c0 (43 of 43 wrong), c1 (43 of 43 wrong), and c4 (43 of 43 wrong).",
            "Most frequent confusion on sketch: c4 predicted as c2, 39 of 43 (90.7 %).",
        ];
        // Four classes with errors may be two pairs.
        assert_eq!(of(&found, &classes, "sketch"), expected);
        let counts = [&counts[..], &[(5, 2, 6), (5, 3, 28), (5, 5, 9)]].concat();
        let (classes, found) = counted(6, &counts);
        let sentences = of(&found, &classes, "sketch");
        assert!(sentences[0].ends_with("c4 (43 of 43 wrong), and c5 (34 of 43 wrong)."), "{}", sentences[0]);
        assert_eq!(sentences[1], "Of 170 errors on sketch, 106 are predictions of c2 and 63 of c3.");
    }

    #[test]
    fn errors_that_are_everywhere_are_called_spread() {
        let (classes, found) = counted(8, &(0..8).map(|class| (class, (class + 1) % 8, 5)).collect::<Vec<_>>());
        let first = of(&found, &classes, "val").swap_remove(0);
        assert_eq!(
            first,
            "Errors on val are spread over 8 classes, such as c0 (5 of 5 wrong), c1 (5 of 5 wrong), and c2 (5 of 5 wrong)."
        );
    }
}
