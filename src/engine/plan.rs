//! The plan: the ordered list of stages, a pure function of what is wanted, what is live, and the options.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::action::Propagation;
use super::desired::{Desired, Manifest};
use super::kinds::{is_precious, rank};
use super::live::{Live, Members};
use super::object::{GroupKind, ObjectKey, Owner};
use super::settings::{Class, Consent, DeletePolicy, Phase, is_deletion};
use crate::api::{ManagedNamespaceMetadata, SyncResource};

/// The ordered list of stages.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Stages of the operation proper, in order of execution.
    pub stages: Vec<Stage>,
    /// Stages of SyncFail, executed only when the attempt fails.
    pub sync_fail: Vec<Stage>,
    /// Objects that have a row in the status but no task.
    pub without_task: Vec<WithoutTask>,
    /// Group/kinds of everything that the plan may write.
    pub kinds: BTreeSet<GroupKind>,
    /// Namespaces into which the plan may write.
    pub namespaces: BTreeSet<String>,
    /// Namespaces that the plan prunes.
    pub pruned_namespaces: BTreeSet<String>,
}

/// One (phase, wave) pair: what is applied together and waited for.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The phase.
    pub phase: Phase,
    /// The wave in the phase.
    pub wave: i64,
    /// The tasks in the total order, prunes last.
    pub tasks: Vec<Task>,
}

/// What a stage does to one object.
#[derive(Clone, Debug)]
pub struct Task {
    /// The object. A hook with `generateName` has no name yet.
    pub key: ObjectKey,
    /// Apply, prune, or run a hook.
    pub work: Work,
    /// Phase and wave that the annotations name, where a dependency moved the task to an earlier stage (O5).
    pub moved_from: Option<(Phase, i64)>,
    /// How it is pruned.
    pub prune: Pruning,
}

/// What a prune heeds beside the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    /// Whether it goes before the objects of its stage are applied (`PruneFirst=true`), and not after they are healthy.
    pub first: bool,
    /// Whether it waits until a person has confirmed it (`Prune=confirm`, `Delete=confirm`).
    pub confirmed_first: bool,
}

/// The kinds of tasks.
#[derive(Clone, Debug)]
pub enum Work {
    /// Create the destination's Namespace if it is missing; it never becomes a member (`CreateNamespace=true`).
    Namespace(Arc<Manifest>),
    /// Apply a plain object and wait for its health.
    Apply(Arc<Manifest>),
    /// Run a hook.
    Hook(Arc<Manifest>),
    /// Delete a member that is no longer wanted.
    Prune,
}

impl Task {
    fn new(key: &ObjectKey, work: Work) -> Self {
        Self { key: key.clone(), work, moved_from: None, prune: Pruning::default() }
    }

    fn prune(key: &ObjectKey, prune: Pruning) -> Self {
        Self { prune, ..Self::new(key, Work::Prune) }
    }

    /// The manifest of an apply or a hook.
    pub fn manifest(&self) -> Option<&Arc<Manifest>> {
        match &self.work {
            Work::Namespace(manifest) | Work::Apply(manifest) | Work::Hook(manifest) => Some(manifest),
            Work::Prune => None,
        }
    }

    /// Whether it is a hook of a kind that runs to an end.
    pub fn is_running_hook(&self) -> bool {
        matches!(&self.work, Work::Hook(manifest) if manifest.runs_to_end)
    }
}

/// An object without a task, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithoutTask {
    /// The object.
    pub key: ObjectKey,
    /// Its wave.
    pub wave: i64,
    /// Whether it is a member that was not pruned (else: a manifest that is skipped).
    pub prune_skipped: bool,
    /// Why.
    pub reason: String,
}

/// What an operation and its Application ask for beyond the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that people name by itself")]
pub struct Options {
    /// Whether members that are no longer wanted are pruned.
    pub prune: bool,
    /// `PruneLast=true` on the Application.
    pub prune_last: bool,
    /// `PruneFirst=true` on the Application.
    pub prune_first: bool,
    /// `Prune=` on the Application.
    pub prune_consent: Consent,
    /// `Delete=` on the Application.
    pub delete_consent: Consent,
    /// `PrunePropagationPolicy=` on the Application: of prunes, of the deletion, and of hooks that go by their policy.
    pub propagation: Propagation,
    /// `Replace=true` on the Application.
    pub replace: bool,
    /// `Force=true` on the Application.
    pub force: bool,
    /// Whether the fields that kubectl, Helm, Flux and Argo CD own on an object become ours when it is taken over
    /// (`ClientSideApplyMigration=false` turns it off).
    pub migrate: bool,
    /// A further manager of which the same is true.
    pub migrate_also: Option<String>,
    /// Whether nothing is written: what would be is rehearsed and told.
    pub dry_run: bool,
    /// The only objects that are applied or pruned, without hooks; all when empty.
    pub only: Vec<SyncResource>,
    /// `CreateNamespace=true` on the Application, with the labels and annotations that the Namespace is given.
    pub create_namespace: Option<ManagedNamespaceMetadata>,
    /// Whether the destination's Namespace is known to be there.
    pub destination_exists: bool,
    /// `RespectIgnoreDifferences=true` on the Application: fields whose differences are ignored keep their live value.
    pub respect_ignored: bool,
    /// Whether stages wait for health (`WaitForHealth=false` on the Application: no waiting for the last stage).
    pub wait_for_health: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prune: false,
            prune_last: false,
            prune_first: false,
            prune_consent: Consent::Yes,
            delete_consent: Consent::Yes,
            propagation: Propagation::Foreground,
            dry_run: false,
            only: Vec::new(),
            replace: false,
            force: false,
            migrate: true,
            migrate_also: None,
            create_namespace: None,
            destination_exists: false,
            respect_ignored: false,
            wait_for_health: true,
        }
    }
}

impl Options {
    /// Whether an object is among those that are asked for.
    fn selects(&self, key: &ObjectKey) -> bool {
        self.only.is_empty() || self.only.iter().any(|resource| names(resource, key))
    }

    /// Whether an object is replaced as a whole instead of merged (`Replace=true`).
    pub fn replaces(&self, manifest: &Manifest) -> bool {
        manifest.settings.options.replace.unwrap_or(self.replace)
    }

    /// Whether an object that cannot be changed is deleted and made anew (`Force=true`): never one on which others hang (F33, F68).
    pub fn forces(&self, manifest: &Manifest) -> bool {
        manifest.settings.options.force.unwrap_or(self.force) && !is_precious(&manifest.key.kind)
    }
}

impl Plan {
    /// The plan of a sync. `members` are the live objects of `owner`; `ran` tells of a hook and phase whether its run policy leaves it out, and why.
    pub fn sync(
        desired: &Desired,
        members: &Members,
        owner: &Owner,
        destination: &str,
        options: &Options,
        ran: &dyn Fn(&Manifest, Phase) -> Option<String>,
    ) -> Self {
        let mut plan = Self::default();
        let mut placed = Vec::new();
        for manifest in &desired.manifests {
            let wave = manifest.settings.wave;
            if !options.selects(&manifest.key) {
                continue;
            }
            if let Class::Skipped(reason) = &manifest.settings.class {
                plan.skip(&manifest.key, wave, false, reason.clone());
            }
            for phase in manifest.settings.phases().iter().copied().filter(|phase| !is_deletion(*phase)) {
                let work = match manifest.settings.class {
                    Class::Plain => Work::Apply(manifest.clone()),
                    Class::Hook(_) | Class::Skipped(_) => Work::Hook(manifest.clone()),
                };
                if matches!(work, Work::Hook(_)) && !options.only.is_empty() {
                    // H7: a sync of some objects runs no hooks.
                    plan.skip(&manifest.key, wave, false, "hooks do not run in a sync of some objects".to_owned());
                    continue;
                }
                if matches!(work, Work::Hook(_))
                    && let Some(reason) = ran(manifest, phase)
                {
                    plan.skip(&manifest.key, wave, false, reason);
                    continue;
                }
                placed.push(Placed { phase, wave, task: Task::new(&manifest.key, work) });
            }
        }
        placed.extend(destination_namespace(desired, destination, options));
        placed.sort_by(Placed::order);
        bubble(&mut placed, destination);
        plan.add_prunes(&mut placed, desired, members, owner, (destination, options));
        plan.arrange(placed);
        plan
    }

    /// The plan of a deletion: PreDelete hooks, members in reverse wave order, PostDelete hooks. Without a readable source there are no hooks.
    pub fn deletion(
        desired: Option<&Desired>,
        members: &Members,
        owner: &Owner,
        destination: &str,
        options: &Options,
    ) -> Self {
        let mut plan = Self::default();
        let mut placed = Vec::new();
        for manifest in desired.iter().flat_map(|desired| &desired.manifests) {
            for phase in manifest.settings.phases().iter().copied().filter(|phase| is_deletion(*phase)) {
                let task = Task::new(&manifest.key, Work::Hook(manifest.clone()));
                placed.push(Placed { phase, wave: manifest.settings.wave, task });
            }
        }
        // Hooks around the deletion are not part of what is deleted: after a restart they may be the very ones that run. They go at its end.
        for (key, live) in members.iter().filter(|(_, live)| live.is_member(owner) && !live.is_deletion_hook()) {
            let wanted = desired.is_none_or(|desired| desired.places.contains_key(key));
            let kept = kept_at_deletion(key, live, options);
            match kept.or_else(|| if wanted { None } else { kept_as_destination(key, destination, options) }) {
                Some(reason) => plan.skip(key, live.wave, true, reason),
                None => {
                    let prune = Pruning { first: false, confirmed_first: waits_for_confirmation(live, options) };
                    placed.push(Placed {
                        phase: Phase::Delete,
                        wave: live.wave.saturating_neg(),
                        task: Task::prune(key, prune),
                    });
                }
            }
        }
        placed.sort_by(Placed::order);
        plan.arrange(placed);
        for stage in plan.stages.iter_mut().filter(|stage| stage.phase == Phase::Delete) {
            // Highest wave first: it was sorted negated, and is told as it is.
            stage.wave = stage.wave.saturating_neg();
        }
        plan
    }

    /// Which of the resources that an operation asks for is neither in the source nor in the cluster, in words.
    pub fn unmatched(desired: &Desired, members: &Members, owner: &Owner, options: &Options) -> Option<String> {
        let mut keys = desired.manifests.iter().map(|manifest| &manifest.key).collect::<BTreeSet<_>>();
        keys.extend(members.iter().filter(|(_, live)| live.is_member(owner)).map(|(key, _)| key));
        let is_hook = |key: &ObjectKey| {
            let manifest = desired.places.get(key).and_then(|place| desired.manifests.get(*place));
            manifest.is_some_and(|manifest| matches!(manifest.settings.class, Class::Hook(_)))
        };
        let mut named = keys.iter().filter(|key| options.selects(key)).peekable();
        if !options.only.is_empty() && named.peek().is_some() && named.all(|key| is_hook(key)) {
            return Some(format!(
                "{RESOURCES_OF_REQUEST}: only hooks are named, and hooks do not run in a sync of some objects; ask for a sync of all"
            ));
        }
        let (index, resource) =
            options.only.iter().enumerate().find(|(_, resource)| !keys.iter().any(|key| names(resource, key)))?;
        let kind = GroupKind::new(&resource.group, &resource.kind);
        let place = resource.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let near = keys.iter().find(|key| key.kind.kind == kind.kind || *key.name == *resource.name);
        let near = near.map(|key| format!("; there is {key}")).unwrap_or_default();
        Some(format!("{RESOURCES_OF_REQUEST}[{index}]: the Application has no {kind} {place}{}{near}", resource.name))
    }

    /// Whether the plan has hooks or more than one stage, so that it is rehearsed before the first write.
    pub fn needs_rehearsal(&self) -> bool {
        self.stages.len() > 1
            || self.stages.iter().chain(&self.sync_fail).flat_map(|s| &s.tasks).any(|t| matches!(t.work, Work::Hook(_)))
    }

    /// All tasks, SyncFail included.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.stages.iter().chain(&self.sync_fail).flat_map(|stage| &stage.tasks)
    }

    fn skip(&mut self, key: &ObjectKey, wave: i64, prune_skipped: bool, reason: String) {
        self.without_task.push(WithoutTask { key: key.clone(), wave, prune_skipped, reason });
    }

    /// O7, O8, P2: prunes in mirrored waves among the applies.
    fn add_prunes(
        &mut self,
        placed: &mut Vec<Placed>,
        desired: &Desired,
        members: &Members,
        owner: &Owner,
        (destination, options): (&str, &Options),
    ) {
        let wanted: BTreeSet<_> = desired.manifests.iter().map(|manifest| &manifest.key).collect();
        let mut prunes = Vec::new();
        for (key, live) in members {
            if !live.is_member(owner) || wanted.contains(key) || live.hook.is_some() || !options.selects(key) {
                continue;
            }
            let reason = kept_at_prune(key, live, options).or_else(|| kept_as_destination(key, destination, options));
            match reason {
                Some(reason) => self.skip(key, live.wave, true, reason),
                None => prunes.push((key, live)),
            }
        }
        let waves: Vec<i64> = prunes.iter().map(|(_, live)| live.wave).collect::<BTreeSet<_>>().into_iter().collect();
        let mirrored: BTreeMap<i64, i64> = waves.iter().copied().zip(waves.iter().rev().copied()).collect();
        let highest_prune = prunes.iter().filter_map(|(_, live)| mirrored.get(&live.wave)).max().copied();
        let highest = placed.iter().filter(|p| p.phase == Phase::Sync).map(|p| p.wave).chain(highest_prune).max();
        let last = highest.unwrap_or(0).max(0).saturating_add(1);
        for (key, live) in prunes {
            let is_last = live.options.prune_last.unwrap_or(options.prune_last);
            let wave = if is_last { last } else { mirrored.get(&live.wave).copied().unwrap_or(live.wave) };
            let prune = Pruning {
                first: live.options.prune_first.unwrap_or(options.prune_first),
                confirmed_first: live.options.prune.unwrap_or(options.prune_consent) == Consent::Confirm,
            };
            let task = Task::prune(key, prune);
            placed.push(Placed { phase: Phase::Sync, wave, task });
        }
        placed.sort_by(Placed::order);
    }

    /// Groups the placed tasks, which are sorted, into stages.
    fn arrange(&mut self, placed: Vec<Placed>) {
        for Placed { phase, wave, task } in placed {
            if !matches!(task.work, Work::Namespace(_)) {
                self.kinds.insert(task.key.kind.clone());
                self.namespaces.extend(task.key.namespace.as_deref().map(str::to_owned));
            }
            if matches!(task.work, Work::Prune) && task.key.kind.is("", "Namespace") {
                self.pruned_namespaces.insert(task.key.name.to_string());
            }
            let stages = if phase == Phase::SyncFail { &mut self.sync_fail } else { &mut self.stages };
            match stages.last_mut() {
                Some(stage) if stage.phase == phase && stage.wave == wave => stage.tasks.push(task),
                _ => stages.push(Stage { phase, wave, tasks: vec![task] }),
            }
        }
    }
}

fn names(resource: &SyncResource, key: &ObjectKey) -> bool {
    key.kind.is(&resource.group, &resource.kind)
        && *key.name == *resource.name
        && resource.namespace.as_deref().is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
}

/// The policies that count for a hook: as written, else `BeforeHookCreation` (D1).
pub fn effective_policies(manifest: &Manifest) -> BTreeSet<DeletePolicy> {
    if manifest.settings.delete_policies.is_empty() {
        BTreeSet::from([DeletePolicy::BeforeHookCreation])
    } else {
        manifest.settings.delete_policies.clone()
    }
}

/// Whether a leftover of a passive hook is deleted before it is made anew: only when asked for, and never a precious kind (V5, F33).
pub fn recreates_passive(manifest: &Manifest) -> bool {
    manifest.settings.delete_policies.contains(&DeletePolicy::BeforeHookCreation) && !is_precious(&manifest.key.kind)
}

struct Placed {
    phase: Phase,
    wave: i64,
    task: Task,
}

impl Placed {
    /// The total order (V22): phase, wave, prunes after the others, kind rank, group, kind, namespace, name.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let key = |placed: &Self| {
            let prune = matches!(placed.task.work, Work::Prune);
            let rank = rank(&placed.task.key.kind);
            // Prunes go against the order of creation inside their stage.
            (placed.phase, placed.wave, prune, if prune { usize::MAX - rank } else { rank })
        };
        key(self).cmp(&key(other)).then_with(|| self.task.key.cmp(&other.task.key))
    }
}

/// How the message begins about resources that were asked for and are not there.
pub const RESOURCES_OF_REQUEST: &str = "operation.sync.resources";

/// O10: the Namespace that nobody's manifest brings, before everything else of PreSync.
fn destination_namespace(desired: &Desired, destination: &str, options: &Options) -> Option<Placed> {
    let metadata = options.create_namespace.as_ref()?;
    let is_bare = metadata.labels.is_empty() && metadata.annotations.is_empty();
    // A sync of some objects creates what they need, and no more.
    if (is_bare || !options.only.is_empty()) && options.destination_exists {
        return None;
    }
    let manifest = Manifest::namespace(destination, metadata);
    if desired.manifests.iter().any(|wanted| wanted.key == manifest.key) {
        return None;
    }
    let task = Task::new(&manifest.key.clone(), Work::Namespace(Arc::new(manifest)));
    Some(Placed { phase: Phase::PreSync, wave: 0, task })
}

/// O5: a Namespace, then a CRD, goes to the stage of the first task that needs it, if it stands in a later one.
fn bubble(placed: &mut [Placed], destination: &str) {
    let mut moves = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, dependency) in placed.iter().enumerate() {
        // A hook of several phases: its first task is early enough for all.
        if !seen.insert(&dependency.task.key) {
            continue;
        }
        let Some(needs) = needed_by(dependency, destination) else { continue };
        let first = placed
            .iter()
            .filter(|task| needs(task) && (task.phase, task.wave) < (dependency.phase, dependency.wave))
            .map(|task| (task.phase, task.wave))
            .min();
        if let Some(stage) = first {
            moves.push((index, stage));
        }
    }
    for (index, (phase, wave)) in moves {
        let dependency = &mut placed[index];
        dependency.task.moved_from = Some((dependency.phase, dependency.wave));
        (dependency.phase, dependency.wave) = (phase, wave);
    }
    placed.sort_by(Placed::order);
}

/// Tells of a task whether it needs another one.
type Needs = Box<dyn Fn(&Placed) -> bool>;

/// Which tasks need this one to be there before them.
fn needed_by(dependency: &Placed, destination: &str) -> Option<Needs> {
    let key = &dependency.task.key;
    if key.kind.is("", "Namespace") {
        let name = key.name.clone();
        let destination = destination.to_owned();
        let own = key.clone();
        // O6: cluster-scoped objects count as objects of the destination.
        return Some(Box::new(move |task| {
            task.task.key != own && *task.task.key.namespace.as_deref().unwrap_or(&destination) == *name
        }));
    }
    if key.kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
        && let Some(kind) = dependency.task.manifest().and_then(|manifest| kind_of_crd(manifest))
    {
        return Some(Box::new(move |task| task.task.key.kind == kind));
    }
    None
}

/// The kind that a CRD's manifest brings.
pub fn kind_of_crd(manifest: &Manifest) -> Option<GroupKind> {
    let spec = manifest.body.get("spec")?;
    Some(GroupKind::new(spec.get("group")?.as_str()?, spec.pointer("/names/kind")?.as_str()?))
}

fn kept_at_prune(key: &ObjectKey, live: &Live, options: &Options) -> Option<String> {
    if !options.prune {
        return Some("no longer in the source; kept, because pruning is off".to_owned());
    }
    if key.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") && live.options.prune != Some(Consent::Yes) {
        return Some("a CustomResourceDefinition is pruned only if the live object says Prune=true: every object of its kind would go along".to_owned());
    }
    match live.options.prune.unwrap_or(options.prune_consent) {
        Consent::Yes | Consent::Confirm => None,
        Consent::No => Some("no longer in the source; kept, because it says Prune=false".to_owned()),
    }
}

/// O10: where the Application asks for its destination to be created, it is not pruned although its manifest is gone.
fn kept_as_destination(key: &ObjectKey, destination: &str, options: &Options) -> Option<String> {
    let is_it = key.kind.is("", "Namespace") && *key.name == *destination && options.create_namespace.is_some();
    is_it.then(|| {
        "no longer in the source; kept, because it is the destination and CreateNamespace=true asks for it".to_owned()
    })
}

fn kept_at_deletion(key: &ObjectKey, live: &Live, options: &Options) -> Option<String> {
    if key.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") && live.options.delete != Some(Consent::Yes) {
        return Some("a CustomResourceDefinition is deleted only if the live object says Delete=true".to_owned());
    }
    match live.options.delete.unwrap_or(options.delete_consent) {
        Consent::Yes | Consent::Confirm => None,
        Consent::No => Some("kept, because it says Delete=false or is a Helm resource to keep".to_owned()),
    }
}

/// X6: either word holds the deletion of the object until somebody has confirmed it.
fn waits_for_confirmation(live: &Live, options: &Options) -> bool {
    [live.options.delete.unwrap_or(options.delete_consent), live.options.prune.unwrap_or(options.prune_consent)]
        .contains(&Consent::Confirm)
}
