//! The live view: for each Application its members, reduced, and which of them changed since it last looked. Objects whose kind has a
//! health check of the Application get their verdict later, from [`super::judge`]; until then they are as they were.

mod unclaimed;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::unclaimed::Unclaimed;
use super::judge::{Queue, Waiting};
use crate::api::annotations as keys;
use crate::engine::health::Facts;
use crate::engine::health::checks::{Check, Checks};
use crate::engine::live::{Live, Members};
use crate::engine::object::{GroupKind, ObjectKey, Owner};
use crate::engine::shards::Buckets;

/// What one Application sees.
pub struct AppView {
    /// The Application.
    pub owner: Owner,
    /// Rung when something changed.
    pub bell: Notify,
    /// Rung when something waits for the verdict of a health check.
    pub(super) to_judge: Notify,
    /// Whether its Application is gone, so that only what it left behind is followed.
    left_behind: AtomicBool,
    /// Whether all of its objects have been listed: before that, what is not seen may be there all the same.
    listed: AtomicBool,
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
    checks: Arc<Checks>,
    queue: Queue,
    /// The namespaces in which its objects can be; before that is known, all.
    scope: Option<BTreeSet<String>>,
    /// Objects elsewhere that carry its marks: somebody else has put them there. They count for nothing, unless it comes to write there.
    outside: Members,
    /// Kinds whose objects have to be seen once more, because their rule is another one now.
    outdated: BTreeSet<GroupKind>,
}

impl Inner {
    fn counts(&self, key: &ObjectKey) -> bool {
        match (&self.scope, key.namespace.as_deref()) {
            (Some(scope), Some(namespace)) => scope.contains(namespace),
            (None, _) | (_, None) => true,
        }
    }

    fn take_out(&mut self, key: ObjectKey, version: u64) {
        self.members.remove(&key);
        self.queue.remove(&key, version);
        self.gone.push_back((key.clone(), version));
        if self.gone.len() > MOST_GONE {
            self.gone.pop_front();
        }
        self.changed.insert(key);
    }

    fn is_known(&self, key: &ObjectKey, live: &Live) -> bool {
        match self.members.get(key) {
            // The same version is judged differently when the facts have changed, or when its health check has been evaluated.
            Some(known) => {
                let same = known.verdict == live.verdict && known.completion == live.completion;
                known.version > live.version || (known.version == live.version && same)
            }
            None => self.is_gone(key, live.version),
        }
    }

    fn is_gone(&self, key: &ObjectKey, version: u64) -> bool {
        self.gone.iter().any(|(gone, at)| gone == key && version <= *at)
    }
}

/// Where an object was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The version at which it is given.
    pub version: String,
    /// Whether it is given whole, not as metadata only.
    pub whole: bool,
    /// Whether it is seen there for health checks alone, beside the watch of its kind.
    pub for_checks: bool,
}

impl AppView {
    fn new(owner: Owner, members: Members, outside: Members) -> Self {
        let changed = members.keys().cloned().collect();
        let inner = Mutex::new(Inner { members, changed, outside, ..Inner::default() });
        let (left_behind, listed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { owner, bell: Notify::new(), to_judge: Notify::new(), left_behind, listed, inner }
    }

    /// Notes that all of its objects have been listed.
    pub fn note_listed(&self) {
        self.listed.store(true, Ordering::Release);
    }

    fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// The health check of a kind.
    pub fn check(&self, kind: &GroupKind) -> Option<Arc<Check>> {
        self.inner().checks.get(kind).cloned()
    }

    /// Takes the Application's health checks as they are now. Gives the kinds whose objects have to be seen once more because of it: the
    /// verdicts on them do not count any more.
    pub fn set_checks(&self, checks: &Arc<Checks>) -> Vec<GroupKind> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let before = std::mem::replace(&mut inner.checks, checks.clone());
        for kind in before.changed(checks) {
            inner.queue.forget(&kind);
            for (key, live) in inner.members.iter_mut().filter(|(key, _)| key.kind == kind) {
                *live = Arc::new(live.to_be_judged(checks.get(&kind).map(|check| &**check)));
                inner.changed.insert(key.clone());
                inner.outdated.insert(kind.clone());
            }
        }
        let outdated: Vec<_> = std::mem::take(&mut inner.outdated).into_iter().collect();
        drop(guard);
        if !outdated.is_empty() {
            self.bell.notify_one();
        }
        outdated
    }

    /// Sets the namespaces in which the Application's objects can be.
    pub fn set_scope(&self, namespaces: BTreeSet<String>) {
        let mut guard = self.inner();
        let inner = &mut *guard;
        if inner.scope.as_ref() == Some(&namespaces) {
            return;
        }
        inner.scope = Some(namespaces);
        let all = std::mem::take(&mut inner.members).into_iter().chain(std::mem::take(&mut inner.outside));
        let (inside, outside): (Members, Members) = all.partition(|(key, _)| inner.counts(key));
        for (key, live) in inside {
            if let Some(check) = inner.checks.get(&key.kind)
                && !live.by_check
            {
                inner.outdated.insert(key.kind.clone());
                inner.members.insert(key.clone(), Arc::new(live.to_be_judged(Some(check))));
            } else {
                inner.members.insert(key.clone(), live);
            }
            inner.changed.insert(key);
        }
        inner.changed.extend(outside.keys().cloned());
        if let Some(key) = outside.keys().next() {
            self.tell_outside(key, outside.len());
        }
        inner.outside = outside;
        drop(guard);
        self.bell.notify_one();
    }

    /// Notes an object that carries the Application's marks where it has nothing. False: it counts.
    fn is_outside(&self, key: &ObjectKey, live: &Arc<Live>) -> bool {
        let mut inner = self.inner();
        if inner.counts(key) {
            return false;
        }
        let is_first = !inner.outside.keys().any(|known| known.namespace == key.namespace);
        if inner.outside.get(key).is_none_or(|known| known.version < live.version) {
            inner.outside.insert(key.clone(), live.clone());
        }
        drop(inner);
        if is_first {
            self.tell_outside(key, 1);
        }
        true
    }

    fn tell_outside(&self, key: &ObjectKey, count: usize) {
        tracing::warn!(application = %self.owner, object = %key, count, "carries the marks of this Application, which has never written there: it is left alone");
    }

    /// The next object to be judged, with its check; else when the next one that is not to be judged yet has waited for long enough.
    pub(super) fn next_to_judge(&self) -> Result<(ObjectKey, Waiting, Arc<Check>), Option<Instant>> {
        let mut inner = self.inner();
        while let Some((key, waiting)) = inner.queue.take() {
            if let Some(check) = inner.checks.get(&key.kind) {
                return Ok((key, waiting, check.clone()));
            }
        }
        Err(inner.queue.next_to_show())
    }

    /// Notes an object whose verdict is to come. True: it is shown without one meanwhile, because nothing better is known of it.
    fn is_to_be_judged(&self, key: &ObjectKey, live: &Arc<Live>, object: Option<Value>, at_once: bool) -> bool {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let known = inner.members.get(key);
        let is_past = known.map_or_else(|| inner.is_gone(key, live.version), |known| known.version > live.version);
        if is_past || inner.queue.is_judged(key, live.version) {
            return false;
        }
        let shown = at_once || known.is_none() || !inner.queue.has_verdict(key);
        inner.queue.put(key, live, object, shown);
        drop(guard);
        self.to_judge.notify_one();
        shown
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
        inner.queue.remove(key, version);
        if inner.outside.get(key).is_some_and(|known| known.version <= version) {
            inner.outside.remove(key);
        }
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
        let is_gone = |key: &ObjectKey, live: &Live| {
            key.kind == *kind
                && namespace.is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
                && live.version <= version
                && !listed.contains(key)
        };
        inner.outside.retain(|key, live| !is_gone(key, live));
        let gone: Vec<_> =
            inner.members.iter().filter(|(key, live)| is_gone(key, live)).map(|(key, _)| key.clone()).collect();
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
    /// The namespaces in which the Applications themselves say that they have objects: of those that another process acts for, and of those
    /// whose objects have not been listed yet, nothing else is known.
    told: RwLock<BTreeMap<Owner, BTreeSet<String>>>,
    /// Objects with our marks whose Application is not known (yet): they are kept whole until it is.
    unclaimed: Mutex<Unclaimed>,
    facts: RwLock<Arc<Facts>>,
}

impl View {
    /// A fresh view for an Application with these health checks, with what an earlier one of its name left behind.
    pub fn register(&self, owner: &Owner, checks: &Arc<Checks>) -> Arc<AppView> {
        let id = owner.membership_id();
        // Held to the end: whatever a watch shows meanwhile comes after this, and finds the new view.
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let earlier = apps.get(&id).map(|earlier| {
            let inner = earlier.inner();
            (inner.members.clone(), inner.outside.clone())
        });
        let (members, outside) = earlier.unwrap_or_default();
        let app = Arc::new(AppView::new(owner.clone(), members, outside));
        // What an earlier one left behind was judged by that one's rules.
        let outdated = app.set_checks(checks);
        app.inner().outdated.extend(outdated);
        apps.insert(id.clone(), app.clone());
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), owner.to_string());
        let (unclaimed, dropped) = self.unclaimed().take(&id);
        app.inner().outdated.extend(dropped);
        for ((key, origin), object) in unclaimed {
            if let Some(live) = Live::reduce(&object, &key, owner, &self.facts()) {
                Self::take(&apps, &app, &key, live, object, &origin, false);
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

    /// Keeps the Applications of these buckets only: others act for the rest, and what was seen of them is old from now on.
    pub fn keep(&self, buckets: &Buckets) {
        let goes = |app: &AppView| !buckets.contains(app.owner.bucket_number());
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let mut told = self.told.write().unwrap_or_else(PoisonError::into_inner);
        apps.retain(|id, app| {
            if !goes(app) {
                return true;
            }
            match told.get_mut(&app.owner) {
                // Newer than what its status says.
                Some(namespaces) => app.peek(|members| {
                    namespaces.extend(members.keys().filter_map(|key| Some(key.namespace.as_deref()?.to_owned())));
                }),
                None => {
                    names.remove(id);
                }
            }
            false
        });
        *self.unclaimed() = Unclaimed::default();
    }

    /// Notes an Application that there is, with the namespaces in which it says that it has objects.
    pub fn note(&self, owner: Owner, namespaces: BTreeSet<String>) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(owner.membership_id(), owner.to_string());
        self.told.write().unwrap_or_else(PoisonError::into_inner).insert(owner, namespaces);
    }

    /// Forgets the noted Applications that are not to be kept.
    pub fn retain_noted(&self, keep: impl Fn(&Owner) -> bool) {
        let mut told = self.told.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = told.keys().filter(|owner| !keep(owner)).cloned().collect();
        told.retain(|owner, _| keep(owner));
        drop(told);
        let apps = self.apps();
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        for id in gone.iter().map(Owner::membership_id).filter(|id| !apps.contains_key(id)) {
            names.remove(&id);
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
        let here =
            self.apps().values().filter(|app| app.owner != *owner).find(has_some).map(|app| app.owner.to_string());
        here.or_else(|| {
            let apps = self.apps();
            let is_seen = |other: &Owner| apps.get(&other.membership_id()).is_some_and(|app| app.is_listed());
            let told = self.told.read().unwrap_or_else(PoisonError::into_inner);
            let has_some = |(other, namespaces): &(&Owner, &BTreeSet<String>)| {
                *other != owner && namespaces.contains(namespace) && !is_seen(other)
            };
            told.iter().find(has_some).map(|(other, _)| other.to_string())
        })
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

    /// Takes in an object of an Application as an answer shows it; gives it as it is known then.
    pub fn put(&self, app: &AppView, key: &ObjectKey, live: Live, object: Value, origin: &Origin) -> Arc<Live> {
        Self::take(&self.apps(), app, key, live, object, origin, true)
    }

    /// Takes in the verdict of a health check on an object that has waited for it. Whatever was gone meanwhile stays gone. A verdict
    /// that is not final is asked for again.
    pub(super) fn judged(&self, app: &AppView, key: &ObjectKey, live: Live, is_final: bool) {
        let apps = self.apps();
        if app.inner().queue.judged(key, live.version, is_final) {
            Self::put_among(&apps, app, key, Arc::new(live));
        }
    }

    /// Shows what has waited for its verdict for too long as it is without one: that something is on its way out, say, holds
    /// whatever becomes of its health check.
    pub(super) fn show_waiting(&self, app: &AppView, patience: Duration) {
        let apps = self.apps();
        let late = app.inner().queue.late(patience);
        for (key, live) in late {
            Self::put_among(&apps, app, &key, live);
        }
    }

    /// Takes in an object that a watch shows.
    pub fn seen(&self, key: &ObjectKey, object: Value, origin: &Origin) {
        let Some(id) = membership(&object) else { return };
        let apps = self.apps();
        match apps.get(&id) {
            Some(app) => {
                if let Some(live) = Live::reduce(&object, key, &app.owner, &self.facts()) {
                    Self::take(&apps, app, key, live, object, origin, false);
                }
            }
            // Objects of other tools carry the label too; only what has our own mark can be ours.
            None if object.pointer("/metadata/annotations").and_then(|a| a.get(keys::APPLIED)).is_some() => {
                self.unclaimed().put(id, key, origin, object);
            }
            None => {}
        }
    }

    /// Takes in an object of an Application: as it is where the kind's own rule has judged it, else as soon as its health check has.
    fn take(
        apps: &BTreeMap<String, Arc<AppView>>,
        app: &AppView,
        key: &ObjectKey,
        live: Live,
        object: Value,
        origin: &Origin,
        is_answer: bool,
    ) -> Arc<Live> {
        let live = Arc::new(live);
        if app.is_outside(key, &live) {
            return live;
        }
        let Some(check) = app.check(&key.kind) else {
            // The watch of its kind shows it too, in the form that the kind's own rule is for.
            if !origin.for_checks {
                Self::put_among(apps, app, key, live.clone());
            }
            return live;
        };
        let can_be_judged = origin.whole && origin.version == check.version;
        let live = Arc::new(Live::clone(&live).judged_by(&object, &check, &check.pending(can_be_judged)));
        if app.is_to_be_judged(key, &live, can_be_judged.then_some(object), is_answer) {
            Self::put_among(apps, app, key, live.clone());
        }
        let newer = |known: &&Arc<Live>| known.uid == live.uid && known.version >= live.version;
        app.peek(|members| members.get(key).filter(newer).cloned()).unwrap_or(live)
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
        self.unclaimed().forget(&id, key);
        let Some(app) = apps.get(&id) else { return };
        app.remove(key, version);
        if app.left_behind.load(Ordering::Acquire) && app.peek(Members::is_empty) {
            let app = app.clone();
            drop(apps);
            self.forget(&app);
        }
    }

    /// Compares with a fresh list of a kind, in which the objects of these buckets' Applications are: what it does not show is gone, and wakes
    /// its Application too.
    pub fn listed(
        &self,
        kind: &GroupKind,
        namespace: Option<&str>,
        buckets: &Buckets,
        version: u64,
        keys: &BTreeSet<ObjectKey>,
    ) {
        let apps = self.apps();
        for app in apps.values().filter(|app| buckets.contains(app.owner.bucket_number())) {
            app.retain(kind, namespace, version, keys);
        }
        self.unclaimed().retain(|(key, _)| {
            let elsewhere = namespace.is_some_and(|namespace| key.namespace.as_deref() != Some(namespace));
            key.kind != *kind || keys.contains(key) || elsewhere
        });
    }

    fn apps(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<AppView>>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn unclaimed(&self) -> MutexGuard<'_, Unclaimed> {
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
    use crate::api::HealthCheck;
    use crate::engine::health::checks::{Field, Finding};
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

    fn main() -> Origin {
        Origin { version: "v1".to_owned(), whole: false, for_checks: false }
    }

    fn checked() -> Arc<Checks> {
        let check = HealthCheck {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            current: "true".to_owned(),
            ..HealthCheck::default()
        };
        Arc::new(Checks::read(&[check]).0)
    }

    fn whole() -> Origin {
        Origin { version: "v1".to_owned(), whole: true, for_checks: true }
    }

    /// Judges what is next, as if its check were found true.
    fn judge(view: &View, app: &AppView) -> Option<u64> {
        let (key, Waiting { live, object, .. }, check) = app.next_to_judge().ok()?;
        let live = Live::clone(&live).judged_by(&object?, &check, &Finding::True(Field::Current));
        let version = live.version;
        view.judged(app, &key, live, true);
        Some(version)
    }

    fn shown(app: &AppView) -> Option<(u64, String)> {
        app.peek(|members| {
            let live = members.get(&key())?;
            Some((live.version, live.verdict.as_ref().map(|verdict| verdict.reason.clone()).unwrap_or_default()))
        })
    }

    fn has(app: &AppView) -> bool {
        app.peek(|members| members.contains_key(&key()))
    }

    #[test]
    fn r34_a_task_that_ends_late_does_not_blind_the_next_application_of_its_name() {
        let view = View::default();
        let earlier = view.register(&owner("app"), &Arc::default());
        let later = view.register(&owner("app"), &Arc::default());
        view.forget(&earlier);
        view.seen(&key(), object(&owner("app"), 5), &main());
        assert!(has(&later));
        assert_eq!(view.name_of(&owner("app").membership_id()).as_deref(), Some("shop/app"));
    }

    #[test]
    fn i5_what_an_application_left_behind_is_found_by_the_next_one_of_its_name() {
        let view = View::default();
        let app = view.register(&owner("app"), &Arc::default());
        view.seen(&key(), object(&owner("app"), 5), &main());
        view.forget(&app);
        assert_eq!(view.name_of(&owner("app").membership_id()), None);
        let next = view.register(&owner("app"), &Arc::default());
        assert!(has(&next) && next.look(|_, changed| changed.contains(&key())));
        view.forget(&next);
        view.gone(&key(), &object(&owner("app"), 6));
        assert!(view.apps().is_empty(), "nothing is followed for ever");
    }

    #[test]
    fn an_object_that_another_application_took_over_is_not_seen_as_one_of_the_first_any_more() {
        let view = View::default();
        let (one, two) = (view.register(&owner("one"), &Arc::default()), view.register(&owner("two"), &Arc::default()));
        view.seen(&key(), object(&owner("one"), 5), &main());
        view.seen(&key(), object(&owner("two"), 6), &main());
        assert!(!has(&one) && has(&two));
        // An event that is older than what is known brings nothing back.
        view.seen(&key(), object(&owner("two"), 5), &main());
        assert!(!has(&one) && has(&two));
    }

    #[test]
    fn an_answer_that_comes_after_the_news_of_the_end_does_not_bring_the_object_back() {
        let view = View::default();
        let app = view.register(&owner("app"), &Arc::default());
        let answer =
            |version| Live::reduce(&object(&owner("app"), version), &key(), &owner("app"), &view.facts()).unwrap();
        view.seen(&key(), object(&owner("app"), 5), &main());
        view.gone(&key(), &object(&owner("app"), 7));
        for version in [6, 7] {
            view.put(&app, &key(), answer(version), json!({}), &main());
            assert!(!has(&app), "the object of version {version} is gone");
        }
        view.put(&app, &key(), answer(8), json!({}), &main());
        assert!(has(&app), "it was made anew");
    }

    #[test]
    fn r20_what_a_fresh_list_does_not_show_is_gone_also_before_its_application_is_known() {
        let view = View::default();
        view.seen(&key(), object(&owner("app"), 5), &main());
        view.listed(&key().kind, None, &Buckets::ALL, 7, &BTreeSet::new());
        assert!(!has(&view.register(&owner("app"), &Arc::default())));
        let app = view.register(&owner("app"), &Arc::default());
        view.seen(&key(), object(&owner("app"), 8), &main());
        app.look(|_, _| ());
        view.listed(&key().kind, None, &Buckets::ALL, 7, &BTreeSet::new());
        assert!(has(&app), "it is newer than the list");
        view.listed(&key().kind, None, &Buckets::ALL, 9, &BTreeSet::new());
        assert!(!has(&app) && app.look(|_, changed| changed.contains(&key())));
    }

    #[test]
    fn i6_what_carries_the_marks_where_the_application_has_never_written_counts_for_nothing_until_it_does() {
        let view = View::default();
        let app = view.register(&owner("app"), &Arc::default());
        let forged_key = ObjectKey::new("", "ConfigMap", Some("attacker"), "forged");
        let mut forged = object(&owner("app"), 5);
        forged["metadata"]["name"] = json!("forged");
        forged["metadata"]["namespace"] = json!("attacker");
        forged["metadata"]["annotations"][keys::APPLIED] =
            json!(applied(&owner("app"), &forged_key, Digest::of_bytes(b"x")));
        let counted = || app.peek(|members| members.keys().cloned().collect::<Vec<_>>());
        // Seen before it is known where the Application writes, and after.
        view.seen(&forged_key, forged.clone(), &main());
        app.set_scope(BTreeSet::from(["shop".to_owned()]));
        view.seen(&key(), object(&owner("app"), 5), &main());
        assert_eq!(counted(), [key()]);
        forged["metadata"]["resourceVersion"] = json!("6");
        view.seen(&forged_key, forged.clone(), &main());
        assert_eq!(counted(), [key()]);
        assert_eq!(view.tenant_of("attacker", &owner("other")), None);
        // One that comes to write there finds what is there.
        app.set_scope(BTreeSet::from(["shop".to_owned(), "attacker".to_owned()]));
        assert_eq!(counted().len(), 2);
        app.set_scope(BTreeSet::from(["shop".to_owned()]));
        view.gone(&forged_key, &forged);
        app.set_scope(BTreeSet::from(["shop".to_owned(), "attacker".to_owned()]));
        assert_eq!(counted(), [key()]);
    }

    #[test]
    fn objects_with_the_marks_of_applications_that_there_are_not_take_a_bounded_room() {
        let view = View::default();
        let count = 2 * unclaimed::MOST_BYTES / (1024 * 1024);
        for number in 0..count {
            let key = ObjectKey::new("batch", "Job", Some("shop"), &format!("job-{number}"));
            let mut object = object(&owner("nobody"), 5);
            object["metadata"]["name"] = json!(&*key.name);
            object["metadata"]["annotations"][keys::APPLIED] =
                json!(applied(&owner("nobody"), &key, Digest::of_bytes(b"x")));
            object["spec"] = json!("x".repeat(1024 * 1024));
            view.seen(&key, object, &main());
        }
        assert!(view.unclaimed().bytes() <= unclaimed::MOST_BYTES);
        let app = view.register(&owner("nobody"), &Arc::default());
        let known = app.peek(Members::len);
        assert!(known > 10 && known < count, "{known}");
        assert_eq!(view.unclaimed().bytes(), 0);
        assert_eq!(app.set_checks(&Arc::default()), [GroupKind::new("batch", "Job")], "the others are asked for again");
    }

    #[test]
    fn an_object_waits_for_its_check_and_shows_the_verdict_before_until_the_next_one_has_come() {
        let view = View::default();
        let app = view.register(&owner("app"), &checked());
        view.seen(&key(), object(&owner("app"), 5), &main());
        let waits = Some((5, "BeingJudged".to_owned()));
        assert_eq!(shown(&app), waits, "nothing better is known of it");
        assert_eq!(judge(&view, &app), None, "as metadata it cannot be judged");
        view.seen(&key(), object(&owner("app"), 5), &whole());
        assert_eq!(judge(&view, &app), Some(5));
        assert_eq!(shown(&app), Some((5, String::new())));
        // Whichever watch is the first to show the next version: the verdict on the last one stays until this one is judged.
        for origin in [main(), whole()] {
            view.seen(&key(), object(&owner("app"), 6), &origin);
            assert_eq!(shown(&app), Some((5, String::new())));
        }
        assert_eq!(judge(&view, &app), Some(6));
        assert_eq!(shown(&app), Some((6, String::new())));
        view.seen(&key(), object(&owner("app"), 6), &whole());
        assert_eq!(judge(&view, &app), None, "it is judged already");
    }

    #[test]
    fn what_is_gone_stays_gone_also_when_its_verdict_comes_after_it() {
        let view = View::default();
        let app = view.register(&owner("app"), &checked());
        view.seen(&key(), object(&owner("app"), 5), &whole());
        let (key, Waiting { live, object: body, .. }, check) = app.next_to_judge().unwrap();
        view.gone(&key, &object(&owner("app"), 6));
        let live = Live::clone(&live).judged_by(&body.unwrap(), &check, &Finding::True(Field::Current));
        view.judged(&app, &key, live, true);
        assert!(!has(&app));
        view.seen(&key, object(&owner("app"), 7), &whole());
        view.listed(&key.kind, None, &Buckets::ALL, 9, &BTreeSet::new());
        assert_eq!(judge(&view, &app), None);
        assert!(!has(&app));
    }

    #[test]
    fn a_newer_version_takes_the_place_of_one_that_waits_and_an_older_verdict_does_not_take_its_place() {
        let view = View::default();
        let app = view.register(&owner("app"), &checked());
        view.seen(&key(), object(&owner("app"), 5), &whole());
        let (key, Waiting { live: five, object: body, .. }, check) = app.next_to_judge().unwrap();
        view.seen(&key, object(&owner("app"), 6), &whole());
        view.seen(&key, object(&owner("app"), 7), &whole());
        assert_eq!(shown(&app).map(|(version, _)| version), Some(7), "it has no verdict yet: what is known is shown");
        let five = Live::clone(&five).judged_by(&body.unwrap(), &check, &Finding::True(Field::Current));
        view.judged(&app, &key, five, true);
        assert_eq!(shown(&app), Some((7, "BeingJudged".to_owned())));
        assert_eq!((judge(&view, &app), judge(&view, &app)), (Some(7), None), "6 is not judged any more");
    }

    #[test]
    fn i7_what_waits_too_long_for_a_slow_check_is_shown_without_a_verdict() {
        let view = View::default();
        let app = view.register(&owner("app"), &checked());
        view.seen(&key(), object(&owner("app"), 5), &whole());
        judge(&view, &app);
        view.seen(&key(), object(&owner("app"), 6), &whole());
        view.show_waiting(&app, Duration::from_hours(1));
        assert_eq!(shown(&app), Some((5, String::new())));
        view.show_waiting(&app, Duration::ZERO);
        assert_eq!(shown(&app), Some((6, "BeingJudged".to_owned())));
        assert_eq!(judge(&view, &app), Some(6));
    }

    #[test]
    fn a_verdict_of_rules_that_are_not_in_force_any_more_does_not_count() {
        let view = View::default();
        let app = view.register(&owner("app"), &checked());
        view.seen(&key(), object(&owner("app"), 5), &whole());
        judge(&view, &app);
        assert_eq!(app.set_checks(&checked()), [], "nothing has changed");
        assert_eq!(app.set_checks(&Arc::default()), [key().kind]);
        assert_eq!(shown(&app), Some((5, "BeingJudged".to_owned())));
        view.seen(&key(), object(&owner("app"), 5), &whole());
        assert_eq!(
            shown(&app),
            Some((5, "BeingJudged".to_owned())),
            "its own rule reads what the watch of its kind shows"
        );
        view.seen(&key(), object(&owner("app"), 5), &main());
        assert_eq!(shown(&app), Some((5, String::new())));
    }

    #[test]
    fn an_application_without_checks_sees_nothing_of_what_is_watched_for_the_checks_of_another() {
        let view = View::default();
        let app = view.register(&owner("app"), &Arc::default());
        view.seen(&key(), object(&owner("app"), 5), &whole());
        assert!(!has(&app));
        view.seen(&key(), object(&owner("app"), 5), &main());
        assert!(has(&app));
    }
}
