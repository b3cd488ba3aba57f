//! The live view: for each Application its members, reduced, and which of them changed since it last looked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

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
    /// Whether its Application is gone, so that only what it left behind is followed.
    left_behind: AtomicBool,
    inner: Mutex<Inner>,
}

/// More than there are answers on their way.
const MOST_GONE: usize = 256;

#[derive(Default)]
struct Inner {
    members: Members,
    changed: BTreeSet<ObjectKey>,
    /// What went last, and at which version: an answer that is overtaken by the news of the end must not bring the object back.
    gone: VecDeque<(ObjectKey, u64)>,
}

impl Inner {
    fn take_out(&mut self, key: ObjectKey, version: u64) {
        self.members.remove(&key);
        self.gone.push_back((key.clone(), version));
        if self.gone.len() > MOST_GONE {
            self.gone.pop_front();
        }
        self.changed.insert(key);
    }

    fn is_known(&self, key: &ObjectKey, live: &Live) -> bool {
        match self.members.get(key) {
            // The same version is judged differently when the facts have changed.
            Some(known) => {
                known.version > live.version || (known.version == live.version && known.verdict == live.verdict)
            }
            None => self.gone.iter().any(|(gone, version)| gone == key && live.version <= *version),
        }
    }
}

impl AppView {
    fn new(owner: Owner, members: Members) -> Self {
        let changed = members.keys().cloned().collect();
        let inner = Mutex::new(Inner { members, changed, gone: VecDeque::new() });
        Self { owner, bell: Notify::new(), left_behind: AtomicBool::new(false), inner }
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

    /// Takes in an object as it is now, unless it is known as it is, or newer. True: it was not known before.
    fn put(&self, key: &ObjectKey, live: Arc<Live>) -> bool {
        let mut inner = self.inner();
        if inner.is_known(key, &live) {
            return false;
        }
        let is_new = inner.members.insert(key.clone(), live).is_none();
        inner.changed.insert(key.clone());
        drop(inner);
        self.bell.notify_one();
        is_new
    }

    /// Takes out an object that was seen gone at `version`; one that is newer stays.
    pub fn remove(&self, key: &ObjectKey, version: u64) {
        let mut inner = self.inner();
        if inner.members.get(key).is_none_or(|known| known.version > version) {
            return;
        }
        inner.take_out(key.clone(), version);
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
            inner.take_out(key, version);
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
    /// Taken before the lock of any one view, never while that is held.
    apps: RwLock<BTreeMap<String, Arc<AppView>>>,
    /// The Applications that there are, by membership id. With a lock of its own: the engine asks while it looks at a view.
    names: RwLock<BTreeMap<String, String>>,
    /// Objects with our marks whose Application is not known (yet): they are kept whole until it is.
    unclaimed: Mutex<BTreeMap<String, BTreeMap<ObjectKey, Value>>>,
    facts: RwLock<Arc<Facts>>,
}

impl View {
    /// A fresh view for an Application, with what an earlier one of its name left behind.
    pub fn register(&self, owner: &Owner) -> Arc<AppView> {
        let id = owner.membership_id();
        // Held to the end: whatever a watch shows meanwhile comes after this, and finds the new view.
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let members = apps.get(&id).map(|earlier| earlier.peek(Members::clone)).unwrap_or_default();
        let app = Arc::new(AppView::new(owner.clone(), members));
        apps.insert(id.clone(), app.clone());
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), owner.to_string());
        for (key, object) in self.unclaimed().remove(&id).unwrap_or_default() {
            if let Some(live) = Live::reduce(&object, &key, owner, &self.facts()) {
                app.put(&key, Arc::new(live));
            }
        }
        app
    }

    /// The Application of a view is gone. What it left behind is followed until it is gone too, or until another Application of that
    /// name finds it; a view that another one has taken the place of is forgotten already.
    pub fn forget(&self, app: &Arc<AppView>) {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let id = app.owner.membership_id();
        if apps.get(&id).is_some_and(|registered| Arc::ptr_eq(registered, app)) {
            app.left_behind.store(true, Ordering::Release);
            self.names.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
            if app.peek(Members::is_empty) {
                apps.remove(&id);
            }
        }
    }

    /// The Application behind a membership id.
    pub fn name_of(&self, id: &str) -> Option<String> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Another Application than `owner` that has objects in that namespace. Not to be asked while a view is looked at.
    pub fn tenant_of(&self, namespace: &str, owner: &Owner) -> Option<String> {
        let has_some = |app: &&Arc<AppView>| {
            let here = |key: &ObjectKey| key.namespace.as_deref() == Some(namespace);
            app.peek(|members| members.iter().any(|(key, live)| here(key) && live.is_member(&app.owner)))
        };
        self.apps().values().filter(|app| app.owner != *owner).find(has_some).map(|app| app.owner.to_string())
    }

    /// What the health rules need to know of the cluster.
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what the health rules need to know of the cluster. True: something has changed.
    pub fn set_facts(&self, facts: Facts) -> bool {
        let mut known = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        let changed = **known != facts;
        *known = Arc::new(facts);
        changed
    }

    /// Takes in an object of an Application, as an answer or a watch shows it.
    pub fn put(&self, app: &AppView, key: &ObjectKey, live: Arc<Live>) {
        Self::put_among(&self.apps(), app, key, live);
    }

    /// Takes in an object that a watch shows.
    pub fn seen(&self, key: &ObjectKey, object: Value) {
        let Some(id) = membership(&object) else { return };
        let apps = self.apps();
        match apps.get(&id) {
            Some(app) => {
                if let Some(live) = Live::reduce(&object, key, &app.owner, &self.facts()) {
                    Self::put_among(&apps, app, key, Arc::new(live));
                }
            }
            // Objects of other tools carry the label too; only what has our own mark can be ours.
            None if object.pointer("/metadata/annotations").and_then(|a| a.get(keys::APPLIED)).is_some() => {
                self.unclaimed().entry(id).or_default().insert(key.clone(), object);
            }
            None => {}
        }
    }

    /// One that an Application did not have before may have been handed over: no watch tells the one that had it.
    fn put_among(apps: &BTreeMap<String, Arc<AppView>>, app: &AppView, key: &ObjectKey, live: Arc<Live>) {
        let version = live.version;
        if app.put(key, live) {
            for other in apps.values().filter(|other| other.owner != app.owner) {
                other.remove(key, version);
            }
        }
    }

    /// Takes out an object that a watch shows as gone.
    pub fn gone(&self, key: &ObjectKey, object: &Value) {
        let Some(id) = membership(object) else { return };
        let version = version(object).unwrap_or(u64::MAX);
        let apps = self.apps();
        if let Some(objects) = self.unclaimed().get_mut(&id) {
            objects.remove(key);
        }
        let Some(app) = apps.get(&id) else { return };
        app.remove(key, version);
        if app.left_behind.load(Ordering::Acquire) && app.peek(Members::is_empty) {
            let app = app.clone();
            drop(apps);
            self.forget(&app);
        }
    }

    /// Compares with a fresh list of a kind: what it does not show is gone, and wakes its Application too.
    pub fn listed(&self, kind: &GroupKind, namespace: Option<&str>, version: u64, keys: &BTreeSet<ObjectKey>) {
        let apps = self.apps();
        for app in apps.values() {
            app.retain(kind, namespace, version, keys);
        }
        for objects in self.unclaimed().values_mut() {
            objects.retain(|key, _| {
                let elsewhere = namespace.is_some_and(|namespace| key.namespace.as_deref() != Some(namespace));
                key.kind != *kind || keys.contains(key) || elsewhere
            });
        }
    }

    fn apps(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<AppView>>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::membership::applied;
    use crate::engine::object::Digest;
    use serde_json::json;

    fn owner(name: &str) -> Owner {
        Owner::new("shop", name)
    }

    fn key() -> ObjectKey {
        ObjectKey::new("", "ConfigMap", Some("shop"), "settings")
    }

    fn object(owner: &Owner, version: u64) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "settings", "namespace": "shop", "uid": "u", "resourceVersion": version.to_string(),
                "labels": {(keys::PART_OF): owner.membership_id()},
                "annotations": {(keys::APPLIED): applied(owner, &key(), Digest::of_bytes(b"x"))},
                "managedFields": [{"manager": owner.field_manager(), "operation": "Apply", "fieldsV1": {}}]
            }
        })
    }

    fn has(app: &AppView) -> bool {
        app.peek(|members| members.contains_key(&key()))
    }

    #[test]
    fn r34_a_task_that_ends_late_does_not_blind_the_next_application_of_its_name() {
        let view = View::default();
        let earlier = view.register(&owner("app"));
        let later = view.register(&owner("app"));
        view.forget(&earlier);
        view.seen(&key(), object(&owner("app"), 5));
        assert!(has(&later));
        assert_eq!(view.name_of(&owner("app").membership_id()).as_deref(), Some("shop/app"));
    }

    #[test]
    fn i5_what_an_application_left_behind_is_found_by_the_next_one_of_its_name() {
        let view = View::default();
        let app = view.register(&owner("app"));
        view.seen(&key(), object(&owner("app"), 5));
        view.forget(&app);
        assert_eq!(view.name_of(&owner("app").membership_id()), None);
        let next = view.register(&owner("app"));
        assert!(has(&next) && next.look(|_, changed| changed.contains(&key())));
        view.forget(&next);
        view.gone(&key(), &object(&owner("app"), 6));
        assert!(view.apps().is_empty(), "nothing is followed for ever");
    }

    #[test]
    fn an_object_that_another_application_took_over_is_not_seen_as_one_of_the_first_any_more() {
        let view = View::default();
        let (one, two) = (view.register(&owner("one")), view.register(&owner("two")));
        view.seen(&key(), object(&owner("one"), 5));
        view.seen(&key(), object(&owner("two"), 6));
        assert!(!has(&one) && has(&two));
        // An event that is older than what is known brings nothing back.
        view.seen(&key(), object(&owner("two"), 5));
        assert!(!has(&one) && has(&two));
    }

    #[test]
    fn an_answer_that_comes_after_the_news_of_the_end_does_not_bring_the_object_back() {
        let view = View::default();
        let app = view.register(&owner("app"));
        let answer = |version| {
            Arc::new(Live::reduce(&object(&owner("app"), version), &key(), &owner("app"), &view.facts()).unwrap())
        };
        view.seen(&key(), object(&owner("app"), 5));
        view.gone(&key(), &object(&owner("app"), 7));
        for version in [6, 7] {
            view.put(&app, &key(), answer(version));
            assert!(!has(&app), "the object of version {version} is gone");
        }
        view.put(&app, &key(), answer(8));
        assert!(has(&app), "it was made anew");
    }

    #[test]
    fn r20_what_a_fresh_list_does_not_show_is_gone_also_before_its_application_is_known() {
        let view = View::default();
        view.seen(&key(), object(&owner("app"), 5));
        view.listed(&key().kind, None, 7, &BTreeSet::new());
        assert!(!has(&view.register(&owner("app"))));
        let app = view.register(&owner("app"));
        view.seen(&key(), object(&owner("app"), 8));
        app.look(|_, _| ());
        view.listed(&key().kind, None, 7, &BTreeSet::new());
        assert!(has(&app), "it is newer than the list");
        view.listed(&key().kind, None, 9, &BTreeSet::new());
        assert!(!has(&app) && app.look(|_, changed| changed.contains(&key())));
    }
}
