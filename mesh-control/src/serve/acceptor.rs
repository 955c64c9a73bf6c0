//! Accepts proxies: bounded handshakes and connections. May use `peer` and `certificate`.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certificate::SharedTls;
use crate::serve::peer::Connection;

/// Accepts connections until the receiving end closes; each goes out once its handshake is done.
pub async fn accept(
    listener: TcpListener,
    tls: SharedTls,
    ready: mpsc::Sender<std::io::Result<Connection>>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut running = JoinSet::new();
    loop {
        // Waiting here leaves further peers in the kernel's queue: that is the admission limit.
        let Ok(handshake) = Arc::clone(&handshakes).acquire_owned().await else {
            return;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        while running.try_join_next().is_some() {}
        let Ok((stream, address)) = accepted else {
            // Out of descriptors, most likely: give some time to close.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let config = {
            let held = tls
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(&held)
        };
        let ready = ready.clone();
        running.spawn(async move {
            let done = handshake_within(stream, config).await;
            drop(handshake);
            match done {
                Ok(stream) => drop(
                    ready
                        .send(Ok(Connection::new(stream, address, place)))
                        .await,
                ),
                Err(error) => tracing::debug!(%address, error, "handshake failed"),
            }
        });
    }
}

async fn handshake_within(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
) -> Result<tokio_rustls::server::TlsStream<TcpStream>, String> {
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    tokio::time::timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream))
        .await
        .map_err(|_| "took too long".to_owned())?
        .map_err(|error| error.to_string())
}

/// Peers that say nothing hold a place each until [`HANDSHAKE_TIME`]: many more than honest ones need.
const MAX_HANDSHAKES: usize = 1024;
const MAX_CONNECTIONS: usize = 20_000;
const HANDSHAKE_TIME: Duration = Duration::from_secs(3);
