//! Tables of text, with headings in bold.

use retune::wording::printable;

use super::color::bold;

/// On which side a column's cells are filled up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table: headings, then rows of as many cells.
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    /// Positions of rows that stand out.
    emphasized: Vec<usize>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = (impl Into<String>, Align)>) -> Self {
        Self {
            columns: columns.into_iter().map(|(heading, align)| (heading.into(), align)).collect(),
            rows: Vec::new(),
            emphasized: Vec::new(),
        }
    }

    /// Adds a row at the end.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell.into(), false)).collect());
    }
}

impl Table {
    /// Makes the row that was added last stand out.
    pub fn emphasize(&mut self) {
        self.emphasized.extend(self.rows.len().checked_sub(1));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| heading.clone()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let width = |column: usize| {
            let widths = lines().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for (number, cells) in lines().enumerate() {
            let padded = cells.iter().zip(&self.columns).zip(&widths).map(|((cell, (_, align)), &width)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            let line = padded.collect::<Vec<_>>().join("  ");
            // The heading is the first line.
            let stands_out = number == 0 || self.emphasized.contains(&(number - 1));
            let line = line.trim_end();
            writeln!(formatter, "{}", if stands_out { bold(line) } else { line.to_owned() })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("set", Align::Left), ("n", Align::Right)]);
        table.row(["größer", "5"]);
        table.row(["x", "1234"]);
        table.emphasize();
        let text = table.to_string();
        assert!(text.starts_with("\u{1b}[1mset") && text.contains("\u{1b}[1mx  "), "{text}");
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "set        n\ngrößer     5\nx       1234\n");
    }
}
