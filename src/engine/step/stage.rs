//! One stage: its tasks start behind their barriers, are judged when something of theirs has changed, and end together.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Turn, apply, hook, namespace, prune, silence, tidy};
use crate::engine::action::{Answer, TaskId};
use crate::engine::attempt::{Attempt, Finish, Row, Running, Stop, TaskRun, TaskState, Then, What};
use crate::engine::kinds;
use crate::engine::ledger::{HookRecord, RecordStage};
use crate::engine::plan::{Stage, Task, Work};
use crate::engine::settings::Phase;

/// Begins a stage: names are settled, and what must be durable before its first effect is written down.
pub(super) fn enter(sync_fail: bool, index: usize, turn: &mut Turn<'_>) -> Running {
    let stage = if sync_fail { &turn.plan.sync_fail[index] } else { &turn.plan.stages[index] };
    let mut runs = Vec::with_capacity(stage.tasks.len());
    let mut places = BTreeMap::new();
    let mut writes = false;
    let mut after = 0;
    for (place, task) in stage.tasks.iter().enumerate() {
        let key = match &task.work {
            Work::Hook(manifest) => {
                let run = turn.operation.run(stage.phase);
                let key = match &manifest.generate_name {
                    Some(prefix) => task.key.with_name(&run.generated_name(prefix)),
                    None => task.key.clone(),
                };
                let id = (key.clone(), stage.phase);
                if turn.ledger.of_run(&id, &run).is_none() {
                    let record =
                        HookRecord { run, stage: RecordStage::Creating, digest: manifest.content, at: turn.now() };
                    after = after.max(turn.ledger.record(id, record));
                }
                writes = true;
                key
            }
            Work::Apply(manifest) => {
                let live = turn.seen.members.get(&task.key);
                writes |= !live.is_some_and(|live| turn.is_carried(manifest, live));
                task.key.clone()
            }
            Work::Namespace(_) => {
                writes = true;
                task.key.clone()
            }
            Work::Prune => {
                writes |= turn.seen.members.contains_key(&task.key);
                task.key.clone()
            }
        };
        places.insert(key.clone(), place);
        runs.push(TaskRun::new(key));
    }
    // Also where nothing is to be written: an inventory that was lost is made whole again.
    after = after.max(turn.ledger.add_places(&turn.plan.kinds, &turn.plan.namespaces));
    if writes {
        after = after.max(turn.ledger.note_first_write(turn.now()));
    }
    let open = runs.len();
    Running {
        sync_fail,
        index,
        runs,
        places,
        since: turn.now(),
        after,
        open,
        held: open,
        failed: false,
        stirred: true,
        wake: None,
    }
}

/// After a restart with a wish to stop: the stage whose hooks may still run, with nothing else in it. Nothing if there is none.
pub(super) fn reenter(turn: &mut Turn<'_>) -> Option<Running> {
    let plan = turn.plan;
    let stages = plan.stages.iter().enumerate().map(|(index, stage)| (false, index, stage));
    let sync_fail = plan.sync_fail.iter().enumerate().map(|(index, stage)| (true, index, stage));
    let (sync_fail, index, stage) = stages
        .chain(sync_fail)
        .find(|(_, _, stage)| stage.tasks.iter().any(|task| hook::may_run(task, stage, turn)))?;
    let keys = stage.tasks.iter().map(|task| tidy::named(task, &turn.operation.run(stage.phase)));
    let mut runs: Vec<_> = keys.map(TaskRun::new).collect();
    let mut open = Vec::new();
    for (place, task) in stage.tasks.iter().enumerate() {
        if hook::may_run(task, stage, turn) {
            open.push(place);
        } else {
            runs[place].state = TaskState::Over(Finish::Dropped);
        }
    }
    let mut running = Running {
        sync_fail,
        index,
        places: runs.iter().enumerate().map(|(place, run)| (run.key.clone(), place)).collect(),
        runs,
        since: turn.now(),
        after: 0,
        open: open.len(),
        held: open.len(),
        failed: false,
        stirred: false,
        wake: None,
    };
    turn.stopping = true;
    for place in open {
        move_task(&mut running, stage, place, turn, |task, id, run, turn| start(task, stage, id, run, turn));
    }
    Some(running)
}

/// Takes in what was seen and moves every task that it concerns.
pub(super) fn turn(running: &mut Running, turn: &mut Turn<'_>, fresh: Option<Vec<&Answer>>, stop: Option<&Stop>) {
    let plan = turn.plan;
    let stage = running.stage(plan);
    let first = fresh.is_some();
    turn.stopping = stop.is_some();
    for answer in fresh.into_iter().flatten() {
        let Some(id) = task_of(answer) else { continue };
        if id.sync_fail == running.sync_fail && id.stage == running.index && id.task < running.runs.len() {
            move_task(running, stage, id.task, turn, |task, id, run, turn| {
                answered(task, stage, id, run, answer, turn);
            });
        }
    }
    let confirmed = turn.seen.approved && running.runs.iter().any(|run| matches!(run.state, TaskState::Confirming));
    let due = confirmed || running.wake.is_some_and(|wake| wake <= turn.now());
    let recorded = first && turn.seen.answers.iter().any(|answer| matches!(answer, Answer::Recorded(_)));
    if due || recorded {
        running.wake = None;
        for place in 0..running.runs.len() {
            move_task(running, stage, place, turn, |task, id, run, turn| judge(task, stage, id, run, turn));
        }
    } else if first {
        for key in turn.seen.changed {
            if let Some(place) = running.places.get(key).copied() {
                silence::broken(&mut running.runs[place], turn);
                move_task(running, stage, place, turn, |task, id, run, turn| judge(task, stage, id, run, turn));
            }
        }
    }
    if stop.is_some() || running.is_failing() {
        wind_down(running, stage, turn, stop);
    } else {
        start_held(running, stage, turn);
        // A stage can fail while its tasks start.
        if running.is_failing() {
            wind_down(running, stage, turn, stop);
        }
    }
}

/// Tells when the stage wants to be looked at again.
pub(super) fn schedule(running: &Running, turn: &mut Turn<'_>) {
    if let Some(wake) = running.wake {
        turn.wake_at(wake);
    }
}

/// Ends a stage whose tasks are all over: its rows, and the cause if one failed.
pub(super) fn close(running: &mut Running, attempt: &mut Attempt, turn: &mut Turn<'_>) -> Option<String> {
    let stage = running.stage(turn.plan);
    let rows = rows(running, stage, turn.now());
    let causes: Vec<_> = rows
        .iter()
        .filter_map(|row| match &row.finish {
            Finish::Failed { cause, .. } => Some(format!("{}: {cause}", row.key)),
            Finish::Done | Finish::Skipped(_) | Finish::Dropped => None,
        })
        .collect();
    attempt.rows.extend(rows);
    if causes.is_empty() {
        return None;
    }
    let more = causes.len().saturating_sub(3);
    let mut text = causes.into_iter().take(3).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text = format!("{text}; and {more} more");
    }
    Some(format!("{} wave {} failed: {text}", stage.phase, stage.wave))
}

/// Ends a stage at once, whatever its tasks do.
pub(super) fn abandon(running: &mut Running, turn: &mut Turn<'_>) -> Vec<Row> {
    let stage = running.stage(turn.plan);
    for run in &mut running.runs {
        if !run.is_over() {
            run.state = TaskState::Over(Finish::Dropped);
            run.note_wait(turn.now());
        }
    }
    running.open = 0;
    rows(running, stage, turn.now())
}

fn rows(running: &Running, stage: &Stage, now: Timestamp) -> Vec<Row> {
    let row = |(task, run): (&Task, &TaskRun)| Row {
        key: run.key.clone(),
        version: task.manifest().map(|manifest| manifest.version().to_owned()).unwrap_or_default(),
        phase: stage.phase,
        wave: stage.wave,
        what: What::of(task),
        finish: match &run.state {
            TaskState::Over(finish) => finish.clone(),
            _ => Finish::Dropped,
        },
        note: run.note.clone(),
        uid: run.written.as_ref().map(|written| written.uid.clone()),
        started: run.started,
        finished: run.ended.unwrap_or(now),
        waits: run.waits.clone(),
        taken_from: run.previous_managers.clone(),
    };
    stage.tasks.iter().zip(&running.runs).map(row).collect()
}

fn task_of(answer: &Answer) -> Option<TaskId> {
    match answer {
        Answer::Written(id, _) | Answer::Looked(id, _) | Answer::Rehearsed(id, _) | Answer::Collected(id, _) => {
            Some(*id)
        }
        Answer::Recorded(_) | Answer::Rights(_) | Answer::Refreshed(..) | Answer::Tidied(..) => None,
    }
}

/// Lets `change` move one task and keeps the stage's counts.
fn move_task(
    running: &mut Running,
    stage: &Stage,
    place: usize,
    turn: &mut Turn<'_>,
    change: impl FnOnce(&Task, TaskId, &mut TaskRun, &mut Turn<'_>),
) {
    let id = running.id(place);
    turn.closing = turn.stopping || running.is_failing();
    let run = &mut running.runs[place];
    if run.is_over() {
        return;
    }
    let before = (matches!(run.state, TaskState::Held), run.applied);
    let outer_wake = turn.wake.take();
    change(&stage.tasks[place], id, run, turn);
    silence::mind(&stage.tasks[place], run, turn);
    let wake = std::mem::replace(&mut turn.wake, outer_wake);
    running.wake = match (running.wake, wake) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let run = &mut running.runs[place];
    run.note_wait(turn.now());
    if before.0 && !matches!(run.state, TaskState::Held) {
        running.held -= 1;
    }
    if run.applied != before.1 || matches!(run.state, TaskState::After(_)) {
        running.stirred = true;
    }
    if let TaskState::Over(finish) = &run.state {
        running.open -= 1;
        running.stirred = true;
        running.failed |= matches!(finish, Finish::Failed { .. });
    }
}

fn answered(task: &Task, stage: &Stage, id: TaskId, run: &mut TaskRun, answer: &Answer, turn: &mut Turn<'_>) {
    match &task.work {
        Work::Namespace(manifest) => namespace::answered(manifest, id, run, answer, turn),
        Work::Apply(manifest) => apply::answered(manifest, stage, id, run, answer, turn),
        Work::Hook(manifest) => hook::answered(manifest, stage, id, run, answer, turn),
        Work::Prune => prune::answered(task, id, run, answer, turn),
    }
}

fn judge(task: &Task, stage: &Stage, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    match &task.work {
        Work::Namespace(manifest) => namespace::judge(manifest, id, run, turn),
        Work::Apply(manifest) => apply::judge(manifest, stage, id, run, turn),
        Work::Hook(manifest) => hook::judge(manifest, stage, id, run, turn),
        Work::Prune => prune::judge(task, id, run, turn),
    }
}

fn start(task: &Task, stage: &Stage, id: TaskId, run: &mut TaskRun, turn: &mut Turn<'_>) {
    if run.started.is_none() {
        // A hook that ran before a restart keeps its time.
        let since = matches!(task.work, Work::Hook(_)).then(|| hook::created_at(&run.key, stage, turn)).flatten();
        let since = since.unwrap_or_else(|| turn.now());
        run.started = Some(since);
        run.deadline = deadline(task, stage, since, turn);
    }
    match &task.work {
        Work::Namespace(manifest) => namespace::start(manifest, id, run, turn),
        Work::Apply(manifest) => apply::start(manifest, stage, id, run, turn),
        Work::Hook(manifest) => hook::start(manifest, stage, id, run, turn),
        Work::Prune => prune::start(task, id, run, turn),
    }
}

/// When the wait for a task that starts now ends: its own time-out, the stage's or the hook's, and never after the attempt's. SyncFail
/// has time of its own: that of the attempt may be over, and be its cause.
fn deadline(task: &Task, stage: &Stage, started: Timestamp, turn: &Turn<'_>) -> Option<Timestamp> {
    let of_kind = match task.work {
        Work::Hook(_) => turn.timeouts.hook,
        // A person takes longer than a cluster: only the attempt's own deadline bounds that.
        Work::Prune if task.prune.confirmed_first => None,
        Work::Namespace(_) | Work::Apply(_) | Work::Prune => turn.timeouts.stage,
    };
    let own = task.manifest().and_then(|manifest| manifest.settings.timeout).unwrap_or(of_kind);
    let own = own.and_then(|timeout| started.checked_add(timeout).ok());
    let of_attempt = turn.timeouts.sync.filter(|_| stage.phase != Phase::SyncFail);
    let attempt = of_attempt.and_then(|timeout| turn.operation.attempt_started_at.checked_add(timeout).ok());
    let first = match (own, attempt) {
        (Some(own), Some(attempt)) => Some(own.min(attempt)),
        (own, attempt) => own.or(attempt),
    };
    first.map(|deadline| deadline.max(turn.grace_until))
}

/// Starts the tasks whose barriers are open, and those that were put off for something that is done now.
fn start_held(running: &mut Running, stage: &Stage, turn: &mut Turn<'_>) {
    if !turn.ledger.is_durable(running.after) {
        return;
    }
    while running.stirred && (running.held > 0 || running.open > 0) {
        running.stirred = false;
        let is_prune = |place: usize| matches!(stage.tasks[place].work, Work::Prune);
        // V20: prunes come after the objects of their stage, unless PruneFirst asks for Argo CD's order.
        let first_prunes_over =
            (0..running.runs.len()).all(|place| !stage.tasks[place].prune.first || running.runs[place].is_over());
        // A CRD opens its barrier when it is established, not when it is applied.
        let settled = |run: &TaskRun| {
            let applied = run.applied && kinds::barrier(&run.key.kind) != kinds::CRD_BARRIER;
            applied || run.is_over() || matches!(run.state, TaskState::After(_))
        };
        let lowest = (0..running.runs.len())
            .filter(|place| !is_prune(*place) && !settled(&running.runs[*place]))
            .map(|place| kinds::barrier(&running.runs[place].key.kind))
            .min();
        let objects_over = (0..running.runs.len()).all(|place| {
            is_prune(place) || running.runs[place].is_over() || matches!(running.runs[place].state, TaskState::After(_))
        });
        let prunes_over = (0..running.runs.len()).all(|place| !is_prune(place) || running.runs[place].is_over());
        for place in 0..running.runs.len() {
            let run = &running.runs[place];
            let open = match &run.state {
                TaskState::Held if stage.tasks[place].prune.first => true,
                TaskState::Held if !first_prunes_over => false,
                TaskState::Held if is_prune(place) => objects_over,
                TaskState::Held => lowest.is_none_or(|lowest| kinds::barrier(&run.key.kind) <= lowest),
                // Put off once for the other objects, twice for the prunes.
                TaskState::After(_) if run.put_off == 1 => lowest.is_none(),
                TaskState::After(_) => prunes_over,
                _ => false,
            };
            if open {
                move_task(running, stage, place, turn, |task, id, run, turn| start(task, stage, id, run, turn));
            }
        }
    }
}

/// Ends everything that has no effect under way; running hooks are finished (V9), or stopped when somebody asks to terminate. A hook
/// whose create has an unknown outcome may run: it is looked for when its back-off ends.
fn wind_down(running: &mut Running, stage: &Stage, turn: &mut Turn<'_>, stop: Option<&Stop>) {
    for place in 0..running.runs.len() {
        move_task(running, stage, place, turn, |task, id, run, turn| {
            let drop = match &run.state {
                // What was deleted to be made anew is made (F27), as far as something still brings it on.
                TaskState::Backoff { .. } | TaskState::Leaving { .. } | TaskState::Recording { .. }
                    if run.recreating =>
                {
                    false
                }
                TaskState::Backoff { .. } => !task.is_running_hook(),
                TaskState::Held
                | TaskState::Confirming
                | TaskState::Leaving { .. }
                | TaskState::Waiting
                | TaskState::Recording { then: Then::Create, .. } => true,
                TaskState::After(_) if run.recreating => {
                    // Its next refusal is the last one: nothing of the stage is to come.
                    run.put_off = u8::MAX;
                    start(task, stage, id, run, turn);
                    false
                }
                TaskState::After(fault) => {
                    let cause = fault.message.clone();
                    run.state = TaskState::Over(Finish::Failed { cause, log: None, detail: None });
                    false
                }
                TaskState::Running { uid } if stop == Some(&Stop::Terminate) => {
                    let uid = uid.clone();
                    hook::collect(id, run, uid, "terminated on request".to_owned(), true, turn);
                    false
                }
                TaskState::Writing
                | TaskState::Replacing
                | TaskState::Migrating
                | TaskState::Rehearsing { .. }
                | TaskState::Deleting { .. }
                | TaskState::Looking(_)
                | TaskState::Running { .. }
                | TaskState::Recording { .. }
                | TaskState::Collecting { .. }
                | TaskState::Stopping { .. }
                | TaskState::Draining { .. }
                | TaskState::Over(_) => false,
            };
            if drop {
                run.state = TaskState::Over(Finish::Dropped);
            }
        });
    }
}
