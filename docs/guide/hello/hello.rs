//! A service in a few lines: answers every request with the name it was started with.
//!
//! Listens on 127.0.0.1 at the port that `PORT` names, as `meshctl run` sets it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "hello".into());
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    for connection in listener.incoming() {
        let name = name.clone();
        std::thread::spawn(move || answer(&connection?, &name));
    }
    Ok(())
}

/// Answers request after request until the caller closes the connection.
fn answer(mut connection: &TcpStream, name: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    while lines.next().transpose()?.is_some() {
        // The rest of the head, up to the empty line.
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let text = format!("hello from {name}\n");
        let length = text.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
        connection.write_all(answer.as_bytes())?;
    }
    Ok(())
}
