//! Rules of Argo CD's that a plan alone can show, row by row (`docs/rules.md`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use swell::api::{Application, OperationState, Phase};
use swell::engine::attempt::Operation;
use swell::engine::desired::{Context, Desired, Problem, desired};
use swell::engine::kinds::Kinds;
use swell::engine::ledger::Ledger;
use swell::engine::lifecycle::{self, Next, Situation};
use swell::engine::live::Members;
use swell::engine::membership::marked;
use swell::engine::object::Owner;
use swell::engine::plan::{Options, Plan, Work, effective_policies, recreates_passive};
use swell::engine::report::{self, Standing};
use swell::engine::settings::{Class, Consent, DeletePolicy, Settings, csv, parse_option};
use swell::engine::yaml;

use super::world::driver::Sim;
use super::world::items::{Kind, plain};
use super::world::scripts::Script;
use super::world::{NAMESPACE, User, World, owner};

const HOOK: &str = "argocd.argoproj.io/hook";
const OPTIONS: &str = "argocd.argoproj.io/sync-options";
const WAVE: &str = "argocd.argoproj.io/sync-wave";

fn try_read(values: &[Value], allow_missing_kinds: bool) -> Result<Desired, Vec<Problem>> {
    let kinds = Kinds::builtin().closed();
    let text = values.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
    let documents = yaml::parse(None, &text, &yaml::Limits::default()).unwrap();
    let owner = owner();
    desired(documents, Context { allow_missing_kinds, ..Context::new(&owner, NAMESPACE, &kinds) })
}

fn read(values: &[Value]) -> Desired {
    try_read(values, false).unwrap()
}

fn object(api_version: &str, kind: &str, name: &str, annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "annotations": annotations}})
}

fn config(name: &str, annotations: &[(&str, &str)]) -> Value {
    object("v1", "ConfigMap", name, annotations)
}

fn plan(wanted: &[Value], members: &Members, options: &Options) -> Plan {
    Plan::sync(&read(wanted), members, &owner(), NAMESPACE, options, &|_, _| None)
}

/// The plain objects as an earlier sync has left them.
fn members(earlier: &[Value]) -> Members {
    let (mut world, owner) = (World::new(), owner());
    for manifest in read(earlier).manifests.iter().filter(|manifest| manifest.settings.class == Class::Plain) {
        let body = marked(&owner, manifest, &manifest.key, None);
        world.insert(&manifest.key, body, &owner.field_manager(), "Apply", User::Operator(0));
    }
    world.objects.keys().filter_map(|key| Some((key.clone(), world.live(key, &owner)?))).collect()
}

/// Phase, wave and name of each task, prunes with a minus before the name.
fn tasks(plan: &Plan) -> Vec<(Phase, i64, String)> {
    let name = |task: &swell::engine::plan::Task| {
        let sign = if matches!(task.work, Work::Prune) { "-" } else { "" };
        format!("{sign}{}", task.key.name)
    };
    let stages = plan.stages.iter().chain(&plan.sync_fail);
    stages.flat_map(|stage| stage.tasks.iter().map(|task| (stage.phase, stage.wave, name(task)))).collect()
}

fn pruning() -> Options {
    Options { prune: true, ..Options::default() }
}

fn application(sync_policy: &Value) -> Application {
    serde_json::from_value(json!({
        "apiVersion": "swell.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "web", "namespace": NAMESPACE, "generation": 1},
        "spec": {"source": {"inline": ""}, "syncPolicy": sync_policy}
    }))
    .unwrap()
}

fn operation(attempt: i64) -> Operation {
    let now = jiff::Timestamp::UNIX_EPOCH;
    Operation {
        heal: None,
        id: "a".to_owned(),
        deletion: false,
        attempt,
        request_generation: None,
        initiated_by: None,
        revision: "r1".to_owned(),
        started_at: now,
        attempt_started_at: now,
        options: Options::default(),
    }
}

#[test]
fn c1_lists_are_split_trimmed_and_each_item_counts_once() {
    assert_eq!(csv(" b, a,,b ,A, "), ["b", "a", "A"]);
    assert!(csv(" , ").is_empty());
}

#[test]
fn c2_delete_hooks_have_no_task_in_a_sync_and_sync_hooks_none_in_a_deletion() {
    let hooks = [
        config("at-sync", &[(HOOK, "PostSync")]),
        config("at-deletion", &[(HOOK, "PreDelete")]),
        config("at-both", &[(HOOK, "PostSync,PostDelete")]),
    ];
    let at_sync = plan(&hooks, &Members::new(), &Options::default());
    assert_eq!(
        tasks(&at_sync),
        [(Phase::PostSync, 0, "at-both".to_owned()), (Phase::PostSync, 0, "at-sync".to_owned())]
    );
    let at_deletion = Plan::deletion(Some(&read(&hooks)), &Members::new(), &owner(), NAMESPACE, &Options::default());
    assert_eq!(
        tasks(&at_deletion),
        [(Phase::PreDelete, 0, "at-deletion".to_owned()), (Phase::PostDelete, 0, "at-both".to_owned())]
    );
}

#[test]
fn c6_what_is_skipped_has_no_task_and_its_live_copy_is_not_pruned() {
    let live = members(&[config("left", &[]), config("gone", &[])]);
    let plan = plan(&[config("left", &[(HOOK, "Skip")])], &live, &pruning());
    assert_eq!(tasks(&plan), [(Phase::Sync, 0, "-gone".to_owned())]);
    assert_eq!(plan.without_task[0].key.name.as_ref(), "left");
    assert!(!plan.without_task[0].prune_skipped, "{:?}", plan.without_task);
}

#[test]
fn c11_a_delete_hook_of_helms_stays_one_beside_a_hook_of_argo_cds() {
    let phases = |argo: &str, helm: &str| {
        let annotations = [(HOOK, argo), ("helm.sh/hook", helm)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        Settings::parse(&BTreeMap::from(annotations)).unwrap().phases().to_vec()
    };
    assert_eq!(phases("Skip", "pre-delete"), [Phase::PreDelete]);
    assert_eq!(phases("PreSync", "post-delete,post-install"), [Phase::PreSync, Phase::PostDelete]);
    assert_eq!(phases("PreDelete", "pre-delete"), [Phase::PreDelete]);
    assert_eq!(phases("Skip", "pre-install"), [], "a sync hook of Helm's does not count beside a native one");
}

#[test]
fn d1_d2_without_a_policy_before_hook_creation_counts_and_on_a_plain_object_none() {
    let policy = "argocd.argoproj.io/hook-delete-policy";
    let wanted =
        read(&[config("plain", &[(policy, "HookSucceeded")]), object("batch/v1", "Job", "hook", &[(HOOK, "Sync")])]);
    let named = |name: &str| wanted.manifests.iter().find(|manifest| &*manifest.key.name == name).unwrap();
    assert_eq!(effective_policies(named("hook")), BTreeSet::from([DeletePolicy::BeforeHookCreation]));
    assert_eq!(named("plain").settings.class, Class::Plain, "a policy makes no hook");
    let plain = tasks(&plan(&[config("plain", &[(policy, "HookSucceeded")])], &Members::new(), &Options::default()));
    assert_eq!(plain, [(Phase::Sync, 0, "plain".to_owned())]);
}

#[test]
fn v5_f33_a_precious_kind_is_never_made_anew_and_other_passive_hooks_only_on_request() {
    let policy = ("argocd.argoproj.io/hook-delete-policy", "BeforeHookCreation");
    let precious = [
        ("v1", "Namespace"),
        ("v1", "PersistentVolume"),
        ("v1", "PersistentVolumeClaim"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ];
    for (api_version, kind) in precious {
        let wanted = read(&[object(api_version, kind, "x", &[(HOOK, "PreSync"), policy])]);
        assert!(!recreates_passive(&wanted.manifests[0]), "{kind}");
    }
    assert!(recreates_passive(&read(&[config("x", &[(HOOK, "PreSync"), policy])]).manifests[0]));
    assert!(!recreates_passive(&read(&[config("x", &[(HOOK, "PreSync")])]).manifests[0]));
}

#[test]
fn o2_the_kinds_of_one_wave_stand_in_argo_cds_order() {
    let kinds = [
        ("v1", "Namespace"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("v1", "ResourceQuota"),
        ("v1", "LimitRange"),
        ("policy/v1", "PodDisruptionBudget"),
        ("v1", "ServiceAccount"),
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("storage.k8s.io/v1", "StorageClass"),
        ("v1", "PersistentVolume"),
        ("v1", "PersistentVolumeClaim"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io/v1", "Role"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        ("v1", "Service"),
        ("apps/v1", "DaemonSet"),
        ("v1", "Pod"),
        ("v1", "ReplicationController"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "Deployment"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("networking.k8s.io/v1", "IngressClass"),
        ("networking.k8s.io/v1", "Ingress"),
        ("apiregistration.k8s.io/v1", "APIService"),
        ("coordination.k8s.io/v1", "Lease"),
    ];
    // Names against the order of kinds, so that these decide nothing.
    let mut manifests: Vec<_> = kinds
        .iter()
        .enumerate()
        .map(|(place, (api, kind))| object(api, kind, &format!("n{}", 99 - place), &[]))
        .collect();
    manifests.reverse();
    let plan = plan(&manifests, &Members::new(), &Options::default());
    let found: Vec<_> = plan.stages[0].tasks.iter().map(|task| task.key.kind.kind.to_string()).collect();
    assert_eq!(found, kinds.map(|(_, kind)| kind.to_owned()));
}

#[test]
fn o6_the_namespace_of_the_destination_stands_before_cluster_scoped_objects() {
    let role = object("rbac.authorization.k8s.io/v1", "ClusterRole", "reader", &[(WAVE, "-3")]);
    let namespace = object("v1", "Namespace", NAMESPACE, &[(WAVE, "5")]);
    let other = object("v1", "Namespace", "other", &[(WAVE, "5")]);
    let plan = plan(&[role, namespace, other], &Members::new(), &Options::default());
    assert_eq!(
        tasks(&plan),
        [
            (Phase::Sync, -3, NAMESPACE.to_owned()),
            (Phase::Sync, -3, "reader".to_owned()),
            (Phase::Sync, 5, "other".to_owned())
        ]
    );
}

#[test]
fn o8_prune_last_stands_one_wave_after_everything_of_sync() {
    let live = members(&[
        config("last", &[(WAVE, "-4"), (OPTIONS, "PruneLast=true")]),
        config("low", &[(WAVE, "1")]),
        config("high", &[(WAVE, "7")]),
    ]);
    let wanted = [config("new", &[(WAVE, "2")]), config("hook", &[(HOOK, "PostSync"), (WAVE, "20")])];
    let each = plan(&wanted, &live, &pruning());
    let place = |plan: &Plan, name: &str| tasks(plan).into_iter().find(|(.., found)| found == name).unwrap().1;
    // All three are mirrored among themselves first: -4 and 7 change places, 1 stays.
    assert_eq!([place(&each, "-last"), place(&each, "-low"), place(&each, "-high")], [8, 1, -4]);
    let all = plan(&wanted, &live, &Options { prune_last: true, ..pruning() });
    assert_eq!([place(&all, "-last"), place(&all, "-low"), place(&all, "-high")], [8, 8, 8]);
}

#[test]
fn v27_p2_p6_what_a_live_object_says_about_prune_and_deletion_counts() {
    let live = members(&[
        config("plain", &[]),
        config("unpruned", &[(OPTIONS, "Prune=false")]),
        config("undeleted", &[(OPTIONS, "Delete=false")]),
        config("keep", &[("helm.sh/resource-policy", "keep")]),
        object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "crd", &[]),
        object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "crd-too",
            &[(OPTIONS, "Prune=true,Delete=true")],
        ),
    ]);
    let names = |plan: &Plan| tasks(plan).into_iter().map(|(.., name)| name).collect::<BTreeSet<_>>();
    let all = |names: &[&str]| names.iter().map(|name| format!("-{name}")).collect::<BTreeSet<_>>();
    let pruned = plan(&[], &live, &pruning());
    assert_eq!(names(&pruned), all(&["plain", "undeleted", "keep", "crd-too"]));
    assert!(pruned.without_task.iter().all(|without| without.prune_skipped && !without.reason.is_empty()));
    // The object's own word wins over the Application's.
    let none = plan(&[], &live, &Options { prune_consent: Consent::No, ..pruning() });
    assert_eq!(names(&none), all(&["crd-too"]));
    let deleted = Plan::deletion(None, &live, &owner(), NAMESPACE, &Options::default());
    assert_eq!(names(&deleted), all(&["plain", "unpruned", "crd-too"]));
    let kept = Plan::deletion(
        None,
        &live,
        &owner(),
        NAMESPACE,
        &Options { delete_consent: Consent::No, ..Options::default() },
    );
    assert_eq!(names(&kept), all(&["crd-too"]));
}

#[test]
fn s2_an_unknown_kind_is_let_through_only_when_its_manifest_or_the_application_says_so() {
    let widget = |annotations: &[(&str, &str)]| object("example.com/v1", "Widget", "one", annotations);
    assert!(try_read(&[widget(&[])], false).is_err());
    let skip = [(OPTIONS, "SkipDryRunOnMissingResource=true")];
    assert!(try_read(&[widget(&skip)], false).unwrap().manifests[0].kind_may_be_missing());
    assert!(try_read(&[widget(&[])], true).unwrap().manifests[0].kind_may_be_missing());
}

#[test]
fn options_without_a_meaning_here_are_accepted() {
    for option in ["ServerSideApply=false", "ServerSideApply=true", "Replace=false", "ApplyOutOfSyncOnly=false"] {
        assert!(parse_option(option).is_ok(), "{option}");
        let warnings = try_read(&[config("x", &[(OPTIONS, option)])], false).unwrap().warnings;
        assert_eq!(warnings.len(), usize::from(option == "ServerSideApply=false"), "V15: {option}: {warnings:?}");
    }
    assert!(parse_option("serverSideApply=true").is_err(), "case counts");
}

#[test]
fn v10_r3_pauses_between_attempts_are_what_the_policy_says_up_to_its_maximum() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let pauses = |policy: Value, attempts: &[i64]| {
        let app = application(&json!({"retry": policy}));
        let pause = |attempt: &i64| Some(lifecycle::retry_at(&app, &operation(*attempt), now)?.as_second());
        attempts.iter().map(pause).collect::<Vec<_>>()
    };
    let defaults = [Some(5), Some(10), Some(20), Some(40), Some(80), Some(160), Some(180), None];
    assert_eq!(pauses(json!({"limit": 7}), &[1, 2, 3, 4, 5, 6, 7, 8]), defaults);
    let backoff = json!({"limit": -1, "backoff": {"duration": "2s", "factor": 3, "maxDuration": "7s"}});
    assert_eq!(pauses(backoff, &[1, 2, 3, 1000]), [Some(2), Some(6), Some(7), Some(7)]);
    assert_eq!(pauses(json!({"limit": 0}), &[1]), [None]);
}

#[test]
fn a1_a2_a_revision_is_tried_once_and_a_new_one_or_a_prune_that_is_due_starts_an_operation() {
    let ended = |phase: &str| -> OperationState {
        serde_json::from_value(json!({
            "id": "a", "attempt": 1, "phase": phase, "revision": "r1", "retryCount": 0,
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"
        }))
        .unwrap()
    };
    let starts = |policy: Value, revision: &str, ended: Option<&OperationState>, would_prune: bool| {
        let (now, application) = (jiff::Timestamp::UNIX_EPOCH, application(&policy));
        let attempted = ended.and_then(lifecycle::attempted);
        let situation = Situation {
            now,
            application: &application,
            revision,
            taken: None,
            running: None,
            ended,
            attempted: attempted.as_ref(),
            would_prune,
            approved: false,
            heal: None,
            rights_have_come: false,
        };
        matches!(lifecycle::next(situation), Next::Start(..))
    };
    let (good, bad) = (ended("Succeeded"), ended("Failed"));
    assert!(starts(json!({}), "r1", None, false));
    for ended in [&good, &bad] {
        assert!(!starts(json!({}), "r1", Some(ended), false), "one attempt for each revision");
        assert!(starts(json!({}), "r2", Some(ended), false));
        assert!(!starts(json!({"automated": {"enabled": false}}), "r2", Some(ended), false));
        assert!(!starts(json!({}), "r1", Some(ended), true), "there is something to prune, and pruning is off");
    }
    assert!(starts(json!({"automated": {"prune": true}}), "r1", Some(&good), true));
    assert!(!starts(json!({"automated": {"prune": true}}), "r1", Some(&bad), true));
}

#[test]
fn f59_fifty_waves_without_a_change_cost_no_pause() {
    let waves = |content: i64| {
        let settings = (0..50).map(|wave| plain(Kind::Config, &format!("settings{wave}")).wave(wave));
        settings.chain([plain(Kind::Config, "changed").wave(50).content(content)]).collect::<Vec<_>>()
    };
    let took = |sources: Vec<_>| {
        let sim = Sim::new(&Script { sources, ..Script::default() }).run();
        assert_eq!(sim.violations, Vec::<String>::new());
        sim.world.now.duration_since(World::new().now)
    };
    let (first, both) = (took(vec![waves(1)]), took(vec![waves(1), waves(2)]));
    // Requests and events take some milliseconds of simulated time, and nothing else is waited for. With 2 s a wave it would be 100 s.
    assert!((both - first).as_secs() < 2, "51 waves without a change took {}", both - first);
    assert!(first.as_secs() < 20, "51 waves took {first}");
}

#[test]
fn f60_the_status_of_ten_thousand_objects_stays_small_and_its_totals_exact() {
    let long = "n".repeat(200);
    let wanted: Vec<_> = (0..10_000).map(|number| config(&format!("{long}{number:05}"), &[])).collect();
    let wanted = read(&wanted);
    let rows: Vec<_> = wanted
        .manifests
        .iter()
        .map(|manifest| {
            json!({"group": "", "version": "v1", "kind": "ConfigMap", "namespace": NAMESPACE, "name": *manifest.key.name,
                "wave": 0, "status": "SyncFailed", "message": "m".repeat(500)})
        })
        .collect();
    let last: OperationState = serde_json::from_value(json!({
        "id": "a", "attempt": 1, "phase": "Failed", "revision": "r1", "retryCount": 0, "startedAt": "2026-01-01T00:00:00Z",
        "syncResult": {"resources": rows, "resourcesTotal": 10_000}
    }))
    .unwrap();
    let (owner, members, ledger): (Owner, Members, Ledger) = (owner(), Members::new(), Ledger::default());
    let status = report::status(Standing {
        now: jiff::Timestamp::UNIX_EPOCH,
        generation: 1,
        deleting: false,
        owner: &owner,
        desired: Ok(&wanted),
        revision: Some("r1"),
        members: &members,
        ledger: &ledger,
        attempt: None,
        request: None,
        last: Some(&last),
        attempted: None,
        kept_destination: None,
        contested: None,
        history: &[],
        conditions: &[],
    });
    let size = serde_json::to_vec(&status).unwrap().len();
    assert!(size < 300 * 1024, "{size} bytes");
    assert!(!status.resources.is_empty(), "what people read is cut, not left out");
    assert_eq!(status.resources_total, Some(10_000));
    let result = status.operation_state.unwrap().sync_result.unwrap();
    assert_eq!(result.resources_total, Some(10_000));
    assert!(!result.resources.is_empty());
}
