//! The controllers of the cluster: they see an object some time after it was written, and write its status some time later.

use jiff::Timestamp;
use serde_json::{Value, json};
use swell::engine::object::ObjectKey;

use super::items::End;
use super::{User, World};

/// Something that a controller is about to do to an object, unless that is another one by then.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    key: ObjectKey,
    uid: String,
    generation: i64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The controller has seen the new generation.
    Observe,
    /// It is done with it.
    End,
    /// What has gone badly is well by now, if it heals.
    Heal,
    /// A status for the generation before is written, late.
    Late,
    /// A Job's pod starts.
    Start,
    /// Its pods have gone after it was suspended.
    Drained,
    /// The time to live of a Job is over.
    Expire,
    /// The dependents of an object that is deleted in the foreground are gone.
    Collected,
}

impl World {
    /// Lets the controllers act whose time has come.
    pub(crate) fn act(&mut self) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let act = entry.remove();
            if self.objects.get(&act.key).is_some_and(|stored| stored.uid() == act.uid) {
                self.perform(&act);
            }
        }
    }

    /// A controller has taken note of a new object or a new generation.
    pub(super) fn react(&mut self, key: &ObjectKey) {
        let Some(stored) = self.objects.get(key) else { return };
        let (generation, uid) = (stored.generation(), stored.uid().to_owned());
        let act = |what| Act { key: key.clone(), uid: uid.clone(), generation, what };
        let takes = self.behaviour(&key.name).takes;
        match &*key.kind.kind {
            "Deployment" => {
                self.schedule(takes.min(100), act(What::Observe));
                self.schedule(takes, act(What::End));
                self.schedule(2 * takes, act(What::Heal));
            }
            "Widget" | "Gadget" => {
                if generation > 1 {
                    self.schedule(takes.min(200), act(What::Late));
                }
                self.schedule((takes / 2).min(3000), act(What::Observe));
                self.schedule(takes, act(What::End));
            }
            "Job" if stored.body["spec"]["suspend"] == true => self.schedule(150, act(What::Drained)),
            "Job" if generation == 1 => {
                self.schedule(takes.min(50), act(What::Start));
                self.schedule(takes, act(What::End));
            }
            "Job" => self.expire_later(key),
            _ => {
                self.truth.entry(uid).or_default().healthy.insert(generation);
            }
        }
    }

    /// Deletes an object the way the API server does: with pods or finalizers it stays for a while.
    pub(super) fn delete(&mut self, key: &ObjectKey, foreground: bool, user: User) {
        let Some(stored) = self.objects.get(key) else { return };
        if stored.is_leaving() {
            return;
        }
        let uid = stored.uid().to_owned();
        let active = self.truth.get(&uid).is_some_and(|truth| truth.active);
        let held = stored.body["metadata"]["finalizers"].as_array().is_some_and(|names| !names.is_empty());
        if !(held || (foreground && active)) {
            self.remove(key, user);
            return;
        }
        let now = self.now.to_string();
        self.update(key, user, |stored| {
            stored.body["metadata"]["deletionTimestamp"] = json!(now);
            if active {
                stored.body["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
            }
        });
        if active {
            self.schedule(300, Act { key: key.clone(), uid, generation: 0, what: What::Collected });
        }
    }

    /// Somebody sets a field of an object with kubectl.
    pub(crate) fn edit(&mut self, key: &ObjectKey, path: &[&str], value: Value) {
        let path: Vec<String> = path.iter().map(|step| format!("f:{step}")).collect();
        self.write_as(key, "kubectl-edit", "Update", path, value, User::Person);
    }

    /// Somebody deletes an object.
    pub(crate) fn take_away(&mut self, key: &ObjectKey) {
        self.delete(key, false, User::Person);
    }

    fn perform(&mut self, act: &Act) {
        let Act { key, uid, generation, what } = act;
        let Some(stored) = self.objects.get(key) else { return };
        let current = stored.generation() == *generation;
        let suspended = stored.body["spec"]["suspend"] == true;
        match (what, &*key.kind.kind) {
            (What::Observe, "Deployment") if current => {
                let status = json!({"observedGeneration": generation, "replicas": 1, "updatedReplicas": 0});
                self.set_status(key, status);
            }
            (What::Observe, "Widget") if current => {
                self.set_status(key, json!({"observedGeneration": generation, "conditions": [ready("False")]}));
            }
            (What::Observe, "Gadget") if current => self.set_status(key, json!({"conditions": [ready("False")]})),
            (What::Late, "Widget") if current => {
                let late = json!({"observedGeneration": generation - 1, "conditions": [ready("True")], "late": true});
                self.set_status(key, late);
            }
            (What::Start, _) if !suspended => {
                self.truth.entry(uid.clone()).or_default().active = true;
                let start = self.now.to_string();
                self.set_status(key, json!({"active": 1, "startTime": start}));
            }
            (What::End, "Job") if !suspended => self.end_job(key, uid),
            (What::End, _) if current => self.end(key, uid, *generation, self.end_of(key)),
            (What::Heal, _) if current && self.end_of(key) == End::Heals => self.end(key, uid, *generation, End::Well),
            (What::Drained, _) if suspended => {
                self.truth.entry(uid.clone()).or_default().active = false;
                let mut status = stored.body["status"].clone();
                status["active"] = json!(0);
                self.set_status(key, status);
            }
            (What::Expire | What::Collected, _) => self.remove(key, User::Controller),
            _ => {}
        }
    }

    fn end(&mut self, key: &ObjectKey, uid: &str, generation: i64, end: End) {
        let bad = matches!(end, End::Badly | End::Heals);
        let custom = &*key.kind.group == "example.com";
        let mut status = match (end, custom) {
            (End::Never, _) => return,
            (_, true) if !bad => json!({"conditions": [ready("True")]}),
            (_, true) => {
                json!({"conditions": [{"type": "Stalled", "status": "True", "reason": "Broken", "message": "it is broken"}]})
            }
            (_, false) if !bad => {
                json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1})
            }
            (_, false) => json!({
                "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1,
                "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "it does not come up"}]
            }),
        };
        if &*key.kind.kind != "Gadget" {
            status["observedGeneration"] = json!(generation);
        }
        if !bad {
            self.truth.entry(uid.to_owned()).or_default().healthy.insert(generation);
        }
        self.set_status(key, status);
    }

    fn end_job(&mut self, key: &ObjectKey, uid: &str) {
        let end = self.end_of(key);
        if end == End::Never {
            return;
        }
        let well = end != End::Badly;
        let truth = self.truth.entry(uid.to_owned()).or_default();
        truth.active = false;
        truth.ended = Some(well);
        if well {
            truth.healthy.insert(1);
        }
        let at = self.now.to_string();
        let condition = if well {
            json!({"type": "Complete", "status": "True", "lastTransitionTime": at})
        } else {
            json!({"type": "Failed", "status": "True", "lastTransitionTime": at, "reason": "BackoffLimitExceeded", "message": "the pod failed"})
        };
        self.set_status(key, json!({"active": 0, "completionTime": at, "conditions": [condition]}));
        self.expire_later(key);
    }

    fn expire_later(&mut self, key: &ObjectKey) {
        let Some(stored) = self.objects.get(key) else { return };
        let uid = stored.uid().to_owned();
        let Some(seconds) = stored.body["spec"]["ttlSecondsAfterFinished"].as_i64() else { return };
        let Ok(ended) = stored.text("/status/completionTime").parse::<Timestamp>() else { return };
        let left = self.now.duration_since(ended).as_millis();
        let after = (seconds * 1000 - i64::try_from(left).unwrap_or(0)).max(50);
        self.schedule(after, Act { key: key.clone(), uid, generation: 0, what: What::Expire });
    }

    /// The end that an object comes to; `WellLater` is bad the first time.
    fn end_of(&self, key: &ObjectKey) -> End {
        match self.behaviour(&key.name).end {
            End::WellLater
                if self.births.get(&self.born_as(&key.name)).copied().unwrap_or(0) <= 1
                    && first_generation(self, key) =>
            {
                End::Badly
            }
            end => end,
        }
    }

    fn set_status(&mut self, key: &ObjectKey, status: Value) {
        self.update(key, User::Controller, |stored| stored.body["status"] = status);
    }
}

fn first_generation(world: &World, key: &ObjectKey) -> bool {
    world.objects.get(key).is_some_and(|stored| stored.generation() <= 1)
}

fn ready(status: &str) -> Value {
    json!({"type": "Ready", "status": status, "reason": "Said", "message": ""})
}
