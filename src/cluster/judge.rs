//! The verdicts of an Application's health checks: which of its objects wait for one, and the task that gets them from the sandbox, one
//! after the other. A slow rule holds back nothing but the verdicts of its own Application.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::members::MemberWatches;
use super::sandbox::Sandbox;
use super::view::{AppView, View};
use crate::engine::live::Live;
use crate::engine::object::{GroupKind, ObjectKey};

/// How long an object is shown as it was before, while its verdict is awaited. Within it a verdict takes the place of the one before
/// without anything in between.
const PATIENCE: Duration = Duration::from_millis(250);

/// Judges what waits in a view, until it is dropped.
pub async fn run(app: Arc<AppView>, view: Arc<View>, sandbox: Arc<Sandbox>, watches: Arc<MemberWatches>) {
    let whose = app.owner.to_string();
    let mut again: BTreeMap<GroupKind, Instant> = BTreeMap::new();
    loop {
        let now = Instant::now();
        while let Some(kind) = again.iter().find(|(_, at)| **at <= now).map(|(kind, _)| kind.clone()) {
            again.remove(&kind);
            // Bodies are not kept: what is to be judged once more is asked for once more.
            watches.judge_anew(&kind);
        }
        let (key, Waiting { live, object, .. }, check) = match app.next_to_judge() {
            Ok(next) => next,
            Err(shown_at) => {
                let due = shown_at.map(|since| since + PATIENCE).into_iter().chain(again.values().copied()).min();
                let timer = async {
                    match due {
                        Some(due) => tokio::time::sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = app.to_judge.notified() => {}
                    () = timer => view.show_waiting(&app, PATIENCE),
                }
                continue;
            }
        };
        let Some(object) = object else { continue };
        let found = {
            let finding = sandbox.find(&whose, &check, &object);
            tokio::pin!(finding);
            loop {
                tokio::select! {
                    found = &mut finding => break found,
                    () = tokio::time::sleep(PATIENCE) => view.show_waiting(&app, PATIENCE),
                }
            }
        };
        if let Some(pause) = found.again {
            let at = Instant::now() + pause;
            again.entry(key.kind.clone()).and_modify(|known| *known = at.min(*known)).or_insert(at);
        }
        let live = Live::clone(&live).judged_by(&object, &check, &found.finding);
        view.judged(&app, &key, live, found.again.is_none());
    }
}

/// The objects of one Application that wait for the verdict of a health check, and those that have one.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<ObjectKey, Waiting>,
    /// The version that was judged last, and whether that verdict is final.
    judged: BTreeMap<ObjectKey, (u64, bool)>,
    arrivals: u64,
}

/// An object that waits.
#[derive(Clone)]
pub(super) struct Waiting {
    /// What is known of it without the verdict.
    pub(super) live: Arc<Live>,
    /// The object in the form that the check is for; `None` while it has not been seen in that form, or while it is being judged.
    pub(super) object: Option<Value>,
    since: Instant,
    arrival: u64,
    /// Whether it is shown already, without a verdict.
    shown: bool,
}

impl Queue {
    /// An object waits from now on; the newest version of each does.
    pub(super) fn put(&mut self, key: &ObjectKey, live: &Arc<Live>, object: Option<Value>, shown: bool) {
        let same = self.waiting.get(key).filter(|waiting| waiting.live.version >= live.version);
        if same.is_some_and(|same| same.live.version > live.version || object.is_none()) {
            return;
        }
        self.arrivals += 1;
        // A stream of changes does not put off for ever that one of them is shown.
        let since =
            self.waiting.get(key).filter(|waiting| !waiting.shown).map_or_else(Instant::now, |waiting| waiting.since);
        let waiting = Waiting { live: live.clone(), object, since, arrival: self.arrivals, shown };
        self.waiting.insert(key.clone(), waiting);
    }

    /// The one that can be judged and has come first. It goes on waiting, without its body, until it is judged.
    pub(super) fn take(&mut self) -> Option<(ObjectKey, Waiting)> {
        let ready = self.waiting.iter_mut().filter(|(_, waiting)| waiting.object.is_some());
        let (key, waiting) = ready.min_by_key(|(_, waiting)| waiting.arrival)?;
        let taken = waiting.clone_with_body();
        Some((key.clone(), taken))
    }

    /// A verdict has come. True: its object is still there, so that it counts.
    pub(super) fn judged(&mut self, key: &ObjectKey, version: u64, is_final: bool) -> bool {
        let Some(waiting) = self.waiting.get(key) else { return false };
        if waiting.live.version == version && waiting.object.is_none() {
            self.waiting.remove(key);
        }
        self.judged.insert(key.clone(), (version, is_final));
        true
    }

    /// Whether this version, or a later one, has its final verdict.
    pub(super) fn is_judged(&self, key: &ObjectKey, version: u64) -> bool {
        self.judged.get(key).is_some_and(|(judged, is_final)| *judged > version || (*judged == version && *is_final))
    }

    /// Whether the object was judged in some version.
    pub(super) fn has_verdict(&self, key: &ObjectKey) -> bool {
        self.judged.contains_key(key)
    }

    /// Since when the one waits that has to be shown next.
    pub(super) fn next_to_show(&self) -> Option<Instant> {
        self.waiting.values().filter(|waiting| !waiting.shown).map(|waiting| waiting.since).min()
    }

    /// Those that have waited for that long, to be shown now.
    pub(super) fn late(&mut self, patience: Duration) -> Vec<(ObjectKey, Arc<Live>)> {
        let now = Instant::now();
        let late = self.waiting.iter_mut().filter(|(_, waiting)| !waiting.shown && waiting.since + patience <= now);
        late.map(|(key, waiting)| {
            waiting.shown = true;
            (key.clone(), waiting.live.clone())
        })
        .collect()
    }

    /// An object was seen gone at `version`.
    pub(super) fn remove(&mut self, key: &ObjectKey, version: u64) {
        if self.waiting.get(key).is_some_and(|waiting| waiting.live.version <= version) {
            self.waiting.remove(key);
        }
        if self.judged.get(key).is_some_and(|(judged, _)| *judged <= version) {
            self.judged.remove(key);
        }
    }

    /// The check of a kind is another one.
    pub(super) fn forget(&mut self, kind: &GroupKind) {
        self.waiting.retain(|key, _| key.kind != *kind);
        self.judged.retain(|key, _| key.kind != *kind);
    }
}

impl Waiting {
    fn clone_with_body(&mut self) -> Self {
        let object = self.object.take();
        Self { object, ..self.clone() }
    }
}
