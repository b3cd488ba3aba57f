//! What happens to an Application over time; also made by dice.

use serde_json::{Value, json};
use swell::engine::object::ObjectKey;

use super::faults::{Chaos, Dice};
use super::items::{End, Item, Kind, hook, plain};

/// What happens to an Application over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// What its source says, one after the other, each once the operation before has ended.
    pub(crate) sources: Vec<Vec<Item>>,
    /// `spec.syncPolicy`.
    pub(crate) policy: Value,
    /// Whether it is deleted at the end.
    pub(crate) delete: bool,
    /// Objects that are there before the Application.
    pub(crate) there: Vec<(Item, There)>,
    /// Whether the status is lost, with the operator, when all is done.
    pub(crate) forget: bool,
    /// Whether somebody asks for another sync when all is done.
    pub(crate) ask_again: bool,
    /// Plain objects that somebody edits or deletes, some milliseconds after the start.
    pub(crate) people: Vec<(i64, Meddling)>,
}

/// Who made an object that is there before us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Another Application.
    Neighbour,
    /// A person, with kubectl.
    Person,
}

/// What people do beside us.
#[derive(Clone, Debug)]
pub(crate) enum Meddling {
    Edit(ObjectKey),
    TakeAway(ObjectKey),
    Terminate,
    /// They kill the operator.
    Crash,
}

/// A script of up to three sources.
pub(crate) fn script(dice: &mut Dice) -> Script {
    let calm = dice.below(3) == 0;
    let mut first = Vec::new();
    for number in 0..=dice.below(5) {
        first.push(an_object(dice, &format!("plain{number}"), calm));
    }
    for number in 0..dice.below(5) {
        first.push(a_hook(dice, &format!("hook{number}"), calm));
    }
    let mut sources = vec![first];
    for _ in 0..dice.below(3) {
        let mut next = sources.last().cloned().unwrap_or_default();
        if next.len() > 1 && dice.below(2) == 0 {
            let place = dice.below(next.len() as u64);
            next.remove(usize::try_from(place).unwrap_or(0));
        }
        let added = format!("added{}", sources.len());
        next.push(an_object(dice, &added, calm));
        for item in &mut next {
            // The template of a plain Job cannot be changed.
            if dice.below(2) == 0 && (item.kind != Kind::Job || !item.hook.is_empty()) {
                item.content = if dice.below(3) == 0 { -item.content.abs() - 1 } else { item.content.abs() + 1 };
            }
        }
        sources.push(next);
    }
    let mut people = Vec::new();
    if !calm {
        for _ in 0..dice.below(3) {
            let objects: Vec<_> = sources[0].iter().filter(|item| item.hook.is_empty()).collect();
            let item = objects[usize::try_from(dice.below(objects.len() as u64)).unwrap_or(0)];
            let (key, at) = (item.key(), below(dice, 12_000));
            people.push((at, if dice.below(2) == 0 { Meddling::Edit(key) } else { Meddling::TakeAway(key) }));
        }
        if dice.below(8) == 0 {
            people.push((below(dice, 8_000), Meddling::Terminate));
        }
    }
    let policy = json!({
        "automated": {"prune": dice.below(3) > 0, "selfHeal": dice.below(2) == 0},
        "retry": {"limit": dice.below(3)},
        "timeouts": {"sync": "10m", "stage": "90s", "hook": "90s"}
    });
    Script { sources, policy, delete: dice.below(3) == 0, people, ..Script::default() }
}

/// Whether nothing in a script is made to fail, so that it has to succeed in the end.
pub(crate) fn is_calm(script: &Script) -> bool {
    script.people.is_empty() && script.sources.iter().flatten().all(|item| item.behaviour.end == End::Well)
}

/// Faults for the first half minute.
pub(crate) fn chaos(dice: &mut Dice) -> Chaos {
    let often = |dice: &mut Dice, most: u64| if dice.below(2) == 0 { 0 } else { dice.below(most) };
    // A create that is done late, after a restart has hidden it, is the one window that is documented: not both in one run.
    let (late, crash) = if dice.below(2) == 0 { (often(dice, 60), 0) } else { (0, often(dice, 120)) };
    Chaos { delay: often(dice, 600), lost: often(dice, 150), transient: often(dice, 150), late, crash, until: 30_000 }
}

fn an_object(dice: &mut Dice, name: &str, calm: bool) -> Item {
    let kinds =
        [Kind::Config, Kind::Account, Kind::Deployment, Kind::Deployment, Kind::Widget, Kind::Gadget, Kind::Job];
    let item = plain(pick(dice, &kinds), name).wave(below(dice, 4) - 1).takes(50 + below(dice, 4_000));
    let item = if item.kind == Kind::Job && dice.below(2) == 0 { item.ttl(below(dice, 3)) } else { item };
    item.ends(end(dice, calm))
}

fn a_hook(dice: &mut Dice, name: &str, calm: bool) -> Item {
    let phases = [
        "PreSync",
        "PreSync",
        "Sync",
        "PostSync",
        "SyncFail",
        "PreSync,PostSync",
        "PreDelete",
        "PostDelete",
        "Sync,SyncFail",
    ];
    let policies = [
        "",
        "",
        "BeforeHookCreation",
        "HookSucceeded",
        "HookFailed",
        "HookSucceeded,HookFailed",
        "BeforeHookCreation,HookSucceeded",
    ];
    let item = hook(pick(dice, &phases), name)
        .wave(below(dice, 3) - 1)
        .policy(pick(dice, &policies))
        .takes(50 + below(dice, 4_000))
        .ends(end(dice, calm));
    match dice.below(8) {
        0 | 1 => item.of(Kind::Config),
        2 => Item { name: format!("{name}-"), ..item.generated() },
        3 => item.ttl(below(dice, 3)),
        _ => item,
    }
}

fn end(dice: &mut Dice, calm: bool) -> End {
    match dice.below(20) {
        0 if !calm => End::Badly,
        1 if !calm => End::WellLater,
        2 if !calm => End::Never,
        _ => End::Well,
    }
}

fn pick<T: Copy>(dice: &mut Dice, from: &[T]) -> T {
    from[usize::try_from(dice.below(from.len() as u64)).unwrap_or(0)]
}

fn below(dice: &mut Dice, limit: u64) -> i64 {
    i64::try_from(dice.below(limit)).unwrap_or(0)
}
