//! The commands against a cluster, one after the other as a person gives them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use swell::api::OperationPhase;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::cli::{command, swell};
use crate::support::{Place, config_map, deployment, job};

const HOOK: &str = "argocd.argoproj.io/hook";
const FAILED: i32 = 4;
const TIMED_OUT: i32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_syncs_waits_and_reads_the_history_by_commands() {
    let place = Place::new("commands").await;
    let in_place = ["-n", &*place.namespace];
    let call = async |args: &[&str]| swell(&[args, &in_place].concat()).await;
    let none = call(&["status", "app"]).await;
    assert_eq!(none.code, 1);
    assert!(
        none.err.contains(&format!("no Application \"app\" in the namespace \"{}\"", place.namespace)),
        "{}",
        none.err
    );
    let hook = job(
        "migrate",
        &[(HOOK, "PreSync")],
        &[("pods.swell.dev/complete-after", "1s"), ("pods.swell.dev/log", "ten rows\n")],
    );
    place.apply("app", &[hook, deployment("web", &[], &[])].concat()).await;
    let waited = call(&["wait", "app"]).await;
    assert_eq!(waited.code, 0, "{waited:?}");
    assert!(waited.out.lines().last().unwrap().contains("Succeeded"), "{}", waited.out);
    let listed = call(&["get"]).await;
    assert!(listed.out.starts_with("NAME  SYNC"), "{}", listed.out);
    assert!(listed.out.contains("app   Synced  Healthy  Succeeded"), "{}", listed.out);
    assert_eq!(call(&["get", "app", "-o", "name"]).await.out, "application.swell.dev/app\n");
    let whole: Value = serde_json::from_str(&call(&["get", "app", "-o", "json"]).await.out).unwrap();
    assert_eq!(whole["kind"], "Application");
    let status = call(&["status", "app"]).await;
    assert_eq!(status.code, 0, "{status:?}");
    for line in ["PreSync wave 0", "Job (hook)", "Sync wave 0", "Deployment"] {
        assert!(status.out.contains(line), "{line}: {}", status.out);
    }
    assert!(!status.out.contains('\u{1b}'), "no colour in a pipe");
    let logs = call(&["logs", "app", "--hook", "migrate"]).await;
    assert!(logs.out.contains("ten rows"), "{logs:?}");
    let asked = call(&["sync", "app", "--wait"]).await;
    assert_eq!(asked.code, 0, "{asked:?}");
    let state = place.applications().get("app").await.unwrap().status.unwrap().operation_state.unwrap();
    let by = state.initiated_by.unwrap().username.unwrap();
    assert!(by.starts_with("system:serviceaccount:"), "who asked is told: {by}");
    let history: Value = serde_json::from_str(&call(&["history", "app", "-o", "json"]).await.out).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert!(call(&["terminate", "app"]).await.out.contains("no operation runs"));
    assert_eq!(call(&["sync", "app", "--resource", "web"]).await.code, 2, "a wrong call");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_a_failure_from_a_time_out_and_terminate_and_retry_do_what_they_say() {
    let place = Place::new("codes").await;
    let in_place = ["-n", &*place.namespace];
    let call = async |args: &[&str]| swell(&[args, &in_place].concat()).await;
    let hook = |annotations: &[(&str, &str)]| job("smoke", &[(HOOK, "PostSync")], annotations);
    place
        .apply("app", &[config_map("settings", &[], "1"), hook(&[("pods.swell.dev/complete-after", "never")])].concat())
        .await;
    let late = call(&["wait", "app", "--timeout", "2s"]).await;
    assert_eq!(late.code, TIMED_OUT, "{late:?}");
    assert!(late.err.contains("smoke"), "what it waits for is told: {}", late.err);
    assert_eq!(call(&["retry", "app"]).await.code, 1, "it still runs");
    let ended = call(&["terminate", "app", "--wait"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    place.apply("app", &[config_map("settings", &[], "2"), hook(&[("pods.swell.dev/exit-code", "9")])].concat()).await;
    let failed = call(&["wait", "app"]).await;
    assert_eq!(failed.code, FAILED, "{failed:?}");
    let id = place.ended("app", OperationPhase::Failed).await.operation_state.unwrap().id;
    let again = call(&["retry", "app", "--wait"]).await;
    assert_eq!(again.code, FAILED, "{again:?}");
    let status = place.ended_after("app", &id, OperationPhase::Failed).await;
    let entry = &status.history[0];
    let evidence = entry.evidence.as_ref().expect("the evidence is kept with the history");
    assert_eq!((evidence.exit_code, evidence.container.as_deref()), (Some(9), Some("main")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_in_a_pipe_has_a_line_for_each_change() {
    let place = Place::new("watched").await;
    place.apply("app", &job("migrate", &[(HOOK, "PreSync")], &[("pods.swell.dev/complete-after", "1s")])).await;
    let mut watching =
        command(&["status", "app", "--watch", "-n", &place.namespace]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let told = async {
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            let over = line.contains("Succeeded: ");
            seen.push(line);
            if over {
                break;
            }
        }
        seen
    };
    let seen = tokio::time::timeout(Duration::from_secs(30), told).await.expect("the end of the operation is told");
    assert!(seen.iter().any(|line| line.contains("✓ PreSync wave 0  Job (hook)")) || seen.len() > 1, "{seen:#?}");
    let unique: std::collections::BTreeSet<_> =
        seen.iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
    assert!(unique.len() > 1, "{seen:#?}");
    watching.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_kept_neither_where_the_application_nor_where_the_operator_says_so() {
    let mut place = Place::without_operator("silent").await;
    let manifests = job(
        "migrate",
        &[(HOOK, "PreSync")],
        &[("pods.swell.dev/exit-code", "3"), ("pods.swell.dev/log", "password=hunter2\n")],
    );
    place.start_operator().await;
    place.apply_with("app", &manifests, json!({"syncPolicy": {"captureLogs": false}})).await;
    let status = place.ended("app", OperationPhase::Failed).await;
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.contains("exited with code 3") && !text.contains("hunter2"), "{text}");
    place.kill_operator();
    place.start_operator_told(&["--no-log-capture"]).await;
    place.apply("other", &manifests.replace("migrate", "load")).await;
    let status = place.ended("other", OperationPhase::Failed).await;
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.contains("exited with code 3") && !text.contains("hunter2"), "{text}");
}
