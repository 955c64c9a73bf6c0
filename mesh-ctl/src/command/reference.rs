//! `meshctl reference`: the page of commands, from the same text as `--help`.
//!
//! `cargo xtask codegen` writes it to `docs/reference/cli.md`.

use std::fmt::Write as _;

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, Command};

use crate::render::print;

const HEAD: &str = "\
# Commands

<!-- Written by `cargo xtask codegen`; do not edit. -->

What `meshctl <command> --help` prints, as one page.
Some options are [of every command](#options-of-every-command).

";

const TAIL: &str = "\
## cargo xtask

For those who work on the mesh: `cargo xtask help` lists its commands.
";

/// Prints the page.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<u8> {
    print(&page(command)?)?;
    Ok(0)
}

fn page(command: &mut Command) -> anyhow::Result<String> {
    command.build();
    let mut page = HEAD.to_owned();
    writeln!(page, "| command | what |\n|---|---|")?;
    for (command, name) in visible(command, "") {
        writeln!(
            page,
            "| [`{name}`](#{}) | {} |",
            anchor(&name),
            text(command.get_about())
        )?;
    }
    writeln!(page, "\n{}", fenced(&text(command.get_after_long_help())))?;
    let global = command.get_arguments().filter(|one| one.is_global_set());
    let rows: Vec<String> = global.map(row).collect();
    let table = format!("| argument | what |\n|---|---|\n{}", rows.concat());
    writeln!(page, "## Options of every command\n\n{table}")?;
    for (command, name) in visible(command, "") {
        section(&mut page, command, &name)?;
    }
    page.push_str(TAIL);
    Ok(page)
}

/// Each command that is not hidden, those below it after it, with its whole name.
fn visible<'c>(command: &'c Command, above: &str) -> Vec<(&'c Command, String)> {
    let shown = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let named = shown.map(|command| (command, format!("{above} {}", command.get_name())));
    named
        .flat_map(|(command, name)| {
            let name = name.trim().to_owned();
            let below = visible(command, &name);
            std::iter::once((command, name)).chain(below)
        })
        .collect()
}

fn section(page: &mut String, command: &Command, name: &str) -> anyhow::Result<()> {
    let long = command.get_long_about().or(command.get_about());
    writeln!(page, "## {name}\n\n{}.\n", text(long).trim_end_matches('.'))?;
    let usage = command.clone().render_usage().to_string();
    writeln!(page, "{}", fenced(usage.trim_start_matches("Usage: ")))?;
    let arguments = command.get_arguments().filter(|one| is_own(one));
    let rows: Vec<String> = arguments.map(row).collect();
    if !rows.is_empty() {
        writeln!(page, "| argument | what |\n|---|---|\n{}", rows.concat())?;
    }
    let after = text(command.get_after_long_help().or(command.get_after_help()));
    if !after.is_empty() {
        writeln!(page, "{}", fenced(&after))?;
    }
    Ok(())
}

/// True if only this command has the argument.
fn is_own(argument: &Arg) -> bool {
    !argument.is_hide_set() && !argument.is_global_set() && argument.get_id() != "help"
}

fn row(argument: &Arg) -> String {
    let mut what = vec![text(argument.get_long_help().or(argument.get_help()))];
    if argument.get_action().takes_values() {
        let values = argument.get_possible_values();
        let values: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
        what.extend((!values.is_empty()).then(|| format!("one of {}", values.join(", "))));
        let defaults = argument.get_default_values().iter();
        what.extend(defaults.map(|value| format!("`{}` where absent", value.to_string_lossy())));
    }
    let short = argument.get_short().map(|short| format!("-{short}, "));
    let name = format!("{}{argument}", short.unwrap_or_default());
    let cell = |text: &str| text.replace('\n', " ").replace('|', "\\|");
    format!("| `{}` | {} |\n", cell(&name), cell(&what.join("; ")))
}

fn text(styled: Option<&StyledStr>) -> String {
    styled
        .map(ToString::to_string)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn fenced(text: &str) -> String {
    format!("```text\n{}\n```\n", text.trim())
}

/// A heading as links name it.
fn anchor(name: &str) -> String {
    name.replace(' ', "-")
}
