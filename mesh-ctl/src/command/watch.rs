//! `--watch`: an answer again whenever it changes.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::command::signal;
use crate::render::{lines, note, print, stream};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Cursor home, then everything below it erased.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// The argument `-w`, shared by every command that can follow its answer.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Watch {
    /// Print again at every change, until Ctrl-C; where the output is no terminal, changed lines
    /// alone.
    #[arg(short, long)]
    watch: bool,
}

/// What makes two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Every word.
    Exact,
    /// All but ages, which change by themselves.
    WithAges,
}

impl Watch {
    /// Prints what `look` finds; again and again if that is asked for.
    pub(crate) async fn show(
        self,
        watched: Watched,
        look: impl AsyncFn() -> anyhow::Result<String>,
    ) -> anyhow::Result<u8> {
        if !self.watch {
            print(&look().await?)?;
            return Ok(0);
        }
        tokio::select! {
            ended = follow(watched, look) => ended,
            _ = signal::stop() => Ok(0),
        }
    }
}

async fn follow(
    watched: Watched,
    look: impl AsyncFn() -> anyhow::Result<String>,
) -> anyhow::Result<u8> {
    let is_terminal = std::io::stdout().is_terminal();
    // The first look must succeed: what is wrong with the command line will not mend.
    let mut seen = look().await?;
    draw(&seen, is_terminal)?;
    let mut is_lost = false;
    loop {
        sleep(LOOK).await;
        match look().await {
            Ok(text) => {
                is_lost = false;
                let fresh = changed(&seen, &text, watched);
                if is_terminal && seen != text {
                    draw(&text, true)?;
                } else if !is_terminal {
                    stream(&fresh)?;
                }
                seen = text;
            }
            Err(error) if !is_lost => {
                is_lost = true;
                note(&format!("{error:#}; trying on"));
            }
            Err(_) => {}
        }
    }
}

/// The lines of `now` that were not in `before`.
fn changed(before: &str, now: &str, watched: Watched) -> String {
    let before: BTreeSet<String> = before.lines().map(|line| stable(line, watched)).collect();
    let is_new = |line: &&str| !before.contains(&stable(line, watched));
    lines(now.lines().filter(is_new))
}

/// A line without what changes by itself: the gaps between columns, and ages where they are told.
fn stable(line: &str, watched: Watched) -> String {
    let is_kept = |word: &&str| watched == Watched::Exact || !is_age(word);
    let words = line.split_whitespace().filter(is_kept);
    words.collect::<Vec<_>>().join(" ")
}

/// True for `5s`, `3h20m` and the like.
fn is_age(word: &str) -> bool {
    let ends = word.ends_with(['d', 'h', 'm', 's']);
    let all = word
        .chars()
        .all(|c| c.is_ascii_digit() || "dhms".contains(c));
    ends && all && word.starts_with(|c: char| c.is_ascii_digit())
}

fn draw(text: &str, is_terminal: bool) -> anyhow::Result<()> {
    if is_terminal {
        // Past the stream that drops escape codes where colours are not wanted.
        std::io::stdout().write_all(CLEAR)?;
    }
    stream(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_changed_are_printed_and_ages_are_no_change() {
        let before = "NAME  STATE   AGE\na     SYNCED  5s\nb     STALE   1m2s\n";
        let now = "NAME  STATE   AGE\na     SYNCED  6s\nb     SYNCED  0s\n";
        assert_eq!(
            changed(before, now, Watched::WithAges),
            "b     SYNCED  0s\n"
        );
        assert_eq!(changed(before, now, Watched::Exact).lines().count(), 2);
        assert!(is_age("12d4h") && !is_age("80") && !is_age("shop") && !is_age("s"));
    }
}
