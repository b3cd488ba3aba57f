//! How manifests become objects that `kubectl apply` takes: inline, or in ConfigMaps where they are too large for that.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::report::Report;
use crate::api::annotations::REVISION;
use crate::api::{ConfigMapSource, Source};
use crate::engine::yaml::{Limits, parse};

/// `kubectl apply` keeps the whole object in an annotation, and annotations may have 256 KiB in all; some room for what others write.
const MOST_ANNOTATIONS: usize = (256 << 10) - (4 << 10);
/// The API server takes no ConfigMap whose data have more; some room for its metadata.
const MOST_DATA: usize = (1 << 20) - (4 << 10);
/// As many as a source may name.
const MOST_MAPS: usize = 64;
/// The one key of each ConfigMap.
const KEY: &str = "manifests.yaml";

/// Whole documents that stay together.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// As they are in the file.
    pub(super) text: String,
    /// One by one, for where the file is too large.
    pub(super) documents: Vec<Value>,
}

impl Piece {
    /// Objects that stand in no file.
    pub(super) fn of(documents: Vec<Value>) -> Self {
        Self { text: joined(documents.iter().map(yaml)), documents }
    }
}

/// Documents as one text.
pub(super) fn joined(texts: impl Iterator<Item = String>) -> String {
    let mut whole = String::new();
    for text in texts {
        let text = text.strip_prefix("---\n").unwrap_or(&text).trim_end().to_owned();
        if !whole.is_empty() {
            whole.push_str("---\n");
        }
        whole.push_str(&text);
        whole.push('\n');
    }
    whole
}

/// An object as YAML; as JSON, which is YAML too, where a text of it would not come back as it was.
pub(super) fn yaml(object: &Value) -> String {
    let is_same = |text: &str| {
        parse(None, text, &Limits::default())
            .is_ok_and(|documents| matches!(documents.as_slice(), [one] if one.value == *object))
    };
    let written = serde_saphyr::to_string(object).ok().filter(|text| is_same(text));
    written.or_else(|| Some(serde_json::to_string_pretty(object).ok()? + "\n")).unwrap_or_default()
}

/// Whether `kubectl apply` without `--server-side` takes an object.
fn fits(object: &Value) -> bool {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let annotations: usize =
        annotations.into_iter().flatten().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    let text = object.to_string();
    // kubectl writes these as \u003c and so on.
    let escaped = text.bytes().filter(|byte| b"<>&".contains(byte)).count() * 5;
    text.len() + escaped + annotations <= MOST_ANNOTATIONS
}

/// The source of an Application and the ConfigMaps that it names, if it names any. `application` makes the object of a source.
pub(super) fn pack(
    pieces: &[Piece],
    name: &str,
    namespace: &str,
    revision: &str,
    always_maps: bool,
    application: &dyn Fn(Source) -> Value,
    report: &mut Report,
) -> Option<(Vec<Value>, Value)> {
    let whole = joined(pieces.iter().map(|piece| piece.text.clone()));
    let inline = application(Source::Inline(whole));
    if !always_maps && fits(&inline) {
        return Some((Vec::new(), inline));
    }
    // What the names of ConfigMaps begin with; a name may have 253 characters.
    let stem: String = name.chars().take(230).collect();
    let map = |number: usize, text: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": format!("{stem}-manifests-{number}"), "namespace": namespace,
                "annotations": {REVISION: revision}
            },
            "data": BTreeMap::from([(KEY, text)])
        })
    };
    // A piece that fits no ConfigMap is taken apart.
    let mut parts: Vec<String> = Vec::new();
    for piece in pieces {
        if fits(&map(MOST_MAPS, &piece.text)) {
            parts.push(piece.text.clone());
        } else {
            parts.extend(piece.documents.iter().map(yaml));
        }
    }
    let mut texts: Vec<String> = Vec::new();
    for part in parts {
        let together = texts.last().map(|last| joined([last.clone(), part.clone()].into_iter()));
        match (together.filter(|text| fits(&map(MOST_MAPS, text))), texts.last_mut()) {
            (Some(text), Some(last)) => *last = text,
            _ => texts.push(joined(std::iter::once(part))),
        }
    }
    if texts.is_empty() {
        texts.push(String::new());
    }
    if let Some(text) = texts.iter().find(|text| text.len() > MOST_DATA) {
        report.problems.push(format!("a manifest of it has {} bytes: no ConfigMap can hold it (1 MiB)", text.len()));
        return None;
    }
    if texts.len() > MOST_MAPS {
        report.problems.push(format!(
            "its manifests need {} ConfigMaps, and a source names at most {MOST_MAPS}: split the Application",
            texts.len()
        ));
        return None;
    }
    let maps: Vec<_> = texts.iter().enumerate().map(|(number, text)| map(number + 1, text)).collect();
    let large: Vec<_> = maps
        .iter()
        .filter(|map| !fits(map))
        .filter_map(|map| map.pointer("/metadata/name").and_then(Value::as_str))
        .collect();
    if !large.is_empty() {
        report.before.push(format!(
            "one object alone is larger than `kubectl apply` takes (256 KiB; ConfigMap {}): apply the output with --server-side",
            large.join(", ")
        ));
    }
    let names =
        (1..=maps.len()).map(|number| ConfigMapSource { name: format!("{stem}-manifests-{number}"), key: None });
    Some((maps, application(Source::ConfigMaps(names.collect()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(pieces: &[Piece], always: bool) -> (Vec<Value>, Value, Report) {
        let mut report = Report::default();
        let application = |source: Source| json!({"spec": {"source": source}});
        let (maps, application) = pack(pieces, "shop", "shop", "1", always, &application, &mut report).unwrap();
        (maps, application, report)
    }

    fn object(name: &str, size: usize) -> Piece {
        Piece::of(vec![
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "x".repeat(size)}}),
        ])
    }

    #[test]
    fn what_kubectl_apply_takes_stays_inline_unless_config_maps_are_asked_for() {
        let (maps, application, _) = packed(&[object("a", 10), object("b", 10)], false);
        assert!(maps.is_empty());
        assert!(application["spec"]["source"]["inline"].as_str().unwrap().contains("---"));
        let (maps, application, _) = packed(&[object("a", 10), object("b", 10)], true);
        assert_eq!(maps.len(), 1);
        assert_eq!(application["spec"]["source"]["configMaps"], json!([{"name": "shop-manifests-1"}]));
    }

    #[test]
    fn what_is_larger_goes_into_as_many_config_maps_as_kubectl_apply_takes_in_its_order() {
        let pieces: Vec<_> = (0..7).map(|number| object(&format!("c{number}"), 100_000)).collect();
        let (maps, _, report) = packed(&pieces, false);
        assert_eq!(maps.len(), 4);
        assert!(maps.iter().all(fits));
        assert!(report.before.is_empty());
        let text: String = maps.iter().map(|map| map["data"][KEY].as_str().unwrap()).collect();
        let names: Vec<_> = text.match_indices("name: c").map(|(at, _)| &text[at + 6..at + 8]).collect();
        assert_eq!(names, ["c0", "c1", "c2", "c3", "c4", "c5", "c6"]);
        assert!(
            maps.iter().all(|map| map["metadata"]["annotations"][REVISION] == "1"),
            "half a change is told from a whole one"
        );
    }

    #[test]
    fn one_object_that_is_too_large_for_kubectl_apply_is_told() {
        let (maps, _, report) = packed(&[object("a", 10), object("b", 400_000)], false);
        assert_eq!(maps.len(), 2);
        assert!(report.before[0].contains("--server-side"), "{:?}", report.before);
    }

    #[test]
    fn a_file_with_several_objects_is_taken_apart_where_it_has_to_be() {
        let documents: Vec<_> = (0..5).flat_map(|number| object(&number.to_string(), 100_000).documents).collect();
        assert!(packed(&[Piece::of(documents)], false).0.len() > 1);
    }

    #[test]
    fn every_text_comes_back_as_it_was() {
        for text in [
            "a\n  b\n",
            "  leading\nx",
            "tab\tand \ntrailing ",
            "\n\nx\n\n",
            "cr\r\nlf",
            "# no comment\n--- x\n",
            "yes",
            "nul\u{1}\nx",
        ] {
            let object = json!({"a": text, "b": {"c": [text]}});
            let read = parse(None, &yaml(&object), &Limits::default()).unwrap();
            assert_eq!(read[0].value, object, "{text:?}");
        }
    }
}
