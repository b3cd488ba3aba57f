//! What options do together, and what an attempt does when they meet a refusal: one step after the other, by hand.

use super::world::{NAMESPACE, User, World, owner};
use crate::handover::stepped_at;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use swell::api::{self, Phase, SyncResource};
use swell::engine::action::{Action, Answer, Fault, FaultKind, Write};
use swell::engine::attempt::{Attempt, Course, Operation, Timeouts};
use swell::engine::desired::{Context, Desired, desired};
use swell::engine::drift::Drift;
use swell::engine::heal::{self, Memory};
use swell::engine::kinds::Kinds;
use swell::engine::ledger::Ledger;
use swell::engine::live::Members;
use swell::engine::membership::{HookRun, marked};
use swell::engine::object::ObjectKey;
use swell::engine::plan::{Options, Plan, Work};
use swell::engine::settings::Class;
use swell::engine::step::{State, Step};
use swell::engine::{lifecycle, yaml};

fn read(values: &[Value]) -> Desired {
    let kinds = Kinds::builtin().closed();
    let text = values.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
    let documents = yaml::parse(None, &text, &yaml::Limits::default()).unwrap();
    let owner = owner();
    desired(documents, Context::new(&owner, NAMESPACE, &kinds)).unwrap()
}
/// A ConfigMap.
fn config(name: &str, a: &[(&str, &str)]) -> Value {
    let a: BTreeMap<_, _> = a.iter().copied().collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": a}})
}
fn members(earlier: &[Value]) -> Members {
    let (mut world, owner) = (World::new(), owner());
    for manifest in &read(earlier).manifests {
        let hook = matches!(manifest.settings.class, Class::Hook(_)).then(|| HookRun {
            operation: "0".into(),
            attempt: 1,
            phase: Phase::PreSync,
        });
        let body = marked(&owner, manifest, &manifest.key, hook.as_ref());
        world.insert(&manifest.key, body, &owner.field_manager(), "Apply", User::Operator(0));
    }
    world.objects.keys().filter_map(|key| Some((key.clone(), world.live(key, &owner)?))).collect()
}
fn attempt(plan: Plan, options: Options) -> State {
    let t = Timestamp::UNIX_EPOCH;
    State {
        ledger: Ledger::default(),
        attempt: Attempt {
            owner: owner(),
            operation: Operation {
                id: "1".into(),
                deletion: false,
                attempt: 1,
                request_generation: None,
                initiated_by: None,
                heal: None,
                revision: "r".into(),
                started_at: t,
                attempt_started_at: t,
                options,
            },
            plan: Arc::new(plan),
            timeouts: Timeouts {
                sync: Some(Duration::from_hours(1)),
                stage: Some(Duration::from_mins(10)),
                hook: Some(Duration::from_mins(10)),
            },
            grace_until: t,
            course: Course::Begin,
            rows: vec![],
            failure: None,
            denied: false,
            stop: None,
            recording: None,
        },
    }
}
/// Goes on with the chores until something else is wanted.
fn go(mut step: Step, members: &Members) -> (Step, Vec<Action>) {
    let mut wanted = vec![];
    loop {
        let mut answers = vec![];
        for action in std::mem::take(&mut step.actions) {
            match action {
                Action::Record { version } => answers.push(Answer::Recorded(version)),
                Action::CheckRights(_) => answers.push(Answer::Rights(Ok(vec![]))),
                other => wanted.push(other),
            }
        }
        if answers.is_empty() {
            return (step, wanted);
        }
        step = stepped_at(Timestamp::UNIX_EPOCH, step.state, members, &BTreeSet::new(), answers);
    }
}
fn first(state: State, members: &Members) -> (Step, Vec<Action>) {
    go(stepped_at(Timestamp::UNIX_EPOCH, state, members, &BTreeSet::new(), vec![]), members)
}

#[test]
fn h7_a_sync_of_some_objects_collects_no_hooks_for_it_cannot_tell_which_are_wanted() {
    let all = [config("a", &[]), config("account", &[("argocd.argoproj.io/hook", "PreSync")])];
    let live = members(&all);
    let options = Options {
        only: vec![SyncResource { group: String::new(), kind: "ConfigMap".into(), name: "a".into(), namespace: None }],
        ..Options::default()
    };
    let plan = Plan::sync(&read(&all), &live, &owner(), NAMESPACE, &options, &|_, _| None);
    let (step, wanted) = first(attempt(plan, options), &live);
    let mut tidied = wanted;
    let (_, more) = go(step, &live);
    tidied.extend(more);
    assert!(tidied.is_empty(), "{tidied:?}");
}

#[test]
fn o10_a_destination_whose_manifest_left_the_source_is_not_pruned_where_it_is_asked_for() {
    let ns = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let live = members(&[ns, config("a", &[])]);
    let options =
        Options { prune: true, create_namespace: Some(api::ManagedNamespaceMetadata::default()), ..Options::default() };
    let plan = Plan::sync(&read(&[config("a", &[])]), &live, &owner(), NAMESPACE, &options, &|_, _| None);
    let t: Vec<_> = plan.tasks().map(|t| format!("{:?} {}", std::mem::discriminant(&t.work), t.key)).collect();
    assert!(!plan.tasks().any(|t| matches!(t.work, Work::Prune)), "{t:?}");
}

#[test]
fn f27_an_object_that_is_made_anew_and_refused_ends_its_stage_when_another_task_has_failed() {
    let job = |image: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "forced", "annotations": {"argocd.argoproj.io/sync-options": "Force=true"}}, "data": {"i": image}});
    let live = members(&[job("1"), config("old", &[])]);
    let options = Options { prune: true, ..Options::default() };
    let plan = Plan::sync(&read(&[job("2")]), &live, &owner(), NAMESPACE, &options, &|_, _| None);
    assert_eq!(plan.stages.len(), 1);
    let t = |s: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(s);
    let none = BTreeSet::new();
    let fault = |kind, message: &str| Fault { kind, message: message.into(), retry_after: None };
    let (step, wanted) = first(attempt(plan, options), &live);
    let [Action::Write { task, write: Write::Apply { .. } }] = wanted[..] else { panic!("{wanted:?}") };
    let step = stepped_at(
        t(1),
        step.state,
        &live,
        &none,
        vec![Answer::Written(task, Err(fault(FaultKind::Invalid, "field is immutable")))],
    );
    assert!(matches!(step.actions[..], [Action::Rehearse { .. }]), "{:?}", step.actions);
    let step = stepped_at(t(1), step.state, &live, &none, vec![Answer::Rehearsed(task, Ok(()))]);
    assert!(matches!(step.actions[..], [Action::Write { write: Write::Delete { .. }, .. }]), "{:?}", step.actions);
    let step = stepped_at(t(1), step.state, &live, &none, vec![Answer::Written(task, Ok(None))]);
    let key = ObjectKey::new("", "ConfigMap", Some(NAMESPACE), "forced");
    let mut less = live.clone();
    less.remove(&key);
    let step = stepped_at(t(2), step.state, &less, &BTreeSet::from([key.clone()]), vec![]);
    assert!(matches!(step.actions[..], [Action::Look { .. }]), "{:?}", step.actions);
    let step = stepped_at(t(2), step.state, &less, &none, vec![Answer::Looked(task, Ok(None))]);
    assert!(matches!(step.actions[..], [Action::Write { write: Write::Apply { .. }, .. }]), "{:?}", step.actions);
    let step = stepped_at(
        t(2),
        step.state,
        &less,
        &none,
        vec![Answer::Written(task, Err(fault(FaultKind::Forbidden, "exceeded quota: q")))],
    );
    let [Action::Write { task: prune, write: Write::Delete { .. } }] = step.actions[..] else {
        panic!("{:?}", step.actions)
    };
    let mut step = stepped_at(
        t(3),
        step.state,
        &less,
        &none,
        vec![Answer::Written(prune, Err(fault(FaultKind::Forbidden, "a webhook denied it")))],
    );
    // The failed prune was all that it could wait for: it is tried once more, so that what was deleted does not stay away for nothing.
    let [Action::Write { task, write: Write::Apply { .. } }] = step.actions[..] else { panic!("{:?}", step.actions) };
    let refused = Answer::Written(task, Err(fault(FaultKind::Forbidden, "exceeded quota: q")));
    step = stepped_at(t(3), step.state, &less, &none, vec![refused]);
    assert!(!matches!(step.state.attempt.course, Course::Stage(_)), "hangs: {:?} wake {:?}", step.actions, step.wake);
}

#[test]
fn f17_a_repair_brings_a_deleted_destination_back_where_it_is_asked_for() {
    let options = Options { create_namespace: Some(api::ManagedNamespaceMetadata::default()), ..Options::default() };
    let wanted = read(&[config("a", &[])]);
    let plan = Plan::sync(&wanted, &Members::new(), &owner(), NAMESPACE, &options, &|_, _| None);
    let plan = heal::restricted(plan, &BTreeSet::from([wanted.manifests[0].key.clone()]), &BTreeSet::new(), false);
    assert!(plan.tasks().any(|t| matches!(t.work, Work::Namespace(_))), "no Namespace task");
}

#[test]
fn v32_a_fight_is_over_when_the_drift_has_gone_by_itself() {
    let key = ObjectKey::new("", "ConfigMap", Some("shop"), "a");
    let drift = Drift { key: key.clone(), what: "data.a was taken by x".into(), by: vec!["x".into()] };
    let at = |ms: i64| Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap();
    let mut memory = Memory::default();
    for n in 0..4 {
        memory.healed(&BTreeSet::from([key.clone()]), at(n * 200));
        memory.judge(std::slice::from_ref(&drift), at(n * 200 + 100));
    }
    let later = memory.judge(&[], at(3_600_000));
    assert_eq!(later.contested, None);
}

#[test]
fn p3_an_approval_of_an_earlier_revision_does_not_count() {
    let app: api::Application = serde_json::from_value(json!({
        "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "web", "namespace": "shop", "generation": 1, "annotations": {"argocd.argoproj.io/deletion-approved": "2026-01-01T10:05:00Z"}},
        "spec": {"source": {"inline": ""}}})).unwrap();
    let history: Vec<api::HistoryEntry> = serde_json::from_value(json!([{"id": "a", "revision": "r1", "startedAt": "2026-01-01T10:00:00Z", "finishedAt": "2026-01-01T10:30:00Z", "phase": "Failed"}])).unwrap();
    let options = Options::default();
    let State { attempt, .. } = attempt(Plan::default(), options);
    let op = Operation {
        id: "b".into(),
        started_at: "2026-01-05T11:00:00Z".parse().unwrap(),
        revision: "r2".into(),
        ..attempt.operation
    };
    let since = lifecycle::approvals_count_since(&app, &op, &history);
    let now = "2026-01-05T11:00:01Z".parse().unwrap();
    assert!(!lifecycle::approved_between(&app, since, now), "approved days ago, for another revision");
}

#[test]
fn f68_an_object_that_is_not_there_and_is_invalid_fails_at_once_with_force_too() {
    let bad = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new", "annotations": {"argocd.argoproj.io/sync-options": "Force=true"}}});
    let live = Members::new();
    let plan = Plan::sync(&read(&[bad]), &live, &owner(), NAMESPACE, &Options::default(), &|_, _| None);
    let none = BTreeSet::new();
    let (mut step, wanted) = first(attempt(plan, Options::default()), &live);
    step.actions = wanted;
    let mut rounds = 0;
    loop {
        rounds += 1;
        let answer = match step.actions[..] {
            [Action::Write { task, write: Write::Apply { .. } }] => Answer::Written(
                task,
                Err(Fault { kind: FaultKind::Invalid, message: "data: Invalid value".into(), retry_after: None }),
            ),
            [Action::Look { task, .. }] => Answer::Looked(task, Ok(None)),
            _ => break,
        };
        assert!(rounds < 1000, "loops; {:?}", step.actions);
        step = stepped_at(
            Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60 * rounds),
            step.state,
            &live,
            &none,
            vec![answer],
        );
    }
}

#[test]
fn f36_a_dry_run_says_that_an_object_would_be_made_anew() {
    let obj = |v: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "forced", "annotations": {"argocd.argoproj.io/sync-options": "Force=true"}}, "data": {"i": v}});
    let live = members(&[obj("1")]);
    let options = Options { dry_run: true, ..Options::default() };
    let plan = Plan::sync(&read(&[obj("2")]), &live, &owner(), NAMESPACE, &options, &|_, _| None);
    let none = BTreeSet::new();
    let (step, wanted) = first(attempt(plan, options), &live);
    let [Action::Rehearse { task, .. }] = wanted[..] else { panic!("{wanted:?}") };
    let step = stepped_at(
        Timestamp::UNIX_EPOCH,
        step.state,
        &live,
        &none,
        vec![Answer::Rehearsed(
            task,
            Err(Fault { kind: FaultKind::Invalid, message: "field is immutable".into(), retry_after: None }),
        )],
    );
    assert!(matches!(step.actions[..], [Action::Rehearse { .. }]), "{:?}", step.actions);
    let step = stepped_at(Timestamp::UNIX_EPOCH, step.state, &live, &none, vec![Answer::Rehearsed(task, Ok(()))]);
    assert!(format!("{:?}", step.state.attempt.rows).contains("made anew"), "{:?}", step.state.attempt.rows);
}

#[test]
fn i6_force_deletes_no_object_that_was_never_a_member() {
    let obj = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "annotations": {"argocd.argoproj.io/sync-options": "Force=true"}}, "data": {"i": "2"}});
    let live = Members::new();
    let plan = Plan::sync(&read(&[obj]), &live, &owner(), NAMESPACE, &Options::default(), &|_, _| None);
    let key = ObjectKey::new("", "ConfigMap", Some(NAMESPACE), "theirs");
    let theirs = {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": NAMESPACE, "uid": "u9", "resourceVersion": "9", "managedFields": [{"manager": "other-operator", "operation": "Update", "fieldsV1": {}}]}});
        Arc::new(
            swell::engine::live::Live::reduce(&object, &key, &owner(), &swell::engine::health::Facts::default())
                .unwrap(),
        )
    };
    let none = BTreeSet::new();
    let t = Timestamp::UNIX_EPOCH;
    let (step, wanted) = first(attempt(plan, Options::default()), &live);
    let [Action::Write { task, .. }] = wanted[..] else { panic!("{wanted:?}") };
    let step = stepped_at(
        t,
        step.state,
        &live,
        &none,
        vec![Answer::Written(
            task,
            Err(Fault {
                kind: FaultKind::Invalid,
                message: "field is immutable when `immutable` is set".into(),
                retry_after: None,
            }),
        )],
    );
    let step = stepped_at(t, step.state, &live, &none, vec![Answer::Looked(task, Ok(Some(theirs)))]);
    let deletes = |action: &Action| matches!(action, Action::Rehearse { .. } | Action::Write { .. });
    assert!(!step.actions.iter().any(deletes), "{:?}", step.actions);
    let cause = step.state.attempt.failure.unwrap();
    assert!(cause.contains("no object of this Application yet, so Force=true does not delete it"), "{cause}");
}

#[test]
fn p3_an_approval_of_times_to_come_starts_no_operation_again_and_again() {
    let app: api::Application = serde_json::from_value(json!({
        "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"argocd.argoproj.io/deletion-approved": "2026-01-01T12:00:00Z"}},
        "spec": {"source": {"inline": ""}}
    }))
    .unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let between = |since: &str, now: &str| lifecycle::approved_between(&app, at(since), at(now));
    assert!(!between("2026-01-01T10:00:00Z", "2026-01-01T10:00:01Z"), "not yet");
    assert!(between("2026-01-01T10:00:00Z", "2026-01-01T12:00:01Z"));
    assert!(!between("2026-01-01T12:00:02Z", "2026-01-01T12:00:03Z"), "it was made use of");
}

/// An object of this Application that may be made anew, and the source that wants it otherwise.
fn forced() -> (Value, Value) {
    let job = |image: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "forced", "annotations": {"argocd.argoproj.io/sync-options": "Force=true"}}, "data": {"i": image}});
    (job("1"), job("2"))
}

/// The attempt up to its first write, with its answer.
fn refused(options: &Options, live: &Members, wanted: &[Value], fault: Fault) -> (Step, Vec<Action>) {
    let plan = Plan::sync(&read(wanted), live, &owner(), NAMESPACE, options, &|_, _| None);
    let (step, writes) = first(attempt(plan, options.clone()), live);
    let [Action::Write { task, .. }, ..] = writes[..] else { panic!("{writes:?}") };
    let answer = Answer::Written(task, Err(fault));
    go(stepped_at(Timestamp::UNIX_EPOCH, step.state, live, &BTreeSet::new(), vec![answer]), live)
}

fn fault(kind: FaultKind, message: &str) -> Fault {
    Fault { kind, message: message.into(), retry_after: None }
}

#[test]
fn i6_the_object_that_force_deletes_is_the_one_that_was_seen_at_that_version() {
    let (old, new) = forced();
    let live = members(&[old]);
    let immutable = fault(FaultKind::Invalid, "field is immutable");
    let (step, wanted) = refused(&Options::default(), &live, &[new], immutable);
    let [Action::Rehearse { task, .. }] = wanted[..] else { panic!("{wanted:?}") };
    let step =
        stepped_at(Timestamp::UNIX_EPOCH, step.state, &live, &BTreeSet::new(), vec![Answer::Rehearsed(task, Ok(()))]);
    let seen = live.values().next().unwrap();
    let deletes = |action: &Action| match action {
        Action::Write { write: Write::Delete { uid, version, .. }, .. } => {
            *uid == seen.uid && *version == Some(seen.version)
        }
        _ => false,
    };
    assert!(step.actions.iter().any(deletes), "{:?}", step.actions);
}

#[test]
fn v20_force_waits_for_the_prune_that_sets_free_what_the_object_needs() {
    let (old, new) = forced();
    let live = members(&[old, config("holder", &[])]);
    let options = Options { prune: true, ..Options::default() };
    let taken = fault(FaultKind::Invalid, "spec.ports[0].nodePort: provided port is already allocated");
    let (_, wanted) = refused(&options, &live, &[new], taken);
    let is_prune = |action: &Action| matches!(action, Action::Write { write: Write::Delete { key, .. }, .. } if &*key.name == "holder");
    assert!(wanted.iter().all(is_prune) && wanted.len() == 1, "{wanted:?}");
}

#[test]
fn i7_an_object_whose_every_write_meets_a_conflict_is_given_up_at_its_deadline() {
    let live = Members::new();
    let plan = Plan::sync(&read(&[config("a", &[])]), &live, &owner(), NAMESPACE, &Options::default(), &|_, _| None);
    let (mut step, mut wanted) = first(attempt(plan, Options::default()), &live);
    let mut now = Timestamp::UNIX_EPOCH;
    let mut rounds = 0;
    while !matches!(step.state.attempt.course, Course::Ended(_)) {
        rounds += 1;
        assert!(rounds < 2_000, "nothing ends it");
        let answers = wanted.drain(..).map(|action| match action {
            Action::Write { task, .. } => Answer::Written(task, Err(fault(FaultKind::Conflict, "it has changed"))),
            Action::Look { task, .. } => Answer::Looked(task, Ok(None)),
            other => panic!("{other:?}"),
        });
        let answers: Vec<_> = answers.collect();
        if answers.is_empty() {
            now = step.wake.expect("something is waited for").max(now);
        }
        let next = stepped_at(now, step.state, &live, &BTreeSet::new(), answers);
        (step, wanted) = go(next, &live);
    }
}

#[test]
fn p3_an_approval_with_a_time_to_come_counts_for_nothing_before_it() {
    let app = |at: &str| -> api::Application {
        serde_json::from_value(json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "web", "namespace": "shop", "annotations": {"argocd.argoproj.io/deletion-approved": at}},
            "spec": {"source": {"inline": ""}}}))
        .unwrap()
    };
    let since = "2026-01-01T10:00:00Z".parse().unwrap();
    let now = "2026-01-01T10:00:05Z".parse().unwrap();
    let far = app("2099-01-01T00:00:00Z");
    assert!(!lifecycle::approved_between(&far, since, now));
    assert_eq!(lifecycle::approval_to_come(&far, now), Some("2099-01-01T00:00:00Z".parse().unwrap()));
    let given = app("2026-01-01T10:00:04Z");
    assert!(lifecycle::approved_between(&given, since, now));
    assert_eq!(lifecycle::approval_to_come(&given, now), None);
}

#[test]
fn o10_a_destination_that_left_the_source_goes_not_with_the_application() {
    let ns = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let live = members(&[ns.clone(), config("a", &[])]);
    let asked = Options { create_namespace: Some(api::ManagedNamespaceMetadata::default()), ..Options::default() };
    let pruned = |source: &[Value], options: &Options| {
        let plan = Plan::deletion(Some(&read(source)), &live, &owner(), NAMESPACE, options);
        plan.tasks().any(|task| task.key.kind.is("", "Namespace"))
    };
    assert!(!pruned(&[config("a", &[])], &asked));
    assert!(pruned(&[ns], &asked), "what the source brings goes with it");
    assert!(pruned(&[config("a", &[])], &Options::default()));
}

#[test]
fn o10_a_sync_of_some_objects_leaves_the_metadata_of_the_destination_alone() {
    let metadata = api::ManagedNamespaceMetadata { labels: [("a".into(), "b".into())].into(), ..Default::default() };
    let named = SyncResource { group: String::new(), kind: "ConfigMap".into(), name: "a".into(), namespace: None };
    let plan = |only: Vec<SyncResource>, destination_exists: bool| {
        let options =
            Options { create_namespace: Some(metadata.clone()), destination_exists, only, ..Options::default() };
        let plan = Plan::sync(&read(&[config("a", &[])]), &Members::new(), &owner(), NAMESPACE, &options, &|_, _| None);
        plan.tasks().any(|task| matches!(task.work, Work::Namespace(_)))
    };
    assert!(plan(vec![], true));
    assert!(!plan(vec![named.clone()], true));
    assert!(plan(vec![named], false));
}

#[test]
fn f04_a_check_or_a_difference_about_a_kind_that_the_source_nearly_has_is_told() {
    let app: api::Application = serde_json::from_value(json!({
        "apiVersion": "swell.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": "shop", "annotations": {"swell.dev/relase": "now"}},
        "spec": {"source": {"inline": ""},
            "healthChecks": [{"apiVersion": "apps/v1", "kind": "Deploymnt", "current": "true"}, {"apiVersion": "example.org/v1", "kind": "Queue", "current": "true"}],
            "ignoreDifferences": [{"group": "", "kind": "ConfigMapp", "jsonPointers": ["/data"]}]}}))
    .unwrap();
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}});
    let remarks = lifecycle::remarks(&app, Some(&read(&[web, config("a", &[])])));
    assert_eq!(
        remarks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "swell.dev/relase has no effect; did you mean \"swell.dev/release\"?",
            "spec.healthChecks[0]: the source has no Deploymnt.apps; did you mean Deployment.apps?",
            "spec.ignoreDifferences[0]: the source has no ConfigMapp; did you mean ConfigMap?",
        ]
    );
}

#[test]
fn h7_a_sync_of_some_objects_that_names_only_hooks_is_refused() {
    let hook = config("account", &[("argocd.argoproj.io/hook", "PreSync")]);
    let source = read(&[config("a", &[]), hook]);
    let unmatched = |names: &[&str]| {
        let only = names.iter().map(|name| SyncResource {
            group: String::new(),
            kind: "ConfigMap".into(),
            name: (*name).into(),
            namespace: None,
        });
        let options = Options { only: only.collect(), ..Options::default() };
        Plan::unmatched(&source, &Members::new(), &owner(), &options)
    };
    assert!(unmatched(&["account"]).unwrap().contains("hooks do not run"));
    assert_eq!(unmatched(&["account", "a"]), None);
    assert!(unmatched(&["b"]).unwrap().contains("has no ConfigMap b"));
}
