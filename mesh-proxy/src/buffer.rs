//! Buffers of a worker: taken when bytes are there, given back when a connection is idle.
//!
//! The pool is per thread, so per worker, and bounded; what does not fit is freed. May use nothing
//! of this crate.

mod fill;

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::LocalKey;

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

pub use fill::Fill;

/// Bytes of a pooled buffer.
pub const SIZE: usize = 8 * 1024;
/// Bytes of a large one, for what does not fit. What grows beyond it is freed.
pub const LARGE: usize = 136 * 1024;

/// Buffers a worker keeps (2 MiB).
const KEPT: usize = 256;
/// Large ones (2 MiB).
const KEPT_LARGE: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static LARGE_POOL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    /// What is read into where nothing is held yet.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The fewest buffers that each pool held since it was last trimmed.
    static LEAST: Cell<usize> = const { Cell::new(0) };
    static LEAST_LARGE: Cell<usize> = const { Cell::new(0) };
}

/// A buffer that returns to its worker's pool when dropped; empty ones own no memory.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: BytesMut,
    class: Class,
}

/// Where a buffer's memory came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Class {
    /// From elsewhere, or it has none.
    #[default]
    Foreign,
    /// Of [`SIZE`].
    Small,
    /// Of [`LARGE`].
    Large,
}

impl Buffer {
    /// Makes room for at least `spare` more bytes, from the pool where the buffer owns none.
    pub fn reserve(&mut self, spare: usize) {
        if !self.owns_memory() {
            self.take(spare);
        }
        if self.bytes.capacity() - self.bytes.len() < spare {
            self.grow(spare);
        }
    }

    /// Gives the memory back if the buffer holds no bytes.
    pub fn release(&mut self) {
        if self.bytes.is_empty() && self.owns_memory() {
            self.give();
        }
    }

    /// The bytes, taken out of the pool's care.
    pub fn into_bytes(mut self) -> BytesMut {
        self.class = Class::Foreign;
        std::mem::take(&mut self.bytes)
    }

    /// What was read to its end has no capacity, and is still there.
    fn owns_memory(&self) -> bool {
        self.bytes.capacity() > 0 || self.class != Class::Foreign
    }

    fn take(&mut self, spare: usize) {
        self.class = if spare > SIZE {
            Class::Large
        } else {
            Class::Small
        };
        self.bytes = take(self.class);
    }

    /// Into one that is large enough at once: to double again and again copies what is there as often.
    fn grow(&mut self, spare: usize) {
        if self.bytes.try_reclaim(spare) {
            return;
        }
        let wanted = self.bytes.len() + spare;
        if wanted > LARGE {
            self.class = Class::Foreign;
            self.bytes.reserve(spare.max(LARGE));
            return;
        }
        let mut next = Self::default();
        next.take(wanted);
        next.bytes.extend_from_slice(&self.bytes);
        *self = next;
    }

    fn give(&mut self) {
        let class = std::mem::take(&mut self.class);
        give(std::mem::take(&mut self.bytes), class);
    }
}

impl From<BytesMut> for Buffer {
    fn from(bytes: BytesMut) -> Self {
        Self {
            bytes,
            class: Class::Foreign,
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
        if self.owns_memory() {
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
fn poll_scratch<T: AsyncRead + Unpin + ?Sized>(
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
    for (pool, least) in [(&POOL, &LEAST), (&LARGE_POOL, &LEAST_LARGE)] {
        pool.with_borrow_mut(|pool| {
            pool.truncate(pool.len() - least.get().min(pool.len()));
            least.set(pool.len());
        });
    }
}

type Pool = LocalKey<RefCell<Vec<BytesMut>>>;

fn take(class: Class) -> BytesMut {
    let (pool, least, size) = match class {
        Class::Foreign | Class::Small => (&POOL, &LEAST, SIZE),
        Class::Large => (&LARGE_POOL, &LEAST_LARGE, LARGE),
    };
    let taken = pool.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let taken = pool.pop();
        least.set(least.get().min(pool.len()));
        taken
    });
    let taken = taken.ok().flatten();
    taken.unwrap_or_else(|| BytesMut::with_capacity(size))
}

fn give(mut bytes: BytesMut, class: Class) {
    bytes.clear();
    let (pool, size, kept): (&'static Pool, _, _) = match class {
        // What was read of it does not count in its capacity: a large one may look like a small one.
        Class::Foreign if bytes.try_reclaim(2 * SIZE + 1) => return,
        Class::Foreign | Class::Small => (&POOL, SIZE, KEPT),
        Class::Large => (&LARGE_POOL, LARGE, KEPT_LARGE),
    };
    // Fails where a part of it (a head, a piece of a body) is still in use: that part frees it.
    if !bytes.try_reclaim(size) || bytes.capacity() > 2 * size {
        return;
    }
    // The thread is ending if this fails, and the buffer is freed.
    let _ended = pool.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < kept {
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
    fn large_ones_return_as_well_and_keep_what_is_unread() {
        let fill = |buffer: &mut Buffer| {
            buffer.reserve(LARGE);
            buffer.resize(LARGE, 7);
            buffer.as_ptr()
        };
        let mut buffer = Buffer::default();
        let first = fill(&mut buffer);
        buffer.advance(LARGE);
        assert_eq!(buffer.capacity(), 0, "all of it was read");
        buffer.release();
        assert_eq!((fill(&mut buffer), pooled()), (first, 0));
        drop(buffer);
        let mut buffer = Buffer::default();
        buffer.reserve(1);
        buffer.extend_from_slice(b"unread");
        buffer.reserve(SIZE);
        assert_eq!((buffer.capacity(), &buffer[..]), (LARGE, &b"unread"[..]));
        assert_eq!(pooled(), 1, "the small one is free");
        buffer.reserve(LARGE);
        assert!(buffer.capacity() > LARGE && &buffer[..] == b"unread");
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
