//! `Validate=false`: what the schema does not know is left out, and of items that stand in a list twice the last one counts. The server
//! refuses an apply with such fields whatever is asked for, but it names them: they are read out of its words.

use serde_json::Value;

/// One field that the server will not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwanted {
    path: Vec<Segment>,
    /// Of a list: the keys of the items of which only the last one counts.
    twice: Option<Vec<(String, Value)>>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Name(String),
    /// Items of a list with these values.
    Keys(Vec<(String, Value)>),
    Index(usize),
}

impl Unwanted {
    /// Which field it is, in the server's words.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the path holds values of the object, as the keys of a list's items are.
    pub fn quotes_values(&self) -> bool {
        self.twice.is_some() || self.path.iter().any(|segment| matches!(segment, Segment::Keys(_)))
    }
}

/// A refusal about nothing but these fields, in words that [`named`] reads: for one whose own words are not passed on.
pub fn refusal_of(fields: &[Unwanted]) -> String {
    let lines: Vec<_> = fields.iter().map(|field| format!("{}: field not declared in schema", field.text)).collect();
    format!("{TYPED_PATCH}{}", lines.join("\n"))
}

const TYPED_PATCH: &str = "failed to create typed patch object (the Secret): ";

/// The fields that a refusal of the server names. `None` where it is about anything else too, which leaving out would not mend.
pub fn named(refusal: &str) -> Option<Vec<Unwanted>> {
    let (_, words) = refusal.strip_prefix("failed to create typed patch object (")?.split_once("): ")?;
    let lines = words.strip_prefix("errors:\n").unwrap_or(words).lines().map(str::trim).filter(|line| !line.is_empty());
    let found: Option<Vec<_>> = lines.map(unwanted).collect();
    found.filter(|found| !found.is_empty())
}

/// The body without those fields.
pub fn without(mut body: Value, unwanted: &[Unwanted]) -> Value {
    for field in unwanted {
        take_out(&mut body, &field.path, field.twice.as_deref());
    }
    body
}

fn unwanted(line: &str) -> Option<Unwanted> {
    if let Some(path) = line.strip_suffix(": field not declared in schema") {
        return Some(Unwanted { path: segments(path)?, twice: None, text: path.to_owned() });
    }
    let (path, key) = line.split_once(": duplicate entries for key ")?;
    let [Segment::Keys(keys)] = &segments(key)?[..] else { return None };
    Some(Unwanted { path: segments(path)?, twice: Some(keys.clone()), text: format!("{path}{key}") })
}

/// Reads `.spec.containers[name="c"].env`.
fn segments(text: &str) -> Option<Vec<Segment>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            found.push(Segment::Name(name[..end].to_owned()));
            rest = &name[end..];
        } else {
            let inner = rest.strip_prefix('[')?;
            let end = closing(inner)?;
            found.push(selector(&inner[..end])?);
            rest = &inner[end + 1..];
        }
    }
    Some(found)
}

/// Where the bracket closes; one inside quotes does not.
fn closing(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ']' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn selector(text: &str) -> Option<Segment> {
    if let Ok(index) = text.parse() {
        return Some(Segment::Index(index));
    }
    let mut keys = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
        let read = values.next()?.ok()?;
        keys.push((name.to_owned(), read));
        rest = value[values.byte_offset()..].strip_prefix(',').unwrap_or_default();
    }
    (!keys.is_empty()).then_some(Segment::Keys(keys))
}

fn is_item(item: &Value, keys: &[(String, Value)]) -> bool {
    // A key that the manifest leaves to its default is named by the server all the same.
    keys.iter().all(|(name, value)| item.get(name).is_none_or(|found| found == value))
        && keys.iter().any(|(name, _)| item.get(name).is_some())
}

fn take_out(at: &mut Value, path: &[Segment], twice: Option<&[(String, Value)]>) {
    let Some((segment, rest)) = path.split_first() else {
        if let (Value::Array(items), Some(keys)) = (at, twice) {
            let last = items.iter().rposition(|item| is_item(item, keys));
            let mut place = 0;
            items.retain(|item| {
                place += 1;
                !is_item(item, keys) || Some(place - 1) == last
            });
        }
        return;
    };
    match (segment, at) {
        (Segment::Name(name), Value::Object(map)) if rest.is_empty() && twice.is_none() => {
            map.remove(name);
        }
        (Segment::Name(name), Value::Object(map)) => {
            if let Some(value) = map.get_mut(name) {
                take_out(value, rest, twice);
            }
        }
        (Segment::Keys(keys), Value::Array(items)) => {
            for item in items.iter_mut().filter(|item| is_item(item, keys)) {
                take_out(item, rest, twice);
            }
        }
        (Segment::Index(index), Value::Array(items)) => {
            if let Some(item) = items.get_mut(*index) {
                take_out(item, rest, twice);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REFUSAL: &str = "failed to create typed patch object (default/ux; apps/v1, Kind=Deployment): errors:\n  .metadata.labelz: field not declared in schema\n  .spec.template.spec.containers[name=\"c[1]\"].env: duplicate entries for key [name=\"A\"]\n  .spec.template.spec.containers[name=\"c[1]\"].imagez: field not declared in schema\n  .spec.ports[port=80,protocol=\"TCP\"].nodez: field not declared in schema";

    #[test]
    fn v15_what_the_server_will_not_have_is_read_out_of_its_words_and_left_out() {
        let unwanted = named(REFUSAL).unwrap();
        assert_eq!(unwanted.len(), 4);
        assert_eq!(unwanted[1].text(), ".spec.template.spec.containers[name=\"c[1]\"].env[name=\"A\"]");
        let body = json!({
            "metadata": {"name": "ux", "labelz": {}},
            "spec": {"ports": [{"port": 80, "nodez": 1}, {"port": 81, "nodez": 1}], "template": {"spec": {"containers": [
                {"name": "c[1]", "imagez": "x", "env": [
                    {"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "A", "value": "3"}
                ]},
                {"name": "d", "imagez": "y"}
            ]}}}
        });
        let expected = json!({
            "metadata": {"name": "ux"},
            "spec": {"ports": [{"port": 80}, {"port": 81, "nodez": 1}], "template": {"spec": {"containers": [
                {"name": "c[1]", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]},
                {"name": "d", "imagez": "y"}
            ]}}}
        });
        assert_eq!(without(body, &unwanted), expected);
    }

    #[test]
    fn v15_a_refusal_about_anything_else_too_is_not_mended_by_leaving_fields_out() {
        let wrong = "failed to create typed patch object (d/x; v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:1}";
        assert_eq!(named(wrong), None);
        let both = format!("{REFUSAL}\n  .spec.replicas: expected numeric (int or float), got string");
        assert_eq!(named(&both), None);
        assert_eq!(named("admission webhook denied the request"), None);
        assert_eq!(
            named(
                "failed to create typed patch object (d/x; v1, Kind=ConfigMap): .dataa: field not declared in schema"
            )
            .map(|found| found.len()),
            Some(1)
        );
    }
}
