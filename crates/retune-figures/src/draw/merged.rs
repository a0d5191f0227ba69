//! Equal lines as one.

use crate::figure::Line;
use crate::font;
use crate::frame::{NAME, fitted};

/// A line that stands for all that are equal to it.
pub(super) struct Merged<'a> {
    /// The first of them.
    pub line: &'a Line,
    /// The positions of all.
    pub members: Vec<usize>,
    /// Their common name.
    pub name: String,
    /// The first and the last of several.
    ends: Option<[&'a str; 2]>,
    /// What several are called.
    noun: &'a str,
}

/// The least room in which the shortened name of a line still says something.
const LEAST_NAME: f64 = 24.0;

impl Merged<'_> {
    /// Its name in a room. What several lines have in common loses the names between the ends first, then their noun,
    /// then letters of the ends, but neither an end nor the number of lines.
    pub fn fitted(&self, room: f64) -> String {
        let Some([first, last]) = self.ends else { return fitted(&self.name, NAME, room) };
        let (count, noun) = (self.members.len(), self.noun);
        let fits = |name: &String| font::width(name, NAME, false) <= room;
        let candidates =
            [self.name.clone(), format!("{first} … {last} ({count} {noun})"), format!("{first} … {last} ({count})")];
        if let Some(name) = candidates.into_iter().find(fits) {
            return name;
        }
        let each = (room - font::width(&format!(" …  ({count})"), NAME, false)) / 2.0;
        if each < LEAST_NAME {
            return format!("{count} {noun}");
        }
        format!("{} … {} ({count})", fitted(first, NAME, each), fitted(last, NAME, each))
    }
}

/// The different lines in the order of their first; several have the first and last name of each run of neighbors and
/// say how many `noun` they are.
pub(super) fn merged<'a>(lines: &'a [Line], noun: &'a str) -> Vec<Merged<'a>> {
    let noun = if noun.is_empty() { "lines" } else { noun };
    let mut groups: Vec<(&Line, Vec<usize>)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let same = |known: &Line| {
            known.points == line.points
                && known.band == line.band
                && known.faint == line.faint
                && !line.points.is_empty()
        };
        match groups.iter_mut().find(|(known, _)| same(known)) {
            Some((_, members)) => members.push(index),
            None => groups.push((line, vec![index])),
        }
    }
    let name = |members: &[usize]| {
        let runs: Vec<String> = members
            .chunk_by(|one, other| one + 1 == *other)
            .map(|run| match run {
                [only] => lines[*only].name.clone(),
                [first, .., last] => format!("{} … {}", lines[*first].name, lines[*last].name),
                [] => String::new(),
            })
            .collect();
        match (members.len(), runs.as_slice()) {
            (1, [only]) => only.clone(),
            (2, _) => members.iter().map(|&member| lines[member].name.as_str()).collect::<Vec<_>>().join(", "),
            (count, [one]) => format!("{one} ({count} {noun})"),
            (count, [one, other]) => format!("{one}, {other} ({count} {noun})"),
            (count, [first, .., last]) => format!("{first}, …, {last} ({count} {noun})"),
            (_, []) => String::new(),
        }
    };
    let ends = |members: &[usize]| match members {
        [first, .., last] => Some([first, last].map(|&member| lines[member].name.as_str())),
        _ => None,
    };
    let group = |(line, members): (&'a Line, Vec<usize>)| {
        let (name, ends) = (name(&members), ends(&members));
        Merged { line, members, name, ends, noun }
    };
    groups.into_iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_share_a_name_that_says_how_many_they_are() {
        let line = |name: &str, value: f64| Line::new(name, vec![(1.0, value)]);
        let lines: Vec<Line> =
            (0..19).map(|at| line(&format!("layer{at}"), 1e-3)).chain([line("head", 1e-2)]).collect();
        let names = |lines: &[Line]| merged(lines, "layers").into_iter().map(|merged| merged.name).collect::<Vec<_>>();
        assert_eq!(names(&lines), ["layer0 … layer18 (19 layers)", "head"]);
        assert_eq!(names(&[line("a", 1.0), line("b", 2.0), line("c", 1.0)]), ["a, c", "b"]);
        assert_eq!(
            names(&[line("a", 1.0), line("b", 1.0), line("x", 2.0), line("c", 1.0)]),
            ["a … b, c (3 layers)", "x"]
        );
        // A short name keeps the ends and the number.
        let short = |room: f64| merged(&lines, "layers")[0].fitted(room);
        assert_eq!(short(500.0), "layer0 … layer18 (19 layers)");
        assert_eq!(short(130.0), "layer0 … layer18 (19)");
        let squeezed = short(105.0);
        assert!(squeezed.starts_with('l') && squeezed.ends_with("8 (19)"), "{squeezed}");
        assert_eq!(short(60.0), "19 layers");
        // Nothing is equal to nothing.
        assert_eq!(names(&[Line::new("a", vec![]), Line::new("b", vec![])]), ["a", "b"]);
    }
}
