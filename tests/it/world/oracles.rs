//! The judges: they look at what is true in the world and at the history of writes, never at what the engine believes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use swell::api::RecordState;
use swell::engine::action::{TaskId, Write};
use swell::engine::attempt::Ending;
use swell::engine::membership::{HookRun, applied, hook_run};
use swell::engine::object::ObjectKey;
use swell::engine::plan::{Plan, Stage, Task, Work};
use swell::engine::settings::Class;

use super::driver::{Errand, Sim};
use super::{User, Verb, owner};

/// I1, I2, I3, I5, V9: before a write of a task is done.
pub(crate) fn before_a_write(sim: &mut Sim, id: TaskId, write: &Write, errand: &Errand) {
    let stages = if id.sync_fail { &errand.plan.sync_fail } else { &errand.plan.stages };
    for stage in &stages[..id.stage] {
        for task in &stage.tasks {
            if !id.sync_fail && !is_done(sim, task, stage, errand) {
                let (phase, wave) = (stage.phase, stage.wave);
                let text = format!("I1: {} is written while {} of {phase} {wave} is not done", write.key(), task.key);
                sim.violations.push(text);
            }
        }
    }
    let active: Vec<_> = sim.world.truth.values().filter(|truth| truth.active).flat_map(|truth| &truth.runs).collect();
    let now = (&errand.operation, errand.attempt);
    let other = |run: &&&HookRun| {
        let of_sync_fail = run.phase == swell::api::Phase::SyncFail;
        (&run.operation, run.attempt) != now || (id.sync_fail && !of_sync_fail)
    };
    // A leftover may be deleted; nothing else may go on beside it.
    let deletes = matches!(write, Write::Delete { .. });
    if let Some(run) = active.iter().find(other).filter(|_| !deletes) {
        sim.violations.push(format!("V9: {} is written while a hook of {run:?} still runs", write.key()));
    }
    let creates = match write {
        Write::Create { key, .. } | Write::Apply { key, .. } => !sim.world.objects.contains_key(key),
        Write::Replace { .. } | Write::Migrate { .. } | Write::Delete { .. } | Write::Patch { .. } => false,
    };
    if creates && !inventory(sim).contains(&kind_text(write.key())) {
        sim.violations.push(format!("I5: {} is created before its kind is in the durable inventory", write.key()));
    }
    ended_before_delete(sim, write, Some(errand));
}

/// I3: before the clean-up of a hook is done.
pub(crate) fn before_a_tidying(sim: &mut Sim, write: &Write) {
    ended_before_delete(sim, write, None);
}

/// I5: whatever we have made is found again by what is durable.
pub(crate) fn at_a_start(sim: &mut Sim) {
    let (id, manager) = (owner().membership_id(), owner().field_manager());
    if sim.script.forget && sim.world.status.is_none() {
        // It is not the operator that lost it.
        return;
    }
    let kinds = inventory(sim);
    let mut lost = Vec::new();
    for (key, stored) in &sim.world.objects {
        let entries = stored.full()["metadata"]["managedFields"].clone();
        // Fields that became ours just before a take-over make an object that a person made no object of ours.
        let made =
            stored.body.pointer("/metadata/annotations").is_some_and(|all| all.get("swell.dev/applied").is_some());
        let ours = made && entries.as_array().into_iter().flatten().any(|entry| entry["manager"] == *manager);
        if ours && (stored.label() != Some(&id) || !kinds.contains(&kind_text(key))) {
            lost.push(format!("I5: {key} would not be found again"));
        }
    }
    sim.violations.extend(lost);
}

/// I3, I4, I6: over the whole history.
pub(crate) fn at_the_end(sim: &mut Sim) {
    let mut found = Vec::new();
    let id = owner().membership_id();
    for change in sim.world.history.iter().filter(|change| matches!(change.user, User::Operator(_))) {
        if change.verb != Verb::Create && change.label.0.as_ref().is_some_and(|label| *label != id) {
            found.push(format!("I6: {} of another Application was written", change.key));
        }
    }
    let births = births(sim);
    for ((run, key), count) in &births {
        if *count > 1 {
            found.push(format!("I3: {key} was created {count} times for {run:?}"));
        }
    }
    for ended in &sim.ended {
        let wrote = sim.wrote.contains(&(ended.operation.clone(), ended.attempt));
        let born = |task: &Task, stage: &Stage| {
            let run = HookRun { operation: ended.operation.clone(), attempt: ended.attempt, phase: stage.phase };
            let key = named(task, &run);
            births.get(&(run, key)).copied().unwrap_or(0)
        };
        let failed = matches!(ended.ending, Ending::Failed(_));
        for (stage, task) in hooks(&ended.plan, true) {
            let expected = u32::from(failed && wrote);
            // One that had failed may be stopped before, while or after these hooks run.
            let stopped = matches!(ended.ending, Ending::Stopped(..)) && ended.failure.is_some();
            // A write that was noted and not sent before a restart counts as sent.
            let unsure = failed && !wrote && sim.crashes > 0;
            if born(task, stage) != expected && !stopped && !unsure {
                found.push(format!(
                    "I4: {} was created {} times, not {expected}, in attempt {} that ended {:?}",
                    task.key,
                    born(task, stage),
                    ended.attempt,
                    ended.ending
                ));
            }
        }
        if ended.ending == Ending::Succeeded {
            for (stage, task) in hooks(&ended.plan, false) {
                if born(task, stage) != 1 {
                    found.push(format!(
                        "I3: {} was created {} times, not once, for {}",
                        task.key,
                        born(task, stage),
                        stage.phase
                    ));
                }
            }
        }
    }
    found.extend(left_over(sim));
    sim.violations.extend(found);
}

/// I5 and the end that faults must not prevent: after a success the cluster is as it is wanted, after a deletion it is empty.
fn left_over(sim: &Sim) -> Vec<String> {
    let mut found = Vec::new();
    let Some(last) = sim.ended.last().filter(|last| last.ending == Ending::Succeeded) else { return found };
    let id = owner().membership_id();
    let meddled =
        sim.script.people.iter().any(|(_, meddling)| !matches!(meddling, super::scripts::Meddling::Terminate));
    for (key, stored) in sim.world.objects.iter().filter(|(_, stored)| stored.label() == Some(&id)) {
        let run = hook_run(&stored.full());
        let policy = stored.text("/metadata/annotations/argocd.argoproj.io~1hook-delete-policy");
        let ended = sim.world.truth.get(stored.uid()).and_then(|truth| truth.ended);
        let by_outcome = policy.contains("HookSucceeded") || policy.contains("HookFailed");
        let due = match ended {
            Some(true) => policy.contains("HookSucceeded"),
            Some(false) => policy.contains("HookFailed"),
            // A passive hook is well once it is applied.
            None => &*key.kind.kind == "ConfigMap" && policy.contains("HookSucceeded"),
        };
        match run {
            Some(run) if run.operation == last.operation && due => {
                found.push(format!("{key} stays, though its policy is {policy}"));
            }
            Some(run) if sim.is_gone() && !(run.operation == last.operation && by_outcome) => {
                found.push(format!("I5: the hook {key} stays when everything is deleted"));
            }
            Some(_) => {}
            None if sim.is_gone() => found.push(format!("I5: {key} stays when everything is deleted")),
            None => {
                let wanted = sim.wants().manifests.iter().any(|manifest| manifest.key == *key);
                if !wanted && sim.script.policy["automated"]["prune"] == true {
                    found.push(format!("{key} is not wanted any more and was not pruned"));
                }
            }
        }
        if stored.body["spec"]["ttlSecondsAfterFinished"].is_i64() && ended.is_some() {
            found.push(format!("{key} outlives its time to live"));
        }
    }
    if !sim.is_gone() && sim.script.policy["automated"]["selfHeal"] == true {
        for manifest in sim.wants().manifests.iter().filter(|manifest| manifest.settings.class == Class::Plain) {
            let live = sim.world.live(&manifest.key, &owner());
            // A Job that has ended may be gone.
            let gone = live.is_none() && &*manifest.key.kind.kind == "Job";
            if !gone && !live.is_some_and(|live| live.carries(manifest)) {
                found.push(format!("F17: {} has drifted and was not repaired", manifest.key));
            }
        }
    }
    if !sim.is_gone() && !meddled {
        for stage in &last.plan.stages {
            let errand = Errand { operation: last.operation.clone(), attempt: last.attempt, plan: last.plan.clone() };
            for task in stage.tasks.iter().filter(|task| !is_done(sim, task, stage, &errand)) {
                found.push(format!("I1: it succeeded, but {} is not done", task.key));
            }
        }
    }
    found
}

/// What a run left behind, without what may differ from one run to the next: times, uids, versions, ids of operations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) objects: BTreeMap<String, Value>,
    /// How often each object was created, changed and deleted by the operator.
    pub(crate) writes: BTreeMap<(String, Verb), usize>,
    pub(crate) endings: Vec<String>,
    pub(crate) status: Value,
}

impl Outcome {
    pub(crate) fn of(sim: &Sim) -> Self {
        let mut ids: Vec<String> = Vec::new();
        for ended in &sim.ended {
            if !ids.contains(&ended.operation) {
                ids.push(ended.operation.clone());
            }
        }
        let same = |text: &str| {
            ids.iter().enumerate().fold(text.to_owned(), |text, (n, id)| text.replace(id, &format!("OP{n}")))
        };
        let objects = sim.world.objects.iter().map(|(key, stored)| {
            let mut object = stored.body.clone();
            for field in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
                object["metadata"][field] = Value::Null;
            }
            for field in ["startTime", "completionTime", "observedGeneration"] {
                object["status"][field] = Value::Null;
            }
            for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
                condition["lastTransitionTime"] = Value::Null;
            }
            // Half of it is a digest of the name, which may be generated.
            let applied = &mut object["metadata"]["annotations"]["swell.dev/applied"];
            *applied = json!(applied.as_str().and_then(|applied| applied.rsplit('.').next()));
            let text = same(&object.to_string());
            (same(&key.to_string()), serde_json::from_str(&text).expect("it was JSON before"))
        });
        let mut writes = BTreeMap::new();
        for change in sim.world.history.iter().filter(|change| matches!(change.user, User::Operator(_))) {
            *writes.entry((same(&change.key.to_string()), change.verb)).or_default() += 1;
        }
        let endings = sim
            .ended
            .iter()
            .map(|ended| without_time(&same(&format!("{} {:?}", ended.attempt, ended.ending))))
            .collect();
        Self { objects: objects.collect(), writes, endings, status: status(sim, &same) }
    }
}

impl Outcome {
    /// In what another outcome differs from this one.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for key in self.objects.keys().chain(other.objects.keys()).collect::<BTreeSet<_>>() {
            if self.objects.get(key) != other.objects.get(key) {
                found.push(format!("{key} is {:?}, not {:?}", other.objects.get(key), self.objects.get(key)));
            }
        }
        for write in self.writes.keys().chain(other.writes.keys()).collect::<BTreeSet<_>>() {
            let (a, b) = (self.writes.get(write).unwrap_or(&0), other.writes.get(write).unwrap_or(&0));
            if a != b {
                found.push(format!("{:?} of {} was done {b} times, not {a}", write.1, write.0));
            }
        }
        if self.endings != other.endings {
            found.push(format!("it ended {:?}, not {:?}", other.endings, self.endings));
        }
        // One that was asked to end has no rows after a restart; the records of its hooks tell.
        let stopped = self.endings.last().is_some_and(|ending| ending.contains("Stopped"));
        for part in ["hooks", "resources", "rows", "kinds", "phase"] {
            if part == "rows" && stopped {
                continue;
            }
            if self.status[part] != other.status[part] {
                found.push(format!("status {part}: {}, not {}", other.status[part], self.status[part]));
            }
        }
        found
    }
}

fn status(sim: &Sim, same: &dyn Fn(&str) -> String) -> Value {
    let Some(status) = &sim.world.status else { return Value::Null };
    let hooks: Vec<_> = status
        .hooks
        .iter()
        .map(|hook| {
            // A clean-up may be done and not yet written down: what is left of it shows in the objects.
            let record = if hook.record == RecordState::Cleared { RecordState::Ended } else { hook.record };
            let outcome = hook.outcome.as_ref().map(|outcome| format!("{:?} {:?}", outcome.phase, outcome.message));
            without_time(&same(&format!("{} {} {} {:?} {outcome:?}", hook.name, hook.phase, hook.attempt, record)))
        })
        .collect();
    let resources: Vec<_> =
        status.resources.iter().map(|r| format!("{} {} {:?} {:?}", r.kind, r.name, r.status, r.health)).collect();
    let rows = status.operation_state.as_ref().and_then(|state| state.sync_result.as_ref()).map(|r| &r.resources);
    // What was pruned before a restart is not in the plan after it.
    let rows = rows.into_iter().flatten().filter(|row| row.status != Some(swell::api::ResultStatus::Pruned));
    let mut rows: Vec<_> = rows
        .map(|row| {
            same(&format!("{} {} {:?} {:?} {:?}", row.kind, row.name, row.sync_phase, row.status, row.hook_phase))
        })
        .collect();
    rows.sort();
    let kinds = status.inventory.as_ref().map(|inventory| inventory.kinds.clone());
    json!({"hooks": hooks, "resources": resources, "rows": rows, "kinds": kinds, "phase": status.operation_state.as_ref().map(|state| state.phase)})
}

/// A message without how long something was waited for: a restart gives it more time.
fn without_time(text: &str) -> String {
    match text.split_once(" within ") {
        Some((before, after)) => format!("{before} within {}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => text.to_owned(),
    }
}

/// Whether a task is done in truth: healthy at the generation that we wrote, ended well, or gone.
fn is_done(sim: &Sim, task: &Task, stage: &Stage, errand: &Errand) -> bool {
    let world = &sim.world;
    match &task.work {
        Work::Apply(manifest) => {
            let mark = applied(&owner(), &task.key, manifest.content);
            world.truth.values().filter(|truth| truth.key.as_ref() == Some(&task.key)).any(|truth| {
                truth.applied.get(&mark).is_some_and(|written| truth.healthy.iter().any(|healthy| healthy >= written))
            })
        }
        Work::Hook(_) => {
            let run = HookRun { operation: errand.operation.clone(), attempt: errand.attempt, phase: stage.phase };
            let key = named(task, &run);
            world.truth.values().any(|truth| {
                let well = truth.ended == Some(true) || (!task.is_running_hook() && !truth.healthy.is_empty());
                truth.key.as_ref() == Some(&key) && truth.runs.contains(&run) && well
            })
        }
        Work::Namespace(_) => world.objects.contains_key(&task.key),
        Work::Prune => {
            world.objects.get(&task.key).is_none_or(|stored| stored.label() != Some(&owner().membership_id()))
        }
    }
}

/// The name that a hook has in a run.
fn named(task: &Task, run: &HookRun) -> ObjectKey {
    match task.manifest().and_then(|manifest| manifest.generate_name.as_ref()) {
        Some(prefix) => task.key.with_name(&run.generated_name(prefix)),
        None => task.key.clone(),
    }
}

fn hooks(plan: &Plan, sync_fail: bool) -> Vec<(&Stage, &Task)> {
    let stages = if sync_fail { &plan.sync_fail } else { &plan.stages };
    stages
        .iter()
        .flat_map(|stage| stage.tasks.iter().map(move |task| (stage, task)))
        .filter(|(_, task)| task.is_running_hook())
        .collect()
}

/// How often each hook was created by us in each run.
fn births(sim: &Sim) -> BTreeMap<(HookRun, ObjectKey), u32> {
    let mut births = BTreeMap::new();
    for change in &sim.world.history {
        if change.verb == Verb::Create
            && matches!(change.user, User::Operator(_))
            && let Some(run) = hook_run(&change.object)
        {
            *births.entry((run, change.key.clone())).or_default() += 1;
        }
    }
    births
}

/// I3: the result of a hook is durable before the hook object is deleted.
fn ended_before_delete(sim: &mut Sim, write: &Write, errand: Option<&Errand>) {
    let Write::Delete { key, uid, .. } = write else { return };
    let Some(stored) = sim.world.objects.get(key).filter(|stored| stored.uid() == &**uid) else { return };
    let Some(run) = hook_run(&stored.full()) else { return };
    if errand.is_some_and(|errand| (&errand.operation, errand.attempt) != (&run.operation, run.attempt)) {
        // A leftover of another run.
        return;
    }
    let hooks = sim.world.status.iter().flat_map(|status| &status.hooks);
    let durable = hooks
        .filter(|hook| hook.uid.as_deref() == Some(&**uid))
        .any(|hook| matches!(hook.record, RecordState::Ended | RecordState::Cleared));
    if !durable {
        sim.violations.push(format!("I3: {key} is deleted before its end is durable"));
    }
}

fn inventory(sim: &Sim) -> BTreeSet<String> {
    let inventory = sim.world.status.as_ref().and_then(|status| status.inventory.as_ref());
    inventory.map(|inventory| inventory.kinds.iter().cloned().collect()).unwrap_or_default()
}

fn kind_text(key: &ObjectKey) -> String {
    format!("{}/{}", key.kind.group, key.kind.kind)
}
