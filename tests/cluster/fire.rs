//! Exactly once, under fire: one sync with hooks in all four phases, hit at each of its API calls in turn.

mod run;
mod verdict;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use testbed::faults::{Call, Moment, When};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use run::{How, Sync, Tried, try_point};

/// Points that are tried at a time on one core: a sync waits most of the time, for Jobs.
const POINTS_PER_CORE: usize = 6;
/// What can happen at a point.
const WAYS: [(How, Moment); 6] = [
    (How::Kill, Moment::Before),
    (How::Kill, Moment::After),
    (How::Cut, Moment::Before),
    (How::Cut, Moment::After),
    (How::TakeOver, Moment::Before),
    (How::TakeOver, Moment::After),
];

/// Where a sync is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// At its n-th call.
    Call(usize),
    /// At its n-th write.
    Write(usize),
}

type Point = (Sync, Place, How, Moment);

/// A part of the points: each write of the failing sync in one way, the ways in turn, some of its other calls and of the other sync's.
/// With `SWELL_FIRE=all` every call of both in every way; with a part of a point's name, such as `Bad Cut Before Call(9)`, those.
#[tokio::test(flavor = "multi_thread")]
async fn i3_f51_each_hook_runs_once_and_nothing_is_left_over_wherever_the_operator_is_killed_cut_off_or_replaced() {
    let mut points = Vec::new();
    let wanted = std::env::var("SWELL_FIRE").ok().filter(|wanted| !wanted.is_empty());
    let (good, bad) = tokio::join!(try_point(Sync::Good, None, None), try_point(Sync::Bad, None, None));
    for (sync, (tried, calls)) in [(Sync::Good, good), (Sync::Bad, bad)] {
        assert!(tried.wrong.is_empty(), "without any fault: {}", tried.wrong.join("\n"));
        points.extend(select(sync, &calls, wanted.is_some()));
    }
    if let Some(part) = wanted.filter(|wanted| wanted != "all") {
        points.retain(|(point, _)| name(point).contains(&part));
    }
    // The long ones first.
    points.sort_by_key(|(_, slow)| !slow);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let at_a_time = Arc::new(Semaphore::new(cores * POINTS_PER_CORE));
    let mut running = JoinSet::new();
    for (point, _) in points {
        let at_a_time = at_a_time.clone();
        running.spawn(async move {
            let permit = at_a_time.acquire_owned().await.unwrap();
            let (sync, place, how, moment) = point;
            let when = match place {
                Place::Call(number) => When::number(number),
                Place::Write(number) => When::calls(Call::is_write).from(number).once(),
            };
            (point, try_point(sync, Some((how, moment, when)), Some(permit)).await.0)
        });
    }
    let mut tried = BTreeMap::new();
    while let Some(done) = running.join_next().await {
        let (point, outcome) = done.expect("a point is judged, whatever comes of it");
        tried.insert(point, outcome);
    }
    let wrong = tell(&tried);
    assert!(wrong.is_empty(), "{} points ended wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The points that are tried of a sync which makes these calls when nothing disturbs it; of each, whether it may take long: a name whose
/// create may still be done is left alone for 65 s.
fn select(sync: Sync, calls: &[Call], all: bool) -> Vec<(Point, bool)> {
    let (each_write, each_other) = if sync == Sync::Bad { (1, 4) } else { (4, 12) };
    let (writes, others): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.is_write());
    let slow = |call: &Call| {
        let creates = calls.iter().filter(|other| other.method == "POST" && other.resource == "jobs" && !other.dry_run);
        creates.map(|create| create.number).any(|number| (number.saturating_sub(4)..=number).contains(&call.number))
    };
    if all {
        let every = calls.iter().flat_map(|call| WAYS.map(|way| (call, way)));
        return every
            .map(|(call, (how, moment))| ((sync, Place::Call(call.number), how, moment), slow(call)))
            .collect();
    }
    let writes =
        writes.iter().enumerate().map(|(index, call)| (Place::Write(index + 1), slow(call))).step_by(each_write);
    let others = others.iter().map(|call| (Place::Call(call.number), slow(call))).step_by(each_other);
    let places = writes.chain(others).zip(WAYS.into_iter().cycle());
    places.map(|((place, slow), (how, moment))| ((sync, place, how, moment), slow)).collect()
}

fn name((sync, place, how, moment): &Point) -> String {
    format!("{sync:?} {how:?} {moment:?} {place:?}")
}

/// Tells how many points were tried and how they ended, past what captures the output of tests; gives the wrong ones.
fn tell(tried: &BTreeMap<Point, Tried>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<_, [usize; 3]> = BTreeMap::new();
    for (point, outcome) in tried {
        let (sync, _, how, moment) = point;
        let count = counts.entry((sync, how, moment)).or_default();
        count[0] += 1;
        count[1] += usize::from(outcome.at.is_some());
        if !outcome.wrong.is_empty() {
            count[2] += 1;
            let at = outcome.at.as_deref().unwrap_or("never reached");
            let problems = outcome.wrong.join("\n    ");
            wrong.push(format!("{} ({at}) in {}:\n    {problems}", name(point), outcome.namespace));
        }
    }
    let mut text = String::new();
    for ((sync, how, moment), [points, reached, wrong]) in counts {
        let way = format!("{sync:?} sync, {how:?} {moment:?}");
        writeln!(text, "  {way:<28} {points:>4} points, {reached:>4} reached, {wrong:>4} wrong").unwrap();
    }
    let reached = tried.values().filter(|outcome| outcome.at.is_some()).count();
    let summary = format!("tried {} points, {reached} of them reached, {} wrong:\n{text}", tried.len(), wrong.len());
    std::io::stderr().write_all(summary.as_bytes()).unwrap();
    wrong
}
