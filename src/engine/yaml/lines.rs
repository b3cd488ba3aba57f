//! Where the parts of a document stand in its source, in twelve to sixteen bytes each: a path is kept as its hash.

use std::collections::BTreeMap;

use super::Span;

/// The hash of a path of keys and list indices. Two paths with one hash would only make a complaint name a wrong line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PathHash(u64);

impl PathHash {
    pub(super) const ROOT: Self = Self(0xcbf2_9ce4_8422_2325);

    /// The path one key or index deeper.
    pub(super) fn child(self, key: &str) -> Self {
        // FNV-1a; 0xff occurs in no UTF-8 text, so `a.b` and `ab` are two paths.
        let hash =
            key.bytes().chain([0xff]).fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Self(hash)
    }

    /// The path of an element of a list.
    pub(super) fn item(self, index: usize) -> Self {
        self.child(&index.to_string())
    }
}

/// The lines of all keys and list items of a document, and the places of its annotations' values.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Sorted once the document is complete.
    known: Vec<(PathHash, u32)>,
    pub(super) annotations: BTreeMap<PathHash, Span>,
    /// Kept only where it is asked for: they cost more than the lines.
    pub(super) places: Option<Box<Places>>,
}

/// The places of all keys and scalars of a document.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) keys: BTreeMap<PathHash, Span>,
    pub(super) values: BTreeMap<PathHash, Span>,
}

impl Lines {
    pub(super) fn push(&mut self, path: PathHash, line: u32) {
        self.known.push((path, line));
    }

    /// Empty; `places` says whether the places of all keys and scalars are kept.
    pub(super) fn new(places: bool) -> Self {
        Self { places: places.then(Box::default), ..Self::default() }
    }

    /// For a document that is still being read.
    pub(super) fn first(&self, path: PathHash) -> Option<u32> {
        self.known.iter().find(|(known, _)| *known == path).map(|(_, line)| *line)
    }

    /// Makes the lines ready for [`Lines::get`].
    pub(super) fn finish(mut self) -> Self {
        self.known.sort_unstable();
        self.known.dedup_by_key(|(path, _)| *path);
        self.known.shrink_to_fit();
        self
    }

    pub(super) fn get(&self, path: PathHash) -> Option<u32> {
        let index = self.known.binary_search_by_key(&path, |(path, _)| *path).ok()?;
        self.known.get(index).map(|(_, line)| *line)
    }
}
