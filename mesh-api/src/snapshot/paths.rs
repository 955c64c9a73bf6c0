//! Which matches a path may meet, found without a look at each of them.
//!
//! Exact paths and prefixes are looked up, one look for each segment of the path; what else there is,
//! expressions and gRPC calls, may be met by any path. May use `model`.

use std::collections::HashMap;

use crate::model::path::PathMatch;

/// So many matches are tried one after the other faster than they are looked up.
const FEW: usize = 16;
/// Most lists that are merged without a place of their own on the heap.
const LISTS: usize = 16;

/// Places of matches in the order of precedence, by what their path asks for.
#[derive(Debug, Default)]
pub struct PathIndex {
    exact: HashMap<String, Vec<usize>>,
    /// By prefixes without a trailing `/`.
    prefix: HashMap<String, Vec<usize>>,
    /// Bytes of the longest prefix: what follows is not looked up.
    longest: usize,
    others: Vec<usize>,
    /// How many matches there are.
    count: usize,
}

impl PathIndex {
    /// An index of what matches ask of a path, in their order; without entries where they are few.
    pub(super) fn new<'m>(matches: impl ExactSizeIterator<Item = Option<&'m PathMatch>>) -> Self {
        let mut index = Self {
            count: matches.len(),
            ..Self::default()
        };
        if index.count <= FEW {
            return index;
        }
        for (place, condition) in matches.enumerate() {
            let list = match condition {
                Some(PathMatch::Exact(path)) => index.exact.entry(path.clone()).or_default(),
                Some(PathMatch::Prefix(prefix)) => {
                    index.longest = index.longest.max(prefix.len());
                    index.prefix.entry(prefix.clone()).or_default()
                }
                _ => &mut index.others,
            };
            list.push(place);
        }
        index
    }

    /// The first place, in order, that `path` may meet and that `fits`.
    pub fn first(&self, path: &str, mut fits: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut lists: [&[usize]; LISTS] = [&[]; LISTS];
        let Some(used) = self.lists(path, &mut lists) else {
            return (0..self.count).find(|place| fits(*place));
        };
        let lists = lists.get_mut(..used)?;
        loop {
            let next = lists.iter_mut().filter(|list| !list.is_empty());
            let list = next.min_by_key(|list| list.first().copied())?;
            let (place, rest) = list.split_first()?;
            if fits(*place) {
                return Some(*place);
            }
            *list = rest;
        }
    }

    /// The lists of places that `path` may meet, and how many; `None` if each place is to be tried.
    fn lists<'i>(&'i self, path: &str, lists: &mut [&'i [usize]; LISTS]) -> Option<usize> {
        if self.count <= FEW {
            return None;
        }
        let ends = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        let ends = ends.map(|(at, _)| at).chain([path.len()]);
        // Every path has the empty prefix, also one that does not begin with a `/`.
        let prefixes = [0].into_iter().chain(ends.filter(|end| *end > 0));
        let prefixes = prefixes
            .take_while(|end| *end <= self.longest)
            .filter_map(|end| self.prefix.get(path.get(..end)?));
        let found = self.exact.get(path).into_iter().chain(prefixes);
        let mut used = 0;
        for list in found.chain([&self.others]) {
            *lists.get_mut(used)? = list;
            used += 1;
        }
        Some(used)
    }
}
