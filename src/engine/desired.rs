//! From documents to what is wanted: identity, sent form and settings of every manifest, or every reason why not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::differences::{self, Ignored, Rules};
use super::finding::{Part, Remark, Rule, See};
use super::harmless;
use super::health::{self, checks::Checks};
use super::kinds::{KindInfo, Kinds, Known};
use super::object::{Digest, GroupKind, ObjectKey, Owner, group_of, is_path_segment, version_of};
use super::settings::{Class, Settings};
use super::yaml::{Document, Position};
use crate::api::{ManagedNamespaceMetadata, annotations as keys};

/// One object as it is wanted.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its identity. The name is empty where only `generateName` is given (hooks).
    pub key: ObjectKey,
    /// `metadata.generateName`, where no name is given.
    pub generate_name: Option<String>,
    /// `apiVersion` as written.
    pub api_version: String,
    /// Plural name and scope; `None` for a kind that a CRD of the same source brings or that may be missing at first.
    pub info: Option<KindInfo>,
    /// The sent form: without status, nulls and server-set metadata, `stringData` folded in. Our own marks are not in it.
    pub body: Value,
    /// Digest of the sent form.
    pub content: Digest,
    /// Whether its kind runs to an end, so that a hook of it is done when it has ended (V5).
    pub runs_to_end: bool,
    /// A Job's `ttlSecondsAfterFinished`, kept out of the sent form until its outcome is durable.
    pub ttl: Option<i64>,
    /// What the annotations say.
    pub settings: Settings,
    /// The fields whose differences are ignored, if there are any.
    pub ignored: Option<Arc<Ignored>>,
    /// Where it stands in the source.
    pub position: Position,
}

impl Manifest {
    /// Whether the kind is custom to this source: its CRD is among the manifests, or it may be missing.
    pub fn kind_may_be_missing(&self) -> bool {
        self.info.is_none()
    }

    /// The version part of `apiVersion`.
    pub fn version(&self) -> &str {
        version_of(&self.api_version)
    }

    /// The Namespace that `CreateNamespace=true` asks for. It stands in no source: its position is document 0.
    pub fn namespace(name: &str, metadata: &ManagedNamespaceMetadata) -> Self {
        let mut body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        for (field, map) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
            if !map.is_empty() {
                body["metadata"][field] = json!(map);
            }
        }
        let info = KindInfo { version: "v1".to_owned(), plural: "namespaces".to_owned(), namespaced: false };
        Self {
            key: ObjectKey::new("", "Namespace", None, name),
            generate_name: None,
            api_version: "v1".to_owned(),
            info: Some(info),
            content: Digest::of(&body),
            body,
            ttl: None,
            settings: Settings::plain(),
            runs_to_end: false,
            ignored: None,
            position: Position { source: None, document: 0, line: 0 },
        }
    }
}

/// All that an Application wants.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Digest of all manifests: what tells one state of the source from the next.
    pub revision: String,
    /// The manifests in source order, each identity once.
    pub manifests: Vec<Arc<Manifest>>,
    /// Where each identity stands among them; hooks with a generated name have none.
    pub places: BTreeMap<ObjectKey, usize>,
    /// What is odd but no error, for conditions and `swell plan`.
    pub warnings: Vec<Problem>,
}

impl Desired {
    /// The namespaces of its manifests.
    pub fn namespaces(&self) -> BTreeSet<String> {
        self.manifests.iter().filter_map(|manifest| manifest.key.namespace.as_deref().map(str::to_owned)).collect()
    }

    /// The same with the kinds that run to an end by the Application's own health checks (V5).
    #[must_use]
    pub fn with_checks(mut self, checks: &Checks) -> Self {
        for manifest in &mut self.manifests {
            if checks.runs_to_end(&manifest.key.kind) && !manifest.runs_to_end {
                Arc::make_mut(manifest).runs_to_end = true;
            }
        }
        self
    }
}

/// One reason why a source cannot be used, or something odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// By which rule.
    pub rule: Rule,
    /// Where, if it has a place.
    pub position: Option<Position>,
    /// The object, if it has an identity.
    pub key: Option<ObjectKey>,
    /// Which part of the object.
    pub part: Part,
    /// Another object that it is about.
    pub see: Option<See>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// `document N, line N: Kind namespace/name: message`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = &self.position {
            write!(f, "{position}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&harmless::line(&self.message))
    }
}

/// What the documents are read against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The Application that wants them.
    pub owner: &'a Owner,
    /// Namespace of objects that name none.
    pub destination: &'a str,
    /// What the cluster serves.
    pub kinds: &'a Kinds,
    /// The Application's `ignoreDifferences`.
    pub differences: &'a Rules,
    /// Application-wide `SkipDryRunOnMissingResource=true`: a kind that is not served is no error.
    pub allow_missing_kinds: bool,
    /// Whether fields that the schema does not know are refused (not with `Validate=false` on the Application).
    pub validate: bool,
}

impl<'a> Context<'a> {
    /// What an Application reads its manifests in that asks for nothing special.
    pub fn new(owner: &'a Owner, destination: &'a str, kinds: &'a Kinds) -> Self {
        Self { owner, destination, kinds, differences: &differences::NONE, allow_missing_kinds: false, validate: true }
    }
}

/// Reads the documents of a source. All problems are returned, in source order.
pub fn desired(documents: Vec<Document>, context: Context<'_>) -> Result<Desired, Vec<Problem>> {
    let (desired, problems) = readable(documents, context);
    if problems.is_empty() { Ok(desired) } else { Err(problems) }
}

/// What can be read of the documents of a source, and all problems, in source order. With problems it is not what is wanted.
pub fn readable(documents: Vec<Document>, context: Context<'_>) -> (Desired, Vec<Problem>) {
    let from_crds = kinds_of_crds(&documents);
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut manifests: Vec<Arc<Manifest>> = Vec::new();
    let mut places: BTreeMap<ObjectKey, usize> = BTreeMap::new();
    let mut generated = BTreeMap::new();
    for document in documents {
        let position = document.position.clone();
        match manifest(document, context, &from_crds, &mut warnings) {
            Ok(mut manifest) => {
                if let Some(prefix) = manifest.generate_name.take() {
                    let number = generated.entry((manifest.key.clone(), prefix.clone())).or_insert(0_usize);
                    *number += 1;
                    manifest.generate_name = Some(told_apart(&prefix, *number));
                    manifests.push(Arc::new(manifest));
                    continue;
                }
                let manifest = Arc::new(manifest);
                if let Some(place) = places.get(&manifest.key) {
                    // O9: the last one wins.
                    let first = &manifests[*place].position;
                    warnings.push(Problem {
                        rule: Rule::DuplicateObject,
                        position: Some(position),
                        key: None,
                        part: Part::Object,
                        see: Some(See {
                            position: first.clone(),
                            part: Part::Object,
                            label: "it is there already".to_owned(),
                        }),
                        message: format!("{} is there already at {first}; the last one counts", manifest.key),
                    });
                    manifests[*place] = manifest;
                } else {
                    places.insert(manifest.key.clone(), manifests.len());
                    manifests.push(manifest);
                }
            }
            Err(found) => problems.extend(found),
        }
    }
    (Desired { revision: revision(&manifests), manifests, places, warnings }, problems)
}

/// What the names of the hook begin with that is the `number`th of its kind with this `generateName`: two of them are two objects.
fn told_apart(prefix: &str, number: usize) -> String {
    /// What is left of the 63 characters of a name beside operation, attempt, phase and number.
    const ROOM: usize = 36;
    if number == 1 { prefix.to_owned() } else { format!("{}{number}-", &prefix[..prefix.floor_char_boundary(ROOM)]) }
}

fn revision(manifests: &[Arc<Manifest>]) -> String {
    let mut lines: Vec<String> = manifests
        .iter()
        .map(|m| format!("{} {} {} {:?} {:?}", m.api_version, m.key, m.content, m.generate_name, m.ttl))
        .collect();
    lines.sort();
    Digest::of_bytes(lines.join("\n").as_bytes()).to_string()
}

/// Kinds and scopes that the CRDs among the documents define.
fn kinds_of_crds(documents: &[Document]) -> BTreeMap<GroupKind, bool> {
    documents
        .iter()
        .filter(|d| d.value.get("kind").and_then(Value::as_str) == Some("CustomResourceDefinition"))
        .filter_map(|d| {
            let spec = d.value.get("spec")?;
            let kind = spec.pointer("/names/kind")?.as_str()?;
            let scope = spec.get("scope")?.as_str()?;
            Some((GroupKind::new(spec.get("group")?.as_str()?, kind), scope == "Namespaced"))
        })
        .collect()
}

fn manifest(
    document: Document,
    context: Context<'_>,
    from_crds: &BTreeMap<GroupKind, bool>,
    warnings: &mut Vec<Problem>,
) -> Result<Manifest, Vec<Problem>> {
    let position = document.position.clone();
    let head = head(&document.value)
        .map_err(|(part, message)| vec![Remark { rule: Rule::Identity, part, message }.at(&position, None)])?;
    // For messages: a hook without a name is told by what its names begin with.
    let name = head.generate_name.as_deref().unwrap_or(&head.name);
    let key = ObjectKey::new(group_of(&head.api_version), &head.kind, head.namespace.as_deref(), name);
    let refuse = |line: u32, rule: Rule, part: Part, message: String| {
        Remark { rule, part, message }.at(&Position { line, ..position.clone() }, Some(key.clone()))
    };
    let here = |rule: Rule, part: Part, message: String| vec![refuse(position.line, rule, part, message)];

    let lines = |bad: Vec<Misfit>| {
        bad.into_iter().map(|(line, part, message)| refuse(line, Rule::NotAString, part, message)).collect::<Vec<_>>()
    };
    let annotations = strings(&document, "annotations").map_err(lines)?;
    let labels = strings(&document, "labels").map_err(lines)?;
    if labels.contains_key(keys::PART_OF) {
        let message = format!("the label {} is Swell's own mark of membership; take it out", keys::PART_OF);
        return Err(here(Rule::MembershipLabel, Part::key(&["metadata", "labels", keys::PART_OF]), message));
    }
    let mut settings = Settings::parse(&annotations).map_err(|bad| {
        bad.into_iter()
            .map(|bad| {
                let line = document.annotations.get(&*bad.key).copied().unwrap_or(position.line);
                refuse(line, bad.rule, bad.part, format!("annotation {}: {}", bad.key, bad.message))
            })
            .collect::<Vec<_>>()
    })?;
    if !context.validate {
        settings.options.validate.get_or_insert(false);
    }
    warnings.extend(settings.warnings.iter().map(|warning| warning.clone().at(&position, Some(key.clone()))));
    if head.generate_name.is_some() && matches!(settings.class, Class::Plain) {
        let message = "generateName is for hooks only; an object that is kept needs metadata.name".to_owned();
        return Err(here(Rule::GenerateName, Part::key(&["metadata", "generateName"]), message));
    }

    let may_be_missing = context.allow_missing_kinds || settings.options.skip_dry_run_on_missing == Some(true);
    let version = version_of(&head.api_version);
    let (info, namespaced) = match context.kinds.at_version(&key.kind, version) {
        Known::Served(info) => (Some(info.clone()), info.namespaced),
        known => match from_crds.get(&key.kind) {
            Some(namespaced) => (None, *namespaced),
            None if may_be_missing && matches!(known, Known::Absent) => (None, head.namespace.is_some()),
            None => {
                let message = unknown_kind(&head.api_version, &head.kind, &known);
                return Err(here(Rule::UnknownKind, Part::value(&["apiVersion"]), message));
            }
        },
    };
    let namespace = match (namespaced, head.namespace) {
        (true, namespace) => Some(namespace.unwrap_or_else(|| context.destination.to_owned())),
        (false, None) => None,
        (false, Some(namespace)) => {
            let message = format!("a {} has no namespace; {namespace:?} is left out", head.kind);
            let part = Part::value(&["metadata", "namespace"]);
            warnings.push(Remark { rule: Rule::NamespaceLeftOut, part, message }.at(&position, Some(key.clone())));
            None
        }
    };
    let key = ObjectKey::new(&key.kind.group, &key.kind.kind, namespace.as_deref(), &head.name);
    if key.kind.is("swell.dev", "Application")
        && key.namespace.as_deref() == Some(context.owner.namespace())
        && &*key.name == context.owner.name()
    {
        let message = "an Application cannot contain itself".to_owned();
        let remark = Remark { rule: Rule::SelfContained, part: Part::value(&["metadata", "name"]), message };
        return Err(vec![remark.at(&position, Some(key))]);
    }
    let (body, ttl) = sent_form(document.value, &key);
    let ignored = context.differences.of(&key, &body);
    let ignored = ignored.map_err(|message| here(Rule::IgnoreDifferences, Part::Object, message))?.map(Arc::new);
    Ok(Manifest {
        ignored,
        content: Digest::of(&body),
        runs_to_end: health::runs_to_end(&key.kind.group, &key.kind.kind),
        generate_name: head.generate_name,
        api_version: head.api_version,
        key,
        info,
        body,
        ttl,
        settings,
        position,
    })
}

struct Head {
    api_version: String,
    kind: String,
    name: String,
    generate_name: Option<String>,
    namespace: Option<String>,
}

fn head(value: &Value) -> Result<Head, (Part, String)> {
    let part = |pointer: &str| Part::value(&pointer[1..].split('/').collect::<Vec<_>>());
    let field = |pointer: &str| match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => {
            let what = kind_of_json(other);
            Err((part(pointer), format!("{} must be a string, not {what}", pointer[1..].replace('/', "."))))
        }
    };
    let needed = |pointer: &str, example: &str| {
        let missing = || (Part::Object, format!("{} is missing; {example}", pointer[1..].replace('/', ".")));
        field(pointer)?.ok_or_else(missing)
    };
    let api_version = needed("/apiVersion", "every object needs one, such as \"v1\" or \"apps/v1\"")?;
    let kind = needed("/kind", "every object needs one, such as \"ConfigMap\"")?;
    for (field, text, also) in [("apiVersion", &api_version, "/."), ("kind", &kind, "")] {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || also.contains(c);
        if text.len() > 253 || !text.chars().all(fits) {
            let message = format!(
                "{field} {text:?} is none; it has letters, digits and dashes, such as \"apps/v1\" or \"ConfigMap\""
            );
            return Err((Part::value(&[field]), message));
        }
    }
    let name = field("/metadata/name")?;
    let generate_name = field("/metadata/generateName")?.filter(|_| name.is_none());
    if name.is_none() && generate_name.is_none() {
        return Err((Part::Object, format!("this {kind} has no metadata.name; every object needs one")));
    }
    for (place, text) in [("/metadata/name", &name), ("/metadata/generateName", &generate_name)] {
        let Some(text) = text else { continue };
        let is_harmful = *text != harmless::line(text) || text.chars().any(char::is_whitespace);
        if text.len() > 253 || is_harmful || !is_path_segment(text) {
            let message = format!(
                "metadata.name {text:?} is not a name; names have at most 253 characters, no spaces, and none of / % ? #"
            );
            return Err((part(place), message));
        }
    }
    let namespace = field("/metadata/namespace")?;
    if let Some(namespace) = &namespace
        && (namespace.len() > 63
            || !namespace.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
    {
        let message = format!(
            "metadata.namespace {namespace:?} is not the name of a namespace; those have at most 63 lower-case letters, digits and dashes"
        );
        return Err((part("/metadata/namespace"), message));
    }
    Ok(Head { api_version, kind, name: name.unwrap_or_default(), generate_name, namespace })
}

/// A value that is no string: its line, its place, and what is wrong.
type Misfit = (u32, Part, String);

/// The string map at `metadata.<field>`; every value that is no string is refused with its line and how to write it.
fn strings(document: &Document, field: &str) -> Result<BTreeMap<String, String>, Vec<Misfit>> {
    let line = |path: &[&str]| document.line_of(path).unwrap_or(document.position.line);
    let map = match document.value.pointer(&format!("/metadata/{field}")) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map,
        Some(other) => {
            let message = format!("metadata.{field} must be a map of strings, not {}", kind_of_json(other));
            let path = ["metadata", field];
            return Err(vec![(line(&path), Part::value(&path), message)]);
        }
    };
    let mut strings = BTreeMap::new();
    let mut bad = Vec::new();
    for (key, value) in map {
        match value {
            Value::String(text) => {
                strings.insert(key.clone(), text.clone());
            }
            Value::Null => {
                strings.insert(key.clone(), String::new());
            }
            other => {
                let what = kind_of_json(other);
                let message =
                    format!("metadata.{field}.{key} must be a string, not {what}: write it in quotes, \"{other}\"");
                let path = ["metadata", field, key];
                bad.push((line(&path), Part::value(&path), message));
            }
        }
    }
    if bad.is_empty() { Ok(strings) } else { Err(bad) }
}

fn kind_of_json(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn unknown_kind(api_version: &str, kind: &str, known: &Known) -> String {
    match known {
        Known::OtherVersions(versions) => {
            let group = group_of(api_version);
            let served: Vec<_> = versions
                .iter()
                .map(|version| if group.is_empty() { version.clone() } else { format!("{group}/{version}") })
                .collect();
            format!("the cluster does not serve {kind} in {api_version}; it does in {}", served.join(", "))
        }
        Known::Unsure => format!(
            "the API group of {api_version} did not answer, so nobody can tell whether it has the kind {kind}; look at its APIService"
        ),
        Known::Absent | Known::Served(_) => format!(
            "the cluster has no kind {kind} in {api_version}, and no CustomResourceDefinition here brings it; install its CRD first, or put it into this source"
        ),
    }
}

/// Brings a manifest into the form that is sent: see [`Manifest::body`].
fn sent_form(mut value: Value, key: &ObjectKey) -> (Value, Option<i64>) {
    drop_nulls(&mut value);
    let mut ttl = None;
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
        if key.kind.is("", "Secret") {
            fold_string_data(object);
        }
        if key.kind.is("batch", "Job")
            && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        {
            ttl = spec.remove("ttlSecondsAfterFinished").and_then(|ttl| ttl.as_i64());
        }
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            for field in SERVER_SET {
                metadata.remove(*field);
            }
            match &key.namespace {
                Some(namespace) => metadata.insert("namespace".to_owned(), Value::from(&**namespace)),
                None => metadata.remove("namespace"),
            };
        }
    }
    (value, ttl)
}

const SERVER_SET: &[&str] = &[
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn fold_string_data(secret: &mut Map<String, Value>) {
    let Some(Value::Object(plain)) = secret.remove("stringData") else { return };
    let data = secret.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if let Some(data) = data.as_object_mut() {
        for (name, value) in plain {
            let encoded = match &value {
                Value::String(text) => base64::engine::general_purpose::STANDARD.encode(text),
                // Not valid for a Secret: passed on, so that the server says so.
                _ => {
                    data.insert(name, value);
                    continue;
                }
            };
            data.insert(name, Value::from(encoded));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Desired, Vec<Problem>> {
        let owner = Owner::new("shop", "web");
        let kinds = Kinds::builtin().closed();
        let context = Context::new(&owner, "shop", &kinds);
        desired(yaml::parse(None, text, &yaml::Limits::default()).unwrap(), context)
    }

    fn problem(text: &str) -> String {
        read(text).unwrap_err()[0].to_string()
    }

    #[test]
    fn a_bad_wave_is_refused_by_object_name_and_line() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  annotations:\n    note: x\n    argocd.argoproj.io/sync-wave: \"one\"\n";
        assert_eq!(
            problem(text),
            "document 1, line 7: ConfigMap settings: annotation argocd.argoproj.io/sync-wave: \"one\" is not a whole number such as \"-1\", \"0\" or \"5\""
        );
    }

    #[test]
    fn an_unquoted_wave_is_refused_with_how_to_write_it() {
        let text =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {argocd.argoproj.io/sync-wave: 1}}\n";
        assert!(
            problem(text).contains("must be a string, not a number: write it in quotes, \"1\""),
            "{}",
            problem(text)
        );
    }

    #[test]
    fn i9_a_name_that_would_lead_elsewhere_or_forge_a_line_is_none() {
        let evil =
            ["..", ".", "a/b", "a%2fb", "a?dryRun=All", "a#b", "a b", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{9b}b"];
        for name in evil {
            for field in ["name", "generateName"] {
                let object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {(field): name}});
                let said = problem(&object.to_string().replace('\u{9b}', "\\u009b"));
                assert!(said.contains("is not a name") && said == harmless::line(&said), "{name:?}: {said:?}");
            }
        }
        for (field, value) in [("kind", "A\nB"), ("kind", "a/b"), ("apiVersion", "v1\u{1b}"), ("apiVersion", "a?b/v1")]
        {
            let mut object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
            object[field] = Value::from(value);
            let said = problem(&object.to_string());
            assert!(said.contains(&format!("{field} {value:?} is none")) && said == harmless::line(&said), "{said:?}");
        }
        assert!(
            read("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:a:B_c'}")
                .is_ok()
        );
    }

    #[test]
    fn namespaces_are_filled_in_by_scope() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: other}\n";
        let desired = read(text).unwrap();
        let namespaces: Vec<_> = desired.manifests.iter().map(|m| m.key.namespace.as_deref()).collect();
        assert_eq!(namespaces, [Some("shop"), None, Some("other")]);
        assert_eq!(desired.manifests[0].body.pointer("/metadata/namespace"), Some(&Value::from("shop")));
    }

    #[test]
    fn the_sent_form_has_no_status_no_nulls_no_server_set_metadata_and_no_string_data() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, uid: x, resourceVersion: '1', creationTimestamp: null, labels: {x: null}}\nstringData: {password: hunter2}\nstatus: {}\n";
        let desired = read(text).unwrap();
        let expected = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "a", "namespace": "shop", "labels": {}},
            "data": {"password": "aHVudGVyMg=="}
        });
        assert_eq!(desired.manifests[0].body, expected);
    }

    #[test]
    fn f21_the_ttl_of_a_job_is_kept_out_of_the_sent_form() {
        let text =
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {ttlSecondsAfterFinished: 0, template: {}}\n";
        let desired = read(text).unwrap();
        assert_eq!(desired.manifests[0].ttl, Some(0));
        assert!(desired.manifests[0].body.pointer("/spec/ttlSecondsAfterFinished").is_none());
    }

    #[test]
    fn o9_of_two_documents_with_one_identity_the_last_counts_and_a_warning_says_so() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: '1'}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: '2'}\n";
        let desired = read(text).unwrap();
        assert_eq!(desired.manifests.len(), 1);
        assert_eq!(desired.manifests[0].body.pointer("/data/v"), Some(&Value::from("2")));
        assert_eq!(desired.warnings.len(), 1);
    }

    #[test]
    fn f64_a_kind_that_neither_the_cluster_nor_a_crd_of_the_source_has_is_refused() {
        let text = "apiVersion: x.example/v1\nkind: Thing\nmetadata: {name: a}\n";
        assert!(problem(text).contains("no kind Thing in x.example/v1"), "{}", problem(text));
        let crd = "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.x.example}\nspec: {group: x.example, scope: Cluster, names: {kind: Thing}}\n";
        let desired = read(&format!("{text}{crd}")).unwrap();
        assert_eq!(desired.manifests[0].key.namespace, None, "the scope is the CRD's");
    }

    #[test]
    fn the_revision_depends_on_content_and_not_on_order_or_comments() {
        let a = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        let b = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";
        let one = read(&format!("{a}---\n{b}")).unwrap().revision;
        assert_eq!(one, read(&format!("# hello\n{b}---\n{a}")).unwrap().revision);
        assert_ne!(one, read(&format!("{a}data: {{x: y}}\n---\n{b}")).unwrap().revision);
    }

    #[test]
    fn a_membership_label_of_the_manifests_own_is_refused() {
        let text =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {applyset.kubernetes.io/part-of: x}}\n";
        assert!(problem(text).contains("mark of membership"), "{}", problem(text));
    }

    #[test]
    fn h1_two_hooks_with_one_generate_name_are_two_objects() {
        let hook = |prefix: &str| {
            format!(
                "---\napiVersion: batch/v1\nkind: Job\nmetadata: {{generateName: {prefix}, annotations: {{argocd.argoproj.io/hook: PreSync}}}}\n"
            )
        };
        let long = "x".repeat(200);
        let wanted = read(&[hook("load-"), hook("load-"), hook("other-"), hook(&long), hook(&long)].concat()).unwrap();
        let run = super::super::membership::HookRun {
            operation: "mhz3k2a1".to_owned(),
            attempt: 12,
            phase: crate::api::Phase::PostDelete,
        };
        let names: Vec<_> =
            wanted.manifests.iter().map(|m| run.generated_name(m.generate_name.as_deref().unwrap())).collect();
        assert_eq!(
            names[..3],
            ["load-mhz3k2a1-12-postdelete", "load-2-mhz3k2a1-12-postdelete", "other-mhz3k2a1-12-postdelete"]
        );
        assert_ne!(names[3], names[4]);
        assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
    }

    #[test]
    fn h2_generate_name_is_for_hooks_only() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}\n";
        assert!(problem(text).contains("generateName is for hooks only"), "{}", problem(text));
    }
}
