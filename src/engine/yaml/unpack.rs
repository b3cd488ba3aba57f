//! Makes the objects of a document: itself, or the items of a list such as `kubectl get -o yaml` writes.

use std::sync::Arc;

use serde_json::Value;

use super::budget::Budget;
use super::lines::{Lines, PathHash};
use super::load::{Loaded, Mistake};
use super::{Document, Position, message};

/// The objects of one document, and what is wrong with it. `position` is the document's; its line is replaced by each
/// object's.
pub(super) fn unpack(loaded: Loaded, position: &Position, budget: &mut Budget<'_>) -> (Vec<Document>, Vec<Mistake>) {
    let Loaded { value, line, lines } = loaded;
    let mut unpacker =
        Unpacker { position, lines: Arc::new(lines), budget, documents: Vec::new(), mistakes: Vec::new() };
    unpacker.object("the document", value, PathHash::ROOT, line);
    (unpacker.documents, unpacker.mistakes)
}

struct Unpacker<'a, 'budget> {
    position: &'a Position,
    lines: Arc<Lines>,
    budget: &'a mut Budget<'budget>,
    documents: Vec<Document>,
    mistakes: Vec<Mistake>,
}

impl Unpacker<'_, '_> {
    /// Recurses for lists in lists only, which the limit on depth bounds.
    fn object(&mut self, what: &str, mut value: Value, path: PathHash, line: u32) {
        if !value.is_object() {
            self.mistakes.push(Mistake { line, column: None, message: message::not_an_object(what, &value) });
            return;
        }
        let Some(list) = List::of(&value) else {
            self.document(value, path, line);
            return;
        };
        let path = path.child("items");
        let line = self.lines.get(path).unwrap_or(line);
        let items = match value.get_mut("items").map(Value::take) {
            None | Some(Value::Null) => return,
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.mistakes.push(Mistake {
                    line,
                    column: None,
                    message: "`items` of a `List` has to be a list of objects".to_owned(),
                });
                return;
            }
        };
        for (index, mut item) in items.into_iter().enumerate() {
            if self.budget.exhausted() {
                return;
            }
            let path = path.item(index);
            list.complete(&mut item);
            let line = self.lines.get(path).unwrap_or(line);
            self.object(&format!("item {} of the list", index + 1), item, path, line);
        }
    }

    fn document(&mut self, value: Value, path: PathHash, line: u32) {
        if let Err(message) = self.budget.document() {
            self.mistakes.push(Mistake { line, column: None, message });
            return;
        }
        let position = Position { line, ..self.position.clone() };
        self.documents.push(Document::new(value, position, Arc::clone(&self.lines), path));
    }
}

/// A list of objects.
enum List {
    /// `v1` `List`: items of any kind, each with its own `apiVersion` and `kind`.
    Any,
    /// Such as `ConfigMapList`: items of one kind, which API servers and clients leave out of the items.
    Of { api_version: String, kind: String },
}

impl List {
    fn of(value: &Value) -> Option<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let (api_version, kind) = (text("apiVersion")?, text("kind")?.strip_suffix("List")?);
        if kind.is_empty() {
            return (api_version == "v1").then_some(Self::Any);
        }
        // A custom resource may be an `AllowList` with `items` of its own: a list has no name, and objects in it.
        let named = value.pointer("/metadata/name").is_some() || value.pointer("/metadata/generateName").is_some();
        let objects = value.get("items").and_then(Value::as_array)?.iter().all(looks_like_an_object);
        (!named && objects).then(|| Self::Of { api_version: api_version.to_owned(), kind: kind.to_owned() })
    }

    fn complete(&self, item: &mut Value) {
        let (Self::Of { api_version, kind }, Value::Object(item)) = (self, item) else {
            return;
        };
        if !item.contains_key("apiVersion") && !item.contains_key("kind") {
            item.insert("apiVersion".to_owned(), Value::String(api_version.clone()));
            item.insert("kind".to_owned(), Value::String(kind.clone()));
        }
    }
}

fn looks_like_an_object(item: &Value) -> bool {
    let has = |field: &str, is: fn(&Value) -> bool| item.get(field).is_some_and(is);
    has("metadata", Value::is_object) && has("apiVersion", Value::is_string) == has("kind", Value::is_string)
}
