//! What changes hands between two looks: told step by step, because no schedule hits it for certain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use swell::api::Phase;
use swell::engine::action::{Action, Answer, Fault, FaultKind, TaskId, Write};
use swell::engine::attempt::{Attempt, Course, Ending, Operation, Timeouts};
use swell::engine::desired::Desired;
use swell::engine::health::Facts;
use swell::engine::kinds::Kinds;
use swell::engine::ledger::Ledger;
use swell::engine::live::{Live, Members};
use swell::engine::membership::applied;
use swell::engine::object::{Digest, ObjectKey, Owner};
use swell::engine::plan::{Options, Plan};
use swell::engine::step::{Observation, State, Step, step};

/// An object that carries the marks of its Application, as `shop/web` sees it.
pub(crate) fn member(of: &Owner, key: &ObjectKey, version: u64) -> Arc<Live> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": &*key.name, "namespace": key.namespace.as_deref(), "uid": "u1", "resourceVersion": version.to_string(),
            "labels": {"applyset.kubernetes.io/part-of": of.membership_id()},
            "annotations": {"swell.dev/applied": applied(of, key, Digest::of_bytes(b"x"))},
            "managedFields": [{"manager": of.field_manager(), "operation": "Apply", "fieldsV1": {}}]
        }
    });
    Arc::new(Live::reduce(&object, key, &Owner::new("shop", "web"), &Facts::default()).unwrap())
}

fn stepped(state: State, members: &Members, answers: Vec<Answer>) -> Step {
    stepped_at(Timestamp::UNIX_EPOCH, state, members, &BTreeSet::new(), answers)
}

/// One step at that time.
pub(crate) fn stepped_at(
    now: Timestamp,
    state: State,
    members: &Members,
    changed: &BTreeSet<ObjectKey>,
    answers: Vec<Answer>,
) -> Step {
    let nobody = |_: &str| None;
    let observation = Observation {
        now,
        members,
        changed,
        answers,
        kinds: &Kinds::builtin(),
        name_of: &nobody,
        tenants: &std::collections::BTreeMap::new(),
        approved: false,
    };
    step(state, &observation)
}

/// An attempt of `shop/web` that prunes all members, up to the delete of the first.
pub(crate) fn deleting(members: &Members) -> Step {
    let owner = Owner::new("shop", "web");
    let nothing =
        Desired { revision: "r".to_owned(), manifests: Vec::new(), places: BTreeMap::new(), warnings: Vec::new() };
    let options = Options { prune: true, ..Options::default() };
    let plan = Plan::sync(&nothing, members, &owner, "shop", &options, &|_, _| None);
    let operation = Operation {
        id: "1".to_owned(),
        deletion: false,
        attempt: 1,
        request_generation: None,
        initiated_by: None,
        heal: None,
        revision: "r".to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
        attempt_started_at: Timestamp::UNIX_EPOCH,
        options,
    };
    let attempt = Attempt {
        owner,
        operation,
        plan: Arc::new(plan),
        timeouts: Timeouts { sync: None, stage: None, hook: None },
        grace_until: Timestamp::UNIX_EPOCH,
        course: Course::Begin,
        rows: Vec::new(),
        failure: None,
        denied: false,
        stop: None,
        recording: None,
    };
    let first = stepped(State { ledger: Ledger::default(), attempt }, members, Vec::new());
    assert!(matches!(first.actions[..], [Action::CheckRights(_)]), "{:?}", first.actions);
    let second = stepped(first.state, members, vec![Answer::Rights(Ok(Vec::new()))]);
    let [Action::Record { version }] = second.actions[..] else { panic!("{:?}", second.actions) };
    stepped(second.state, members, vec![Answer::Recorded(version)])
}

#[test]
fn i6_an_object_that_was_handed_over_while_it_was_to_be_pruned_is_left_alone() {
    let owner = Owner::new("shop", "web");
    let key = ObjectKey::new("", "ConfigMap", Some("shop"), "old");
    let members = Members::from([(key.clone(), member(&owner, &key, 7))]);
    let third = deleting(&members);
    let [Action::Write { task, write: Write::Delete { version: Some(7), .. } }] = third.actions[..] else {
        panic!("a delete with the resourceVersion that was seen: {:?}", third.actions)
    };
    assert_eq!(task, TaskId { sync_fail: false, stage: 0, task: 0 });
    let conflict =
        Fault { kind: FaultKind::Conflict, message: "the resourceVersion has moved".to_owned(), retry_after: None };
    let fourth = stepped(third.state, &members, vec![Answer::Written(task, Err(conflict))]);
    assert!(matches!(fourth.actions[..], [Action::Look { .. }]), "looked at again: {:?}", fourth.actions);
    // Another Application has it by now; the view does not know yet.
    let handed_over = member(&Owner::new("shop", "api"), &key, 8);
    let last = stepped(fourth.state, &members, vec![Answer::Looked(task, Ok(Some(handed_over)))]);
    assert!(last.actions.iter().all(|action| !matches!(action, Action::Write { .. })), "{:?}", last.actions);
    let row = &last.state.attempt.rows[0];
    assert_eq!(row.phase, Phase::Sync);
    assert!(row.note.as_deref().is_some_and(|note| note.starts_with("left alone")), "{row:?}");
    assert!(matches!(last.state.attempt.course, Course::Ended(Ending::Succeeded)), "{:?}", last.state.attempt.course);
}
