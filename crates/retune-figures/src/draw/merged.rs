//! Equal lines as one.

use crate::figure::Line;

/// A line that stands for all that are equal to it.
pub(super) struct Merged<'a> {
    /// The first of them.
    pub line: &'a Line,
    /// The positions of all.
    pub members: Vec<usize>,
    /// Their common name.
    pub name: String,
}

/// The different lines in the order of their first; several have the first and last name of each run of neighbors and
/// say how many `noun` they are.
pub(super) fn merged<'a>(lines: &'a [Line], noun: &str) -> Vec<Merged<'a>> {
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
        let noun = if noun.is_empty() { "lines" } else { noun };
        match (members.len(), runs.as_slice()) {
            (1, [only]) => only.clone(),
            (2, _) => members.iter().map(|&member| lines[member].name.as_str()).collect::<Vec<_>>().join(", "),
            (count, [one]) => format!("{one} ({count} {noun})"),
            (count, [one, other]) => format!("{one}, {other} ({count} {noun})"),
            (count, [first, .., last]) => format!("{first}, …, {last} ({count} {noun})"),
            (_, []) => String::new(),
        }
    };
    groups.into_iter().map(|(line, members)| Merged { name: name(&members), line, members }).collect()
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
        // Nothing is equal to nothing.
        assert_eq!(names(&[Line::new("a", vec![]), Line::new("b", vec![])]), ["a", "b"]);
    }
}
