//! What came in on a stream and nobody has read yet.

use std::collections::VecDeque;

use bytes::{Buf, BufMut};

use crate::buffer::{Buffer, LARGE};

/// Bytes in pieces that each fit a pooled buffer: one that grows would be copied whole.
#[derive(Default)]
pub(super) struct Unread {
    first: Buffer,
    more: VecDeque<Buffer>,
    length: usize,
}

impl Unread {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut last = self.more.back_mut().unwrap_or(&mut self.first);
        if !last.is_empty() && last.len() + bytes.len() > LARGE {
            last = self.more.push_back_mut(Buffer::default());
        }
        last.reserve(bytes.len());
        last.put_slice(bytes);
        self.length += bytes.len();
    }

    /// Takes the first piece as it is.
    pub(super) fn take(&mut self) -> Buffer {
        let next = self.more.pop_front().unwrap_or_default();
        let first = std::mem::replace(&mut self.first, next);
        self.length -= first.len();
        first
    }

    /// Moves at most `wanted` bytes of the first piece out; says how many.
    pub(super) fn read(&mut self, wanted: usize, put: impl FnOnce(&[u8])) -> usize {
        let count = wanted.min(self.first.len());
        put(&self.first[..count]);
        self.first.advance(count);
        self.length -= count;
        if self.first.is_empty() {
            self.first.release();
            if let Some(next) = self.more.pop_front() {
                self.first = next;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_whole_or_in_parts() {
        let all: Vec<u8> = (0..=250).cycle().take(5 * LARGE).collect();
        let mut unread = Unread::default();
        for part in all.chunks(16_000) {
            unread.push(part);
        }
        assert_eq!(unread.len(), all.len());
        let mut read = Vec::new();
        for wanted in [1, 10_000, LARGE] {
            unread.read(wanted, |bytes| read.extend_from_slice(bytes));
        }
        while !unread.is_empty() {
            let piece = unread.take();
            assert!((1..=LARGE).contains(&piece.len()));
            read.extend_from_slice(&piece);
            assert_eq!(unread.len(), all.len() - read.len());
        }
        assert!(read == all, "other bytes, or in another order");
        assert!(unread.take().is_empty());
    }
}
