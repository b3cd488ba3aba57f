//! The live view: for each Application its members, reduced, and which of them changed since it last looked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde_json::Value;
use tokio::sync::Notify;

use crate::api::annotations as keys;
use crate::engine::health::Facts;
use crate::engine::live::{Live, Members};
use crate::engine::object::{GroupKind, ObjectKey, Owner};

/// What one Application sees.
pub struct AppView {
    /// The Application.
    pub owner: Owner,
    /// Rung when something changed.
    pub bell: Notify,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    members: Members,
    changed: BTreeSet<ObjectKey>,
}

impl AppView {
    fn new(owner: Owner) -> Self {
        Self { owner, bell: Notify::new(), inner: Mutex::new(Inner::default()) }
    }

    /// Lends the members and what changed since the last call, and forgets the changes.
    pub fn look<T>(&self, look: impl FnOnce(&Members, &BTreeSet<ObjectKey>) -> T) -> T {
        let mut inner = self.inner();
        let changed = std::mem::take(&mut inner.changed);
        look(&inner.members, &changed)
    }

    /// Lends the members; changes stay noted.
    pub fn peek<T>(&self, look: impl FnOnce(&Members) -> T) -> T {
        look(&self.inner().members)
    }

    /// Takes in an object as it is now, unless something newer of it is known.
    pub fn put(&self, key: &ObjectKey, live: Arc<Live>) {
        let mut inner = self.inner();
        if inner.members.get(key).is_some_and(|known| known.version >= live.version) {
            return;
        }
        inner.members.insert(key.clone(), live);
        inner.changed.insert(key.clone());
        drop(inner);
        self.bell.notify_one();
    }

    /// Takes out an object that was seen gone at `version`; one that is newer stays.
    pub fn remove(&self, key: &ObjectKey, version: u64) {
        let mut inner = self.inner();
        if inner.members.get(key).is_none_or(|known| known.version > version) {
            return;
        }
        inner.members.remove(key);
        inner.changed.insert(key.clone());
        drop(inner);
        self.bell.notify_one();
    }

    /// Takes out every object of a kind that a list at `version` did not show.
    fn retain(&self, kind: &GroupKind, namespace: Option<&str>, version: u64, listed: &BTreeSet<ObjectKey>) {
        let mut inner = self.inner();
        let gone: Vec<_> = inner
            .members
            .iter()
            .filter(|(key, live)| {
                key.kind == *kind
                    && namespace.is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
                    && live.version <= version
                    && !listed.contains(*key)
            })
            .map(|(key, _)| key.clone())
            .collect();
        if gone.is_empty() {
            return;
        }
        for key in gone {
            inner.members.remove(&key);
            inner.changed.insert(key);
        }
        drop(inner);
        self.bell.notify_one();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The view of all Applications.
#[derive(Default)]
pub struct View {
    apps: RwLock<BTreeMap<String, Arc<AppView>>>,
    /// Objects with our marks whose Application is not known (yet): they are kept whole until it is.
    unclaimed: Mutex<BTreeMap<String, BTreeMap<ObjectKey, Value>>>,
    facts: RwLock<Arc<Facts>>,
}

impl View {
    /// The view of an Application, made when it is asked for first.
    pub fn register(&self, owner: &Owner) -> Arc<AppView> {
        let id = owner.membership_id();
        let app = self
            .apps
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id.clone())
            .or_insert_with(|| Arc::new(AppView::new(owner.clone())))
            .clone();
        let found = self.unclaimed().remove(&id).unwrap_or_default();
        for (key, object) in found {
            if let Some(live) = Live::reduce(&object, &key, owner, &self.facts()) {
                app.put(&key, Arc::new(live));
            }
        }
        app
    }

    /// Forgets an Application that is gone.
    pub fn forget(&self, owner: &Owner) {
        self.apps.write().unwrap_or_else(PoisonError::into_inner).remove(&owner.membership_id());
    }

    /// The Application behind a membership id.
    pub fn name_of(&self, id: &str) -> Option<String> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).get(id).map(|app| app.owner.to_string())
    }

    /// What the health rules need to know of the cluster.
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what the health rules need to know of the cluster.
    pub fn set_facts(&self, facts: Facts) {
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(facts);
    }

    /// Takes in an object that a watch shows.
    pub fn seen(&self, key: &ObjectKey, object: Value) {
        let Some(id) = membership(&object) else { return };
        let app = self.apps.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        match app {
            Some(app) => {
                if let Some(live) = Live::reduce(&object, key, &app.owner, &self.facts()) {
                    app.put(key, Arc::new(live));
                }
            }
            // Objects of other tools carry the label too; only what has our own mark can be ours.
            None if object.pointer("/metadata/annotations").and_then(|a| a.get(keys::APPLIED)).is_some() => {
                self.unclaimed().entry(id).or_default().insert(key.clone(), object);
            }
            None => {}
        }
    }

    /// Takes out an object that a watch shows as gone.
    pub fn gone(&self, key: &ObjectKey, object: &Value) {
        let Some(id) = membership(object) else { return };
        let version = version(object).unwrap_or(u64::MAX);
        if let Some(app) = self.apps.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            app.remove(key, version);
        }
        if let Some(objects) = self.unclaimed().get_mut(&id) {
            objects.remove(key);
        }
    }

    /// Compares with a fresh list of a kind: what it does not show is gone, and wakes its Application too.
    pub fn listed(&self, kind: &GroupKind, namespace: Option<&str>, version: u64, keys: &BTreeSet<ObjectKey>) {
        let apps: Vec<_> = self.apps.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for app in apps {
            app.retain(kind, namespace, version, keys);
        }
        for objects in self.unclaimed().values_mut() {
            objects.retain(|key, _| key.kind != *kind || keys.contains(key) || namespace != key.namespace.as_deref());
        }
    }

    fn unclaimed(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<ObjectKey, Value>>> {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn membership(object: &Value) -> Option<String> {
    object.pointer("/metadata/labels")?.get(keys::PART_OF)?.as_str().map(str::to_owned)
}

/// The resourceVersion of an object, as the number that it is.
pub fn version(object: &Value) -> Option<u64> {
    object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}
