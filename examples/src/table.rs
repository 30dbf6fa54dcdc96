//! Tables whose columns align.

/// Rows of text under a heading, the first column to the left, the others to the right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub fn new<const N: usize>(columns: [&str; N]) -> Self {
        Self { rows: vec![columns.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Vec::from(cells));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(f, "  {cell:<width$}")?;
                } else {
                    write!(f, "  {cell:>width$}")?;
                }
            }
            writeln!(f)?;
            if number == 0 {
                let rule: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
                writeln!(f, "  {}", rule.join("  "))?;
            }
        }
        Ok(())
    }
}

/// The start of a text, on one line, in at most this many characters.
pub fn shortened(text: &str, characters: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    if line.chars().count() <= characters {
        return line;
    }
    let start: String = line.chars().take(characters.saturating_sub(3)).collect();
    format!("{}...", start.trim_end())
}

/// Words on lines of at most this many characters, as far as each word fits on a line.
pub fn wrapped<'a>(words: impl IntoIterator<Item = &'a str>, characters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= characters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_within_the_width() {
        assert_eq!(wrapped(["one", "two", "threefold", "x"], 7), ["one two", "threefold", "x"]);
        assert_eq!(wrapped([], 7), [""; 0]);
    }

    #[test]
    fn columns_align() {
        let mut table = Table::new(["name", "n"]);
        table.row(["long name".into(), "7".into()]);
        table.row(["ä".into(), "1000".into()]);
        let expected = "  name          n\n  ---------  ----\n  long name     7\n  ä          1000\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_long_text_is_shortened_and_stays_on_one_line() {
        assert_eq!(shortened("one\ntwo", 10), "one two");
        assert_eq!(shortened("one two three", 10), "one two...");
    }
}
