//! The operator's loop against the cluster in memory: a crash at every point of a set of scenarios, and random plans under random
//! faults, judged by what is true in the cluster and by the history of writes.

use super::world::driver::Sim;
use super::world::faults::{Dice, Fault, Sabotage};
use super::world::items::{End, Kind, hook, plain};
use super::world::oracles::Outcome;
use super::world::scenarios::{Scenario, for_pairs, scenarios};
use super::world::scripts::{self, Meddling, Script};
use serde_json::json;
use swell::engine::attempt::{Ending, Stop};

/// The first letters of how the attempts of a run ended.
fn endings(sim: &Sim) -> String {
    let letter = |ending: &Ending| match ending {
        Ending::Succeeded => 'S',
        Ending::Failed(_) => 'F',
        // After a restart a deletion that had not come to a stage begins anew.
        Ending::Stopped(Stop::Deleted, _) => 'D',
        Ending::Stopped(..) => 'T',
    };
    sim.ended.iter().map(|ended| letter(&ended.ending)).collect()
}

fn scenario(name: &str) -> Script {
    scenarios().into_iter().find(|scenario| scenario.name == name).expect("a scenario of that name").script
}

#[test]
fn every_scenario_ends_as_it_is_meant_to() {
    for Scenario { name, script, endings: expected, .. } in scenarios() {
        let sim = Sim::new(&script).run();
        assert_eq!(sim.violations, Vec::<String>::new(), "{name}");
        assert_eq!(endings(&sim), expected, "{name}: {:#?}", sim.ended.iter().map(|e| &e.ending).collect::<Vec<_>>());
    }
}

/// Runs a script with these faults: what the judges say, and in what it differs from the run without.
fn problems(name: &str, script: &Script, expected: Option<&Outcome>, faults: &[Fault]) -> Vec<String> {
    let sim = Sim::new(script).with_faults(faults).run();
    let differences = expected.map(|expected| expected.differences(&Outcome::of(&sim))).unwrap_or_default();
    sim.violations.into_iter().chain(differences).map(|text| format!("{name}: {faults:?}: {text}")).collect()
}

fn every_point(faults: &[fn(usize) -> Fault]) {
    let mut found = Vec::new();
    let mut points = 0;
    for Scenario { name, script, races, .. } in scenarios() {
        let reference = Sim::new(&script).run();
        let expected = Some(Outcome::of(&reference)).filter(|_| !races);
        for number in 1..=reference.requests {
            for fault in faults {
                points += 1;
                found.extend(problems(name, &script, expected.as_ref(), &[fault(number)]));
            }
        }
    }
    println!("{points} points");
    assert!(points > 1000, "only {points} points were tried");
    let first = &found[..found.len().min(20)];
    assert!(found.is_empty(), "{} problems at {points} points, the first of them: {first:#?}", found.len());
}

#[test]
fn i1_to_i7_a_crash_at_any_point_changes_nothing_in_the_outcome() {
    every_point(&[Fault::Before, Fault::After, Fault::Answered]);
}

#[test]
fn i1_to_i7_an_answer_that_is_lost_at_any_point_changes_nothing_in_the_outcome() {
    every_point(&[Fault::Lost, Fault::Refused, Fault::Late]);
}

#[test]
fn i1_to_i7_a_crash_after_a_lost_answer_changes_nothing_in_the_outcome() {
    let script = for_pairs();
    let reference = Sim::new(&script).run();
    let expected = Outcome::of(&reference);
    let mut found = Vec::new();
    for first in 1..=reference.requests {
        for second in first + 1..=reference.requests + 2 {
            for fault in [Fault::Lost(first), Fault::Refused(first)] {
                found.extend(problems("pairs", &script, Some(&expected), &[fault, Fault::After(second)]));
            }
        }
    }
    assert!(found.is_empty(), "{} problems: {:#?}", found.len(), &found[..found.len().min(20)]);
}

#[test]
fn v2_a_hook_keeps_its_deadline_over_a_restart() {
    let script = Script {
        sources: vec![vec![
            plain(Kind::Config, "settings"),
            hook("PreSync", "stuck").ends(End::Never),
            hook("SyncFail", "alarm"),
        ]],
        policy: serde_json::json!({"timeouts": {"hook": "60s"}}),
        people: vec![(50_000, Meddling::Crash)],
        ..Script::default()
    };
    let sim = Sim::new(&script).run();
    assert_eq!(sim.violations, Vec::<String>::new());
    let born = |name: &str| {
        let stored = sim.world.objects.values().find(|stored| stored.text("/metadata/name") == name).expect("a hook");
        stored.text("/metadata/creationTimestamp").parse::<jiff::Timestamp>().unwrap()
    };
    // A minute is over while the operator is down; it then has 30 s to be judged anew, and not another minute.
    let waited = born("alarm").duration_since(born("stuck")).as_secs();
    assert!((80..95).contains(&waited), "SyncFail began after {waited}s");
}

#[test]
fn i10_f79_what_does_not_end_is_looked_at_ever_more_rarely() {
    let hour = Script {
        sources: vec![vec![hook("PreSync", "stuck").ends(End::Never)]],
        policy: json!({"timeouts": {"hook": "1h", "sync": "0"}}),
        ..Script::default()
    };
    let sim = Sim::new(&hour).run();
    assert_eq!((sim.violations.as_slice(), endings(&sim).as_str()), (&[][..], "F"));
    // One look at its pods a minute in the end, and one at itself every 45 s of silence (F22); every three seconds it would be 1200.
    assert!((40..200).contains(&sim.requests), "{} requests in an hour", sim.requests);
}

/// How many seeds are tried: 300, or `SWELL_SIM_SEEDS`; from the seed `SWELL_SIM_FIRST` on.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("SWELL_SIM_FIRST").unwrap_or(0);
    first..first + number("SWELL_SIM_SEEDS").unwrap_or(300)
}

#[test]
fn i1_to_i7_random_plans_under_random_faults_break_no_invariant() {
    let mut problems = Vec::new();
    let (mut crashes, mut succeeded) = (0, 0);
    for seed in seeds() {
        let mut dice = Dice(seed);
        let script = scripts::script(&mut dice);
        let chaos = scripts::chaos(&mut dice);
        let sim = Sim::new(&script).with_chaos(chaos, seed).run();
        crashes += sim.crashes;
        succeeded += usize::from(endings(&sim).ends_with('S'));
        if scripts::is_calm(&script) && endings(&sim).contains(['F', 'T']) {
            problems.push(format!(
                "seed {seed}: faults that pass made it fail: {:?}",
                sim.ended.iter().map(|e| &e.ending).collect::<Vec<_>>()
            ));
        }
        problems.extend(sim.violations.iter().map(|text| format!("seed {seed}: {text}")));
    }
    println!("{} seeds, {crashes} crashes, {succeeded} ended well", seeds().count());
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(crashes > 0 && succeeded > 0, "nothing was tried: {crashes} crashes, {succeeded} successes");
}

#[test]
fn i3_a_name_is_not_deleted_for_65_seconds_after_a_restart_that_does_not_find_the_hook_and_at_once_when_it_does() {
    let script =
        Script { sources: vec![vec![hook("PreSync", "migrate").policy("HookSucceeded")]], ..Script::default() };
    let reference = Sim::new(&script).run();
    let took = |fault| {
        let sim = Sim::new(&script).with_faults(&[fault]).run();
        assert!(sim.violations.is_empty() && endings(&sim) == "S", "{fault:?}: {:?}", sim.violations);
        sim.world.now.duration_since(reference.world.now).as_secs()
    };
    let held: Vec<_> = (1..=reference.requests).filter(|number| took(Fault::Before(*number)) >= 60).collect();
    // Held are the crashes between the record and the create, which a dead process may have sent all the same.
    let create = *held.last().expect("a crash before the create holds its name");
    assert!(held.len() < reference.requests, "and not every crash does: {held:?}");
    for fault in [Fault::After(create), Fault::Answered(create)] {
        assert!(took(fault) < 60, "{fault:?}: the create was found, so that nothing else is to come");
    }
}

#[test]
fn i6_a_strangers_object_is_found_in_the_rehearsal_before_the_migration_has_run() {
    let sim = Sim::new(&scenario("an object of another Application")).run();
    assert_eq!(endings(&sim), "F");
    let Ending::Failed(cause) = &sim.ended[0].ending else { panic!("{:?}", sim.ended[0].ending) };
    assert!(cause.starts_with("nothing was written") && cause.contains("belongs to the Application"), "{cause}");
    let migrations = sim.world.history.iter().filter(|change| &*change.key.name == "migrate").count();
    assert_eq!(migrations, 0);
}

#[test]
fn the_judges_see_an_operator_that_believes_everything_to_be_healthy() {
    let sim = Sim::new(&scenario("a fresh install of three waves")).with_sabotage(Sabotage::Credulous).run();
    assert!(sim.violations.iter().any(|text| text.starts_with("I1")), "{:?}", sim.violations);
}

#[test]
fn the_judges_see_records_that_are_not_kept() {
    let script = scenario("every delete policy");
    let sim = Sim::new(&script).with_sabotage(Sabotage::Forgetful).run();
    for number in ["I3", "I5"] {
        assert!(sim.violations.iter().any(|text| text.starts_with(number)), "{number}: {:?}", sim.violations);
    }
    let reference = Sim::new(&script).run();
    let caught = (1..reference.requests).any(|number| {
        let sim = Sim::new(&script).with_sabotage(Sabotage::Forgetful).with_faults(&[Fault::After(number)]).run();
        !Outcome::of(&reference).differences(&Outcome::of(&sim)).is_empty()
    });
    assert!(caught, "a crash after lost records leaves its traces");
}

#[test]
fn the_judges_see_a_hook_that_is_created_twice() {
    let sim = Sim::new(&scenario("a failing PreSync hook")).with_sabotage(Sabotage::Doubling).run();
    for number in ["I3", "I4"] {
        assert!(sim.violations.iter().any(|text| text.starts_with(number)), "{number}: {:?}", sim.violations);
    }
}
