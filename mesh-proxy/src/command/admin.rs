//! `mesh-proxy admin` and `mesh-proxy wait`: questions to the proxy beside this process, over its
//! socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use mesh_api::pod::MEMORY_FOLDER;

use super::{Done, say};

/// Names another socket than a pod's.
const SOCKET_VARIABLE: &str = "MESH_ADMIN_SOCKET";
/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between looks.
const LOOK: Duration = Duration::from_millis(50);
/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Prints the answer to `path`; an error's status is a failure.
pub(super) fn ask(path: &str, body: &str) -> ExitCode {
    match answer(path, body) {
        Ok((status, body)) => {
            let printed = io::stdout().write_all(&body);
            if printed.is_ok() && status < 400 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => say(&format!("mesh-proxy: {error}"), ExitCode::FAILURE),
    }
}

/// Returns once the proxy is ready.
pub(super) fn wait(seconds: &str) -> Done {
    let seconds = seconds
        .parse()
        .map_err(|_| format!("{seconds:?} is not a number of seconds"))?;
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let answer = answer("/ready", "");
        if matches!(answer, Ok((200, _))) {
            return Ok(());
        }
        if Instant::now() >= end {
            let said = match answer {
                Ok((_, body)) => String::from_utf8_lossy(&body).into_owned(),
                Err(error) => error.to_string(),
            };
            return Err(format!("not ready after {seconds} s: {said}").into());
        }
        thread::sleep(LOOK);
    }
}

/// The status and body of the answer to `path`.
fn answer(path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
    let socket = std::env::var_os(SOCKET_VARIABLE);
    let socket = socket.map_or_else(|| Path::new(MEMORY_FOLDER).join("admin.sock"), Into::into);
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", socket.display()));
    let mut stream = UnixStream::connect(&socket).map_err(named)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut text = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut text)?;
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(&text).map_err(io::Error::other)?;
    let (httparse::Status::Complete(length), Some(status)) = (parsed, head.code) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    Ok((status, text.split_off(length)))
}
