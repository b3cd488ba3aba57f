//! Several operators share the work: one that dies, stops, hangs or is cut off is replaced in the middle of an operation, without harm.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use swell::api::OperationPhase;
use swell::engine::shards::Claim;
use testbed::faults::{Call, Moment, When};
use tokio::time::Instant;

use crate::support::{Place, config_map, crew::Mate, document, eventually, job, testbed};

const HOOK: &str = "argocd.argoproj.io/hook";
/// A stand-by acts so soon after a crash.
const AFTER_A_CRASH: Duration = Duration::from_secs(15);
/// Two seconds are promised; more are granted here to a machine that is busy with other tests. The measured time is told.
const AFTER_A_STOP: Duration = Duration::from_secs(5);
/// An operator that is asked to stop ends so soon, whatever the API server does; with a second for a busy machine.
const STOPS: Duration = Duration::from_secs(6);

fn migration(seconds: u32) -> String {
    let after = format!("{seconds}s");
    let hook = job("migrate", &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", &after)]);
    [hook, config_map("settings", &[], "1")].concat()
}

async fn runs(place: &Place, hook: &str) {
    place.object("batch/v1", "Job", hook, "running", |job| job.pointer("/status/active") == Some(&json!(1))).await;
}

/// Everything happened once, whoever did it.
async fn once(place: &Place) {
    place.ended("app", OperationPhase::Succeeded).await;
    assert_eq!(place.creates("jobs", "migrate").await, 1);
    assert_eq!(place.writes_to("configmaps", "settings").await.len(), 1);
}

/// Tells a figure past what captures the output of tests.
fn tell(what: &str, since: Instant) {
    std::io::stderr().write_all(format!("{what}: {} ms\n", since.elapsed().as_millis()).as_bytes()).unwrap();
}

async fn leader_and_stand_by(place: &Place) -> (Mate, Mate) {
    let first = place.mate("first", &[]).await;
    first.acts().await;
    let second = place.mate("second", &[]).await;
    // Leases of one second have no age among them.
    let leader = place.agreed(2).await.members.into_iter().min().unwrap();
    if leader.ends_with(&first.lease()) {
        return (first, second);
    }
    second.acts().await;
    first.said("has given buckets up").await;
    (second, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_a_stand_by_takes_over_within_15_seconds_of_a_crash_in_the_middle_of_an_operation() {
    let place = Place::with_crew("crashed").await;
    let (first, second) = leader_and_stand_by(&place).await;
    place.apply("app", &migration(3)).await;
    runs(&place, "migrate").await;
    assert!(second.writes().is_empty(), "a stand-by writes nothing: {:?}", second.writes());
    let died = Instant::now();
    drop(first);
    second.writes_within(AFTER_A_CRASH).await;
    tell("a stand-by acts after a crash", died);
    once(&place).await;
    // What the dead one has left goes too.
    place.agreed(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_a_stand_by_takes_over_at_once_when_the_leader_stops_in_the_middle_of_an_operation() {
    let place = Place::with_crew("stopped").await;
    let (mut first, second) = leader_and_stand_by(&place).await;
    place.apply("app", &migration(2)).await;
    runs(&place, "migrate").await;
    let asked = Instant::now();
    first.signal(Signal::TERM);
    assert!(first.exits(STOPS).await.success(), "{}", first.log());
    tell("the leader has stopped", asked);
    let lease = first.lease();
    assert!(place.claims().await.iter().all(|(name, _)| *name != lease), "its Lease is given back");
    second.writes_within(AFTER_A_STOP).await;
    tell("a stand-by acts after the leader was asked to stop", asked);
    once(&place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_an_operator_that_is_asked_to_stop_finishes_its_write_and_one_that_gets_no_answer_stops_too() {
    let place = Place::with_crew("farewell").await;
    let mut first = place.mate("first", &[]).await;
    let is_apply = |call: &Call| call.is("PATCH", "configmaps", "settings") && !call.dry_run;
    let stop = first.proxy.stop(When::calls(is_apply), Moment::After);
    place.apply("app", &migration(1)).await;
    stop.reached().await.unwrap();
    let asked = Instant::now();
    first.signal(Signal::TERM);
    first.said("asked to stop").await;
    stop.go_on();
    assert!(first.exits(STOPS).await.success(), "{}", first.log());
    tell("stopped in the middle of a write", asked);
    let mut second = place.mate("second", &[]).await;
    once(&place).await;
    second.proxy.partition();
    let asked = Instant::now();
    second.signal(Signal::TERM);
    assert!(second.exits(STOPS).await.success(), "{}", second.log());
    tell("stopped without an API server", asked);
    assert!(second.log().contains("the Lease is left to run out"), "{}", second.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_a_leader_that_was_replaced_while_it_hung_writes_nothing_more() {
    let place = Place::with_crew("hung").await;
    let (first, second) = leader_and_stand_by(&place).await;
    place.apply("app", &migration(3)).await;
    runs(&place, "migrate").await;
    first.signal(Signal::STOP);
    // The news that it finds when it wakes ask for a record, for the next stage, for an end: all of that has been done.
    second.writes_within(Duration::from_secs(30)).await;
    once(&place).await;
    let before = first.writes().len();
    first.signal(Signal::CONT);
    first.said("the Lease was not renewed in time").await;
    place.agreed(2).await;
    let ended = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply("app", &migration(3).replace("\"1\"", "\"2\"")).await;
    place.ended_after("app", &ended, OperationPhase::Succeeded).await;
    let writes = first.writes();
    assert_eq!(writes[before..], [], "{}", first.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_a_write_that_arrives_after_the_take_over_is_seen_as_drift_and_undone() {
    let place = Place::with_crew("late").await;
    let (first, second) = leader_and_stand_by(&place).await;
    let policy = json!({"syncPolicy": {"automated": {"selfHeal": true}}});
    let is_apply = |call: &Call| call.is("PATCH", "configmaps", "settings") && !call.dry_run;
    let stop = first.proxy.stop(When::calls(is_apply), Moment::Before);
    place.apply_with("app", &config_map("settings", &[], "1"), policy.clone()).await;
    stop.reached().await.unwrap();
    stop.partition();
    let id = place.ended("app", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply_with("app", &config_map("settings", &[], "2"), policy).await;
    place.ended_after("app", &id, OperationPhase::Succeeded).await;
    let before = place.writes_to("configmaps", "settings").await.len();
    assert!(!second.writes().is_empty());
    first.proxy.heal();
    eventually("the late write has arrived, and was undone", || async {
        (place.writes_to("configmaps", "settings").await.len() >= before + 2).then_some(())
    })
    .await;
    place.object("v1", "ConfigMap", "settings", "as it is wanted", |settings| settings["data"]["value"] == "2").await;
    let late: Vec<_> = first.writes().into_iter().filter(|call| call.resource == "configmaps").collect();
    assert_eq!(late.len(), 1, "{late:?}\n{}", first.log());
}

/// The Applications of the sharing test: one for each of some buckets.
const APPS: usize = 12;

/// Whose Application this is, by a claim.
fn owner_of<'a>(place: &Place, claim: &'a Claim, app: &str) -> &'a str {
    claim.owner(place.owner(app).bucket_number()).unwrap()
}

/// Which Applications' status a process has written since these numbers of calls.
fn has_written(mate: &Mate, since: usize) -> BTreeSet<String> {
    mate.writes()[since..].iter().filter(|call| call.resource == "applications").map(|call| call.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_one_that_comes_or_goes_moves_its_share_alone_in_the_middle_of_operations_and_every_hook_runs_once() {
    let place = Place::with_crew("shards").await;
    let apps: Vec<_> = (0..APPS).map(|number| format!("app-{number}")).collect();
    let manifests = |app: &str, run: &str, seconds: u32| {
        let after = format!("{seconds}s");
        let hook = job(&format!("{app}-{run}"), &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", &after)]);
        [hook, config_map(app, &[], run)].concat()
    };
    let mut mates = BTreeMap::new();
    for name in ["one", "two"] {
        let mate = place.mate(name, &["--sharding"]).await;
        mates.insert(name, mate);
    }
    let two = place.agreed(2).await;
    for app in &apps {
        place.apply(app, &manifests(app, "a", 4)).await;
    }
    for app in &apps {
        runs(&place, &format!("{app}-a")).await;
    }
    // A third one comes while all of them run.
    let third = place.mate("three", &["--sharding"]).await;
    mates.insert("three", third);
    let three = place.agreed(3).await;
    let moved = apps.iter().filter(|app| owner_of(&place, &two, app) != owner_of(&place, &three, app));
    let newest = three.members.iter().max().unwrap();
    assert!(
        moved.into_iter().all(|app| owner_of(&place, &three, app) == newest),
        "what moves goes to the one that came"
    );
    for app in &apps {
        place.ended(app, OperationPhase::Succeeded).await;
    }
    // By now each has what is its own, and nobody has anything else.
    let share = |claim: &Claim, lease: &str| -> BTreeSet<String> {
        let owned = apps.iter().filter(|app| owner_of(&place, claim, app).ends_with(lease));
        owned.cloned().collect()
    };
    let before: BTreeMap<_, _> = mates.iter().map(|(name, mate)| (*name, mate.writes().len())).collect();
    let first_ids = ids(&place, &apps).await;
    for app in &apps {
        place.apply(app, &manifests(app, "b", 0)).await;
    }
    for app in &apps {
        place.ended_after(app, &first_ids[app], OperationPhase::Succeeded).await;
    }
    for (name, mate) in &mates {
        assert_eq!(
            has_written(mate, before[name]),
            share(&three, &mate.lease()),
            "{name}: its share, and nothing else"
        );
    }
    selects_by_bucket(&place).await;
    // One dies and one is stopped, while all of them run.
    let second_ids = ids(&place, &apps).await;
    for app in &apps {
        place.apply(app, &manifests(app, "c", 4)).await;
    }
    for app in &apps {
        runs(&place, &format!("{app}-c")).await;
    }
    drop(mates.remove("one"));
    let mut stopped = mates.remove("two").unwrap();
    stopped.signal(Signal::TERM);
    assert!(stopped.exits(STOPS).await.success());
    for app in &apps {
        place.ended_after(app, &second_ids[app], OperationPhase::Succeeded).await;
    }
    for app in &apps {
        for run in ["a", "b", "c"] {
            assert_eq!(place.creates("jobs", &format!("{app}-{run}")).await, 1, "{app}-{run}");
        }
        assert_eq!(place.writes_to("configmaps", app).await.len(), 3, "{app}: once in each operation");
    }
}

async fn ids(place: &Place, apps: &[String]) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for app in apps {
        ids.insert(app.clone(), place.ended(app, OperationPhase::Succeeded).await.operation_state.unwrap().id);
    }
    ids
}

/// Each of several processes asks the API server for the objects of its own buckets alone.
async fn selects_by_bucket(place: &Place) {
    let audit = testbed().audit();
    audit.flushed(&place.client).await.unwrap();
    let entries = audit.read(&testbed::audit::Filter::namespace(&place.namespace).resource("configmaps")).unwrap();
    let mut watches: Vec<_> = entries.iter().filter(|entry| entry.verb == "watch").collect();
    // Those of the other parts of the control plane are not about labels.
    watches.retain(|entry| entry.request_uri.contains("swell.dev"));
    let newest = watches.iter().map(|entry| entry.received_us).max().unwrap();
    let last = watches.iter().find(|entry| entry.received_us == newest).unwrap();
    assert!(last.request_uri.contains("swell.dev%2Fbucket"), "{}", last.request_uri);
}

#[tokio::test(flavor = "multi_thread")]
async fn v27_a_namespace_with_objects_of_an_application_that_another_process_acts_for_is_kept_too() {
    let mut place = Place::with_crew("neighbours").await;
    let shared = format!("{}-shared", place.namespace);
    place.also_look_at(&shared);
    crate::hands::grant_everywhere(&place, crate::options::everything_in_new_namespaces()).await;
    let one = place.mate("one", &["--sharding"]).await;
    let two = place.mate("two", &["--sharding"]).await;
    let claim = place.agreed(2).await;
    let name_for = |mate: &Mate, prefix: &str| {
        let mut names = (0..).map(|number| format!("{prefix}-{number}"));
        names.find(|name| owner_of(&place, &claim, name).ends_with(&mate.lease())).unwrap()
    };
    let (owner, tenant) = (name_for(&one, "owner"), name_for(&two, "tenant"));
    let namespace = document(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shared}}));
    let prunes = json!({"syncPolicy": {"automated": {"prune": true}}});
    place.apply_with(&owner, &[namespace, config_map("kept", &[], "1")].concat(), prunes.clone()).await;
    let id = place.ended(&owner, OperationPhase::Succeeded).await.operation_state.unwrap().id;
    place.apply_with(&tenant, &config_map("settings", &[], "1"), json!({"destination": {"namespace": shared}})).await;
    place.ended(&tenant, OperationPhase::Succeeded).await;
    // The process of the owner learns of the tenant by the tenant's status.
    place.apply_with(&owner, &config_map("kept", &[], "1"), prunes).await;
    let state = place.ended_after(&owner, &id, OperationPhase::Succeeded).await.operation_state.unwrap();
    let rows = state.sync_result.unwrap().resources;
    let message = rows.iter().find(|row| row.kind == "Namespace").unwrap().message.clone().unwrap();
    assert!(message.contains(&format!("the Application {}/{tenant} has objects", place.namespace)), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn v27_a_namespace_is_kept_for_an_application_that_another_process_has_taken_over_meanwhile() {
    let mut place = Place::with_crew("moved").await;
    let shared = format!("{}-shared", place.namespace);
    place.also_look_at(&shared);
    crate::hands::grant_everywhere(&place, crate::options::everything_in_new_namespaces()).await;
    let one = place.mate("one", &["--sharding"]).await;
    one.acts().await;
    // Many tenants, so that some move, and several owners, so that some stay.
    let namespace = document(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shared}}));
    let prunes = json!({"syncPolicy": {"automated": {"prune": true}}});
    place.apply_with("owner", &[namespace, config_map("kept", &[], "1")].concat(), prunes.clone()).await;
    let id = place.ended("owner", OperationPhase::Succeeded).await.operation_state.unwrap().id;
    let tenants: Vec<_> = (0..8).map(|number| format!("tenant-{number}")).collect();
    for tenant in &tenants {
        place.apply_with(tenant, &config_map(tenant, &[], "1"), json!({"destination": {"namespace": shared}})).await;
    }
    for tenant in &tenants {
        place.ended(tenant, OperationPhase::Succeeded).await;
    }
    let _two = place.mate("two", &["--sharding"]).await;
    place.agreed(2).await;
    place.apply_with("owner", &config_map("kept", &[], "1"), prunes).await;
    let state = place.ended_after("owner", &id, OperationPhase::Succeeded).await.operation_state.unwrap();
    let rows = state.sync_result.unwrap().resources;
    let message = rows.iter().find(|row| row.kind == "Namespace").unwrap().message.clone().unwrap();
    assert!(message.contains("has objects"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_leader_that_was_late_and_leads_again_knows_what_came_meanwhile() {
    let place = Place::with_crew("again").await;
    let (first, second) = leader_and_stand_by(&place).await;
    place.apply("app", &config_map("settings", &[], "1")).await;
    place.ended("app", OperationPhase::Succeeded).await;
    first.signal(Signal::STOP);
    let mut second = second;
    // The stand-by leads, and a new Application comes.
    place.apply("later", &config_map("later", &[], "1")).await;
    place.ended("later", OperationPhase::Succeeded).await;
    first.signal(Signal::CONT);
    first.said("the Lease was not renewed in time").await;
    place.agreed(2).await;
    second.signal(Signal::TERM);
    assert!(second.exits(STOPS).await.success());
    place.applications().delete("later", &kube::api::DeleteParams::default()).await.unwrap();
    crate::hands::departed(&place, "later").await;
    assert!(place.uid("v1", "ConfigMap", "later").await.is_none(), "its objects go with it: {}", first.log());
}
