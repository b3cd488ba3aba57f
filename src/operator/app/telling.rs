//! What the task of one Application tells of its work: gauges, stages, hooks, traces, Events, and the ids that its log lines carry.
//! Nothing waits for any of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tracing::Span;

use super::{Actor, now};
use crate::api::conditions::ConditionType;
use crate::api::{self, Phase};
use crate::cluster::events::Type;
use crate::engine::attempt::{Attempt, Course, Ending, Finish, Row, What};
use crate::engine::object::ObjectKey;
use crate::engine::plan::{Stage, Work};
use crate::engine::report::{self, Wait, health_word, waits};
use crate::telemetry::metrics::{Figures, Share, kind, result};
use crate::telemetry::trace;

/// What is remembered for telling.
pub(super) struct Telling {
    share: Share,
    /// The span of the log, and the operation that it names.
    span: Option<(Option<String>, Span)>,
    /// Times of tasks that an earlier process began in the attempt that runs: start, and end where it was over.
    former: BTreeMap<(ObjectKey, Phase), (Option<Timestamp>, Option<Timestamp>)>,
    /// The phase that was told last.
    phase: Option<Phase>,
}

impl Telling {
    pub(super) fn new(share: Share) -> Self {
        Self { share, span: None, former: BTreeMap::new(), phase: None }
    }

    /// Takes from the status what an earlier process has done of the attempt that goes on, if one does.
    pub(super) fn recover(&mut self, running: Option<&api::OperationState>) {
        self.phase = running.and_then(|state| state.stage.as_ref()).map(|stage| stage.phase);
        let rows = running.and_then(|state| state.sync_result.as_ref()).map(|result| result.resources.as_slice());
        let former = |row: &api::ResourceResult| {
            let key = ObjectKey::new(&row.group, &row.kind, row.namespace.as_deref(), &row.name);
            Some(((key, row.sync_phase?), (Some(row.started_at?), row.finished_at)))
        };
        self.former = rows.unwrap_or_default().iter().filter_map(former).collect();
    }

    /// Rows with the times of the process that began them, and whether that one has seen the end of all.
    fn as_it_was(&self, rows: &[Row]) -> (Vec<Row>, bool) {
        let mut known = !rows.is_empty();
        let mut whole = rows.to_vec();
        for row in &mut whole {
            let (started, finished) = self.former.get(&(row.key.clone(), row.phase)).copied().unwrap_or_default();
            row.started = started.into_iter().chain(row.started).min();
            match finished {
                Some(finished) if row.finish == Finish::Done => row.finished = finished,
                _ => known = false,
            }
        }
        (whole, known)
    }
}

/// Objects that an Event names.
const MOST_TOLD: usize = 10;

/// Where an attempt stood before a step.
pub(super) struct Before {
    rows: usize,
    stage: Option<(bool, usize)>,
}

impl Before {
    pub(super) fn of(attempt: &Attempt) -> Self {
        Self { rows: attempt.rows.len(), stage: stage_of(&attempt.course) }
    }
}

fn stage_of(course: &Course) -> Option<(bool, usize)> {
    match course {
        Course::Stage(running) | Course::SyncFail(running) => Some((running.sync_fail, running.index)),
        Course::Begin | Course::Rights | Course::Rehearsal(_) | Course::Tidying { .. } | Course::Ended(_) => None,
    }
}

impl Actor {
    /// The span of every line that the log has of this Application now: its name, and the id of the operation that runs or waits.
    pub(super) fn span(&mut self) -> Span {
        let running = self.attempt.as_ref().map(|attempt| &attempt.operation);
        let id = running.or_else(|| self.waiting.as_ref().map(|waiting| &waiting.operation)).map(|o| o.id.as_str());
        if let Some((of, span)) = &self.telling.span
            && of.as_deref() == id
        {
            return span.clone();
        }
        let span = match id {
            // Errors carry it too, whatever is filtered out.
            Some(id) => tracing::error_span!("application", application = %self.owner, operation = id),
            None => tracing::error_span!("application", application = %self.owner),
        };
        self.telling.span = Some((id.map(str::to_owned), span.clone()));
        span
    }

    /// Brings the Application's share in the gauges up to date with a status that was made just now.
    pub(super) fn note_figures(&mut self, status: &api::ApplicationStatus) {
        let state = status.sync.as_ref().zip(status.health.as_ref()).map(|(sync, health)| (sync.status, health.status));
        let is_stalled = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            condition.type_ == ConditionType::Stalled.as_str() && condition.status == "True"
        };
        let mut objects = BTreeMap::new();
        self.view.peek(|members| {
            for live in members.values().filter(|live| live.is_member(&self.owner)) {
                *objects.entry(live.verdict.as_ref().map(|verdict| health_word(verdict.health))).or_insert(0) += 1;
            }
        });
        let mut waiting = self.attempt.as_ref().map(waits).unwrap_or_default();
        if let Some(waits) = &self.waiting {
            let wait = if waits.is_retry { Wait::Retry } else { Wait::Begin };
            waiting.insert(wait, 1);
        }
        self.telling.share.set(Figures {
            state,
            stalled: status.conditions.iter().any(is_stalled),
            running: self.attempt.is_some() || self.waiting.is_some(),
            objects,
            waits: waiting,
        });
    }

    /// Tells what a step has brought: stages that ended, and the stage that has begun.
    pub(super) fn note_step(&mut self, before: &Before) {
        let Some(attempt) = &self.attempt else { return };
        if attempt.operation.options.dry_run {
            return;
        }
        let plan = attempt.plan.clone();
        let is_repair = attempt.operation.heal.is_some();
        let several = plan.stages.iter().chain(&plan.sync_fail).any(|stage| stage.phase != plan.stages[0].phase);
        let rows = attempt.rows.get(before.rows..).unwrap_or_default().to_vec();
        let after = stage_of(&attempt.course).filter(|after| Some(*after) != before.stage);
        for rows in rows.chunk_by(|a, b| (a.phase, a.wave) == (b.phase, b.wave)) {
            let (rows, is_known) = self.telling.as_it_was(rows);
            let name = rows.first().map(|row| format!("{} wave {}", row.phase, row.wave)).unwrap_or_default();
            if !is_known {
                self.shared.telemetry.metrics.stage_ended(&rows);
                self.tell_rows(&name, &rows);
            }
        }
        let Some((sync_fail, index)) = after else { return };
        let stages = if sync_fail { &plan.sync_fail } else { &plan.stages };
        let Some(stage) = stages.get(index) else { return };
        if self.telling.phase != Some(stage.phase) {
            self.telling.phase = Some(stage.phase);
            if several && !is_repair {
                let waves = stages.iter().filter(|other| other.phase == stage.phase).count();
                self.tell(Type::Normal, "PhaseStarted", "Sync", &format!("{} begins, waves: {waves}", stage.phase));
            }
        }
        self.tell_hooks(stage);
    }

    /// Tells which hooks a stage begins with, those excepted that an earlier process has begun.
    fn tell_hooks(&self, stage: &Stage) {
        let begun = |key: &ObjectKey| self.telling.former.contains_key(&(key.clone(), stage.phase));
        let hooks = stage.tasks.iter().filter(|task| matches!(task.work, Work::Hook(_)) && !begun(&task.key));
        let hooks: Vec<_> = hooks.map(|task| task.key.to_string()).collect();
        if !hooks.is_empty() {
            let note = format!("{} wave {}: {}", stage.phase, stage.wave, listed(&hooks));
            self.tell(Type::Normal, "HooksStarted", "Hook", &note);
        }
    }

    /// Tells how the hooks of a stage ended, and which objects were taken over: one Event for each, not for every object.
    fn tell_rows(&self, stage: &str, rows: &[Row]) {
        let mut well = Vec::new();
        let mut badly = Vec::new();
        let mut taken = Vec::new();
        for row in rows {
            match (&row.finish, row.what) {
                (Finish::Done, What::Hook) => well.push(row.key.to_string()),
                (Finish::Failed { cause, .. }, What::Hook) => badly.push(format!("{}: {cause}", row.key)),
                (Finish::Done | Finish::Failed { .. } | Finish::Skipped(_) | Finish::Dropped, _) => {}
            }
            if !row.taken_from.is_empty() {
                taken.push(format!("{} (until now managed by {})", row.key, row.taken_from.join(", ")));
            }
        }
        for (told, event, reason, action) in [
            (&well, Type::Normal, "HooksSucceeded", "Hook"),
            (&badly, Type::Warning, "HooksFailed", "Hook"),
            (&taken, Type::Warning, "ObjectsTakenOver", "Sync"),
        ] {
            if !told.is_empty() {
                self.tell(event, reason, action, &format!("{stage}: {}", listed(told)));
            }
        }
    }

    /// Tells of an attempt that has ended, before it is decided what becomes of the operation. True: a deletion that has done its work.
    pub(super) fn note_attempt(&self) -> Option<api::OperationState> {
        let attempt = self.attempt.as_ref()?;
        let operation = &attempt.operation;
        self.shared.telemetry.trace(|| {
            let (rows, _) = self.telling.as_it_was(&attempt.rows);
            trace::stages(&self.owner, &operation.id, operation.attempt, &rows)
        });
        let is_done = operation.deletion && matches!(attempt.course, Course::Ended(Ending::Succeeded));
        let phase = api::OperationPhase::Succeeded;
        is_done.then(|| report::ended_state(attempt, None, phase, "its objects are gone", now()))
    }

    /// Tells what has become of the operation whose attempt has ended.
    pub(super) fn note_outcome(&mut self, deleted: Option<api::OperationState>) {
        self.telling.recover(None);
        match &self.waiting {
            Some(waiting) if waiting.is_retry => {
                self.shared.telemetry.metrics.retries.inc();
            }
            Some(_) => {}
            None => {
                if let Some(deleted) = deleted {
                    self.note_end(&deleted, true);
                }
            }
        }
    }

    /// Tells of an operation that has ended.
    pub(super) fn note_end(&self, state: &api::OperationState, deletion: bool) {
        let telemetry = &self.shared.telemetry;
        telemetry.metrics.ended(state, deletion);
        let end = state.finished_at.unwrap_or_else(now);
        telemetry.trace(|| vec![trace::operation(&self.owner, state, kind(state, deletion), result(state), end)]);
    }
}

/// The first of a list, and how many more there are.
fn listed(told: &[String]) -> String {
    let shown = told.iter().take(MOST_TOLD).cloned().collect::<Vec<_>>().join(", ");
    match told.len().saturating_sub(MOST_TOLD) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
