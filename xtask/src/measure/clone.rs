//! Copied code: the share of lines inside a run of ten equal lines that stands elsewhere too.
//!
//! Blank lines, comments, imports and lone brackets do not count. May use `source`.

use std::collections::HashMap;

use crate::source::SourceFile;

/// Lines of a run that is worth calling a copy.
const RUN: usize = 10;

/// How much code is copied.
pub(crate) struct Share {
    /// Lines inside a copied run.
    pub(crate) copied: usize,
    /// All lines that count.
    pub(crate) all: usize,
}

/// Measures `files` against each other and themselves.
pub(crate) fn share(files: &[&SourceFile]) -> Share {
    let code: Vec<Vec<&str>> = files.iter().map(|file| counted(file)).collect();
    let mut places: HashMap<&[&str], usize> = HashMap::new();
    for lines in &code {
        for run in lines.windows(RUN) {
            *places.entry(run).or_default() += 1;
        }
    }
    let mut copied = 0;
    for lines in &code {
        let mut marked = vec![false; lines.len()];
        for (at, run) in lines.windows(RUN).enumerate() {
            if places.get(run).is_some_and(|count| *count > 1) {
                marked
                    .iter_mut()
                    .skip(at)
                    .take(RUN)
                    .for_each(|mark| *mark = true);
            }
        }
        copied += marked.into_iter().filter(|mark| *mark).count();
    }
    Share {
        copied,
        all: code.iter().map(Vec::len).sum(),
    }
}

fn counted(file: &SourceFile) -> Vec<&str> {
    let lines = file.lines().map(|(_, line)| line.trim());
    lines
        .filter(|line| {
            let bare = line
                .chars()
                .all(|c| matches!(c, '{' | '}' | '(' | ')' | '[' | ']' | ',' | ';'));
            let import = line.starts_with("use ") || line.starts_with("pub use ");
            !bare && !import && !line.starts_with("//")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::parse_text;

    #[test]
    fn a_run_of_ten_equal_lines_is_a_copy() {
        let body = |from: usize, to: usize| {
            let lines = (from..to).map(|n| format!("const C{n}: u8 = 0;\n"));
            lines.collect::<String>()
        };
        let parse = |path: &str, text: String| parse_text("mesh-api", path, text).unwrap();
        let one = parse("mesh-api/src/name.rs", body(0, 20));
        let same = parse("mesh-api/src/error.rs", body(5, 15) + &body(50, 60));
        let shorter = parse("mesh-api/src/error.rs", body(5, 14) + &body(50, 60));
        let found = share(&[&one, &same]);
        assert_eq!((found.copied, found.all), (20, 40));
        assert_eq!(share(&[&one, &shorter]).copied, 0);
    }
}
