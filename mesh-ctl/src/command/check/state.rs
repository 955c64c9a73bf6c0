//! Checks of the state folder.

use super::facts::Facts;
use super::finding::{Finding, Verdict};

pub(super) fn exists(facts: &Facts) -> Verdict {
    let Some(state) = &facts.state else {
        return Verdict::Blind;
    };
    if state.exists {
        return Verdict::Looked(Vec::new());
    }
    Verdict::Looked(vec![Finding::fault(
        format!("{} does not exist", state.root.display()),
        "no mesh was started with this folder",
        "start one with `meshctl control` or `meshctl demo`, or name its folder with --state or MESH_STATE",
    )])
}

pub(super) fn private(facts: &Facts) -> Verdict {
    let finding = |(path, mode): &(std::path::PathBuf, u32)| {
        Finding::fault(
            format!("{} has mode {mode:04o}", path.display()),
            "others on this machine can take on an identity of the mesh, or command it",
            format!(
                "chmod 600 {}; then replace what it holds if others had access",
                path.display()
            ),
        )
    };
    let Some(state) = &facts.state else {
        return Verdict::Blind;
    };
    Verdict::Looked(state.loose.iter().map(finding).collect())
}
