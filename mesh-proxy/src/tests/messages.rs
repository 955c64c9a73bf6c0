//! The codec's table of messages, through a running proxy's socket.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::harness::{App, Mesh};
use crate::h1::cases::{Expect, requests};

#[test]
fn what_is_refused_never_reaches_the_app_and_what_is_legal_does() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], "");
    let (mut heads, mut bodies, mut passed) = (0, 0, 0);
    let mut wrong = Vec::new();
    // A preface of HTTP/2 is one: only the codec of HTTP/1.1 refuses it.
    for case in requests()
        .into_iter()
        .filter(|case| case.name != "HTTP/2 preface")
    {
        app.forget();
        let mut stream = mesh.dial();
        // The proxy may refuse and close before it has read everything.
        stream.write_all(&case.bytes).unwrap_or_default();
        stream.shutdown(Shutdown::Write).unwrap_or_default();
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .map(drop)
            .unwrap_or_default();
        let answer = String::from_utf8_lossy(&answer);
        let (name, received) = (case.name, app.received());
        let right = match case.expect {
            Expect::RefuseHead(status) => {
                heads += 1;
                answer.starts_with(&format!("HTTP/1.1 {status} "))
                    && answer.contains("mesh-error: origin=outbound; reason=")
                    && received.is_empty()
            }
            Expect::RefuseBody => {
                bodies += 1;
                !received.contains("\r\n0\r\n")
            }
            // A listener of one destination opens no tunnels.
            Expect::Pass(_) if name == "CONNECT" => answer.starts_with("HTTP/1.1 501 "),
            Expect::Pass(_) => {
                passed += 1;
                answer.starts_with("HTTP/1.1 200 ")
            }
        };
        if !right {
            wrong.push(format!(
                "{name}: answered {answer:?}, the app got {received:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        heads + bodies >= 60 && passed >= 20,
        "{heads} heads, {bodies} bodies, {passed} passed"
    );
}
