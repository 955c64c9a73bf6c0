//! The program `nft`, which hands rules to the kernel.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// Rules that are not in place.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program is not there.
    #[error("the program nft is missing: install the package nftables")]
    Missing,
    /// It did not run.
    #[error("nft did not run")]
    Run(#[from] io::Error),
    /// The network cannot be entered.
    #[error("cannot enter the network {path}")]
    Enter {
        /// Its handle.
        path: String,
        /// Why.
        source: io::Error,
    },
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
    let started = Command::new("nft")
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

/// As [`apply`], in the network that `namespace` (such as `/proc/1234/ns/net`) is a handle of.
///
/// # Errors
/// As [`apply`]; or the network cannot be entered.
#[cfg(target_os = "linux")]
pub fn apply_in(namespace: &Path, rules: &str) -> Result<(), NftError> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::os::fd::AsFd;

    let entered = |source| NftError::Enter {
        path: namespace.display().to_string(),
        source,
    };
    let file = File::open(namespace).map_err(entered)?;
    // A thread of its own enters, and what it starts is there as well; the others stay where they are.
    let outcome = thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), network)
                .map_err(|error| entered(error.into()))?;
            apply(rules)
        });
        inside.join()
    });
    outcome.unwrap_or_else(|_| Err(entered(io::Error::other("the thread failed"))))
}

/// As [`apply`]: other systems have one network.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn apply_in(_namespace: &Path, _rules: &str) -> Result<(), NftError> {
    Err(NftError::Run(io::ErrorKind::Unsupported.into()))
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
