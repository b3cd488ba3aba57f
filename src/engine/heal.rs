//! Self-heal: which drift is undone now, which waits because somebody undoes it again and again (V32), and the plan of a repair (F17).
//! What is remembered here may be lost: it only spares the cluster a fight.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::drift::{self, Drift};
use super::object::ObjectKey;
use super::plan::{Plan, Work, kind_of_crd};

/// Why an operation began by itself although its revision was synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heal {
    /// What had drifted and who did it, for people.
    pub cause: String,
    /// The objects that it is about; empty where that is not known any more (after a restart): all of them.
    pub objects: BTreeSet<ObjectKey>,
}

/// What is to be done about the drift that is seen now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is undone at once.
    pub heal: Option<Heal>,
    /// Who undoes what self-heal does, and when it tries again; nothing while nobody does.
    pub contested: Option<String>,
    /// When to look again though nothing is seen.
    pub wake: Option<Timestamp>,
}

/// How the repairs of an Application went.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    bouts: BTreeMap<ObjectKey, Bout>,
}

/// The repairs of one object.
#[derive(Clone, Debug)]
struct Bout {
    healed: Timestamp,
    /// When the next repair is due; `None`: it has not been undone since the last.
    due: Option<Timestamp>,
    /// How often running it was undone at once.
    undone: u32,
    /// What was wrong when it was last undone.
    what: String,
}

/// Undone within this time of a repair: not by chance.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(1);
/// So often running before the repairs become rarer.
const PATIENCE: u32 = 3;
/// The first pause, by what it grows, and the longest one, in seconds.
const PAUSE: (i64, i64, i64) = (2, 3, 300);

impl Memory {
    /// Judges the drift that is seen, in source order.
    pub fn judge(&mut self, drifts: &[Drift], now: Timestamp) -> Verdict {
        let mut verdict = Verdict::default();
        let mut due = Vec::new();
        // Drift that has gone by itself is no fight any more.
        let seen: BTreeSet<_> = drifts.iter().map(|drift| &drift.key).collect();
        for (_, bout) in self.bouts.iter_mut().filter(|(key, _)| !seen.contains(key)) {
            bout.due = None;
        }
        for drift in drifts {
            let at = match self.bouts.get_mut(&drift.key) {
                Some(bout) => bout.undone_as(drift, now),
                None => now,
            };
            if at <= now {
                due.push(drift);
            } else {
                verdict.wake_at(at);
            }
        }
        if !due.is_empty() {
            verdict.heal = Some(Heal {
                cause: drift::told(due.iter().copied()),
                objects: due.iter().map(|drift| drift.key.clone()).collect(),
            });
        }
        // A repair that has held so long was not undone at once.
        self.bouts.retain(|_, bout| bout.due.is_some() || now < end(bout.healed));
        let contested = self.bouts.iter().filter(|(_, bout)| bout.undone >= PATIENCE);
        let lines: Vec<_> = contested.clone().map(|(key, bout)| bout.line(key)).collect();
        if let Some(first) = lines.first() {
            let more = if lines.len() > 1 { format!("; and {} more", lines.len() - 1) } else { String::new() };
            verdict.contested = Some(format!("{first}{more}"));
        }
        if let Some(end) = contested.filter(|(_, bout)| bout.due.is_none()).map(|(_, bout)| end(bout.healed)).min() {
            verdict.wake_at(end);
        }
        verdict
    }

    /// A repair of these objects has ended well.
    pub fn healed(&mut self, objects: &BTreeSet<ObjectKey>, now: Timestamp) {
        for key in objects {
            let bout = self.bouts.entry(key.clone()).or_insert_with(|| Bout {
                healed: now,
                due: None,
                undone: 0,
                what: String::new(),
            });
            (bout.healed, bout.due) = (now, None);
        }
    }

    /// The objects whose repair is not due yet.
    pub fn waiting(&self, now: Timestamp) -> BTreeSet<ObjectKey> {
        let waits = |bout: &Bout| bout.due.is_some_and(|due| due > now);
        self.bouts.iter().filter(|(_, bout)| waits(bout)).map(|(key, _)| key.clone()).collect()
    }
}

impl Verdict {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

impl Bout {
    /// It is seen undone: when the next repair is due.
    fn undone_as(&mut self, drift: &Drift, now: Timestamp) -> Timestamp {
        if let Some(due) = self.due {
            return due;
        }
        self.undone = if now <= end(self.healed) { self.undone.saturating_add(1) } else { 0 };
        self.what.clone_from(&drift.what);
        let (first, factor, longest) = PAUSE;
        let mut pause = if self.undone < PATIENCE { 0 } else { first };
        for _ in PATIENCE..self.undone.min(PATIENCE + 16) {
            pause = (pause * factor).min(longest);
        }
        let due = now.checked_add(SignedDuration::from_secs(pause)).unwrap_or(now);
        self.due = Some(due);
        due
    }

    fn line(&self, key: &ObjectKey) -> String {
        let next = match self.due {
            Some(due) => format!("; self-heal tries again at {}", due.strftime("%H:%M:%SZ")),
            None => String::new(),
        };
        format!(
            "{key} was undone within a second of its self-heal {} times running: {}{next}; \
             let only one of the two set the field: take it out of the manifest, or list it in spec.ignoreDifferences",
            self.undone, self.what
        )
    }
}

fn end(healed: Timestamp) -> Timestamp {
    healed.checked_add(AT_ONCE).unwrap_or(healed)
}

/// The part of a sync's plan that repairs these objects: no hooks, no prunes (H7); their stages and those before them, in the same order
/// and with the same gates. What goes along with a Namespace or a CRD that is made anew is repaired in the same run. `objects` empty:
/// everything is. What is `left` is another repair's.
#[must_use]
pub fn restricted(
    mut plan: Plan,
    objects: &BTreeSet<ObjectKey>,
    left: &BTreeSet<ObjectKey>,
    destination_exists: bool,
) -> Plan {
    let mut wrong = objects.clone();
    let mut namespaces = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for task in plan.tasks().filter(|task| objects.contains(&task.key)) {
        if task.key.kind.is("", "Namespace") {
            namespaces.insert(task.key.name.clone());
        }
        if task.key.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            kinds.extend(task.manifest().and_then(|manifest| kind_of_crd(manifest)));
        }
    }
    let goes_along = |key: &ObjectKey| {
        key.namespace.as_ref().is_some_and(|namespace| namespaces.contains(namespace)) || kinds.contains(&key.kind)
    };
    wrong.extend(plan.tasks().map(|task| &task.key).filter(|key| goes_along(key)).cloned());
    let is_wrong = |key: &ObjectKey| objects.is_empty() || wrong.contains(key);

    plan.sync_fail.clear();
    plan.without_task.clear();
    let last = plan.stages.iter().rposition(|stage| stage.tasks.iter().any(|task| is_wrong(&task.key)));
    plan.stages.truncate(last.map_or(0, |last| last + 1));
    let last = plan.stages.len().saturating_sub(1);
    for (index, stage) in plan.stages.iter_mut().enumerate() {
        stage.tasks.retain(|task| {
            // A destination that is missing is made anew before everything in it.
            if matches!(task.work, Work::Namespace(_)) {
                return !destination_exists;
            }
            let is_plain = matches!(task.work, Work::Apply(_));
            is_plain && !left.contains(&task.key) && (index < last || is_wrong(&task.key))
        });
    }
    plan.stages.retain(|stage| !stage.tasks.is_empty());
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desired::{Context, desired};
    use crate::engine::kinds::Kinds;
    use crate::engine::live::Members;
    use crate::engine::object::Owner;
    use crate::engine::plan::Options;
    use crate::engine::yaml::{Limits, parse};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("", "ConfigMap", Some("shop"), name)
    }

    fn drift(name: &str) -> Drift {
        let what = "data.a was taken by fighter".to_owned();
        Drift { key: key(name), what, by: vec!["fighter".to_owned()] }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    fn keys(names: &[&str]) -> BTreeSet<ObjectKey> {
        names.iter().map(|name| key(name)).collect()
    }

    /// Undoes `name` 100 ms after each of so many repairs, which are made when they are due; gives the time and the pauses.
    fn fight(memory: &mut Memory, name: &str, times: usize) -> (i64, Vec<i64>) {
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..times {
            memory.healed(&keys(&[name]), at(now));
            now += 100;
            let verdict = memory.judge(&[drift(name)], at(now));
            let pause = verdict.wake.map_or(0, |wake| wake.duration_since(at(now)).as_secs());
            assert_eq!(verdict.heal.is_none(), pause > 0);
            pauses.push(pause);
            now += pause * 1000;
        }
        (now, pauses)
    }

    #[test]
    fn v32_drift_is_undone_at_once_and_several_in_one_operation() {
        let mut memory = Memory::default();
        let verdict = memory.judge(&[drift("a"), drift("b")], at(0));
        let heal = verdict.heal.unwrap();
        assert_eq!(heal.objects, keys(&["a", "b"]));
        let (a, b) = (key("a"), key("b"));
        assert_eq!(heal.cause, format!("{a}: data.a was taken by fighter; {b}: data.a was taken by fighter"));
        assert_eq!((verdict.contested, verdict.wake), (None, None));
        assert_eq!(memory.judge(&[], at(0)), Verdict::default());
    }

    #[test]
    fn v32_the_back_off_begins_with_the_third_undoing_at_once_and_grows_to_300_seconds() {
        let (_, pauses) = fight(&mut Memory::default(), "a", 10);
        assert_eq!(pauses, [0, 0, 2, 6, 18, 54, 162, 300, 300, 300]);
    }

    #[test]
    fn v32_what_is_undone_later_than_a_second_is_undone_by_chance() {
        let mut memory = Memory::default();
        let (now, _) = fight(&mut memory, "a", 2);
        memory.healed(&keys(&["a"]), at(now));
        let verdict = memory.judge(&[drift("a")], at(now + 1001));
        assert!(verdict.heal.is_some() && verdict.contested.is_none(), "{verdict:?}");
        // It is not running any more: the next two do not count to three.
        for n in 1..=2 {
            memory.healed(&keys(&["a"]), at(now + 2000 * n));
            assert!(memory.judge(&[drift("a")], at(now + 2000 * n + 10)).heal.is_some());
        }
    }

    #[test]
    fn v32_the_one_who_undoes_it_is_named_until_a_repair_has_held_for_a_second() {
        let mut memory = Memory::default();
        let (now, _) = fight(&mut memory, "a", 3);
        let verdict = memory.judge(&[drift("a")], at(now - 1));
        let contested = verdict.contested.unwrap();
        assert!(contested.starts_with(&format!("{} was undone", key("a"))), "{contested}");
        assert!(
            contested.contains("3 times running: data.a was taken by fighter; self-heal tries again at "),
            "{contested}"
        );
        assert_eq!(verdict.wake, Some(at(now)));
        assert!(memory.judge(&[drift("a")], at(now)).heal.is_some());
        memory.healed(&keys(&["a"]), at(now));
        let verdict = memory.judge(&[], at(now + 500));
        assert!(verdict.contested.is_some(), "too early to tell");
        assert_eq!(verdict.wake, Some(at(now + 1000)));
        assert_eq!(memory.judge(&[], at(now + 1000)), Verdict::default());
    }

    #[test]
    fn v32_a_fight_about_one_object_holds_up_no_other() {
        let mut memory = Memory::default();
        let (now, _) = fight(&mut memory, "a", 4);
        let now = at(now - 1);
        let verdict = memory.judge(&[drift("a"), drift("b")], now);
        assert_eq!(verdict.heal.unwrap().objects, keys(&["b"]));
        assert_eq!(memory.waiting(now), keys(&["a"]));
    }

    const SHOP: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: before, annotations: {swell.dev/hook: PreSync}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: alarm, annotations: {swell.dev/hook: SyncFail}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: among, annotations: {swell.dev/hook: Sync, swell.dev/wave: "1"}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b, annotations: {swell.dev/wave: "1"}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b2, annotations: {swell.dev/wave: "1"}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: other, annotations: {swell.dev/wave: "2"}}}
"#;

    fn stages(objects: &BTreeSet<ObjectKey>, left: &BTreeSet<ObjectKey>) -> Vec<Vec<String>> {
        let owner = Owner::new("shop", "app");
        let kinds = Kinds::builtin();
        let context = Context::new(&owner, "shop", &kinds);
        let desired = desired(parse(None, SHOP, &Limits::default()).unwrap(), context).unwrap();
        let plan = Plan::sync(&desired, &Members::new(), &owner, "shop", &Options::default(), &|_, _| None);
        let plan = restricted(plan, objects, left, false);
        assert!(plan.sync_fail.is_empty());
        plan.stages.iter().map(|stage| stage.tasks.iter().map(|task| task.key.name.to_string()).collect()).collect()
    }

    #[test]
    fn f17_h7_a_repair_has_what_is_wrong_and_the_stages_before_it_and_no_hooks() {
        let none = BTreeSet::new();
        assert_eq!(stages(&keys(&["b"]), &none), [["shop"], ["a"], ["b"]]);
        assert_eq!(stages(&keys(&["a"]), &none), [["shop"], ["a"]]);
        assert_eq!(
            stages(&keys(&["a", "b"]), &keys(&["a"])),
            [["shop"], ["b"]],
            "what another repair does is left out"
        );
    }

    #[test]
    fn f17_what_is_in_a_namespace_that_is_made_anew_is_repaired_in_the_same_run() {
        let namespace = BTreeSet::from([ObjectKey::new("", "Namespace", None, "shop")]);
        assert_eq!(stages(&namespace, &BTreeSet::new()), [vec!["shop"], vec!["a"], vec!["b", "b2"]]);
    }

    #[test]
    fn after_a_restart_a_repair_is_about_everything_but_hooks() {
        let none = BTreeSet::new();
        assert_eq!(stages(&none, &none), [vec!["shop"], vec!["a"], vec!["b", "b2"], vec!["c"]]);
    }
}
