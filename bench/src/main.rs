//! Load, server and reference pairs of `cargo xtask bench`, which starts them.
//!
//! Every number of a request comes back or it counts as failed. One thread each: the server and the
//! load share a CPU that no proxy runs on.

mod certificate;
mod closed;
mod count;
mod cpu;
mod endless;
mod forward;
mod h2;
mod handshake;
mod hold;
mod load;
mod message;
mod open;
mod routes;
mod rules;
mod server;
mod voice;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

#[derive(Parser)]
enum Command {
    /// The app behind the proxies.
    Server {
        /// Where it answers HTTP/1.1.
        #[arg(long)]
        http: SocketAddr,
        /// Where it sends bytes back.
        #[arg(long)]
        echo: SocketAddr,
        /// Where it sends bytes without end.
        #[arg(long)]
        bulk: SocketAddr,
        /// Where it answers HTTP/2 in the clear.
        #[arg(long)]
        h2: SocketAddr,
    },
    /// One measured run; prints one line of JSON.
    Load(load::Load),
    /// Connections that are held until standard input closes.
    Hold {
        /// Where.
        #[arg(long)]
        to: SocketAddr,
        /// How many.
        #[arg(long)]
        connections: usize,
        /// What is done with each before it is held.
        #[arg(long, value_enum)]
        kind: closed::Kind,
        /// Folder of the certificate that handshakes show.
        #[arg(long)]
        identity: Option<PathBuf>,
    },
    /// A reference proxy: `--via LISTEN=TO`, repeatable.
    Forward {
        /// Where connections come from and go to.
        #[arg(long, value_name = "LISTEN=TO")]
        via: Vec<String>,
        /// Mutual TLS towards TO, with the certificates of this folder.
        #[arg(long, value_name = "FOLDER")]
        tls_out: Option<PathBuf>,
        /// Mutual TLS at LISTEN, with the certificates of this folder.
        #[arg(long, value_name = "FOLDER")]
        tls_in: Option<PathBuf>,
    },
    /// Does a piece of the data path again and again.
    Count {
        /// Which.
        #[arg(value_enum)]
        piece: count::Piece,
        /// How often.
        #[arg(long)]
        times: u64,
    },
    /// How long a decision takes among many rules, and what follows a change of one; prints one line of JSON.
    Rules {
        /// Rules of the Service.
        #[arg(long, default_value_t = 1000)]
        count: u32,
    },
    /// Writes the certificates that peers use.
    Certificates {
        /// Where.
        folder: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match command {
        Command::Server {
            http,
            echo,
            bulk,
            h2,
        } => runtime.block_on(server::run(http, echo, bulk, h2)),
        Command::Load(load) => {
            let seen = runtime.block_on(load::run(&load))?;
            // Connections that did not end must not hold the process.
            runtime.shutdown_background();
            voice::print(&seen.to_string());
            Ok(())
        }
        Command::Hold {
            to,
            connections,
            kind,
            identity,
        } => runtime.block_on(hold::run(to, connections, kind, identity.as_deref())),
        Command::Forward {
            via,
            tls_out,
            tls_in,
        } => {
            let mut all = Vec::new();
            for pair in via {
                let (listen, to) = pair.split_once('=').context("not LISTEN=TO")?;
                let (out, within) = (tls_out.as_deref(), tls_in.as_deref());
                all.push(forward::Forward::new(
                    listen.parse()?,
                    to.parse()?,
                    out,
                    within,
                )?);
            }
            runtime.block_on(forward::run(all))
        }
        Command::Count { piece, times } => count::run(piece, times),
        Command::Rules { count } => {
            voice::print(&rules::run(count)?.to_string());
            Ok(())
        }
        Command::Certificates { folder } => certificate::write(&folder),
    }
}
