//! Laws of the engine as properties: of the plan, of the step, and of whole operations.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use swell::api::Phase;
use swell::engine::desired::{Context, Desired, Manifest, desired};
use swell::engine::kinds::Kinds;
use swell::engine::live::Members;
use swell::engine::membership::marked;
use swell::engine::object::{ObjectKey, Owner};
use swell::engine::plan::{Options, Plan, Work};
use swell::engine::settings::{Class, Settings};
use swell::engine::yaml;

use super::world::driver::Sim;
use super::world::faults::Fault;
use super::world::items::{Item, Kind, hook, plain};
use super::world::oracles::Outcome;
use super::world::scripts::Script;
use super::world::{NAMESPACE, User, World, owner};

/// What a plan is made of, in the order of kinds that Argo CD has (O2).
const KINDS: [(&str, &str, bool); 7] = [
    ("v1", "Namespace", false),
    ("v1", "ConfigMap", true),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", false),
    ("apps/v1", "Deployment", true),
    ("batch/v1", "Job", true),
    ("example.com/v1", "Widget", true),
];
const NAMESPACES: [&str; 3] = [NAMESPACE, "north", "south"];
const HOOKS: [&str; 5] = ["PreSync", "Sync", "PostSync", "SyncFail", "PreSync,PostSync"];

#[derive(Clone, Debug)]
struct Document {
    kind: usize,
    namespace: usize,
    name: usize,
    wave: i64,
    hook: Option<usize>,
}

impl Document {
    fn value(&self) -> Value {
        let (api_version, kind, namespaced) = KINDS[self.kind];
        let name = match kind {
            "Namespace" => NAMESPACES[self.namespace].to_owned(),
            "CustomResourceDefinition" => "widgets.example.com".to_owned(),
            _ => format!("n{}", self.name),
        };
        let mut object = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "annotations": {"argocd.argoproj.io/sync-wave": self.wave.to_string()}}
        });
        if namespaced {
            object["metadata"]["namespace"] = json!(NAMESPACES[self.namespace]);
        }
        if let Some(hook) = self.hook {
            object["metadata"]["annotations"]["argocd.argoproj.io/hook"] = json!(HOOKS[hook]);
        }
        if kind == "CustomResourceDefinition" {
            object["spec"] = json!({"group": "example.com", "scope": "Namespaced", "names": {"kind": "Widget"}});
        }
        object
    }
}

fn documents() -> impl Strategy<Value = Vec<Document>> {
    let document =
        (0..KINDS.len(), 0..NAMESPACES.len(), 0..4_usize, -2..3_i64, prop::option::weighted(0.3, 0..HOOKS.len()))
            .prop_map(|(kind, namespace, name, wave, hook)| Document { kind, namespace, name, wave, hook });
    // Each identity once: of two, the last one in the source counts.
    prop::collection::vec(document, 0..14).prop_map(|documents| {
        let mut seen = BTreeSet::new();
        documents
            .into_iter()
            .filter(|document| {
                let value = document.value();
                seen.insert((
                    document.kind,
                    value["metadata"]["namespace"].to_string(),
                    value["metadata"]["name"].to_string(),
                ))
            })
            .collect()
    })
}

fn read(values: &[Value]) -> Desired {
    let mut kinds = Kinds::builtin().closed();
    kinds.add("example.com/v1", "Widget", "widgets", true);
    let text = values.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
    let documents = yaml::parse(None, &text, &yaml::Limits::default()).unwrap();
    let owner = owner();
    desired(documents, Context::new(&owner, NAMESPACE, &kinds)).unwrap()
}

fn plan(wanted: &Desired, members: &Members, prune: bool) -> Plan {
    let options = Options { prune, ..Options::default() };
    Plan::sync(wanted, members, &owner(), NAMESPACE, &options, &|_, _| None)
}

/// The objects as an earlier sync has left them.
fn members(earlier: &Desired, owner: &Owner) -> Members {
    let mut world = World::new();
    let plain = earlier.manifests.iter().filter(|manifest| manifest.settings.class == Class::Plain);
    for manifest in plain {
        let body = marked(owner, manifest, &manifest.key, None);
        world.insert(&manifest.key, body, &owner.field_manager(), "Apply", User::Operator(0));
    }
    world.objects.keys().filter_map(|key| Some((key.clone(), world.live(key, owner)?))).collect()
}

/// Every task with the stage that it stands in.
fn placed(plan: &Plan) -> Vec<(Phase, i64, ObjectKey, bool)> {
    let stages = plan.stages.iter().chain(&plan.sync_fail);
    stages
        .flat_map(|stage| {
            stage.tasks.iter().map(|task| (stage.phase, stage.wave, task.key.clone(), matches!(task.work, Work::Prune)))
        })
        .collect()
}

fn rank(key: &ObjectKey) -> usize {
    KINDS.iter().position(|(_, kind, _)| *kind == &*key.kind.kind).unwrap()
}

fn needs_namespace(manifest: &Manifest, namespace: &str) -> bool {
    match &manifest.key.namespace {
        Some(own) => &**own == namespace,
        None => manifest.key.kind.kind.as_ref() == "ClusterRole" && namespace == NAMESPACE,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn v22_the_order_of_a_plan_is_total_and_ascending(new in documents(), old in documents()) {
        let (new, old) = (read(&new.iter().map(Document::value).collect::<Vec<_>>()), read(&old.iter().map(Document::value).collect::<Vec<_>>()));
        let plan = plan(&new, &members(&old, &owner()), true);
        for stages in [&plan.stages, &plan.sync_fail] {
            let places: Vec<_> = stages.iter().map(|stage| (stage.phase, stage.wave)).collect();
            prop_assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "stages {places:?}");
            for stage in stages {
                let order = |task: &swell::engine::plan::Task| {
                    let prune = matches!(task.work, Work::Prune);
                    let rank = rank(&task.key);
                    (prune, if prune { KINDS.len() - rank } else { rank }, task.key.clone())
                };
                let keys: Vec<_> = stage.tasks.iter().map(order).collect();
                prop_assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{} {}: {keys:?}", stage.phase, stage.wave);
            }
        }
        prop_assert!(plan.sync_fail.iter().all(|stage| stage.phase == Phase::SyncFail));
        prop_assert!(plan.stages.iter().all(|stage| stage.phase != Phase::SyncFail));
    }

    #[test]
    fn a_plan_does_not_depend_on_the_order_of_the_source((first, shuffled) in documents().prop_flat_map(|d| (Just(d.clone()), Just(d).prop_shuffle()))) {
        let one = read(&first.iter().map(Document::value).collect::<Vec<_>>());
        let two = read(&shuffled.iter().map(Document::value).collect::<Vec<_>>());
        prop_assert_eq!(&one.revision, &two.revision);
        prop_assert_eq!(placed(&plan(&one, &Members::new(), false)), placed(&plan(&two, &Members::new(), false)));
    }

    #[test]
    fn every_manifest_has_one_task_in_each_of_its_phases_and_stands_in_its_own_wave_unless_it_was_moved(new in documents()) {
        let wanted = read(&new.iter().map(Document::value).collect::<Vec<_>>());
        let plan = plan(&wanted, &Members::new(), false);
        let mut expected = BTreeMap::new();
        for manifest in &wanted.manifests {
            for phase in manifest.settings.phases() {
                *expected.entry((manifest.key.clone(), *phase, manifest.settings.wave)).or_insert(0) += 1;
            }
        }
        let mut found = BTreeMap::new();
        for stage in plan.stages.iter().chain(&plan.sync_fail) {
            for task in &stage.tasks {
                let (phase, wave) = task.moved_from.unwrap_or((stage.phase, stage.wave));
                prop_assert!(task.moved_from.is_none() || (stage.phase, stage.wave) < (phase, wave), "{} moved to a later stage", task.key);
                prop_assert!(task.moved_from.is_none() || matches!(&*task.key.kind.kind, "Namespace" | "CustomResourceDefinition"), "{} moved", task.key);
                *found.entry((task.key.clone(), phase, wave)).or_insert(0) += 1;
            }
        }
        prop_assert_eq!(expected, found);
    }

    #[test]
    fn o5_a_namespace_or_crd_stands_no_later_than_the_first_that_needs_it(new in documents()) {
        let wanted = read(&new.iter().map(Document::value).collect::<Vec<_>>());
        let plan = plan(&wanted, &Members::new(), false);
        let places = placed(&plan);
        let stage_of = |key: &ObjectKey| places.iter().filter(|(_, _, other, _)| other == key).map(|(phase, wave, ..)| (*phase, *wave)).min();
        for dependency in &wanted.manifests {
            let first = stage_of(&dependency.key);
            for other in wanted.manifests.iter().filter(|other| other.key != dependency.key) {
                let needs = match &*dependency.key.kind.kind {
                    "Namespace" => needs_namespace(other, &dependency.key.name),
                    "CustomResourceDefinition" => &*other.key.kind.kind == "Widget",
                    _ => false,
                };
                prop_assert!(!needs || first <= stage_of(&other.key), "{} at {first:?} comes after {}", dependency.key, other.key);
            }
        }
    }

    #[test]
    fn o7_prunes_stand_in_mirrored_waves_and_i6_only_members_are_pruned(new in documents(), old in documents()) {
        let (new, old) = (read(&new.iter().map(Document::value).collect::<Vec<_>>()), read(&old.iter().map(Document::value).collect::<Vec<_>>()));
        let mut live = members(&old, &owner());
        let gone: Vec<_> = live.keys().filter(|key| new.manifests.iter().all(|manifest| manifest.key != **key)).cloned().collect();
        let pruned: Vec<_> = gone.iter().filter(|key| &*key.kind.kind != "CustomResourceDefinition").collect();
        let waves: Vec<i64> = pruned.iter().map(|key| live[*key].wave).collect::<BTreeSet<_>>().into_iter().collect();
        let expected: BTreeSet<_> = pruned
            .iter()
            .map(|key| {
                let place = waves.iter().position(|wave| *wave == live[*key].wave).unwrap();
                (Phase::Sync, waves[waves.len() - 1 - place], (*key).clone(), true)
            })
            .collect();
        // Objects of another Application look the same, but for the marks.
        let strangers = members(&old, &Owner::new(NAMESPACE, "neighbour"));
        live.extend(strangers.into_iter().map(|(key, live)| (key.with_name(&format!("other-{}", key.name)), live)));
        let found: BTreeSet<_> = placed(&plan(&new, &live, true)).into_iter().filter(|(.., prune)| *prune).collect();
        prop_assert_eq!(expected, found);
        let kept = plan(&new, &live, false);
        prop_assert!(placed(&kept).iter().all(|(.., prune)| !prune), "nothing is pruned when pruning is off");
        prop_assert_eq!(kept.without_task.iter().filter(|without| without.prune_skipped).count(), gone.len());
    }

    #[test]
    fn any_annotation_gives_settings_or_a_reason(key in prop::sample::select(&["argocd.argoproj.io/hook", "argocd.argoproj.io/sync-wave", "helm.sh/hook", "swell.dev/timeout", "argocd.argoproj.io/sync-options", "swell.dev/run"][..]), value in ".{0,24}") {
        let annotations = BTreeMap::from([(key.to_owned(), value)]);
        if let Err(bad) = Settings::parse(&annotations) {
            prop_assert!(bad.iter().all(|bad| bad.key == key && !bad.message.is_empty()), "{bad:?}");
        }
    }
}

/// Manifests that come to a good end, with hooks or without.
fn items(hooks: bool) -> impl Strategy<Value = Vec<Item>> {
    const PLAIN: [Kind; 6] = [Kind::Config, Kind::Account, Kind::Deployment, Kind::Widget, Kind::Gadget, Kind::Job];
    const PHASES: [&str; 6] = ["PreSync", "Sync", "PostSync", "SyncFail", "PreSync,PostSync", "Sync,SyncFail"];
    const POLICIES: [&str; 5] = ["", "BeforeHookCreation", "HookSucceeded", "HookFailed", "HookSucceeded,HookFailed"];
    let object = (0..PLAIN.len(), -1..3_i64, 50..3000_i64, prop::option::weighted(0.2, 0..2_i64));
    let run = (0..PHASES.len(), -1..2_i64, 50..3000_i64, 0..POLICIES.len(), 0..6_u8);
    let most = if hooks { 5 } else { 1 };
    (prop::collection::vec(object, 1..6), prop::collection::vec(run, 0..most)).prop_map(|(objects, runs)| {
        let objects = objects.into_iter().enumerate().map(|(number, (kind, wave, takes, ttl))| {
            let item = plain(PLAIN[kind], &format!("plain{number}")).wave(wave).takes(takes);
            match ttl.filter(|_| item.kind == Kind::Job) {
                Some(ttl) => item.ttl(ttl),
                None => item,
            }
        });
        let runs = runs.into_iter().enumerate().map(|(number, (phase, wave, takes, policy, form))| {
            let item = hook(PHASES[phase], &format!("hook{number}-")).wave(wave).takes(takes).policy(POLICIES[policy]);
            match form {
                0 => item.of(Kind::Config),
                1 => item.generated(),
                2 => item.ttl(1),
                _ => item,
            }
        });
        let named = |item: Item| {
            if item.generated { item } else { Item { name: item.name.trim_end_matches('-').to_owned(), ..item } }
        };
        objects.chain(runs).map(named).collect()
    })
}

fn succeeded(sim: &Sim) -> bool {
    sim.ended.iter().all(|ended| ended.ending == swell::engine::attempt::Ending::Succeeded) && !sim.ended.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_step_twice_does_the_same(items in items(true)) {
        let sim = Sim::new(&Script { sources: vec![items], ..Script::default() }).twice().run();
        prop_assert!(sim.violations.is_empty(), "{:#?}", sim.violations);
    }

    #[test]
    fn i1_to_i7_a_restart_between_any_two_steps_changes_nothing_in_the_outcome(items in items(true), at in any::<prop::sample::Index>()) {
        // A Job with a time to live that runs in two phases: its second run or the TTL controller removes the first one, whoever
        // comes first. A restart may change who that is (it holds what removes a name for as long as a create may still be done), so
        // that writes are not compared there; the judges of the invariants sit all the same.
        let is_race = items.iter().any(|item| item.ttl.is_some() && item.hook.contains(','));
        let script = Script { sources: vec![items], ..Script::default() };
        let reference = Sim::new(&script).run();
        prop_assert!(reference.violations.is_empty() && succeeded(&reference), "{:#?}", reference.violations);
        let number = 1 + at.index(reference.requests);
        for crash in [Fault::Before(number), Fault::After(number), Fault::Answered(number)] {
            let sim = Sim::new(&script).with_faults(&[crash]).run();
            let differences = Outcome::of(&reference).differences(&Outcome::of(&sim));
            let is_same = is_race || differences.is_empty();
            prop_assert!(sim.violations.is_empty() && is_same, "{crash:?}: {:#?} {differences:#?}", sim.violations);
        }
    }

    #[test]
    fn i10_a_sync_of_what_is_synced_already_writes_nothing(items in items(false)) {
        let sim = Sim::new(&Script { sources: vec![items], ask_again: true, ..Script::default() }).run();
        prop_assert!(sim.violations.is_empty() && succeeded(&sim), "{:#?}", sim.violations);
        prop_assert_eq!(sim.ended.len(), 2, "the second one was asked for");
        prop_assert_eq!(sim.asked_again(), Some(0));
    }

    #[test]
    fn i5_a_lost_status_starts_the_operation_again_writes_nothing_anew_and_makes_the_inventory_whole(items in items(false)) {
        // That a Job has ended is known from its record alone once it is gone.
        let items: Vec<_> = items.into_iter().map(|item| Item { ttl: None, ..item }).collect();
        let before = Sim::new(&Script { sources: vec![items.clone()], ..Script::default() }).run();
        let sim = Sim::new(&Script { sources: vec![items], forget: true, ..Script::default() }).run();
        prop_assert!(sim.violations.is_empty() && succeeded(&sim), "{:#?}", sim.violations);
        prop_assert_eq!(sim.ended.len(), 2, "it starts again");
        prop_assert_eq!(sim.asked_again(), Some(0));
        let kinds = |sim: &Sim| sim.world.status.clone().and_then(|status| status.inventory).map(|inventory| inventory.kinds);
        prop_assert!(kinds(&sim).is_some());
        prop_assert_eq!(kinds(&before), kinds(&sim));
    }
}
