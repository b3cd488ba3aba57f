//! What there is to plan: every Application among the documents with the manifests of its source, or all documents as they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::application;
use super::documents::Mistakes;
use super::input::Text;
use crate::api::{Application, ConfigMapSource, Source};
use crate::engine::finding::{Part, Remark, Rule};
use crate::engine::yaml::{Document, Position};

/// One thing to plan.
pub(in crate::cli) struct Target {
    /// The Application; `None` for manifests without one.
    pub(in crate::cli) application: Option<Application>,
    /// Its namespace, or that of the manifests.
    pub(in crate::cli) namespace: String,
    /// The files that it was read from.
    pub(in crate::cli) files: Vec<String>,
    /// Where it begins.
    pub(in crate::cli) position: Position,
    /// The manifests.
    pub(in crate::cli) documents: Vec<Document>,
}

/// What there is to plan, and what is in no plan.
pub(in crate::cli) struct Found {
    /// What is to be planned. What has mistakes, which are noted, has no target.
    pub(in crate::cli) targets: Vec<Target>,
    /// What is in no plan, in words.
    pub(super) notes: Vec<String>,
    /// The documents that are neither Applications nor their sources.
    pub(in crate::cli) left: Vec<Document>,
}

/// Finds what there is to plan among the documents.
pub(in crate::cli) fn targets(
    texts: &[Text],
    documents: Vec<Document>,
    namespace: &str,
    mistakes: &mut Mistakes,
) -> Found {
    let (applications, others): (Vec<_>, Vec<_>) = documents.into_iter().partition(application::is_application);
    if applications.is_empty() {
        let position = Position { source: texts.first().map(|text| text.label.clone()), document: 1, line: 1 };
        let files = texts.iter().map(|text| text.label.clone()).collect();
        let target = Target { application: None, namespace: namespace.to_owned(), files, position, documents: others };
        return Found { targets: vec![target], notes: Vec::new(), left: Vec::new() };
    }
    let mut used = BTreeSet::new();
    let targets: Vec<Target> = applications
        .iter()
        .filter_map(|document| {
            let read = application::read(document, namespace, mistakes)?;
            let alone = applications.iter().filter(|other| source_of(other) == source_of(document)).count() == 1;
            let inline =
                if alone { "spec.source.inline".to_owned() } else { format!("{}: spec.source.inline", name_of(&read)) };
            target(read, document, &inline, &others, texts, &mut used, mistakes)
        })
        .collect();
    let left = others.into_iter().enumerate().filter(|(index, _)| !used.contains(index));
    let left: Vec<_> = left.map(|(_, document)| document).collect();
    let notes = twice(&targets).into_iter().chain(not_part(&left)).collect();
    Found { targets, notes, left }
}

/// `inline` names an inline source in positions: in a file of several Applications it says whose.
fn target(
    application: Application,
    document: &Document,
    inline: &str,
    others: &[Document],
    texts: &[Text],
    used: &mut BTreeSet<usize>,
    mistakes: &mut Mistakes,
) -> Option<Target> {
    let file = source_of(document);
    let before = mistakes.found.len();
    let mut files = vec![file.to_owned()];
    let documents = match &application.spec.source {
        Source::Inline(text) => {
            let path = ["spec", "source", "inline"];
            embedded(document, &path, inline, text, texts, mistakes)
        }
        Source::ConfigMaps(maps) => {
            let mut documents = Vec::new();
            for (index, map) in maps.iter().enumerate() {
                let found = find(map, application.namespace(), others);
                let missing = match found {
                    Some((place, holder)) => {
                        used.insert(place);
                        if !files.iter().any(|file| file == source_of(holder)) {
                            files.push(source_of(holder).to_owned());
                        }
                        read_map(map, holder, texts, &mut documents, mistakes)
                    }
                    None => Some(format!(
                        "spec.source.configMaps names the ConfigMap {}/{}, which is not among these files; add the file that holds it with -f",
                        application.namespace(),
                        map.name
                    )),
                };
                if let Some(message) = missing {
                    let path = ["spec", "source", "configMaps", &index.to_string()];
                    let part = Part::value(&[&path[..], &["name"]].concat());
                    let remark = Remark { rule: Rule::SourceMissing, part, message };
                    mistakes.add(document.position_of(&path), Some(name_of(&application)), remark);
                }
            }
            documents
        }
    };
    (mistakes.found.len() == before).then(|| Target {
        namespace: application.namespace().to_owned(),
        files,
        position: document.position.clone(),
        application: Some(application),
        documents,
    })
}

pub(in crate::cli) fn name_of(application: &Application) -> String {
    let name = application.metadata.name.as_deref().unwrap_or_default();
    format!("Application {}/{name}", application.namespace())
}

/// The documents of a text that is the value of a field of `holder`.
fn embedded(
    holder: &Document,
    path: &[&str],
    name: &str,
    text: &str,
    texts: &[Text],
    mistakes: &mut Mistakes,
) -> Vec<Document> {
    let label = format!("{}: {name}", source_of(holder));
    let file = texts.iter().find(|text| text.label == source_of(holder));
    if let (Some(file), Some(line)) = (file, holder.line_of(path)) {
        mistakes.locate(&label, text, file, line);
    }
    mistakes.read(&label, text)
}

/// The ConfigMap of that name; of several the last, which is what `kubectl apply` leaves. One without a namespace goes where the
/// Application is.
fn find<'a>(map: &ConfigMapSource, namespace: &str, others: &'a [Document]) -> Option<(usize, &'a Document)> {
    let is = |document: &Document, pointer: &str, wanted: &str| {
        document.value.pointer(pointer).and_then(Value::as_str) == Some(wanted)
    };
    others.iter().enumerate().rev().find(|(_, document)| {
        is(document, "/apiVersion", "v1")
            && is(document, "/kind", "ConfigMap")
            && is(document, "/metadata/name", &map.name)
            && (document.value.pointer("/metadata/namespace").is_none()
                || is(document, "/metadata/namespace", namespace))
    })
}

/// Reads the keys of a source ConfigMap as the operator does; gives what is missing.
fn read_map(
    map: &ConfigMapSource,
    holder: &Document,
    texts: &[Text],
    documents: &mut Vec<Document>,
    mistakes: &mut Mistakes,
) -> Option<String> {
    let data = holder.value.get("data").and_then(Value::as_object);
    let mut keys: Vec<(&str, &str)> =
        data.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
    keys.sort_unstable();
    keys.retain(|(key, _)| map.key.as_deref().is_none_or(|wanted| wanted == *key));
    for (key, text) in &keys {
        let name = format!("{}/{key}", map.name);
        documents.extend(embedded(holder, &["data", key], &name, text, texts, mistakes));
    }
    let place = &holder.position;
    match (&map.key, keys.is_empty()) {
        (Some(key), true) => Some(format!("the ConfigMap {} ({place}) has no key {key:?} with text", map.name)),
        (None, true) => Some(format!("the ConfigMap {} ({place}) has no keys with text", map.name)),
        (_, false) => None,
    }
}

/// One line for each Application that is there more than once.
fn twice(targets: &[Target]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for target in targets {
        let name = target.application.as_ref().map(name_of).unwrap_or_default();
        places.entry(name).or_default().push(target.files.first().map_or("", String::as_str));
    }
    places.retain(|_, files| files.len() > 1);
    places
        .iter()
        .map(|(name, files)| {
            format!(
                "{name} is there {} times ({}): of these, `kubectl apply` leaves the last",
                files.len(),
                files.join(", ")
            )
        })
        .collect()
}

/// One line about the documents that are neither Applications nor their sources.
fn not_part(left: &[Document]) -> Option<String> {
    const NAMED: usize = 5;
    let name = |document: &Document| {
        let text = |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str);
        format!("{} {}", text("/kind").unwrap_or("object"), text("/metadata/name").unwrap_or("without a name"))
    };
    let mut names: Vec<String> = left.iter().take(NAMED).map(name).collect();
    if left.len() > NAMED {
        names.push(format!("{} more", left.len() - NAMED));
    }
    let what = "not planned, because no source of an Application here has it";
    (!left.is_empty()).then(|| format!("{}: {what}", names.join(", ")))
}

fn source_of(document: &Document) -> &str {
    document.position.source.as_deref().unwrap_or_default()
}
