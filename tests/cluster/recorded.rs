//! The health cases of `tests/it/health` are what an API server returns: each object is made on a real one, brought to its state, and the
//! server's last answer is the case. `SWELL_UPDATE_GOLDEN=1 cargo test --test cluster recorded` writes the files anew; look at their
//! difference before you commit it.
//!
//! The server is one without controllers, which would write to these objects what is true instead of what the case is about.

#[path = "../cases.rs"]
mod cases;
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use testbed::{Options, Testbed};

use cases::{Case, Source, cases, mismatches};
use server::{Resource, Server};

/// The version that the files show. With another one only the verdicts are compared: defaults and new fields differ.
const VERSION: &str = "1.37";

/// How many cases are made at a time.
const AT_A_TIME: usize = 8;

/// What the server made of a case: its last answer, or why there is none.
type Answer = Result<Value, String>;

#[test]
fn cases_are_what_the_api_server_returns_and_have_their_verdict_on_that() {
    let update = std::env::var_os("SWELL_UPDATE_GOLDEN").is_some();
    let cases = cases();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (version, answers) = runtime.block_on(answers(&cases));
    let known = version == VERSION;
    assert!(known || !update, "this server is {version}: set VERSION to it, then write the files anew");

    let (mut wrong, mut recorded, mut derived) = (Vec::new(), 0, Vec::new());
    for (case, answer) in cases.iter().zip(answers) {
        let name = &case.name;
        let answer = answer.and_then(|answer| match lost(&case.object["status"], &answer["status"], "status") {
            Some(lost) => Err(lost),
            None => Ok(answer),
        });
        // Judging starts a runtime of its own for the sandbox, so it cannot be done inside of one.
        let verdict = answer.as_ref().map(|answer| mismatches(case, answer)).unwrap_or_default();
        match (&case.head.expect.source, answer) {
            (Source::Recorded, Err(refused)) if known => wrong.push(format!("{name}: cannot be recorded: {refused}")),
            (Source::Recorded, Err(refused)) => println!("{name}: {version} does not return it: {refused}"),
            (Source::Recorded, Ok(_)) if !verdict.is_empty() => wrong.extend(verdict),
            (Source::Recorded, Ok(answer)) => {
                recorded += 1;
                if answer != case.object && update {
                    write(case, &answer);
                } else if answer != case.object && known {
                    wrong.push(format!("{name}: {}", difference(&case.object, &answer)));
                }
            }
            (Source::Derived, Err(refused)) => derived.push(unrecorded(case, &refused)),
            (Source::Derived, Ok(_)) if !verdict.is_empty() => derived.push(unrecorded(case, &verdict.join("; "))),
            (Source::Derived, Ok(answer)) if update => {
                recorded += 1;
                write(case, &answer);
            }
            (Source::Derived, Ok(_)) if known => wrong.push(format!("{name}: is derived, and the server returns it")),
            (Source::Derived, Ok(_)) => println!("{name}: {version} returns it"),
        }
    }
    println!("{version}: {recorded} recorded, {} derived:\n{}", derived.len(), derived.join("\n"));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// A derived case as the report names it: what the file says, and what the server did.
fn unrecorded(case: &Case, found: &str) -> String {
    format!("{}: {} ({found})", case.name, case.head.expect.because.as_deref().unwrap_or_default())
}

/// The server's version and what it made of each case.
async fn answers(cases: &[Case]) -> (String, Vec<Answer>) {
    let bed = Testbed::start(Options { bare: true, ..Options::default() }).await.expect("a bare control plane starts");
    let server = Server::new(bed.connection().client().await.unwrap());
    let version = server.version().await;
    let mut kinds: BTreeMap<(String, String), Option<Resource>> = BTreeMap::new();
    for Case { object, .. } in cases {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        kinds.insert((text("apiVersion"), text("kind")), None);
    }
    for ((api_version, kind), resource) in &mut kinds {
        *resource = server.resource(api_version, kind).await;
    }
    let answers = cases.iter().enumerate().map(|(number, case)| {
        let text = |field: &str| case.object[field].as_str().unwrap_or_default().to_owned();
        let resource = kinds[&(text("apiVersion"), text("kind"))].clone();
        let server = &server;
        async move {
            let Some(resource) = resource else { return Err("its kind is not served".to_owned()) };
            record(server, &resource, &case.object, &format!("case-{number}")).await
        }
    });
    (version, futures::stream::iter(answers).buffered(AT_A_TIME).collect().await)
}

/// Makes the object at a place of its own, which `token` names, and brings it to its state: the server's last answer as the file has it.
async fn record(server: &Server, resource: &Resource, wanted: &Value, token: &str) -> Answer {
    let since = Timestamp::now();
    let place = Place::of(resource, wanted, token);
    place.prepare(server).await;
    let wanted = &place.moved(wanted);
    let kind = wanted["kind"].as_str().unwrap_or_default();
    let deleted = wanted["metadata"]["deletionTimestamp"].is_string();

    // A delete is a change of generation too.
    let generation = wanted["metadata"]["generation"].as_i64().unwrap_or(1);
    let changes = generation - i64::from(deleted && generation > 1) - 1;
    let mut created = to_create(wanted);
    if changes > 0 {
        created["spec"][touchable(kind)] = touched(kind, &wanted["spec"], changes);
    }
    let path = format!("{}/{}", place.collection, place.name);
    let mut answer = server.send("POST", &format!("{}?fieldValidation=Strict", place.collection), &created).await?;
    for left in (0..changes).rev() {
        let value =
            if left == 0 { wanted["spec"][touchable(kind)].clone() } else { touched(kind, &wanted["spec"], left) };
        answer = server.send("PATCH", &path, &json!({"spec": {touchable(kind): value}})).await?;
    }
    if resource.has_status && wanted.get("status").is_some() {
        answer = server.put_status(&path, answer, wanted).await?;
    }
    if deleted {
        let foreground = finalizers(wanted).any(|finalizer| finalizer == "foregroundDeletion");
        let options = if foreground { json!({"propagationPolicy": "Foreground"}) } else { json!({}) };
        answer = server.send("DELETE", &path, &options).await?;
    }
    Ok(place.stable(answer, wanted, since))
}

/// Where a case is made, so that no two are in each other's way.
struct Place {
    collection: String,
    name: String,
    namespace: Option<String>,
    /// What is of this place alone, and what the file has instead.
    moves: Vec<(String, String)>,
}

impl Place {
    fn of(resource: &Resource, wanted: &Value, token: &str) -> Self {
        let text = |pointer: &str| wanted.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text("/metadata/name");
        if resource.namespaced {
            let collection = format!("{}/namespaces/{token}/{}", resource.base, resource.plural);
            let moves = vec![(token.to_owned(), text("/metadata/namespace"))];
            return Self { collection, name, namespace: Some(token.to_owned()), moves };
        }
        let collection = format!("{}/{}", resource.base, resource.plural);
        // Names of definitions and API services are made of their group.
        let group = text("/spec/group");
        let (name, moves) = if group.is_empty() {
            (token.to_owned(), vec![(token.to_owned(), name)])
        } else {
            (name.replace(&group, &format!("{token}.{group}")), vec![(format!("{token}.{group}"), group)])
        };
        Self { collection, name, namespace: None, moves }
    }

    /// What has to be there before the object. No controller makes the service account that pods run as.
    async fn prepare(&self, server: &Server) {
        let Some(namespace) = &self.namespace else { return };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        server.send("POST", "/api/v1/namespaces", &object).await.unwrap();
        if self.collection.ends_with("/pods") {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            server.send("POST", &path, &account).await.unwrap();
        }
    }

    /// The object as it is made here.
    fn moved(&self, wanted: &Value) -> Value {
        let mut object = wanted.clone();
        object["metadata"]["name"] = self.name.clone().into();
        match &self.namespace {
            Some(namespace) => object["metadata"]["namespace"] = namespace.clone().into(),
            None if object["spec"]["group"].is_string() => object["spec"]["group"] = self.moves[0].0.clone().into(),
            None => {}
        }
        object
    }

    /// The answer with what is of this run alone as the file has it; everything else is as the server returned it.
    fn stable(&self, mut answer: Value, wanted: &Value, since: Timestamp) -> Value {
        let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let end =
            if wanted["metadata"]["deletionTimestamp"].is_string() { "deletionTimestamp" } else { "creationTimestamp" };
        let then = text(wanted, end);
        let mut moves = self.moves.clone();
        // A Job's pods are selected by its uid.
        moves.push((text(&answer, "uid"), text(wanted, "uid")));
        if let Some(fields) = answer["metadata"].as_object_mut() {
            fields.remove("managedFields");
            for field in ["resourceVersion", "creationTimestamp", "deletionTimestamp"] {
                if fields.contains_key(field) {
                    fields.insert(field.to_owned(), wanted["metadata"][field].clone());
                }
            }
        }
        let is_of_this_run = |text: &str| {
            // Times in objects are whole seconds.
            text.parse::<Timestamp>().is_ok_and(|time| time.as_second() >= since.as_second())
        };
        replace(&mut answer, &|text| {
            if is_of_this_run(text) {
                return then.clone();
            }
            moves.iter().fold(text.to_owned(), |text, (here, there)| text.replace(here, there))
        });
        answer
    }
}

/// The object as somebody would create it: what only the server writes is left out.
fn to_create(wanted: &Value) -> Value {
    let mut object = wanted.clone();
    let mut kept: Vec<Value> = finalizers(wanted).map(Value::from).collect();
    // That is how a delete in the foreground shows.
    kept.retain(|finalizer| finalizer != "foregroundDeletion");
    object.as_object_mut().unwrap().remove("status");
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in
        ["uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        metadata.remove(field);
    }
    metadata.insert("finalizers".to_owned(), kept.into());
    if wanted["kind"] == "Job" && wanted["spec"]["manualSelector"] != true {
        let is_generated = |label: &String| label.ends_with("controller-uid") || label.ends_with("job-name");
        object["spec"].as_object_mut().unwrap().remove("selector");
        if let Some(Value::Object(labels)) = object.pointer_mut("/spec/template/metadata/labels") {
            labels.retain(|label, _| !is_generated(label));
        }
    }
    object
}

fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// A field of the spec that may be changed in a living object of the kind.
fn touchable(kind: &str) -> &'static str {
    match kind {
        "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet" => "minReadySeconds",
        "Job" => "ttlSecondsAfterFinished",
        "HorizontalPodAutoscaler" => "maxReplicas",
        "PodDisruptionBudget" => "unhealthyPodEvictionPolicy",
        _ => "touched",
    }
}

/// A value for that field which is neither the case's nor that of the change before or after.
fn touched(kind: &str, spec: &Value, change: i64) -> Value {
    match kind {
        "PodDisruptionBudget" if change % 2 == 1 => "AlwaysAllow".into(),
        "PodDisruptionBudget" => "IfHealthyBudget".into(),
        _ => (spec[touchable(kind)].as_i64().unwrap_or(0) + change).into(),
    }
}

/// Puts another text for every text of the value; keys stay.
fn replace(value: &mut Value, by: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = by(text),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, by)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, by)),
        _ => {}
    }
}

/// What of the state that was asked for the server left out, or holds otherwise. That it adds something, and writes no empty
/// fields, is how it returns what it was given.
fn lost(asked: &Value, answered: &Value, at: &str) -> Option<String> {
    match (asked, answered) {
        (Value::Object(asked), Value::Object(_) | Value::Null) => {
            asked.iter().find_map(|(key, value)| lost(value, &answered[key], &format!("{at}.{key}")))
        }
        (Value::Array(asked), Value::Array(answered)) if asked.len() <= answered.len() => {
            asked.iter().zip(answered).find_map(|(asked, answered)| lost(asked, answered, &format!("{at}[]")))
        }
        (Value::Null, _) => None,
        (asked, answered) if asked == answered => None,
        (asked, Value::Null) if is_empty(asked) => None,
        (asked, answered) => Some(format!("{at} was to be {asked}, the server holds {answered}")),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Where two objects differ, in words.
fn difference(file: &Value, server: &Value) -> String {
    fn walk(file: &Value, server: &Value, at: &str, found: &mut Vec<String>) {
        let none = Map::new();
        if let (Value::Object(_) | Value::Null, Value::Object(_)) | (Value::Object(_), Value::Null) = (file, server) {
            let (file, server) = (file.as_object().unwrap_or(&none), server.as_object().unwrap_or(&none));
            let keys: std::collections::BTreeSet<_> = file.keys().chain(server.keys()).collect();
            for key in keys {
                let (file, server) = (file.get(key).unwrap_or(&Value::Null), server.get(key).unwrap_or(&Value::Null));
                walk(file, server, &format!("{at}.{key}"), found);
            }
        } else if file != server {
            found.push(format!("{at} is {file} in the file, the server returns {server}"));
        }
    }
    let mut found = Vec::new();
    walk(file, server, "", &mut found);
    found.join("; ")
}

/// Writes the file anew: its head says `recorded`, comments and all else of it stay.
fn write(case: &Case, object: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/health").join(&case.name);
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once("\n---\n").unwrap();
    let head: Vec<_> = head.lines().filter(|line| !line.starts_with("  because:")).collect();
    let head = head.join("\n").replace("\n  source: derived", "\n  source: recorded");
    let object = serde_saphyr::to_string(object).unwrap();
    std::fs::write(&path, format!("{head}\n---\n{object}")).unwrap();
}
