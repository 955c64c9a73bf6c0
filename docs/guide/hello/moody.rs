//! A service that can be slow or ill: `/slow` takes two seconds, and while the file that it was started with
//! exists every answer is 503.
//!
//! Listens on 127.0.0.1 at the port that `PORT` names, as `meshctl run` sets it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "hello".into());
    let ill = std::env::args().nth(2).unwrap_or_else(|| "ill".into());
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    for connection in listener.incoming() {
        let (name, ill) = (name.clone(), ill.clone());
        std::thread::spawn(move || answer(&connection?, &name, &ill));
    }
    Ok(())
}

/// Answers request after request until the caller closes the connection.
fn answer(mut connection: &TcpStream, name: &str, ill: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    while let Some(request) = lines.next().transpose()? {
        // The rest of the head, up to the empty line.
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        if request.starts_with("GET /slow ") {
            std::thread::sleep(Duration::from_secs(2));
        }
        let (status, text) = match Path::new(ill).exists() {
            true => ("503 Service Unavailable", format!("{name} is ill\n")),
            false => ("200 OK", format!("hello from {name}\n")),
        };
        let length = text.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}");
        connection.write_all(answer.as_bytes())?;
    }
    Ok(())
}
