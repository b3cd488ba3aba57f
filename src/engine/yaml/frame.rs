//! A mapping or list that is being read, and what it means to the object around it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::lines::PathHash;

/// What a mapping is to an object of Kubernetes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Object,
    Metadata,
    Annotations,
    /// The `items` of a list object.
    Items,
    Other,
}

pub(super) enum Key {
    Name(String),
    /// `<<`
    Merge,
}

pub(super) enum Content {
    Map {
        map: Map<String, Value>,
        key: Option<(Key, u32)>,
        /// The keys that only a merge has set: they may be written once more.
        merged: BTreeSet<String>,
    },
    List(Vec<Value>),
}

/// A mapping or list that is still open.
pub(super) struct Frame {
    pub(super) content: Content,
    pub(super) path: PathHash,
    pub(super) role: Role,
    pub(super) line: u32,
    pub(super) anchor: usize,
    /// The budget's counts when the frame was opened, for the size of an anchored value.
    pub(super) nodes: usize,
    pub(super) bytes: usize,
    /// Levels of containers inside, this one included.
    pub(super) height: usize,
}

impl Frame {
    /// The path and role of the next value inside.
    pub(super) fn place(&self) -> (PathHash, Role) {
        match &self.content {
            Content::List(items) => {
                (self.path.item(items.len()), if self.role == Role::Items { Role::Object } else { Role::Other })
            }
            // The keys of an inline merge stand for keys of the mapping around it.
            Content::Map { key: Some((Key::Merge, _)), .. } => (self.path, self.role),
            Content::Map { key: Some((Key::Name(key), _)), .. } => {
                let role = match (self.role, key.as_str()) {
                    (Role::Object, "metadata") => Role::Metadata,
                    (Role::Object, "items") => Role::Items,
                    (Role::Metadata, "annotations") => Role::Annotations,
                    _ => Role::Other,
                };
                (self.path.child(key), role)
            }
            Content::Map { key: None, .. } => (self.path, Role::Other),
        }
    }
}

/// The mappings of a merge in the order of being written: the first of a list wins, so it comes last.
pub(super) fn merge_sources(value: Value) -> Option<Vec<Map<String, Value>>> {
    let mapping = |value| match value {
        Value::Object(map) => Some(map),
        _ => None,
    };
    match value {
        Value::Object(map) => Some(vec![map]),
        Value::Array(items) => items.into_iter().rev().map(mapping).collect(),
        _ => None,
    }
}
