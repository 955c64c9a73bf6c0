//! Apps of `meshctl run`: when they start, where their output goes, how they end.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, ChildStdout, Command};

use crate::support::mesh::{Mesh, free};

/// Calls the catalog at once, and only once.
const CALL: &str = r"
exec 3<>/dev/tcp/${MESH_UPSTREAM_CATALOG_V1_80/://} || exit 1
printf 'GET /items/1 HTTP/1.1\r\nhost: catalog-v1\r\nconnection: close\r\n\r\n' >&3
head -n 1 <&3
echo 'last words' >&2
exit 7";

/// Says that it runs, and how it is told to end.
const STAY: &str = "trap 'echo told; exit 9' TERM; echo up; while :; do sleep 0.05; done";

/// The first call of an app is answered; its output is shown and kept; its exit code is ours.
pub(crate) fn calls_at_once(mesh: &Mesh) {
    for number in 0..5 {
        let name = format!("eager-{number}");
        let output = mesh.command(&name, free(), CALL).output().unwrap();
        let (shown, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(7), "{shown}{errors}");
        assert_eq!((shown, errors), ("HTTP/1.1 200 OK\r\n", "last words\n"));
        let kept = mesh.ask(&["logs", &name, "-n", "demo", "--source", "app"]);
        let mut kept: Vec<&str> = kept.lines().map(str::trim).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["HTTP/1.1 200 OK", "last words"]);
    }
}

/// An app whose output is closed, as by `head`, ends as it would without a mesh.
pub(crate) fn hears_that_its_output_closed(mesh: &Mesh) {
    let endless = "while echo again; do :; done 2>&-";
    let mut running = Running::start(&mut mesh.command("piped", free(), endless));
    assert_eq!(running.output.next().unwrap().unwrap(), "again");
    drop(running.output);
    let status = running.child.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 13), "SIGPIPE");
}

/// An app whose sidecar cannot listen is not started, which is said; it starts once that is over.
pub(crate) fn waits_for_listeners(mesh: &Mesh) {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = held.local_addr().unwrap();
    let mut running = Running::start(&mut mesh.command("patient", listen, STAY));
    let said = running.errors.next().unwrap().unwrap();
    assert_eq!(
        said,
        "demo/patient: the app starts once its sidecar is ready, which waits for listeners"
    );
    let none = mesh.ask(&["logs", "patient", "-n", "demo", "--source", "app"]);
    assert_eq!(none, "", "nothing runs yet");
    drop(held);
    assert_eq!(running.output.next().unwrap().unwrap(), "up");
    running.tell("TERM");
    assert_eq!(running.output.next().unwrap().unwrap(), "told");
    assert_eq!(running.child.wait().unwrap().code(), Some(9));
}

/// A signal ends a workload whose app has not started.
pub(crate) fn ends_while_it_waits(mesh: &Mesh) {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = held.local_addr().unwrap();
    let mut running = Running::start(&mut mesh.command("called-off", listen, STAY));
    running.errors.next().unwrap().unwrap();
    running.tell("INT");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    assert!(running.output.next().is_none(), "the app was never started");
}

struct Running {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        Self {
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            errors: BufReader::new(child.stderr.take().unwrap()).lines(),
            child,
        }
    }

    fn tell(&self, signal: &str) {
        let script = format!("kill -{signal} {}", self.child.id());
        let told = Command::new("bash").args(["-c", &script]).status();
        assert!(told.unwrap().success());
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
