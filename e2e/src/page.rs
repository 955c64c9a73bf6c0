//! Pages of the documentation: their fenced blocks, and how shown output is compared.
//!
//! The word after the fence says what a block is: `yaml`, `sh`, `text`, then flags after commas, then a
//! reason after a colon, as in `sh,manual: needs root`. Readers see none of it. May use nothing of
//! this crate.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A Markdown file of the project.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path from the workspace's root.
    pub path: String,
    /// Its fenced blocks, in order.
    pub blocks: Vec<Block>,
}

/// A fenced block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The line of its fence, from 1.
    pub line: usize,
    /// `yaml`, `sh`, `text` and so on; empty where the fence says nothing.
    pub language: String,
    /// What follows the language.
    pub flags: Vec<String>,
    /// The file that the line before names, as in "`mesh/hello.yaml`:".
    pub file: Option<String>,
    /// What is inside.
    pub text: String,
}

impl Block {
    /// True if the fence carries this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }
}

/// The workspace's root.
///
/// # Errors
///
/// If this package lies in no folder.
pub fn root() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.map(Path::to_owned).context("no workspace")
}

/// Every page: those at the root and those below `docs`.
///
/// # Errors
///
/// If one cannot be read.
pub fn read_all() -> anyhow::Result<Vec<Page>> {
    let root = root()?;
    let mut files: Vec<PathBuf> = list(&root)?;
    files.retain(|path| path.is_file());
    walk(&root.join("docs"), &mut files)?;
    files.retain(|path| path.extension().is_some_and(|e| e == "md"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let path = path.strip_prefix(&root)?.to_string_lossy().into_owned();
        let blocks = blocks(&text);
        Ok(Page { path, blocks })
    };
    files.into_iter().map(read).collect()
}

/// The fenced blocks of a page.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    let mut before = "";
    for (number, line) in (1..).zip(markdown.lines()) {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                open = true;
                found.push(fence(number, info, std::mem::take(&mut before)));
            }
            None if open => {
                if let Some(block) = found.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            None if line.trim().is_empty() => {}
            None => before = line,
        }
    }
    found
}

fn fence(line: usize, info: &str, before: &str) -> Block {
    let (words, _reason) = info.split_once(':').unwrap_or((info, ""));
    let mut words = words.split(',').map(|word| word.trim().to_owned());
    let named = before.trim_end().strip_suffix("`:");
    Block {
        line,
        language: words.next().unwrap_or_default(),
        flags: words.collect(),
        file: named.and_then(|text| Some(text.rsplit_once('`')?.1.to_owned())),
        text: String::new(),
    }
}

/// True if `said` holds what is shown: its parts between `...`, in order. The width of gaps is not
/// compared, nor is colour.
pub fn fits(shown: &str, said: &str) -> bool {
    let said = plain(said);
    let mut rest = said.as_str();
    shown.split("...").map(plain).all(|part| {
        let Some((_, after)) = rest.split_once(part.trim()) else {
            return false;
        };
        rest = after;
        true
    })
}

/// Without escape sequences, and with one space for each gap.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut bare = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        bare.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every file below `folder`, sorted.
///
/// # Errors
///
/// If a folder cannot be read.
pub fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for path in list(folder)? {
        if path.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_says_what_its_block_is() {
        let page = "Save as `mesh/a.yaml`:\n\n```yaml\na: 1\n```\ntext\n```sh,manual: needs root\nid\n```\n```\n```\n";
        let found = blocks(page);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].file.as_deref(), Some("mesh/a.yaml"));
        assert_eq!((found[0].line, found[0].text.as_str()), (3, "a: 1\n"));
        assert_eq!(
            (found[1].language.as_str(), found[1].has("manual")),
            ("sh", true)
        );
        assert_eq!(
            (found[1].file.as_deref(), found[2].language.as_str()),
            (None, "")
        );
    }

    #[test]
    fn shown_output_fits_in_its_parts_and_order() {
        let said = "  91 hello   from v1\n   9 hello from v2\n";
        assert!(fits("... hello from v1\n... hello from v2\n", said));
        assert!(fits("hello from v1", said));
        assert!(!fits("... hello from v2\n... hello from v1\n", said));
        assert!(!fits("hello from v3", said));
        assert!(fits("INFO started", "\u{1b}[32m INFO\u{1b}[0m started"));
    }
}
