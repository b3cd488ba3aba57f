//! A small cluster in memory, for the engine without I/O: objects with uid, resourceVersion, generation and managedFields, the
//! controllers that work on them, and a history of every change. `world::driver` runs an operator against it.

pub(crate) mod actors;
pub(crate) mod driver;
pub(crate) mod faults;
pub(crate) mod items;
pub(crate) mod managed;
pub(crate) mod operator;
pub(crate) mod oracles;
pub(crate) mod requests;
pub(crate) mod scenarios;
pub(crate) mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use swell::api::ApplicationStatus;
use swell::engine::action::FaultKind;
use swell::engine::health::Facts;
use swell::engine::live::Live;
use swell::engine::membership::{HookRun, hook_run};
use swell::engine::object::{ObjectKey, Owner};

use actors::Act;
use items::{Behaviour, Item};
use managed::Path;

/// The namespace of everything.
pub(crate) const NAMESPACE: &str = "shop";

/// The Application of the tests.
pub(crate) fn owner() -> Owner {
    Owner::new(NAMESPACE, "web")
}

/// Another Application, which has objects of its own.
pub(crate) fn other_owner() -> Owner {
    Owner::new(NAMESPACE, "neighbour")
}

/// Milliseconds as a duration.
pub(crate) fn ms(milliseconds: i64) -> SignedDuration {
    SignedDuration::from_millis(milliseconds)
}

/// Who changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// The operator, in its n-th life.
    Operator(u32),
    /// A controller of the cluster.
    Controller,
    /// Somebody else.
    Person,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Create,
    Update,
    Delete,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) user: User,
    pub(crate) verb: Verb,
    pub(crate) key: ObjectKey,
    /// The object after the change; for a delete, before it.
    pub(crate) object: Arc<Value>,
    /// The value of the membership label before and after the change.
    pub(crate) label: (Option<String>, Option<String>),
}

/// What is true of one object, whatever its status says; kept after it is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) key: Option<ObjectKey>,
    /// The generations at which it was healthy.
    pub(crate) healthy: BTreeSet<i64>,
    /// Whether it ended well, once it has ended.
    pub(crate) ended: Option<bool>,
    /// Every `swell.dev/applied` that it has carried, with the generation at which it last came.
    pub(crate) applied: BTreeMap<String, i64>,
    carries: Option<String>,
    /// Every run that it has carried.
    pub(crate) runs: BTreeSet<HookRun>,
    /// Whether a pod of it runs.
    pub(crate) active: bool,
    pub(crate) gone: bool,
}

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The object without `managedFields`.
    pub(crate) body: Value,
    owners: BTreeMap<(String, &'static str), (BTreeSet<Path>, Timestamp)>,
}

impl Stored {
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    pub(crate) fn generation(&self) -> i64 {
        self.body.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
    }

    pub(crate) fn label(&self) -> Option<&str> {
        self.body["metadata"]["labels"]["applyset.kubernetes.io/part-of"].as_str()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.body["metadata"]["deletionTimestamp"].is_string()
    }

    /// The object as the API returns it.
    pub(crate) fn full(&self) -> Value {
        let mut object = self.body.clone();
        let entry = |((manager, operation), (paths, at)): (&(String, &'static str), &(BTreeSet<Path>, Timestamp))| {
            json!({
                "manager": manager, "operation": operation, "time": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "fieldsType": "FieldsV1", "fieldsV1": managed::fields_v1(paths)
            })
        };
        object["metadata"]["managedFields"] = Value::Array(self.owners.iter().map(entry).collect());
        object
    }
}

/// The cluster.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) objects: BTreeMap<ObjectKey, Stored>,
    pub(crate) truth: BTreeMap<String, Truth>,
    pub(crate) history: Vec<Change>,
    /// The Application's status, as it is durable.
    pub(crate) status: Option<ApplicationStatus>,
    /// Applies of these names are refused for good; the flag says whether the rehearsal says so too.
    pub(crate) refused: BTreeMap<String, (FaultKind, bool)>,
    /// How often writes were asked for, those that changed nothing and those that were refused included.
    pub(crate) asked: usize,
    version: u64,
    uids: u64,
    behaviours: BTreeMap<String, Behaviour>,
    births: BTreeMap<String, u32>,
    agenda: BTreeMap<(Timestamp, u64), Act>,
    scheduled: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: Timestamp::from_second(1_800_000_000).expect("a time of this century"),
            objects: BTreeMap::new(),
            truth: BTreeMap::new(),
            history: Vec::new(),
            status: None,
            refused: BTreeMap::new(),
            asked: 0,
            version: 100,
            uids: 0,
            behaviours: BTreeMap::new(),
            births: BTreeMap::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// Makes the cluster treat objects as the manifests say; later ones replace earlier ones of the name.
    pub(crate) fn learn(&mut self, items: &[Item]) {
        self.behaviours.extend(items.iter().map(|item| (item.name.clone(), item.behaviour)));
    }

    /// The behaviour of an object: that of its name, or of the longest name that its own begins with.
    pub(crate) fn behaviour(&self, name: &str) -> Behaviour {
        let longest =
            self.behaviours.iter().filter(|(prefix, _)| name.starts_with(&***prefix)).max_by_key(|(p, _)| p.len());
        longest.map(|(_, behaviour)| *behaviour).unwrap_or_default()
    }

    /// The object reduced as the operator of `owner` sees it.
    pub(crate) fn live(&self, key: &ObjectKey, owner: &Owner) -> Option<Arc<Live>> {
        let stored = self.objects.get(key)?;
        Live::reduce(&stored.full(), key, owner, &Facts::default()).map(Arc::new)
    }

    /// When the next controller acts.
    pub(crate) fn next_act(&self) -> Option<Timestamp> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    fn schedule(&mut self, after: i64, act: Act) {
        self.scheduled += 1;
        self.agenda.insert((self.now + ms(after), self.scheduled), act);
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Puts a new object in.
    pub(crate) fn insert(
        &mut self,
        key: &ObjectKey,
        mut body: Value,
        manager: &str,
        operation: &'static str,
        user: User,
    ) {
        self.uids += 1;
        let uid = format!("uid-{}", self.uids);
        let paths = managed::leaves(&body).into_keys().collect();
        body["metadata"]["uid"] = json!(uid);
        body["metadata"]["creationTimestamp"] = json!(self.now.to_string());
        if has_generation(&body) {
            body["metadata"]["generation"] = json!(1);
        }
        let owners = BTreeMap::from([((manager.to_owned(), operation), (paths, self.now))]);
        *self.births.entry(self.born_as(&key.name)).or_default() += 1;
        self.objects.insert(key.clone(), Stored { body, owners });
        self.note(key, Verb::Create, user, None);
        self.react(key);
    }

    /// Changes an object; gives whether anything has changed. Its generation moves with its spec.
    fn update(&mut self, key: &ObjectKey, user: User, change: impl FnOnce(&mut Stored)) -> bool {
        let Some(stored) = self.objects.get_mut(key) else { return false };
        let before = stored.clone();
        change(stored);
        if stored.body == before.body && stored.owners.keys().eq(before.owners.keys()) && same_paths(stored, &before) {
            *stored = before;
            return false;
        }
        let moved = stored.body["spec"] != before.body["spec"];
        if moved && has_generation(&stored.body) {
            let generation = before.generation() + 1;
            stored.body["metadata"]["generation"] = json!(generation);
        }
        let label = before.label().map(str::to_owned);
        self.note(key, Verb::Update, user, label);
        if moved {
            self.react(key);
        }
        true
    }

    /// Takes an object out at once.
    fn remove(&mut self, key: &ObjectKey, user: User) {
        let version = self.next_version();
        let Some(mut stored) = self.objects.remove(key) else { return };
        stored.body["metadata"]["resourceVersion"] = json!(version.to_string());
        let truth = self.truth.entry(stored.uid().to_owned()).or_default();
        (truth.gone, truth.active) = (true, false);
        let label = stored.label().map(str::to_owned);
        self.history.push(Change {
            version,
            user,
            verb: Verb::Delete,
            key: key.clone(),
            object: Arc::new(stored.full()),
            label: (label.clone(), label),
        });
    }

    fn note(&mut self, key: &ObjectKey, verb: Verb, user: User, before: Option<String>) {
        let version = self.next_version();
        let Some(stored) = self.objects.get_mut(key) else { return };
        stored.body["metadata"]["resourceVersion"] = json!(version.to_string());
        let uid = stored.uid().to_owned();
        let object = stored.full();
        let truth = self.truth.entry(uid).or_default();
        truth.key = Some(key.clone());
        let applied = object["metadata"]["annotations"]["swell.dev/applied"].as_str().map(str::to_owned);
        if applied != truth.carries {
            truth.applied.extend(
                applied.clone().map(|applied| (applied, object["metadata"]["generation"].as_i64().unwrap_or(0))),
            );
            truth.carries = applied;
        }
        truth.runs.extend(hook_run(&object));
        let after = stored.label().map(str::to_owned);
        self.history.push(Change {
            version,
            user,
            verb,
            key: key.clone(),
            object: Arc::new(object),
            label: (before, after),
        });
    }

    fn born_as(&self, name: &str) -> String {
        let longest = self.behaviours.keys().filter(|prefix| name.starts_with(&***prefix)).max_by_key(|p| p.len());
        longest.cloned().unwrap_or_else(|| name.to_owned())
    }
}

fn has_generation(body: &Value) -> bool {
    body["spec"].is_object()
}

fn same_paths(a: &Stored, b: &Stored) -> bool {
    a.owners.values().map(|(paths, _)| paths).eq(b.owners.values().map(|(paths, _)| paths))
}
