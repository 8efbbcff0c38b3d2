//! Aligned columns without borders.
use crate::out;

/// Spaces between columns.
const GAP: usize = 3;

/// Titles and rows, as wide as they need to be.
#[derive(Debug, Default)]
pub struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles.
    pub fn new<T: Into<String>>(titles: impl IntoIterator<Item = T>) -> Self {
        Self { titles: titles.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text, each line ended.
    pub fn render(&self) -> String {
        self.render_with("")
    }

    /// The same, each line after an indent.
    pub fn render_with(&self, indent: &str) -> String {
        let cleaned: Vec<Vec<String>> = std::iter::once(&self.titles)
            .chain(&self.rows)
            .map(|row| row.iter().map(|cell| one_line(cell)).collect())
            .collect();
        let widths: Vec<usize> = (0..self.titles.len())
            .map(|column| cleaned.iter().map(|row| row.get(column).map_or(0, |cell| width(cell))).max().unwrap_or(0))
            .collect();
        cleaned.iter().map(|row| format!("{indent}{}\n", line(row, &widths))).collect()
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, wanted) in row.iter().zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', wanted - width(cell) + GAP));
    }
    text.truncate(text.trim_end().len());
    text
}

/// Characters: close enough to columns for names and descriptions.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn one_line(cell: &str) -> String {
    out::clean(cell).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let mut table = Table::new(["NAME", "DESCRIPTION"]);
        table.row(vec!["a".into(), "küche".into()]);
        table.row(vec!["long-name".into(), String::new()]);
        assert_eq!(table.render(), "NAME        DESCRIPTION\na           küche\nlong-name\n");
    }

    #[test]
    fn a_cell_can_not_steer_the_terminal_or_break_the_line() {
        let mut table = Table::new(["NAME"]);
        table.row(vec!["a\n\u{1b}[31mred".into()]);
        assert_eq!(table.render(), "NAME\na  [31mred\n");
    }
}
