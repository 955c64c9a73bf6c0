//! Connections that are opened, used once, and then held.
//!
//! May use `message`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, ensure};

use crate::message;

/// Opens `count` connections with one answered request each, says `held`, and holds them until
/// standard input closes.
pub(crate) fn run(to: SocketAddr, count: usize) -> anyhow::Result<()> {
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream =
            TcpStream::connect(to).with_context(|| format!("connection {number} of {count}"))?;
        let mut output = Vec::new();
        message::request(&mut output, 0, number as u64, false);
        stream.write_all(&output)?;
        let mut input = Vec::new();
        while message::head_length(&input).is_none() {
            let mut chunk = [0; 1024];
            let length = stream.read(&mut chunk)?;
            ensure!(length > 0, "closed before an answer");
            input.extend_from_slice(chunk.get(..length).unwrap_or_default());
        }
        message::read_answer(&input)?;
        all.push(stream);
    }
    crate::voice::print("held");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
