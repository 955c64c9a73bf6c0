//! `meshctl man`: manual pages, made from the help.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueHint};

use crate::render::{note, print};

/// Arguments of `meshctl man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page for every command here, as `man` looks for them [default: print the first].
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: Option<PathBuf>,
}

/// Writes every page, or prints the one of `command` itself.
pub(crate) fn run(man: &Man, command: clap::Command) -> anyhow::Result<u8> {
    let Some(folder) = &man.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        print(&String::from_utf8_lossy(&page))?;
        return Ok(0);
    };
    let context = || format!("cannot write to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    clap_mangen::generate_to(command, folder).with_context(context)?;
    let shown = folder.display();
    note(&format!(
        "manual pages are in {shown}; read one with `man -l {shown}/meshctl.1`"
    ));
    Ok(0)
}
