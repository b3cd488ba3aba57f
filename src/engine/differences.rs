//! `ignoreDifferences`: fields whose difference is no drift, and what of them goes out when they are to keep their live value.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::fields::{self, child, item_key};
use super::jq::Expression;
use super::object::{Digest, ObjectKey};
use super::path::{Path, Step};
use crate::api::IgnoreDifference;
use crate::api::annotations as keys;

/// The rules of an Application, read once.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

/// No rule at all.
pub static NONE: Rules = Rules(Vec::new());

#[derive(Clone, Debug)]
struct Rule {
    of: IgnoreDifference,
    pointers: Vec<Vec<String>>,
    expressions: Vec<Expression>,
}

/// The fields of one manifest whose differences are ignored.
#[derive(Clone, Debug)]
pub struct Ignored {
    /// The way to each, in the manifest.
    paths: Vec<Path>,
    /// Field managers whose fields are ignored.
    managers: Vec<String>,
    /// The manifest without those fields: what has to be carried.
    rest: Value,
    /// Tells one set of rules from another.
    id: Digest,
}

impl Rules {
    /// Reads the rules of a spec; the error names the one that cannot be understood.
    pub fn parse(rules: &[IgnoreDifference]) -> Result<Self, String> {
        let rule = |(number, rule): (usize, &IgnoreDifference)| {
            let at = |field: &str, place: usize| format!("spec.ignoreDifferences[{number}].{field}[{place}]");
            let pointers = rule.json_pointers.iter().enumerate().map(|(place, text)| {
                tokens(text)
                    .map_err(|message| format!("{}: {text:?} is no JSON pointer: {message}", at("jsonPointers", place)))
            });
            let expressions = rule.jq_path_expressions.iter().enumerate().map(|(place, text)| {
                Expression::parse(text)
                    .map_err(|message| format!("{}: {text:?}: {message}", at("jqPathExpressions", place)))
            });
            Ok(Rule {
                pointers: pointers.collect::<Result<_, _>>()?,
                expressions: expressions.collect::<Result<_, _>>()?,
                of: rule.clone(),
            })
        };
        rules.iter().enumerate().map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// What of a manifest in the sent form they ignore; nothing if no rule is for it.
    pub fn of(&self, key: &ObjectKey, body: &Value) -> Result<Option<Ignored>, String> {
        let mut paths = Vec::new();
        let mut managers = Vec::new();
        for rule in self.0.iter().filter(|rule| rule.is_for(key)) {
            paths.extend(rule.pointers.iter().filter_map(|tokens| resolve(tokens, body)));
            for (expression, text) in rule.expressions.iter().zip(&rule.of.jq_path_expressions) {
                let found = expression.paths(body);
                paths
                    .extend(found.map_err(|message| {
                        format!("spec.ignoreDifferences: jq path expression {text:?}: {message}")
                    })?);
            }
            managers.extend(rule.of.managed_fields_managers.iter().cloned());
        }
        if paths.is_empty() && managers.is_empty() {
            return Ok(None);
        }
        let paths = outermost(paths);
        managers.sort();
        managers.dedup();
        let id = Digest::of_bytes(format!("{paths:?}{managers:?}").as_bytes());
        Ok(Some(Ignored { rest: without(body, &paths), paths, managers, id }))
    }
}

impl Rule {
    fn is_for(&self, key: &ObjectKey) -> bool {
        let is = |wanted: &str, value: &str| wanted == "*" || wanted == value;
        is(&self.of.group, &key.kind.group)
            && is(&self.of.kind, &key.kind.kind)
            && self.of.name.as_deref().is_none_or(|name| name == &*key.name)
            && self.of.namespace.as_deref().is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
    }
}

impl Ignored {
    /// Tells one set of ignored fields from another.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// What of the manifest has to be carried by an object whose other managers have these fields (`FieldsV1` as JSON text).
    pub fn rest(&self, others: &[(String, Box<str>)]) -> Cow<'_, Value> {
        let mut owned = Vec::new();
        for (_, fields) in others.iter().filter(|(manager, _)| self.managers.contains(manager)) {
            if let Ok(fields) = serde_json::from_str(fields) {
                owned.extend(fields::owned(&self.rest, &fields));
            }
        }
        if owned.is_empty() { Cow::Borrowed(&self.rest) } else { Cow::Owned(without(&self.rest, &outermost(owned))) }
    }

    /// The body to apply onto a live object so that ignored fields keep their live value: what another manager owns is left out, what only
    /// we own is sent as it is, and what is not there is sent as the manifest has it. `manager` is our own.
    pub fn respected(&self, body: &Value, live: &Value, manager: &str) -> Value {
        let (ours, others) = fields::sides(live, manager);
        let paths = self.paths_in(body, &others);
        let others: Vec<&Value> = others.into_iter().map(|(_, fields)| fields).collect();
        let mut kept = body.clone();
        // From the end, so that what is taken out of a list moves nothing that is still to come.
        for path in paths.iter().rev() {
            keep(&mut kept, path, Some(live), ours, &others);
        }
        restore_marks(body, &mut kept);
        kept
    }

    /// The body to replace a live object with: ignored fields have their live value, whoever owns it, for what is left out would go.
    pub fn copied(&self, body: &Value, live: &Value, manager: &str) -> Value {
        let whole = Value::Object(Map::new());
        let mut kept = body.clone();
        for path in self.paths_in(body, &fields::sides(live, manager).1) {
            keep(&mut kept, &path, Some(live), Some(&whole), &[]);
        }
        restore_marks(body, &mut kept);
        kept
    }

    fn paths_in(&self, body: &Value, others: &[(&str, &Value)]) -> Vec<Path> {
        let mut paths = self.paths.clone();
        for (_, theirs) in others.iter().filter(|(name, _)| self.managers.iter().any(|manager| manager == name)) {
            paths.extend(fields::owned(body, theirs));
        }
        outermost(paths)
    }
}

/// Reads a JSON pointer (RFC 6901).
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err("it has to begin with '/', as in /spec/replicas".to_owned());
    };
    let token = |token: &str| {
        let mut parts = token.split('~');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (character, rest) = match part.split_at_checked(1) {
                Some(("0", rest)) => ('~', rest),
                Some(("1", rest)) => ('/', rest),
                _ => return Err("'~' has to be followed by 0 (for '~') or 1 (for '/')".to_owned()),
            };
            text.push(character);
            text.push_str(rest);
        }
        Ok(text)
    };
    rest.split('/').map(token).collect()
}

/// The way that a pointer means in this manifest; nothing where it leads to no field.
fn resolve(tokens: &[String], body: &Value) -> Option<Path> {
    let mut at = body;
    let mut path = Vec::with_capacity(tokens.len());
    for token in tokens {
        at = match at {
            Value::Object(map) => {
                path.push(Step::Name(token.clone()));
                map.get(token)?
            }
            Value::Array(items) => {
                // No leading zero, no sign.
                let index: usize = token.parse().ok().filter(|index: &usize| index.to_string() == *token)?;
                path.push(Step::Index(index));
                items.get(index)?
            }
            _ => return None,
        };
    }
    Some(path)
}

/// Sorted, without what is below another one.
fn outermost(mut paths: Vec<Path>) -> Vec<Path> {
    paths.sort();
    paths.dedup();
    let mut outer: Vec<Path> = Vec::new();
    for path in paths {
        if outer.last().is_none_or(|last| !path.starts_with(last)) {
            outer.push(path);
        }
    }
    outer
}

fn without(body: &Value, paths: &[Path]) -> Value {
    let mut rest = body.clone();
    for path in paths.iter().rev() {
        take_out(&mut rest, path);
    }
    rest
}

fn take_out(value: &mut Value, path: &[Step]) {
    match (path, value) {
        ([Step::Name(name)], Value::Object(map)) => {
            map.remove(name);
        }
        ([Step::Index(index)], Value::Array(items)) if *index < items.len() => {
            items.remove(*index);
        }
        ([Step::Name(name), rest @ ..], Value::Object(map)) => {
            if let Some(value) = map.get_mut(name) {
                take_out(value, rest);
            }
        }
        ([Step::Index(index), rest @ ..], Value::Array(items)) => {
            if let Some(value) = items.get_mut(*index) {
                take_out(value, rest);
            }
        }
        _ => {}
    }
}

/// An entry that stands for the whole of a list or map.
fn is_whole(fields: &Value) -> bool {
    fields.as_object().is_some_and(Map::is_empty)
}

/// Lets the field at `path` keep its live value; `value`, `live`, `ours` and `others` are those of the place where the path begins.
fn keep(value: &mut Value, path: &[Step], live: Option<&Value>, ours: Option<&Value>, others: &[&Value]) {
    let (Some((step, rest)), Some(live)) = (path.split_first(), live) else { return };
    if ours.is_some_and(is_whole) || others.iter().any(|fields| is_whole(fields)) {
        // Somebody owns the list or map as a whole: a part of it cannot be left out.
        if let (Some(live), Some(place)) = (look(live, path), look_mut(value, path)) {
            *place = live.clone();
        }
        return;
    }
    match (step, value) {
        (Step::Name(name), Value::Object(map)) => {
            let (ours, others) = (child(ours, name), children(others, name));
            if !rest.is_empty() {
                if let Some(value) = map.get_mut(name) {
                    keep(value, rest, live.get(name), ours, &others);
                }
            } else if let Some(kept) = kept(map.get(name), live.get(name), ours, &others) {
                map.insert(name.clone(), kept);
            } else {
                map.remove(name);
            }
        }
        (Step::Index(index), Value::Array(items)) => {
            let Some(item) = items.get_mut(*index) else { return };
            let found = Item::find(item, live, ours, others);
            if !rest.is_empty() {
                keep(item, rest, found.live, found.ours, &found.others);
                found.name(item);
            } else if let Some(kept) = found.kept(Some(item)) {
                *item = kept;
            } else {
                items.remove(*index);
            }
        }
        _ => {}
    }
}

/// What is sent for an ignored field; nothing: it is left out.
fn kept(value: Option<&Value>, live: Option<&Value>, ours: Option<&Value>, others: &[&Value]) -> Option<Value> {
    let Some(live) = live else { return value.cloned() };
    let whole = ours.is_some_and(is_whole) || others.iter().any(|fields| is_whole(fields));
    match live {
        Value::Object(map) if !whole => {
            let none = Map::new();
            let wanted = value.and_then(Value::as_object).unwrap_or(&none);
            let mut sent = Map::new();
            // What only the live object has is ours to keep only if it came from us.
            let names = wanted
                .keys()
                .chain(map.keys().filter(|name| !wanted.contains_key(*name) && child(ours, name).is_some()));
            for name in names {
                if let Some(kept) = kept(wanted.get(name), map.get(name), child(ours, name), &children(others, name)) {
                    sent.insert(name.clone(), kept);
                }
            }
            (!sent.is_empty()).then_some(Value::Object(sent))
        }
        Value::Array(_) if !whole && (ours.is_some() || !others.is_empty()) => {
            let wanted = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let mut sent: Vec<Value> =
                wanted.iter().filter_map(|item| Item::find(item, live, ours, others).kept(Some(item))).collect();
            for name in ours.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                let found = Item::named(name, live, ours, others);
                let is_wanted = wanted.iter().any(|item| fields::is_item(item, name));
                if !is_wanted && found.live.is_some() {
                    sent.extend(found.kept(None));
                }
            }
            (!sent.is_empty()).then_some(Value::Array(sent))
        }
        // Nobody's: a default, which stays when it is left out.
        _ => (ours.is_some() && others.is_empty()).then(|| live.clone()),
    }
}

/// An item of a list whose items are owned one by one.
struct Item<'a> {
    live: Option<&'a Value>,
    ours: Option<&'a Value>,
    others: Vec<&'a Value>,
    key: Option<Map<String, Value>>,
}

impl<'a> Item<'a> {
    /// The live item that is the same as one of the manifest: by the keys that an entry names, else by its name.
    fn find(item: &Value, live: &'a Value, ours: Option<&'a Value>, others: &[&'a Value]) -> Self {
        let entries = ours.into_iter().chain(others.iter().copied()).filter_map(Value::as_object);
        match entries.flat_map(Map::keys).find(|name| fields::is_item(item, name)) {
            Some(name) => Self::named(name, live, ours, others),
            None => {
                let same = |live: &&Value| match item.get("name") {
                    Some(name) => live.get("name") == Some(name),
                    None => *live == item,
                };
                let live = live.as_array().and_then(|items| items.iter().find(same));
                Self { live, ours: None, others: Vec::new(), key: None }
            }
        }
    }

    /// The item that an entry names `k:{...}` or `v:...`.
    fn named(name: &str, live: &'a Value, ours: Option<&'a Value>, others: &[&'a Value]) -> Self {
        let is_it = |item: &&Value| fields::is_item(item, name);
        Self {
            live: live.as_array().and_then(|items| items.iter().find(is_it)),
            ours: ours.and_then(|fields| fields.get(name)),
            others: others.iter().filter_map(|fields| fields.get(name)).collect(),
            key: item_key(name),
        }
    }

    fn kept(&self, value: Option<&Value>) -> Option<Value> {
        let Self { live, ours, others, key } = self;
        let mut kept = match (live, key) {
            // A value of a set is a whole, and so is an item that nobody has.
            (Some(_), None) if !others.is_empty() || ours.is_none() => return None,
            (Some(live), None) => return Some(Value::clone(live)),
            (Some(live), Some(_)) => kept(value, Some(live), *ours, others)?,
            (None, _) => return value.cloned(),
        };
        self.name(&mut kept);
        Some(kept)
    }

    /// Without its keys an item is none.
    fn name(&self, item: &mut Value) {
        if let (Some(map), Some(key)) = (item.as_object_mut(), &self.key) {
            map.extend(key.clone());
        }
    }
}

fn children<'a>(others: &[&'a Value], name: &str) -> Vec<&'a Value> {
    others.iter().filter_map(|fields| child(Some(fields), name)).collect()
}

fn look<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Index(index) => value.get(index),
    })
}

fn look_mut<'a>(value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Name(name) => value.get_mut(name),
        Step::Index(index) => value.get_mut(index),
    })
}

/// Identity and marks are nobody's to ignore.
fn restore_marks(body: &Value, kept: &mut Value) {
    let whole = [
        &["apiVersion"][..],
        &["kind"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "resourceVersion"],
    ];
    let labels = [keys::PART_OF, keys::BUCKET].map(|key| ["metadata", "labels", key]);
    let annotations = [keys::APPLIED, keys::OPERATION, keys::ATTEMPT, keys::PHASE, keys::TTL];
    let annotations = annotations.map(|key| ["metadata", "annotations", key]);
    let marks = labels.iter().chain(&annotations).map(|path| &path[..]);
    for path in whole.into_iter().chain(marks) {
        let Some(value) = path.iter().try_fold(body, |value, name| value.get(name)) else { continue };
        let mut at = &mut *kept;
        for name in path {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[*name];
        }
        *at = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(value: Value) -> Result<Rules, String> {
        Rules::parse(&serde_json::from_value::<Vec<IgnoreDifference>>(value).unwrap())
    }

    fn key() -> ObjectKey {
        ObjectKey::new("apps", "Deployment", Some("shop"), "web")
    }

    fn ignored(body: &Value, rule: &Value) -> Option<Ignored> {
        let mut whole = json!({"group": "apps", "kind": "Deployment"});
        whole.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        rules(json!([whole])).unwrap().of(&key(), body).unwrap()
    }

    fn body() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web", "applyset.kubernetes.io/part-of": "us"}},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "web", "image": "web:2", "args": ["a", "b"]},
                {"name": "proxy", "image": "proxy:2"}
            ]}}}
        })
    }

    /// The live object: one container more, in front; `scaler` has the replicas, `injector` the image of the proxy.
    fn live() -> Value {
        json!({
            "metadata": {"name": "web", "labels": {"app": "old"}, "managedFields": [
                {"manager": "us", "operation": "Apply", "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {"f:template": {"f:spec": {"f:containers": {
                        "k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {}},
                        "k:{\"name\":\"proxy\"}": {".": {}, "f:name": {}}
                    }}}}
                }},
                {"manager": "scaler", "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                {"manager": "injector", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
                    "k:{\"name\":\"side\"}": {".": {}, "f:name": {}, "f:image": {}},
                    "k:{\"name\":\"proxy\"}": {"f:image": {}}
                }}}}}}
            ]},
            "spec": {"replicas": 7, "paused": false, "template": {"spec": {"containers": [
                {"name": "side", "image": "side:1"},
                {"name": "web", "image": "web:1", "args": ["x", "y"]},
                {"name": "proxy", "image": "injected:1"}
            ]}}}
        })
    }

    fn respected(rule: &Value) -> Value {
        ignored(&body(), rule).unwrap().respected(&body(), &live(), "us")
    }

    fn pointers(pointers: &[&str]) -> Value {
        json!({"jsonPointers": pointers})
    }

    #[test]
    fn a_rule_that_cannot_be_understood_is_named_by_its_place() {
        let good = json!({"kind": "Service", "jsonPointers": ["/a~1b/m~0n/0"]});
        assert!(rules(json!([good])).is_ok());
        let message = rules(json!([good, {"kind": "Service", "jsonPointers": ["/a", "/a~2"]}])).unwrap_err();
        assert!(
            message.starts_with("spec.ignoreDifferences[1].jsonPointers[1]: \"/a~2\" is no JSON pointer"),
            "{message}"
        );
        assert!(rules(json!([{"kind": "Service", "jsonPointers": ["spec"]}])).unwrap_err().contains("begin with '/'"));
        let message = rules(json!([{"kind": "Service", "jqPathExpressions": ["..|.a"]}])).unwrap_err();
        assert!(message.starts_with("spec.ignoreDifferences[0].jqPathExpressions[0]: \"..|.a\": "), "{message}");
    }

    #[test]
    fn a_rule_is_for_the_objects_that_it_names() {
        let is_for = |rule: Value| {
            let mut whole = json!({"jsonPointers": ["/spec/replicas"]});
            whole.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
            rules(json!([whole])).unwrap().of(&key(), &body()).unwrap().is_some()
        };
        for rule in [
            json!({"group": "apps", "kind": "Deployment"}),
            json!({"group": "*", "kind": "*"}),
            json!({"group": "apps", "kind": "Deployment", "name": "web", "namespace": "shop"}),
        ] {
            assert!(is_for(rule.clone()), "{rule}");
        }
        for rule in [
            json!({"kind": "Deployment"}),
            json!({"group": "apps", "kind": "StatefulSet"}),
            json!({"group": "apps", "kind": "Deployment", "name": "other"}),
            json!({"group": "apps", "kind": "Deployment", "namespace": "other"}),
        ] {
            assert!(!is_for(rule.clone()), "{rule}");
        }
        assert!(
            ignored(&body(), &pointers(&["/status", "/spec/strategy"])).is_none(),
            "what is not there differs in nothing"
        );
    }

    #[test]
    fn what_has_to_be_carried_is_the_manifest_without_the_ignored_fields() {
        let ignored = ignored(&body(), &json!({
            "jsonPointers": ["/spec/replicas", "/metadata/labels", "/metadata/labels/app", "/spec/template/spec/containers/0/args/1"],
            "jqPathExpressions": [".spec.template.spec.containers[] | select(.name == \"proxy\")"]
        }))
        .unwrap();
        let mut expected = body();
        expected["spec"].as_object_mut().unwrap().remove("replicas");
        expected["metadata"].as_object_mut().unwrap().remove("labels");
        expected["spec"]["template"]["spec"]["containers"] = json!([{"name": "web", "image": "web:2", "args": ["a"]}]);
        assert_eq!(*ignored.rest(&[]), expected);
    }

    #[test]
    fn what_an_ignored_manager_owns_has_not_to_be_carried() {
        let ignored = ignored(&body(), &json!({"managedFieldsManagers": ["injector"]})).unwrap();
        assert_eq!(*ignored.rest(&[]), body());
        let fields = live().pointer("/metadata/managedFields/2/fieldsV1").unwrap().to_string().into_boxed_str();
        let others = [("injector".to_owned(), fields.clone()), ("other".to_owned(), fields)];
        let mut expected = body();
        expected["spec"]["template"]["spec"]["containers"][1].as_object_mut().unwrap().remove("image");
        assert_eq!(*ignored.rest(&others), expected);
        assert_eq!(*ignored.rest(&others[1..]), body());
        let sent = ignored.respected(&body(), &live(), "us");
        assert_eq!(sent, expected, "and it is left out of what is sent");
    }

    #[test]
    fn a_field_of_another_manager_is_left_out_and_one_of_ours_is_sent_as_it_is() {
        let sent = respected(&pointers(&["/spec/replicas", "/metadata/labels/app"]));
        let mut expected = body();
        expected["spec"].as_object_mut().unwrap().remove("replicas");
        expected["metadata"]["labels"]["app"] = json!("old");
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_place_in_a_list_means_the_item_of_the_manifest_wherever_it_is_in_the_cluster() {
        let containers =
            |rule: &[&str]| respected(&pointers(rule)).pointer("/spec/template/spec/containers").unwrap().clone();
        let (web, proxy) = ("/spec/template/spec/containers/0", "/spec/template/spec/containers/1");
        assert_eq!(
            containers(&[&format!("{web}/image"), &format!("{proxy}/image")]),
            json!([{"name": "web", "image": "web:1", "args": ["a", "b"]}, {"name": "proxy"}])
        );
        // A list that is owned as a whole is not sent in parts.
        assert_eq!(containers(&[&format!("{web}/args/1")])[0]["args"], json!(["a", "y"]));
        assert_eq!(
            containers(&[web, proxy]),
            json!([{"name": "web", "image": "web:1", "args": ["x", "y"]}, {"name": "proxy"}])
        );
        assert_eq!(
            containers(&["/spec/template/spec/containers"]),
            json!([{"name": "web", "image": "web:1", "args": ["x", "y"]}, {"name": "proxy"}])
        );
    }

    #[test]
    fn what_is_not_in_the_cluster_is_sent_as_the_manifest_has_it_and_a_default_stays() {
        let mut body = body();
        body["spec"]["minReadySeconds"] = json!(5);
        body["spec"]["paused"] = json!(true);
        let ignored = ignored(&body, &pointers(&["/spec/minReadySeconds", "/spec/paused"])).unwrap();
        let sent = ignored.respected(&body, &live(), "us");
        assert_eq!(sent["spec"]["minReadySeconds"], json!(5));
        assert_eq!(sent["spec"].get("paused"), None, "nobody owns it: the server keeps it");
    }

    #[test]
    fn the_marks_and_the_identity_are_sent_whatever_is_ignored() {
        let sent = respected(&pointers(&["/metadata", "/kind", "/apiVersion"]));
        assert_eq!(
            sent["metadata"],
            json!({"name": "web", "labels": {"app": "old", "applyset.kubernetes.io/part-of": "us"}})
        );
        assert_eq!((&sent["kind"], &sent["apiVersion"]), (&json!("Deployment"), &json!("apps/v1")));
    }
}
