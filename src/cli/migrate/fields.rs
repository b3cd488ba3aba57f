//! Reads a mapping field by field: what nobody has asked for at the end is what could not be carried over.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A mapping at a path, and which of its keys were read.
pub(super) struct Fields<'a> {
    path: String,
    map: Option<&'a Map<String, Value>>,
    seen: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

impl<'a> Fields<'a> {
    /// The mapping at `path`; one that is absent or null has no fields.
    pub(super) fn of(value: Option<&'a Value>, path: &str) -> Self {
        let mut fields = Self { path: path.to_owned(), map: None, seen: BTreeSet::new(), wrong: Vec::new() };
        match value {
            Some(Value::Object(map)) => fields.map = Some(map),
            None | Some(Value::Null) => {}
            Some(_) => fields.wrong.push(format!("{path} must be a map")),
        }
        fields
    }

    /// Whether it is there at all.
    pub(super) fn is_there(&self) -> bool {
        self.map.is_some()
    }

    /// The path of a field.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// A field of any type; null counts as absent.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.seen.insert(key);
        self.map?.get(key).filter(|value| !value.is_null())
    }

    /// A mapping.
    pub(super) fn fields(&mut self, key: &'static str) -> Self {
        Self::of(self.value(key), &self.at(key))
    }

    /// A text; an empty one counts as absent, as in Argo CD's own types.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        if value.as_str().is_none() {
            self.wrong.push(format!("{} must be a string", self.at(key)));
        }
        value.as_str().filter(|text| !text.is_empty())
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        if value.as_bool().is_none() {
            self.wrong.push(format!("{} must be true or false", self.at(key)));
        }
        value.as_bool()
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &'static str) -> Option<i64> {
        let value = self.value(key)?;
        if value.as_i64().is_none() {
            self.wrong.push(format!("{} must be a whole number", self.at(key)));
        }
        value.as_i64()
    }

    /// The items of a list, each with its path.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<(String, &'a Value)> {
        let path = self.at(key);
        match self.value(key) {
            Some(Value::Array(items)) => {
                items.iter().enumerate().map(|(place, item)| (format!("{path}[{place}]"), item)).collect()
            }
            None => Vec::new(),
            Some(_) => {
                self.wrong.push(format!("{path} must be a list"));
                Vec::new()
            }
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for (path, item) in self.list(key) {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.wrong.push(format!("{path} must be a string")),
            }
        }
        texts
    }

    /// A mapping of texts.
    pub(super) fn pairs(&mut self, key: &'static str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let path = self.at(key);
        match self.value(key) {
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    match value.as_str() {
                        Some(text) => pairs.push((name.clone(), text.to_owned())),
                        None => self.wrong.push(format!("{path}.{name} must be a string")),
                    }
                }
            }
            None => {}
            Some(_) => self.wrong.push(format!("{path} must be a map")),
        }
        pairs
    }

    /// What is of the wrong type, and the paths of the fields that nobody has read.
    pub(super) fn end(self) -> (Vec<String>, Vec<String>) {
        let left =
            self.map.into_iter().flatten().filter(|(key, value)| !self.seen.contains(&***key) && !value.is_null());
        let left = left.map(|(key, _)| format!("{}.{key}", self.path)).collect();
        (self.wrong, left)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Fields;

    #[test]
    fn what_nobody_has_read_and_what_has_another_type_is_told_by_its_path() {
        let value = json!({"name": "a", "on": "yes", "list": ["x", 1], "other": 1, "nothing": null});
        let mut fields = Fields::of(Some(&value), "spec");
        assert_eq!(fields.text("name"), Some("a"));
        assert_eq!(fields.flag("on"), None);
        assert_eq!(fields.texts("list"), ["x"]);
        let (wrong, left) = fields.end();
        assert_eq!(wrong, ["spec.on must be true or false", "spec.list[1] must be a string"]);
        assert_eq!(left, ["spec.other"]);
        assert_eq!(Fields::of(Some(&json!([])), "spec").end().0, ["spec must be a map"]);
    }
}
