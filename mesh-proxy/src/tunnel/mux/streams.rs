//! The streams of a connection, found by their numbers.

use std::cell::Cell;

use super::stream::Stream;

/// Streams in the order of their numbers.
#[derive(Default)]
pub(super) struct Streams {
    /// Apart from the streams: a search touches little memory.
    numbers: Vec<u32>,
    all: Vec<Stream>,
    /// Where the last search ended: the next one is mostly for the same.
    last: Cell<usize>,
}

impl Streams {
    /// Adds the one with the highest number so far.
    pub(super) fn push(&mut self, stream: Stream) {
        self.numbers.push(stream.id);
        self.all.push(stream);
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Stream> {
        let index = self.index(number)?;
        self.all.get_mut(index)
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Stream> {
        let index = self.index(number)?;
        self.numbers.remove(index);
        Some(self.all.remove(index))
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.all.iter_mut()
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Stream) -> bool) {
        self.all.retain(keep);
        self.numbers.clear();
        self.numbers.extend(self.all.iter().map(|stream| stream.id));
    }

    fn index(&self, number: u32) -> Option<usize> {
        if self.numbers.get(self.last.get()) == Some(&number) {
            return Some(self.last.get());
        }
        let index = self.numbers.binary_search(&number).ok()?;
        self.last.set(index);
        Some(index)
    }
}
