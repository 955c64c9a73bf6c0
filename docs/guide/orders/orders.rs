//! A service that fails now and then, or takes its time, and tells what it was told of tries and time.
//!
//! `GET /` fails two times of three, `GET /slow` answers after two seconds, `GET /fields` has the fields of
//! the mesh as text. Listens on 127.0.0.1 at the port that `PORT` names, as `meshctl run` sets it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static TURN: AtomicU32 = AtomicU32::new(1);

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    for connection in listener.incoming() {
        std::thread::spawn(move || answer(&connection?));
    }
    Ok(())
}

/// Answers request after request until the caller closes the connection.
fn answer(mut connection: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    while let Some(line) = lines.next().transpose()? {
        let mut told = String::new();
        while let Some(field) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
            if field.starts_with("mesh-deadline: ") || field.starts_with("x-envoy-attempt-count: ") {
                told = format!("{told}{field}\n");
            }
        }
        let (status, text) = match line.split(' ').nth(1) {
            Some("/slow") => {
                std::thread::sleep(Duration::from_secs(2));
                ("200 OK", "late\n".to_owned())
            }
            Some("/fields") => ("200 OK", told),
            _ if TURN.fetch_add(1, Ordering::Relaxed) % 3 == 0 => ("200 OK", told),
            _ => ("503 Service Unavailable", told),
        };
        let length = text.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}");
        connection.write_all(answer.as_bytes())?;
    }
    Ok(())
}
