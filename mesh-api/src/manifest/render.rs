//! Faults of manifests as text.

use std::fmt;

/// One fault with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFault {
    /// The file, as it was named to the reader.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// `HTTPRoute demo/catalog`, as far as the document says.
    pub object: Option<String>,
    /// The field, `spec.rules[0].x`; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// The line's text.
    pub snippet: String,
}

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 160;

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            object,
            path,
            reason,
            snippet,
        } = self;
        write!(f, "{file}:{line}:{column}: ")?;
        if let Some(object) = object {
            write!(f, "{object}: ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let text: String = snippet.chars().take(SHOWN).collect();
        let indent = " ".repeat(
            usize::try_from(*column)
                .unwrap_or(1)
                .saturating_sub(1)
                .min(SHOWN),
        );
        write!(
            f,
            "{reason}\n{margin} |\n{number} | {text}\n{margin} | {indent}^"
        )
    }
}
