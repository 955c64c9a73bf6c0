//! Bytes both ways between two streams, each direction ending by itself.
//!
//! A direction owns memory only while it has bytes: an idle connection costs no buffer. Bulk from one
//! socket to another goes through a [`pipe`] instead, and through no memory of ours. May use `buffer` and
//! `idle`.

mod pipe;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use self::pipe::Pipe;
use crate::buffer::{Buffer, Fill, SIZE};
use crate::idle::Idle;

/// Bytes of the largest read: a direction that fills its buffers gets larger ones.
const MAX_READ: usize = 64 * 1024;
/// Reads of fewer bytes are no bulk.
const BULK: usize = 16 * 1024;

/// Bytes carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// From downstream to upstream.
    pub(crate) sent: u64,
    /// From upstream to downstream.
    pub(crate) received: u64,
}

/// The leg that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Downstream,
    Upstream,
    /// Neither: no byte was carried for too long.
    Idle,
}

/// Copies until both ends are done; what was `read` of either before goes first, the downstream's
/// upstream and the other way round. What was carried is counted in `carried` as it goes, so that it
/// is right however this ends. Ends where none is carried for `idle`.
///
/// # Errors
/// The leg that failed first.
pub(crate) async fn both<D, U>(
    downstream: &mut D,
    upstream: &mut U,
    read: (BytesMut, BytesMut),
    carried: &mut Carried,
    idle: Option<Duration>,
) -> Result<(), Broken>
where
    D: Fill + AsyncWrite,
    U: Fill + AsyncWrite,
{
    let mut up = OneWay::new(read.0);
    let mut down = OneWay::new(read.1);
    let mut idle = Idle::new(idle);
    poll_fn(|context| {
        let before = *carried;
        let sent = up.poll(context, downstream, upstream, &mut carried.sent);
        if let Poll::Ready(Err(end)) = sent {
            return Poll::Ready(Err(end.leg(Broken::Downstream, Broken::Upstream)));
        }
        let received = down.poll(context, upstream, downstream, &mut carried.received);
        if let Poll::Ready(Err(end)) = received {
            return Poll::Ready(Err(end.leg(Broken::Upstream, Broken::Downstream)));
        }
        if sent.is_ready() && received.is_ready() {
            Poll::Ready(Ok(()))
        } else {
            let idle = idle.poll(*carried != before, context);
            idle.map(|()| Err(Broken::Idle))
        }
    })
    .await
}

/// One direction.
struct OneWay {
    buffer: Buffer,
    pipe: Option<Pipe>,
    phase: Phase,
    /// Bytes to make room for at the next read.
    room: usize,
    is_flushed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Copying,
    /// The reader ended; the writer is to hear of it.
    Ending,
    Over,
}

/// The end of a direction that failed.
enum End {
    Reader,
    Writer,
}

impl End {
    fn leg(&self, reader: Broken, writer: Broken) -> Broken {
        match self {
            Self::Reader => reader,
            Self::Writer => writer,
        }
    }
}

impl OneWay {
    fn new(first: BytesMut) -> Self {
        Self {
            buffer: Buffer::from(first),
            pipe: None,
            phase: Phase::Copying,
            room: SIZE,
            is_flushed: true,
        }
    }

    fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        carried: &mut u64,
    ) -> Poll<Result<(), End>>
    where
        R: Fill,
        W: Fill + AsyncWrite,
    {
        loop {
            ready!(self.poll_write(context, writer, carried))?;
            match self.phase {
                Phase::Over => return Poll::Ready(Ok(())),
                Phase::Ending => {
                    let ended = ready!(Pin::new(&mut *writer).poll_shutdown(context));
                    ended.map_err(|_| End::Writer)?;
                    self.release();
                    self.phase = Phase::Over;
                }
                Phase::Copying => match self.poll_read(context, reader, writer) {
                    Poll::Ready(Ok(0)) => self.phase = Phase::Ending,
                    Poll::Ready(Ok(read)) => {
                        let filled = read >= self.room.min(BULK);
                        self.room = if filled { self.room * 4 } else { SIZE }.min(MAX_READ);
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Reader)),
                    Poll::Pending => {
                        self.release();
                        if !self.is_flushed {
                            let flushed = ready!(Pin::new(&mut *writer).poll_flush(context));
                            flushed.map_err(|_| End::Writer)?;
                            self.is_flushed = true;
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    /// Writes all that was read.
    fn poll_write<W: Fill + AsyncWrite>(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut W,
        carried: &mut u64,
    ) -> Poll<Result<(), End>> {
        while !self.buffer.is_empty() {
            match ready!(Pin::new(&mut *writer).poll_write(context, &self.buffer)) {
                Ok(written @ 1..) => {
                    self.buffer.advance(written);
                    *carried += written as u64;
                    self.is_flushed = false;
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(End::Writer)),
            }
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| !pipe.is_empty()) {
            let socket = writer.socket().ok_or(End::Writer)?;
            let moved = ready!(pipe.poll_empty(context, socket)).map_err(|_| End::Writer)?;
            *carried += moved as u64;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read<R: Fill, W: Fill>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &W,
    ) -> Poll<io::Result<usize>> {
        if self.room == MAX_READ
            && writer.socket().is_some()
            && let Some(socket) = reader.socket()
            && let Some(pipe) = self.pipe()
        {
            return pipe.poll_fill(context, socket);
        }
        reader.poll_fill(context, &mut self.buffer, self.room)
    }

    /// A pipe, unless the process has no descriptors left: then bytes are copied.
    fn pipe(&mut self) -> Option<&mut Pipe> {
        if self.pipe.is_none() {
            self.pipe = Pipe::take().ok();
        }
        self.pipe.as_mut()
    }

    /// Gives back what holds nothing.
    fn release(&mut self) {
        self.buffer.release();
        if let Some(pipe) = self.pipe.take() {
            pipe.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn directions_end_one_by_one_and_bytes_are_counted() {
        let (mut client, mut near) = tokio::io::duplex(16);
        let (mut far, mut server) = tokio::io::duplex(16);
        let mut carried = Carried::default();
        let first = BytesMut::from(&b"first,"[..]);
        let read = (first, BytesMut::new());
        let copying = both(&mut near, &mut far, read, &mut carried, None);
        let peers = async {
            let ask = vec![b'a'; 100_000];
            client.write_all(&ask).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"late");
        };
        let serve = async {
            let mut asked = Vec::new();
            server.read_to_end(&mut asked).await.unwrap();
            assert!(asked.starts_with(b"first,aaa") && asked.len() == 100_006);
            // The other direction is still open after the end of the first.
            server.write_all(b"late").await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (copied, (), ()) = tokio::join!(copying, peers, serve);
        assert_eq!(copied, Ok(()));
        let expected = Carried {
            sent: 100_006,
            received: 4,
        };
        assert_eq!(carried, expected);
    }

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn bulk_between_sockets_goes_through_pipes() {
        let ((mut client, mut near), (mut far, mut server)) = tokio::join!(sockets(), sockets());
        let bulk: Vec<u8> = (0..=250).cycle().take(8 << 20).collect();
        let mut carried = Carried::default();
        let first = BytesMut::from(&b"first"[..]);
        let read = (first, BytesMut::new());
        let copying = both(&mut near, &mut far, read, &mut carried, None);
        let ask = async {
            client.write_all(&bulk).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert!(answer == bulk, "other bytes came back");
        };
        let echo = async {
            let mut asked = Vec::new();
            server.read_to_end(&mut asked).await.unwrap();
            assert!(
                asked.strip_prefix(b"first") == Some(&bulk),
                "other bytes came"
            );
            server.write_all(&bulk).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (copied, (), ()) = tokio::join!(copying, ask, echo);
        let expected = Carried {
            sent: bulk.len() as u64 + 5,
            received: bulk.len() as u64,
        };
        assert_eq!((copied, carried), (Ok(()), expected));
        assert!(pipe::pooled() > 0, "no pipe was used");
    }

    #[tokio::test(start_paused = true)]
    async fn what_carries_no_byte_ends_and_what_does_goes_on() {
        let (mut client, mut near) = tokio::io::duplex(64);
        let (mut far, mut server) = tokio::io::duplex(64);
        let mut carried = Carried::default();
        let limit = Some(Duration::from_secs(10));
        let copying = both(&mut near, &mut far, Default::default(), &mut carried, limit);
        let started = tokio::time::Instant::now();
        let talk = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                client.write_all(b"x").await.unwrap();
                let mut got = [0; 1];
                server.read_exact(&mut got).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let copied = tokio::select! {
            copied = copying => copied,
            () = talk => unreachable!("it waits for ever"),
        };
        assert_eq!(copied, Err(Broken::Idle));
        assert_eq!((started.elapsed().as_secs(), carried.sent), (55, 5));
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffer() {
        let (mut client, mut near) = tokio::io::duplex(64);
        let (mut far, mut server) = tokio::io::duplex(64);
        let mut carried = Carried::default();
        let before = crate::buffer::pooled();
        {
            let copying = both(&mut near, &mut far, Default::default(), &mut carried, None);
            let mut copying = pin!(copying);
            client.write_all(b"x").await.unwrap();
            let mut got = [0; 1];
            tokio::select! {
                _ = &mut copying => unreachable!("both ends are open"),
                read = server.read_exact(&mut got) => drop(read.unwrap()),
            }
            assert!(crate::buffer::pooled() > before, "given back while open");
        }
    }
}
