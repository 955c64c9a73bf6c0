//! Completion as a real shell does it.

use std::path::Path;
use std::process::Command;

/// Loads the script, then calls the function it registered the way Bash does when Tab is pressed.
const SCRIPT: &str = r#"
source <(meshctl completion bash)
COMP_WORDS=(meshctl "$@")
COMP_CWORD=$#
COMP_LINE="${COMP_WORDS[*]}"
COMP_POINT=${#COMP_LINE}
COMP_TYPE=9
function=$(complete -p meshctl | sed 's/.*-F \([^ ]*\).*/\1/')
$function meshctl "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// What Bash offers for the last of `words`, which may be empty; options are left out.
pub(crate) fn complete(state: &Path, words: &[&str]) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_meshctl"));
    let mut path = program.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", SCRIPT, "bash"])
        .args(words)
        .env("PATH", path)
        .env("MESH_STATE", state)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    let offered = text.lines().map(|line| line.trim().to_owned());
    let names = offered.filter(|word| !word.is_empty() && !word.starts_with('-'));
    names.collect()
}
