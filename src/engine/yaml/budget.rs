//! Keeps count of what a text costs against the limits, and says which one was passed.

use super::{Limits, message};

/// What was used so far, over all documents of a text.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    limits: &'a Limits,
    /// Values and keys so far, copies by aliases included.
    pub(super) nodes: usize,
    /// Bytes of values and keys so far, copies by aliases included.
    pub(super) bytes: usize,
    documents: usize,
    copied_nodes: usize,
    copied_bytes: usize,
    exhausted: bool,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, nodes: 0, bytes: 0, documents: 0, copied_nodes: 0, copied_bytes: 0, exhausted: false }
    }

    /// Whether a limit of the whole text was passed: nothing more is to be read.
    pub(super) fn exhausted(&self) -> bool {
        self.exhausted
    }

    pub(super) fn depth_limit(&self) -> usize {
        self.limits.depth
    }

    /// One value or key of `bytes` bytes.
    pub(super) fn node(&mut self, bytes: usize) -> Result<(), String> {
        self.add(1, bytes)
    }

    /// One document or list item that holds an object.
    pub(super) fn document(&mut self) -> Result<(), String> {
        self.documents += 1;
        let limit = self.limits.documents;
        self.check(self.documents > limit, || format!("more objects than the limit of {limit}: split the source"))
    }

    /// Copies of an anchored value, for its anchor or for an alias.
    pub(super) fn copy(&mut self, nodes: usize, bytes: usize) -> Result<(), String> {
        self.copied_nodes = self.copied_nodes.saturating_add(nodes);
        self.copied_bytes = self.copied_bytes.saturating_add(bytes);
        let (nodes_limit, bytes_limit) = (self.limits.alias_nodes, self.limits.alias_bytes);
        self.check(self.copied_nodes > nodes_limit, || {
            format!(
                "anchors and aliases copy more values than the limit of {nodes_limit}: write them out, or repeat less"
            )
        })?;
        self.check(self.copied_bytes > bytes_limit, || {
            format!(
                "anchors and aliases copy more bytes than the limit of {bytes_limit}: write them out, or repeat less"
            )
        })
    }

    /// Values that an alias puts in its place.
    pub(super) fn add(&mut self, nodes: usize, bytes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        let limit = self.limits.nodes;
        self.check(self.nodes > limit, || format!("more values and keys than the limit of {limit}: split the source"))
    }

    /// Containers inside of containers; a limit of one document only.
    pub(super) fn depth(&self, depth: usize) -> Result<(), String> {
        let limit = self.limits.depth;
        if depth > limit { Err(message::too_deep(limit)) } else { Ok(()) }
    }

    fn check(&mut self, passed: bool, message: impl FnOnce() -> String) -> Result<(), String> {
        if !passed {
            return Ok(());
        }
        self.exhausted = true;
        Err(message())
    }
}
