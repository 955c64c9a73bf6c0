//! Runs the commands of a page from top to bottom, as a reader types them, and compares what they
//! print with what the page shows. May use `page`.
//!
//! A page runs in one shell, in an empty folder with meshctl on the path, a copy of `docs/guide` and a
//! `target` folder, as in a clone. A block with `&` goes on in the background. What a `text` block
//! shows after it must come within [`PATIENCE`]. Flags: `until` types the block again until it shows
//! that; `fails` must fail; `clone` runs in the workspace's root; `manual` is for readers alone.
//! Where the system lets us, a page has a network of its own, so that its ports are free.

mod shell;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::page::{self, Block, Page, fits};
use shell::Shell;

/// How long a reader waits for one command, or for what it should show.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long one that compiles may take.
const COMPILING: Duration = Duration::from_mins(8);

/// True if the page has commands to run.
pub fn has_commands(page: &Page) -> bool {
    page.blocks.iter().any(is_run)
}

/// Runs the page; the number of blocks that ran. Whatever it started is gone afterwards.
///
/// # Errors
///
/// At the first block that fails, hangs, or does not show what the page says.
pub fn run(page: &Page, meshctl: &Path) -> anyhow::Result<usize> {
    let folder = tempfile::tempdir()?;
    let reader = folder.path().join("reader");
    prepare(&reader)?;
    let mut shell = Shell::start(folder.path(), &reader, meshctl)?;
    let mut ran = 0;
    for (at, block) in page.blocks.iter().enumerate() {
        save(block, &reader)?;
        if !is_run(block) {
            continue;
        }
        let shown = page
            .blocks
            .get(at + 1)
            .filter(|next| next.language == "text");
        step(&mut shell, block, shown).with_context(|| format!("{}:{}", page.path, block.line))?;
        ran += 1;
    }
    shell.end();
    Ok(ran)
}

fn is_run(block: &Block) -> bool {
    block.language == "sh" && !block.has("manual")
}

/// A folder like a fresh clone, as far as guides need one.
fn prepare(reader: &Path) -> anyhow::Result<()> {
    let root = page::root()?;
    let mut files = Vec::new();
    page::walk(&root.join("docs/guide"), &mut files)?;
    for file in files {
        let copy = reader.join(file.strip_prefix(&root)?);
        std::fs::create_dir_all(copy.parent().context("no folder")?)?;
        std::fs::copy(&file, copy)?;
    }
    Ok(std::fs::create_dir_all(reader.join("target"))?)
}

/// Writes the file that the page tells the reader to write.
fn save(block: &Block, reader: &Path) -> anyhow::Result<()> {
    if let Some(file) = &block.file
        && block.language != "text"
    {
        let file = reader.join(file);
        std::fs::create_dir_all(file.parent().context("no folder")?)?;
        std::fs::write(&file, &block.text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn step(shell: &mut Shell, block: &Block, shown: Option<&Block>) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    let allowed = if block.has("clone") {
        COMPILING
    } else {
        PATIENCE
    };
    loop {
        let typed = shell.submit(block, allowed)?;
        let Some(shown) = shown else {
            return Ok(());
        };
        let again = block.has("until");
        let said = loop {
            let said = shell.said(typed);
            if fits(&shown.text, &said) {
                return Ok(());
            }
            // What runs in the background may still say it.
            if again || Instant::now() > until {
                break said;
            }
            std::thread::sleep(shell::POLL);
        };
        if Instant::now() > until {
            bail!("shown is\n{}but it says\n{said}", shown.text);
        }
        std::thread::sleep(shell::POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::blocks;

    fn run_text(text: &str) -> anyhow::Result<usize> {
        let page = Page {
            path: "page.md".into(),
            blocks: blocks(text),
        };
        run(&page, Path::new("/bin/true"))
    }

    #[test]
    fn a_page_runs_in_one_shell() {
        let text = "Write `a/b.txt`:\n```toml\nx\n```\n```sh\ncd a; word=hello\n```\n```sh\ncat b.txt; echo \"$word\"\n\
                    meshctl\n```\n```text\nx\nhello\n```\n```sh,manual: never\nexit 1\n```\n";
        assert_eq!(run_text(text).unwrap(), 2);
        assert_eq!(
            run_text("```sh\ntest -d target\ntest -d docs/guide\n```\n").unwrap(),
            1
        );
    }

    #[test]
    fn a_command_that_fails_or_says_something_else_is_found() {
        let failed = run_text("```sh\nfalse\n```\n").unwrap_err();
        assert!(
            format!("{failed:#}").starts_with("page.md:1: "),
            "{failed:#}"
        );
        assert!(run_text("```sh,fails\necho no; exit 3\n```\n```text\nno\n```\n").is_ok());
        assert!(run_text("```sh,fails\ntrue\n```\n").is_err());
    }

    #[test]
    fn what_runs_in_the_background_is_waited_for_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let text = format!(
            "```sh\n(sleep 0.2; echo up; echo $BASHPID > {0}; exec sleep 600) &\n```\n```text\nup\n```\n\
             ```sh,until\ncat {0}\n```\n```text\n\n```\n",
            file.display()
        );
        run_text(&text).unwrap();
        let pid = std::fs::read_to_string(&file).unwrap();
        let left = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(
            left.is_err() || left.unwrap().contains(") Z "),
            "{pid} still runs"
        );
    }
}
