//! Buffers of a worker: taken when bytes are there, given back when a connection is idle.
//!
//! The pool is per thread, so per worker, and bounded; what does not fit is freed. May use nothing
//! of this crate.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of a pooled buffer; a head that does not fit makes its buffer grow, and such a buffer is freed.
pub const SIZE: usize = 8 * 1024;

/// Buffers a worker keeps (2 MiB).
const KEPT: usize = 256;

thread_local! {
    static POOL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    /// What is read into where nothing is held yet.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The fewest buffers that the pool held since it was last trimmed.
    static LEAST: Cell<usize> = const { Cell::new(0) };
}

/// A buffer that returns to its worker's pool when dropped; empty ones own no memory.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: BytesMut,
    /// Whether it came from the pool.
    is_pooled: bool,
}

impl Buffer {
    /// Makes room for at least `spare` more bytes, from the pool where the buffer owns none.
    pub fn reserve(&mut self, spare: usize) {
        if self.bytes.capacity() == 0 {
            self.bytes = take();
            self.is_pooled = true;
        }
        if self.bytes.capacity() - self.bytes.len() < spare {
            self.bytes.reserve(spare.max(SIZE));
        }
    }

    /// Gives the memory back if the buffer holds no bytes.
    pub fn release(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            self.give();
        }
    }

    /// The bytes, taken out of the pool's care.
    pub fn into_bytes(mut self) -> BytesMut {
        std::mem::take(&mut self.bytes)
    }

    fn give(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // One that grew has more room than a pooled one, unless most of it was read: then it stays
        // until the pool is trimmed.
        let is_ours = std::mem::take(&mut self.is_pooled) && bytes.capacity() <= SIZE;
        give(bytes, is_ours);
    }
}

impl From<BytesMut> for Buffer {
    fn from(bytes: BytesMut) -> Self {
        Self {
            bytes,
            is_pooled: false,
        }
    }
}

impl Deref for Buffer {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.capacity() > 0 {
            self.give();
        }
    }
}

/// One read of at most [`SIZE`] bytes into an empty `buffer`, which gets memory only if there are any.
/// Ready with how many; 0 at the end.
///
/// # Errors
///
/// The read's.
pub fn poll_scratch<T: AsyncRead + Unpin>(
    io: &mut T,
    buffer: &mut Buffer,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(SIZE, 0);
        let mut read = ReadBuf::new(scratch);
        ready!(Pin::new(io).poll_read(context, &mut read))?;
        let read = read.filled();
        if !read.is_empty() {
            buffer.reserve(read.len());
            buffer.extend_from_slice(read);
        }
        Poll::Ready(Ok(read.len()))
    })
}

/// Buffers now in this thread's pool.
pub fn pooled() -> usize {
    POOL.try_with(|pool| pool.borrow().len()).unwrap_or(0)
}

/// Frees what nobody has needed since the last call. To be called now and then.
pub fn trim() {
    POOL.with_borrow_mut(|pool| {
        pool.truncate(pool.len() - LEAST.get().min(pool.len()));
        LEAST.set(pool.len());
    });
}

fn take() -> BytesMut {
    POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let taken = pool.pop();
        LEAST.set(LEAST.get().min(pool.len()));
        taken
    })
    .ok()
    .flatten()
    .unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

fn give(mut bytes: BytesMut, is_ours: bool) {
    bytes.clear();
    // What was read of it does not count in its capacity: a large one may look like one of ours.
    let is_large = !is_ours && bytes.try_reclaim(2 * SIZE + 1);
    // Fails where a part of it (a head, a piece of a body) is still in use: that part frees it.
    if is_large || !bytes.try_reclaim(SIZE) {
        return;
    }
    // The thread is ending if this fails, and the buffer is freed.
    let _ended = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < KEPT {
            pool.push(bytes);
        }
    });
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn idle_buffers_return_and_shared_ones_do_not() {
        let mut buffer = Buffer::default();
        buffer.reserve(1);
        buffer.extend_from_slice(b"head");
        let head = buffer.split().freeze();
        buffer.release();
        assert_eq!((pooled(), &head[..]), (0, &b"head"[..]));
        buffer.reserve(1);
        buffer.extend_from_slice(b"head");
        drop(buffer.split().freeze());
        buffer.release();
        assert_eq!((pooled(), buffer.capacity()), (1, 0));
        buffer.reserve(1);
        assert_eq!(pooled(), 0);
        drop(buffer);
        assert_eq!(pooled(), 1);
        drop(Buffer::from(BytesMut::with_capacity(64 * SIZE)));
        assert_eq!(pooled(), 1);
        let mut read = BytesMut::zeroed(64 * SIZE);
        read.advance(63 * SIZE);
        drop(Buffer::from(read));
        assert_eq!(pooled(), 1, "most of a large one was read");
    }
    #[test]
    fn what_nobody_needs_is_freed() {
        let take = |count| {
            let mut taken: Vec<Buffer> = (0..count).map(|_| Buffer::default()).collect();
            for buffer in &mut taken {
                buffer.reserve(1);
            }
            drop(taken);
        };
        take(10);
        trim();
        assert_eq!(pooled(), 10, "they were in use since the last call");
        take(4);
        trim();
        assert_eq!(pooled(), 4);
        trim();
        assert_eq!(pooled(), 0);
    }
}
