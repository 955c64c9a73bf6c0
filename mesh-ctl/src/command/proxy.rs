//! `meshctl proxy`: a data plane in the foreground.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `meshctl proxy`.
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Bootstrap file (JSON), as `meshctl run` writes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) bootstrap: PathBuf,
    /// End when standard input closes: for parents that must leave no process behind.
    #[arg(long)]
    pub(crate) exit_with_parent: bool,
}
