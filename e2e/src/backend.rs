//! Apps of the cases, in this process: they answer, and count what reached them.
//!
//! May use `frame`, `load`, `mesh` and nothing else of this crate.

mod closing;
mod faulty;
mod goaway;
mod plain;
mod relay;
mod sink;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::mesh::free_port;

pub use plain::http;
pub use relay::{Relay, relay};

/// An app that serves until it is dropped.
pub struct Backend {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What reached it.
    pub seen: Seen,
    _serving: JoinSet<()>,
}

/// What reached an app: shared with every connection.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    connections: u64,
    requests: u64,
    goaways: u64,
    broken: u64,
    posts: BTreeMap<u64, u64>,
}

/// An HTTP/2 app whose connections say GOAWAY at their 100th stream, answer those 100, ignore what
/// came after, and close.
///
/// # Errors
///
/// If it cannot listen.
pub async fn goaway() -> anyhow::Result<Backend> {
    Backend::start(goaway::serve).await
}

/// An HTTP/1.1 app that closes idle connections at random, never one that it owes an answer.
///
/// # Errors
///
/// If it cannot listen.
pub async fn closing() -> anyhow::Result<Backend> {
    Backend::start(closing::serve).await
}

/// An HTTP/2 app that answers each request with the length of its body, however small its pieces.
///
/// # Errors
///
/// If it cannot listen.
pub async fn sink() -> anyhow::Result<Backend> {
    Backend::start(sink::serve).await
}

/// An HTTP/1.1 app half of whose requests meet a connection that breaks: unread, done, in the head of the
/// response or in its content.
///
/// # Errors
///
/// If it cannot listen.
pub async fn faulty() -> anyhow::Result<Backend> {
    Backend::start(faulty::serve).await
}

impl Backend {
    /// Serves each connection by `serve`, in a task of its own.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn start<F, R>(serve: F) -> anyhow::Result<Self>
    where
        F: Fn(TcpStream, Seen) -> R + Send + 'static,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let port = free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .context("the app's port")?;
        let seen = Seen::default();
        let mut serving = JoinSet::new();
        let counted = seen.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        stream.set_nodelay(true).ok();
                        counted.note(|counts| counts.connections += 1);
                        connections.spawn(serve(stream, counted.clone()));
                    }
                    // How a connection ended is its peer's to judge.
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self {
            port,
            seen,
            _serving: serving,
        })
    }
}

impl Seen {
    /// Connections taken.
    pub fn connections(&self) -> u64 {
        self.read(|counts| counts.connections)
    }

    /// Requests answered.
    pub fn requests(&self) -> u64 {
        self.read(|counts| counts.requests)
    }

    /// Connections ended by GOAWAY.
    pub fn goaways(&self) -> u64 {
        self.read(|counts| counts.goaways)
    }

    /// Connections broken under a request.
    pub fn broken(&self) -> u64 {
        self.read(|counts| counts.broken)
    }

    /// A connection breaks under a request.
    fn broke(&self) {
        self.note(|counts| counts.broken += 1);
    }

    /// Distinct numbers of POSTs that arrived.
    pub fn posts(&self) -> usize {
        self.read(|counts| counts.posts.len())
    }

    /// Numbers of POSTs that arrived more than once.
    pub fn duplicates(&self) -> Vec<u64> {
        self.read(|counts| {
            let more = counts.posts.iter().filter(|&(_, &count)| count > 1);
            more.map(|(&number, _)| number).collect()
        })
    }

    /// A request was answered; a POST has its number as body.
    pub fn answered(&self, post: Option<&[u8]>) {
        let number = post.and_then(|body| std::str::from_utf8(body).ok()?.parse().ok());
        self.note(|counts| {
            counts.requests += 1;
            if let Some(number) = number {
                *counts.posts.entry(number).or_default() += 1;
            }
        });
    }

    fn note(&self, note: impl FnOnce(&mut Counts)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read<T>(&self, read: impl FnOnce(&Counts) -> T) -> T {
        read(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
