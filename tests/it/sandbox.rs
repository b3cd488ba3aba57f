//! The sandbox with its real process: what an expression costs, and that none of them costs anybody else anything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use swell::api::HealthCheck;
use swell::cluster::sandbox::{Found, Sandbox};
use swell::engine::health::checks::{Check, Checks, Field, Finding};
use swell::engine::object::GroupKind;

/// Three nested `map`s over a list of 400: minutes of work, and there is no limit of cost.
const ENDLESS: &str = "spec.list.map(a, spec.list.map(b, spec.list.map(c, a + b + c))).size() > 0";
/// A list of long texts, each a new one: gigabytes within moments.
const GREEDY: &str = "spec.list.map(a, spec.list.map(b, spec.text + string(a + b))).size() > 0";

/// With so much time that a busy machine changes nothing.
fn sandbox() -> Sandbox {
    Sandbox::new(PathBuf::from(env!("CARGO_BIN_EXE_swell"))).with_time(Duration::from_mins(1))
}

fn check(in_progress: Option<&str>, failed: Option<&str>, current: &str) -> Arc<Check> {
    checks(in_progress, failed, current).get(&GroupKind::new("a.b", "A")).unwrap().clone()
}

fn checks(in_progress: Option<&str>, failed: Option<&str>, current: &str) -> Checks {
    let (checks, mistakes) = Checks::read(&[HealthCheck {
        api_version: "a.b/v1".to_owned(),
        kind: "A".to_owned(),
        current: current.to_owned(),
        in_progress: in_progress.map(str::to_owned),
        failed: failed.map(str::to_owned),
    }]);
    assert_eq!(mistakes, []);
    checks
}

fn object() -> Value {
    json!({
        "apiVersion": "a.b/v1", "kind": "A",
        "metadata": {"name": "x", "managedFields": [{"manager": "somebody"}]},
        "spec": {"list": (0..400).collect::<Vec<_>>(), "text": "x"},
        "status": {"phase": "Ready"}
    })
}

fn why(found: &Found) -> &str {
    match &found.finding {
        Finding::Unknown { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_expression_that_is_true_decides_in_flux_order() {
    let sandbox = sandbox();
    for (in_progress, failed, current, expected) in [
        (None, None, "status.phase == 'Ready'", Finding::True(Field::Current)),
        (None, Some("true"), "true", Finding::True(Field::Failed)),
        (Some("true"), Some("true"), "true", Finding::True(Field::InProgress)),
        (Some("false"), Some("status.other == 'x'"), "true", Finding::True(Field::Current)),
        (None, Some("false"), "false", Finding::None { missing: None }),
        (None, None, "has(metadata.managedFields)", Finding::None { missing: None }),
        (None, None, "status.other == 'x'", Finding::None { missing: Some("field \"other\"".to_owned()) }),
    ] {
        let check = check(in_progress, failed, current);
        let found = sandbox.find("shop/app", &check, &object()).await;
        assert_eq!(found, Found { finding: expected, again: None }, "{check:?}");
    }
    assert_eq!(sandbox.idle(), 1, "one process after another question is enough");
}

#[tokio::test]
async fn no_process_is_started_before_there_is_something_to_evaluate() {
    assert_eq!(sandbox().idle(), 0);
    assert_eq!(sandbox().mistakes(&Checks::none()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn i7_an_endless_expression_is_killed_and_set_aside_while_all_others_go_on() {
    let sandbox = sandbox().with_time(Duration::from_secs(2));
    let (bad, good) = (check(None, None, ENDLESS), check(None, None, "status.phase == 'Ready'"));
    let stopped = sandbox.find("shop/bad", &bad, &object()).await;
    assert_eq!(why(&stopped), "it took longer than 2s; tried again in 2s");
    assert!(stopped.again.is_some());
    // Not tried again at once, whatever the object; for another Application the same rule has not been stopped yet.
    assert!(why(&sandbox.find("shop/bad", &bad, &json!({})).await).starts_with("tried again in"));
    assert_eq!(sandbox.find("shop/other", &bad, &json!({"spec": {"list": [], "text": ""}})).await.again, None);
    // Beside as many endless ones as there are processes, each further question has its turn.
    let endless = async {
        for whose in ["shop/1", "shop/2", "shop/3", "shop/4"] {
            sandbox.find(whose, &bad, &object()).await;
        }
    };
    let others = async {
        for _ in 0..20 {
            let found = sandbox.find("shop/good", &good, &object()).await;
            assert_eq!(found.finding, Finding::True(Field::Current));
        }
    };
    tokio::pin!(endless);
    tokio::select! {
        biased;
        () = &mut endless => panic!("twenty answers took longer than four endless questions"),
        () = others => {}
    }
    endless.await;
}

#[tokio::test]
async fn memory_is_bounded_and_what_needs_more_ends_alone() {
    let sandbox = sandbox();
    let mut large = object();
    large["spec"]["text"] = json!("x".repeat(1 << 19));
    let found = sandbox.find("shop/app", &check(None, None, GREEDY), &large).await;
    assert_eq!(why(&found), "it needed more memory than it may have; tried again in 2s");
    let found = sandbox.find("shop/app", &check(None, None, "status.phase == 'Ready'"), &object()).await;
    assert_eq!(found.finding, Finding::True(Field::Current));
}

#[tokio::test]
async fn a_process_whose_asker_has_gone_ends_by_itself() {
    let found = sandbox().find("shop/app", &check(None, None, ENDLESS), &object()).await;
    assert_eq!(why(&found), "it needed more than 3s of processor time; tried again in 2s");
}

#[tokio::test]
async fn a_chain_of_operators_as_long_as_an_expression_may_be_does_not_exhaust_the_stack() {
    let sandbox = sandbox();
    let chains = [
        format!("1{} > 0", "+1".repeat(509)),
        format!("{}true", "!".repeat(1020)),
        format!("{}status.phase == 'Ready'{}", "(".repeat(40), ")".repeat(40)),
        format!("true{}", "||true".repeat(170)),
        format!("[{}1{}].size() == 1", "[".repeat(60), "]".repeat(60)),
    ];
    for chain in chains {
        let check = check(None, None, &chain);
        let found = sandbox.find("shop/app", &check, &object()).await;
        assert_eq!(found.finding, Finding::True(Field::Current), "{chain}");
    }
    // What the parser itself refuses is a mistake, not a crash.
    let deep = checks(None, None, &format!("{}true{}", "(".repeat(500), ")".repeat(500)));
    assert_eq!(sandbox.mistakes(&deep).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_understood_is_told_by_the_name_of_the_rule_and_the_position() {
    let sandbox = sandbox();
    let wrong = checks(Some("status.phase = 'x'"), None, "status.phase.startWith('R')");
    let told: Vec<_> = sandbox.mistakes(&wrong).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "spec.healthChecks[0].inProgress: is not CEL: column 14: token recognition error at: '= '; equality is ==",
            "spec.healthChecks[0].current: there is no function startWith; did you mean \"startsWith\"?"
        ]
    );
}

#[tokio::test]
async fn an_object_that_is_too_large_is_not_handed_over() {
    let sandbox = sandbox();
    let large = json!({"status": {"text": "x".repeat(1 << 20)}});
    let found = sandbox.find("shop/app", &check(None, None, "true"), &large).await;
    assert!(why(&found).contains("at most 1048576 are judged"), "{found:?}");
    assert_eq!(found.again, None);
    assert_eq!(sandbox.idle(), 0, "nothing was asked");
}

#[tokio::test]
async fn a_process_that_is_not_there_is_told_and_tried_again() {
    let sandbox = Sandbox::new(PathBuf::from("/nowhere/swell"));
    let found = sandbox.find("shop/app", &check(None, None, "true"), &object()).await;
    assert!(why(&found).starts_with("the sandbox's process does not run"), "{found:?}");
    assert!(found.again.is_some());
    assert!(sandbox.mistakes(&checks(None, None, "true")).await.is_err());
}
