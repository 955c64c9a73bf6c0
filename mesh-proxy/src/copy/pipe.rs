//! Bytes that the kernel moves from one socket to another, which no one copies (splice(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds at most, by default.
const MOST: usize = 64 * 1024;
/// Pipes that a worker keeps.
const KEPT: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe between two sockets: it belongs to a direction while it holds something.
#[derive(Debug)]
pub(super) struct Pipe {
    exit: OwnedFd,
    entrance: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty one, of the worker's if it has one.
    ///
    /// # Errors
    ///
    /// The process has no more descriptors.
    pub(super) fn take() -> io::Result<Self> {
        let kept = POOL.try_with(|pool| pool.borrow_mut().pop());
        if let Some(pipe) = kept.ok().flatten() {
            return Ok(pipe);
        }
        let (exit, entrance) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        Ok(Self {
            exit,
            entrance,
            held: 0,
        })
    }

    /// Gives an empty one back to the worker; one that holds something is closed.
    pub(super) fn give(self) {
        // The thread is ending if this fails, and the pipe is closed.
        let _ended = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if self.held == 0 && pool.len() < KEPT {
                pool.push(self);
            }
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves what `from` has into the empty pipe. Ready with how much; 0 at the end.
    pub(super) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        from: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(from.poll_read_ready(context))?;
            match from.try_io(Interest::READABLE, || step(from, &self.entrance, MOST)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.held += moved;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }

    /// Moves what the pipe holds on to `to`. Ready with how much, which is not 0.
    pub(super) fn poll_empty(
        &mut self,
        context: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(context))?;
            match to.try_io(Interest::WRITABLE, || step(&self.exit, to, self.held)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.held -= moved;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }
}

/// Pipes that this thread keeps.
#[cfg(test)]
pub(super) fn pooled() -> usize {
    POOL.with_borrow(Vec::len)
}

fn step(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(splice(from, None, to, None, most, flags)?)
}
