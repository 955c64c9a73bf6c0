//! `ledger`: a line protocol over plain TCP in which the server speaks first.

use std::net::SocketAddr;

use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Listen;
use super::serve::accept;

/// What the server says first.
pub(crate) const BANNER: &str = "ledger ready\n";
/// Longest line taken, in bytes.
const MAX_LINE: u64 = 1024;

/// `meshctl demo-app ledger`.
#[derive(Clone, Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    listen: Listen,
    /// A second port, the same in all but its name.
    #[arg(long, env = "MESH_PORT_RAW")]
    raw_port: Option<u16>,
}

/// Serves the app.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    let serve = |address: SocketAddr| {
        accept(address, |stream| async move {
            // A connection that broke concerns its peer alone.
            converse(stream).await.ok();
        })
    };
    match settings.raw_port {
        Some(port) => {
            let raw = (settings.listen.host, port).into();
            tokio::try_join!(serve(settings.listen.address()), serve(raw)).map(drop)
        }
        None => serve(settings.listen.address()).await,
    }
}

/// `add N` is answered with the sum so far, `end` ends, anything else is refused.
async fn converse(stream: TcpStream) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(BANNER.as_bytes()).await?;
    let mut sum = 0_u64;
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut stream).take(MAX_LINE).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.trim_end().split_once(' ') {
            Some(("add", number)) => match number.parse::<u64>() {
                Ok(number) => {
                    sum = sum.saturating_add(number);
                    format!("sum {sum}\n")
                }
                Err(_) => "refused: no number\n".to_owned(),
            },
            _ if line.trim_end() == "end" => return Ok(stream.shutdown().await?),
            _ => "refused: add N, or end\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}
