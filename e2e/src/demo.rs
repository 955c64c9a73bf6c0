//! Runs `meshctl demo --check` and reads its report. May use nothing of this crate.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

/// One thing that the demo checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What was checked.
    pub name: String,
    /// True if it is as it must be.
    pub ok: bool,
    /// What was measured, as text.
    pub figure: String,
}

/// Where meshctl is: what `MESHCTL_BIN` names, seen from the workspace's root, or what cargo built
/// last for release, then for debugging.
///
/// # Errors
///
/// If there is none.
pub fn meshctl() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("MESHCTL_BIN") {
        return Ok(root()?.join(named));
    }
    let target = target()?;
    let mut built = ["release", "debug"]
        .map(|profile| target.join(profile).join("meshctl"))
        .into_iter();
    built
        .find(|path| path.is_file())
        .context("meshctl is not built: cargo build --release -p mesh-ctl")
}

/// Where the proxy's own binary is: what `MESH_PROXY_BIN` names, else beside [`meshctl`].
///
/// # Errors
///
/// If there is none.
pub fn mesh_proxy() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("MESH_PROXY_BIN") {
        return Ok(root()?.join(named));
    }
    let beside = meshctl()?.with_file_name("mesh-proxy");
    anyhow::ensure!(
        beside.is_file(),
        "mesh-proxy is not built: cargo build --release -p mesh-proxy"
    );
    Ok(beside)
}

/// Where cargo puts what it builds.
///
/// # Errors
///
/// If this crate is in no workspace.
pub fn target() -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(root()?.join(target))
}

fn root() -> anyhow::Result<&'static Path> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().context("no workspace")
}

/// Runs the demo's own check in the empty folder `within`, for at most `limit`.
///
/// # Errors
///
/// If it cannot be started, takes too long, ends otherwise than with 0, or its report cannot be
/// read. What it wrote to its standard error is part of the message.
pub async fn check(meshctl: &Path, within: &Path, limit: Duration) -> anyhow::Result<Vec<Item>> {
    let running = Command::new(meshctl)
        .args(["demo", "--check", "--output", "json"])
        .current_dir(within)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(limit, running)
        .await
        .with_context(|| format!("demo --check took longer than {} s", limit.as_secs()))?
        .with_context(|| meshctl.display().to_string())?;
    judge(&output)
}

fn judge(output: &Output) -> anyhow::Result<Vec<Item>> {
    let said = String::from_utf8_lossy(&output.stderr);
    let items = read(&output.stdout).with_context(|| format!("its report; it said:\n{said}"))?;
    let failed: Vec<&Item> = items.iter().filter(|item| !item.ok).collect();
    if !failed.is_empty() || !output.status.success() {
        bail!(
            "ended with {}; failed: {failed:#?}; it said:\n{said}",
            output.status
        );
    }
    Ok(items)
}

/// Reads a list of `{name, ok, figure}`; an empty list has checked nothing and is refused.
fn read(report: &[u8]) -> anyhow::Result<Vec<Item>> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(report)?;
    if list.is_empty() {
        bail!("the list is empty");
    }
    list.iter()
        .map(|item| {
            let name = item
                .get("name")
                .and_then(|name| name.as_str())
                .context("no name")?;
            let ok = item
                .get("ok")
                .and_then(serde_json::Value::as_bool)
                .context("no ok")?;
            let figure = match item.get("figure").context("no figure")? {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Ok(Item {
                name: name.to_owned(),
                ok,
                figure,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_report_is_read_whole_or_refused() {
        let items = read(
            br#"[{"name":"up","ok":true,"figure":"3 of 3"},{"name":"n","ok":false,"figure":7}]"#,
        );
        let items = items.unwrap();
        assert_eq!((items[0].name.as_str(), items[0].ok), ("up", true));
        assert_eq!((items[1].figure.as_str(), items[1].ok), ("7", false));
        for bad in [
            "",
            "[]",
            "{}",
            r#"[{"name":"up","figure":""}]"#,
            r#"[{"ok":true,"figure":""}]"#,
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
