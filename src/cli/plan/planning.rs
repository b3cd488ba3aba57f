//! From a target to its plan as it is printed: the engine's own plan, without live objects.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::documents::Mistakes;
use super::output::{Action, ApplicationPlan, Moved, Position, Skipped, Stage, Task, Timeouts, Totals};
use super::targets::Target;
use crate::api::{self, Application, DeletionPolicy};
use crate::engine::advice::advice;
use crate::engine::desired::{Context, Desired, Manifest, Problem, readable};
use crate::engine::differences::Rules;
use crate::engine::finding::{Part, Remark, Rule};
use crate::engine::health::checks::Checks;
use crate::engine::kinds::{Kinds, Known};
use crate::engine::lifecycle;
use crate::engine::live::Members;
use crate::engine::object::Owner;
use crate::engine::plan::{self, Options, Plan, Work, effective_policies, recreates_passive};
use crate::engine::settings::{RunPolicy, is_deletion};
use crate::engine::yaml::{self, Document};

/// What is known of a target.
pub(in crate::cli) struct Examined {
    pub(in crate::cli) application: Option<Application>,
    owner: Owner,
    destination: String,
    options: Options,
    kinds: Kinds,
    /// What is wanted; with mistakes, what could be read of it.
    pub(in crate::cli) desired: Desired,
    /// The plan of a sync. Of no use with mistakes.
    pub(in crate::cli) sync: Plan,
    /// The plan of the Application's deletion. Of no use with mistakes.
    pub(in crate::cli) deletion: Plan,
    /// Whether the target has mistakes, which are noted.
    pub(in crate::cli) has_mistakes: bool,
    /// What is odd or will go wrong.
    pub(in crate::cli) warnings: Vec<Problem>,
}

impl Examined {
    fn orphans(&self) -> bool {
        self.application.as_ref().is_some_and(|application| application.deletion_policy() == DeletionPolicy::Orphan)
    }
}

/// Reads and plans a target; `None` when its Application cannot be used. Mistakes are noted.
pub(in crate::cli) fn examine(
    application: Option<Application>,
    namespace: &str,
    position: &yaml::Position,
    documents: Vec<Document>,
    kinds: &Kinds,
    mistakes: &mut Mistakes,
) -> Option<Examined> {
    let name = application.as_ref().and_then(|application| application.metadata.name.clone());
    let owner = Owner::new(namespace, name.as_deref().unwrap_or_default());
    let destination =
        application.as_ref().map_or(namespace, |application| application.destination_namespace()).to_owned();
    let mut refuse = |rule: Rule, path: &[&str], message: String| {
        let remark = Remark { rule, part: Part::value(path), message };
        mistakes.add(position.clone(), Some(format!("Application {owner}")), remark);
    };
    let options = match application.as_ref().map(|application| lifecycle::options(application, None)).transpose() {
        Ok(options) => options.unwrap_or_default(),
        Err(message) => {
            refuse(Rule::SyncOption, &["spec", "syncPolicy"], message);
            return None;
        }
    };
    let kinds = with_crds(kinds.clone(), &documents);
    let ignored = application.as_ref().map_or(&[][..], |application| &application.spec.ignore_differences);
    let differences = match Rules::parse(ignored) {
        Ok(differences) => differences,
        Err(message) => {
            refuse(Rule::IgnoreDifferences, &["spec", "ignoreDifferences"], message);
            return None;
        }
    };
    let context = Context { differences: &differences, ..Context::new(&owner, &destination, &kinds) };
    let checks = application.as_ref().map(|application| Checks::read(&application.spec.health_checks).0);
    let (desired, problems) = readable(documents, context);
    let desired = desired.with_checks(&checks.unwrap_or_default());
    let has_mistakes = !problems.is_empty();
    mistakes.add_problems(problems, position);
    let members = Members::new();
    let sync = Plan::sync(&desired, &members, &owner, &destination, &options, &|_, _| None);
    let deletion = Plan::deletion(Some(&desired), &members, &owner, &destination, &options);
    let mut warnings = desired.warnings.clone();
    // They have no place here, as they have none in the events of the operator.
    let remarks = application.iter().flat_map(|application| lifecycle::remarks(application, Some(&desired)));
    warnings.extend(remarks.map(|remark| Problem { position: None, ..remark.at(position, None) }));
    warnings.extend(advice(&sync));
    let mut examined =
        Examined { application, owner, destination, options, kinds, desired, sync, deletion, has_mistakes, warnings };
    if examined.orphans() && !examined.deletion.stages.is_empty() {
        let message =
            "deletionPolicy is Orphan, so the PreDelete and PostDelete hooks never run; with Delete they would";
        let part = Part::value(&["spec", "deletionPolicy"]);
        let remark = Remark { rule: Rule::HooksNeverRun, part, message: message.to_owned() };
        examined.warnings.push(Problem { position: None, ..remark.at(position, None) });
    }
    Some(examined)
}

/// The plan of a target. `None` when it has mistakes, which are noted.
pub(super) fn plan(target: Target, kinds: &Kinds, mistakes: &mut Mistakes) -> Option<ApplicationPlan> {
    let Target { application, namespace, files, position, documents } = target;
    let examined = examine(application, &namespace, &position, documents, kinds, mistakes)?;
    if examined.has_mistakes {
        return None;
    }
    let orphans = examined.orphans();
    let Examined { application, owner, destination, options, kinds, desired, sync, deletion, warnings, .. } = examined;
    let application = application.as_ref();
    let notes = guesses(&desired, &kinds).into_iter().chain(about_options(&options)).collect();
    let deletion = if orphans { Vec::new() } else { stages(&deletion.stages) };
    let (stages, sync_fail) = (stages(&sync.stages), stages(&sync.sync_fail));
    let skipped = skipped(&sync);
    Some(ApplicationPlan {
        name: application.map(|_| owner.name().to_owned()),
        account: application
            .map(|application| format!("{}/{}", application.namespace(), application.service_account())),
        destination,
        files,
        revision: desired.revision,
        timeouts: application.map(|application| timeouts(application.timeouts())),
        totals: Totals {
            stages: stages.len(),
            objects: count(&stages, |task| task.hook_type.is_none()),
            hooks: count(&stages, |task| task.hook_type.is_some()),
            sync_fail_hooks: count(&sync_fail, |_| true),
            deletion_hooks: count(&deletion, |_| true),
            skipped: skipped.len(),
        },
        namespace,
        stages,
        sync_fail,
        deletion,
        skipped,
        warnings: warnings.iter().map(ToString::to_string).collect(),
        notes,
    })
}

/// `kinds` with those that the CRDs among the documents bring, at the scope that they have.
pub(in crate::cli) fn with_crds(mut kinds: Kinds, documents: &[Document]) -> Kinds {
    for document in documents {
        if document.value.get("kind").and_then(Value::as_str) != Some("CustomResourceDefinition") {
            continue;
        }
        let text = |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str);
        let (Some(group), Some(kind), Some(plural), Some(scope)) =
            (text("/spec/group"), text("/spec/names/kind"), text("/spec/names/plural"), text("/spec/scope"))
        else {
            continue;
        };
        for version in document.value.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten() {
            if let Some(version) = version.get("name").and_then(Value::as_str) {
                kinds.add(&format!("{group}/{version}"), kind, plural, scope == "Namespaced");
            }
        }
    }
    kinds
}

/// The kinds whose scope was guessed, in one line.
fn guesses(desired: &Desired, kinds: &Kinds) -> Option<String> {
    let known = kinds.clone().closed();
    let guessed: BTreeSet<String> = desired
        .manifests
        .iter()
        .filter(|manifest| known.at_version(&manifest.key.kind, manifest.version()) == Known::Absent)
        .map(|manifest| manifest.key.kind.to_string())
        .collect();
    let list = guessed.into_iter().collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then(|| format!("kinds that only a cluster knows, taken for namespaced ones: {list}"))
}

fn about_options(options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    if options.prune {
        notes.push(
            "pruning is on: what a cluster still has of an earlier version is deleted, which is not shown here"
                .to_owned(),
        );
    }
    if !options.wait_for_health {
        notes.push("WaitForHealth=false: the last stage is not waited for".to_owned());
    }
    notes
}

fn count(stages: &[Stage], which: impl Fn(&Task) -> bool) -> usize {
    stages.iter().flat_map(|stage| &stage.tasks).filter(|task| which(task)).count()
}

fn stages(stages: &[plan::Stage]) -> Vec<Stage> {
    stages
        .iter()
        .enumerate()
        .map(|(index, stage)| Stage {
            phase: stage.phase,
            wave: stage.wave,
            index: index + 1,
            total: stages.len(),
            tasks: stage.tasks.iter().filter_map(|task| self::task(task, stage.phase)).collect(),
        })
        .collect()
}

fn task(task: &plan::Task, phase: api::Phase) -> Option<Task> {
    let manifest = task.manifest()?;
    let settings = &manifest.settings;
    let action = match task.work {
        Work::Hook(_) if task.is_running_hook() => Action::RunHook,
        Work::Hook(_) if recreates_passive(manifest) => Action::RecreateHook,
        Work::Hook(_) => Action::ApplyHook,
        Work::Namespace(_) => Action::CreateIfMissing,
        Work::Apply(_) | Work::Prune => Action::Apply,
    };
    let is_hook = matches!(action, Action::RunHook | Action::RecreateHook | Action::ApplyHook);
    // An object that the stage does not wait for, whichever annotation says so.
    let gate = if settings.ignore_health { Some(false) } else { settings.gate };
    Some(Task {
        group: task.key.kind.group.to_string(),
        version: manifest.version().to_owned(),
        kind: task.key.kind.kind.to_string(),
        namespace: task.key.namespace.as_deref().map(str::to_owned),
        name: task.key.name.to_string(),
        generate_name: manifest.generate_name.clone(),
        action,
        hook_type: is_hook.then_some(phase),
        delete_policies: is_hook.then(|| policies(manifest, action, phase)),
        policies_defaulted: is_hook.then_some(settings.delete_policies.is_empty()),
        timeout: settings.timeout.map(duration),
        gate,
        run: match settings.run {
            RunPolicy::Once if is_hook => Some("Once"),
            RunPolicy::OnChange if is_hook => Some("OnChange"),
            RunPolicy::Always | RunPolicy::Once | RunPolicy::OnChange => None,
        },
        moved_from: task.moved_from.map(|(phase, wave)| Moved { phase, wave }),
        position: (manifest.position.document > 0).then(|| position(&manifest.position)),
    })
}

/// The delete policies that count. The default, `BeforeHookCreation`, says nothing of a passive hook, which is never deleted
/// without being asked for, nor of a hook around a deletion, which goes when that has succeeded (V5, V11).
fn policies(manifest: &Manifest, action: Action, phase: api::Phase) -> Vec<String> {
    if manifest.settings.delete_policies.is_empty() && (action != Action::RunHook || is_deletion(phase)) {
        return Vec::new();
    }
    effective_policies(manifest).iter().map(ToString::to_string).collect()
}

fn skipped(plan: &Plan) -> Vec<Skipped> {
    plan.without_task
        .iter()
        .map(|object| Skipped {
            group: object.key.kind.group.to_string(),
            kind: object.key.kind.kind.to_string(),
            namespace: object.key.namespace.as_deref().map(str::to_owned),
            name: object.key.name.to_string(),
            wave: object.wave,
            reason: object.reason.clone(),
        })
        .collect()
}

fn timeouts(timeouts: api::Timeouts) -> Timeouts {
    Timeouts { sync: duration(timeouts.sync), stage: duration(timeouts.stage), hook: duration(timeouts.hook) }
}

fn duration(duration: Option<Duration>) -> String {
    api::Duration::from(duration.unwrap_or_default()).to_string()
}

fn position(position: &yaml::Position) -> Position {
    Position { source: position.source.clone(), document: position.document, line: position.line }
}
