//! Tables for people: columns that line up, words with a tone.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

/// Blanks between two columns.
const GAP: usize = 2;

/// What a word means to a reader, shown as a colour where colours are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// Of less interest.
    Faint,
}

impl Tone {
    /// `text` in this tone.
    pub(crate) fn paint(self, text: &str) -> String {
        match self.style() {
            None => text.to_owned(),
            Some(style) => format!("{style}{text}{style:#}"),
        }
    }

    fn style(self) -> Option<Style> {
        match self {
            Self::Plain => None,
            Self::Good => Some(AnsiColor::Green.on_default()),
            Self::Warning => Some(AnsiColor::Yellow.on_default()),
            Self::Bad => Some(AnsiColor::Red.on_default().bold()),
            Self::Faint => Some(Style::new().dimmed()),
        }
    }
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// `text` in a tone.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        let text = text.into();
        Self { text, tone }
    }

    /// A state of a proxy, a condition or a subscription, in the tone it has.
    pub(crate) fn state(text: impl Into<String>) -> Self {
        let text = text.into();
        let tone = match text.as_str() {
            "SYNCED" | "True" | "held" | "present" | "healthy" => Tone::Good,
            "STALE" | "pending" | "absent" | "stale" => Tone::Warning,
            "NACKED" | "DISCONNECTED" | "False" | "refused" | "failed" | "ejected"
            | "unhealthy" => Tone::Bad,
            _ => Tone::Plain,
        };
        Self { text, tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Rows under a header.
#[derive(Debug)]
pub(crate) struct Rows {
    header: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Rows {
    /// No rows yet.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|&title| title.into()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells print empty.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = impl Into<Cell>>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// True without rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, ending in a line feed.
    pub(crate) fn to_text(&self) -> String {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let mut widths: Vec<usize> = Vec::new();
        for row in all() {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        all().map(|row| line(row, &widths)).collect()
    }
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    let mut blanks = 0;
    for (cell, width) in row.iter().zip(widths) {
        if !cell.text.is_empty() {
            // Blanks come before the next cell, so that no line ends in them.
            write!(line, "{:blanks$}{}", "", cell.tone.paint(&cell.text)).ok();
            blanks = 0;
        }
        blanks += width.saturating_sub(cell.text.width()) + GAP;
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_line_up_without_trailing_blanks() {
        let mut rows = Rows::new(&["NAME", "STATE", "PORT"]);
        rows.push(["catalog", "", "80"]);
        rows.push(["ä", "", ""]);
        rows.push([Cell::from("a"), Cell::state("SYNCED"), Cell::from("1")]);
        assert_eq!(
            rows.to_text(),
            "NAME     STATE   PORT\ncatalog          80\nä\na        \u{1b}[32mSYNCED\u{1b}[0m  1\n"
        );
    }
}
