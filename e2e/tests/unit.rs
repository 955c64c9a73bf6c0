//! The systemd unit of a workload, as systemd itself reads it.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs systemd-analyze: cargo xtask e2e"]
fn systemd_takes_the_unit() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("skipped: the unit is not verified here: systemd-analyze is missing");
        return;
    }
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/systemd/mesh-workload@.service");
    let text = fs::read_to_string(unit).unwrap();
    // The program need not be installed where this runs.
    let text = text.replace("/usr/local/bin/meshctl", "/bin/true");
    let folder = tempfile::tempdir().unwrap();
    let instance = folder.path().join("mesh-workload@shop.service");
    fs::write(&instance, text).unwrap();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&instance)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}
