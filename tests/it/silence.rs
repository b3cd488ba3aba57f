//! What is waited for although no event comes: one may have been lost.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use swell::engine::action::{Action, Answer};
use swell::engine::live::Members;
use swell::engine::object::{ObjectKey, Owner};
use swell::engine::step::Step;

use crate::handover::{deleting, member, stepped_at};

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn reads(step: &Step) -> usize {
    step.actions.iter().filter(|action| matches!(action, Action::Refresh { .. })).count()
}

#[test]
fn f22_what_is_waited_for_is_read_when_nothing_is_heard_of_it_for_45_seconds_and_not_before() {
    let owner = Owner::new("shop", "web");
    let key = ObjectKey::new("", "ConfigMap", Some("shop"), "old");
    let members = Members::from([(key.clone(), member(&owner, &key, 7))]);
    let (nothing, changed) = (BTreeSet::new(), BTreeSet::from([key.clone()]));
    let begun = deleting(&members);
    let [Action::Write { task, .. }] = begun.actions[..] else { panic!("{:?}", begun.actions) };
    // Deleted; something holds it, and its end is awaited.
    let waits = stepped_at(at(0), begun.state, &members, &nothing, vec![Answer::Written(task, Ok(None))]);
    assert_eq!((reads(&waits), waits.wake), (0, Some(at(45))));
    let early = stepped_at(at(44), waits.state, &members, &nothing, Vec::new());
    assert_eq!(reads(&early), 0);
    let heard = stepped_at(at(44), early.state, &members, &changed, Vec::new());
    assert_eq!((reads(&heard), heard.wake), (0, Some(at(45))));
    let silent = stepped_at(at(45), heard.state, &members, &nothing, Vec::new());
    assert_eq!((reads(&silent), silent.wake), (0, Some(at(90))), "44 s ago something was heard");
    let due = stepped_at(at(90), silent.state, &members, &nothing, Vec::new());
    assert_eq!((reads(&due), due.wake), (1, Some(at(135))));
    // What was read is in the view, and comes as a change.
    let unchanged = vec![Answer::Refreshed(key.clone(), Ok(None))];
    let gone = stepped_at(at(91), due.state, &Members::new(), &changed, unchanged);
    let [Action::Look { task, .. }] = gone.actions[..] else { panic!("{:?}", gone.actions) };
    let over = stepped_at(at(91), gone.state, &Members::new(), &nothing, vec![Answer::Looked(task, Ok(None))]);
    assert_eq!((reads(&over), over.wake), (0, None), "nobody waits any more");
}
