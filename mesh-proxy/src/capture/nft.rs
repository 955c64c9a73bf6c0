//! The program `nft`, which hands rules to the kernel.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Rules that are not in place.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program is not there.
    #[error("the program nft is missing: install the package nftables")]
    Missing,
    /// It did not run.
    #[error("nft did not run")]
    Run(#[from] io::Error),
    /// The kernel, or nft, refuses.
    #[error("nft refuses the rules: {said}{advice}")]
    Refused {
        /// What it says.
        said: String,
        /// What helps, where that is known.
        advice: &'static str,
    },
}

/// Has the kernel take `rules` as one, in the network of this process.
///
/// # Errors
/// They are not in place; what was there before still is.
pub fn apply(rules: &str) -> Result<(), NftError> {
    run(Command::new("nft"), rules)
}

/// As [`apply`], in the network that `namespace` (such as `/proc/1234/ns/net`) is a handle of.
///
/// # Errors
/// As [`apply`]; or the network cannot be entered.
pub fn apply_in(namespace: &Path, rules: &str) -> Result<(), NftError> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display()));
    command.args(["--", "nft"]);
    run(command, rules)
}

fn run(mut command: Command, rules: &str) -> Result<(), NftError> {
    let started = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NftError::Missing,
        _ => NftError::Run(error),
    })?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let advice = advice(&said);
    Err(NftError::Refused { said, advice })
}

fn advice(said: &str) -> &'static str {
    if said.contains("Operation not permitted") {
        "; it needs the capability NET_ADMIN"
    } else if said.contains("No such file or directory") || said.contains("not supported") {
        "; the node's kernel needs nftables with NAT (modules nft_redir, nft_fib_inet)"
    } else {
        ""
    }
}
