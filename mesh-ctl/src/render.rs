//! Printing: tables for people, JSON and YAML for programs. May use nothing of this crate.

pub(crate) mod symbol;
pub(crate) mod table;
pub(crate) mod time;

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

pub(crate) use table::{Cell, Rows, Tone};

/// How a command prints its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON value, indented.
    Json,
    /// One YAML document.
    Yaml,
}

/// The argument `-o`, shared by every command that answers with one thing.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Output {
    /// How to print the answer.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) format: Format,
}

/// How a command prints a list of things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// One JSON value, indented.
    Json,
    /// One YAML document.
    Yaml,
    /// Names alone, one a line.
    Name,
}

/// The argument `-o`, shared by every command that lists things.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct ListOutput {
    /// How to print the answer.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) format: ListFormat,
}

/// How much a table for people holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// What is needed most.
    Narrow,
    /// Everything.
    Wide,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, as `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` say.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Colour {
    /// In force for everything printed from now on.
    pub(crate) fn choose(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::AlwaysAnsi,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Prints `value` as `output` asks; `text` makes the form for people.
pub(crate) fn show<T: Serialize>(
    output: Output,
    value: &T,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    print(&match output.format {
        Format::Table => text(),
        Format::Json => json(value)?,
        Format::Yaml => yaml(value)?,
    })
}

/// The text of a list as `format` asks; `table` and `names` make the forms for people.
pub(crate) fn list<T: Serialize>(
    format: ListFormat,
    value: &T,
    table: impl FnOnce(Width) -> String,
    names: impl FnOnce() -> Vec<String>,
) -> anyhow::Result<String> {
    match format {
        ListFormat::Table => Ok(table(Width::Narrow)),
        ListFormat::Wide => Ok(table(Width::Wide)),
        ListFormat::Json => json(value),
        ListFormat::Yaml => yaml(value),
        ListFormat::Name => Ok(lines(names())),
    }
}

/// One line each.
pub(crate) fn lines<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut lines = String::new();
    for text in texts {
        lines.push_str(text.as_ref());
        lines.push('\n');
    }
    lines
}

/// A number of things: `1 file`, `2 files`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// Indented JSON and a line feed.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// A YAML document.
pub(crate) fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(value)?)
}

/// The reader of standard output went away: there is nobody left to print for.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the reader of the output went away")
    }
}

impl std::error::Error for ReaderGone {}

/// Writes `text` to standard output. A reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match stream(text) {
        Err(error) if error.is::<ReaderGone>() => Ok(()),
        other => other,
    }
}

/// Writes one part of what goes on for ever; it ends with [`ReaderGone`] when nobody reads it.
pub(crate) fn stream(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => Ok(other?),
    }
}

/// Writes a line of progress to standard error; losing it is harmless.
pub(crate) fn note(line: &str) {
    writeln!(anstream::stderr(), "{line}").ok();
}

/// Reports a failure with its whole chain of causes.
pub(crate) fn report(error: &anyhow::Error) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    let mut text = format!("{red}error{red:#}: {error}");
    for cause in error.chain().skip(1) {
        text.push_str("\n  because: ");
        text.push_str(&cause.to_string());
    }
    note(&text);
}
