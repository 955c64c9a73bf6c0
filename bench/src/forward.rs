//! Reference proxies: bytes forwarded as they are, plain or over mutual TLS on either side.
//!
//! What any proxy on this runtime and TLS stack pays before it reads a request. May use
//! `certificate`.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certificate;

/// Bytes per direction and connection.
const BUFFER: usize = 64 * 1024;

/// Where connections come from and go to.
pub(crate) struct Forward {
    /// Listens here.
    pub(crate) listen: SocketAddr,
    /// Dials this.
    pub(crate) to: SocketAddr,
    tls: Tls,
}

/// Which side is mutual TLS.
#[derive(Clone)]
enum Tls {
    Neither,
    Out(TlsConnector),
    In(TlsAcceptor),
}

impl Forward {
    /// `tls_out` and `tls_in` name the folder with certificates of the side that is mutual TLS.
    pub(crate) fn new(
        listen: SocketAddr,
        to: SocketAddr,
        tls_out: Option<&Path>,
        tls_in: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let tls = match (tls_out, tls_in) {
            (Some(folder), _) => Tls::Out(TlsConnector::from(certificate::client(folder)?)),
            (None, Some(folder)) => Tls::In(TlsAcceptor::from(certificate::server(folder)?)),
            (None, None) => Tls::Neither,
        };
        Ok(Self { listen, to, tls })
    }
}

/// Forwards until it is ended.
pub(crate) async fn run(all: Vec<Forward>) -> anyhow::Result<()> {
    let mut listeners = JoinSet::new();
    for forward in all {
        let listener = TcpListener::bind(forward.listen).await?;
        listeners.spawn(accept(listener, forward));
    }
    while let Some(ended) = listeners.join_next().await {
        ended??;
    }
    Ok(())
}

async fn accept(listener: TcpListener, forward: Forward) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(carry(stream, forward.to, forward.tls.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(down: TcpStream, to: SocketAddr, tls: Tls) -> anyhow::Result<()> {
    let up = TcpStream::connect(to).await?;
    up.set_nodelay(true)?;
    match tls {
        Tls::Neither => copy(down, up).await,
        Tls::Out(connector) => {
            let name = ServerName::try_from(certificate::NAME).context("a name")?;
            copy(down, connector.connect(name, up).await?).await
        }
        Tls::In(acceptor) => copy(acceptor.accept(down).await?, up).await,
    }
}

async fn copy<A, B>(mut down: A, mut up: B) -> anyhow::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional_with_sizes(&mut down, &mut up, BUFFER, BUFFER).await?;
    Ok(())
}
