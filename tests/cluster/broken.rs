//! The broken Applications of `examples/broken`: the first line of `swell why` names the true cause of each.

use std::fs;
use std::path::Path;

use futures::future::join_all;
use swell::api::OperationPhase;

use crate::support::{PATIENCE, Place, cli::swell, eventually, kubectl_in, poll, testbed};

/// What `swell why` may take of a screen.
const MOST_LINES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn i8_the_first_line_of_why_names_the_true_cause_of_each_broken_application() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/broken");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    assert_eq!(cases.len(), 12);
    let wrong: Vec<_> = join_all(cases.iter().map(|case| tried(case))).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Applies one, and gives what is wrong with what `swell why` says of it.
async fn tried(case: &Path) -> Option<String> {
    let name = case.file_name().unwrap().to_string_lossy().into_owned();
    let mut place = Place::without_operator(&name).await;
    place.start_operator().await;
    let text = |file: &str| Some(fs::read_to_string(case.join(file)).ok()?.replace("NAMESPACE", &place.namespace));
    if let Some(before) = text("before.yaml") {
        kubectl_in(&place.namespace, &["apply", "-f", "-"], &before);
        if before.contains("ValidatingAdmissionPolicy") {
            // A policy is enforced a moment after it is there.
            eventually("the policy denies", || async {
                let mut attempt = testbed().kubectl();
                attempt.args(["-n", &place.namespace, "create", "configmap", "settings", "--dry-run=server"]);
                (!attempt.output().unwrap().status.success()).then_some(())
            })
            .await;
        }
    }
    kubectl_in(&place.namespace, &["apply", "-f", "-"], &text("application.yaml").unwrap());
    if let Some(then) = text("then.yaml") {
        place.ended("app", OperationPhase::Succeeded).await;
        kubectl_in(&place.namespace, &["apply", "-f", "-"], &then);
    }
    let expected = text("why.txt").unwrap();
    let parts: Vec<_> = expected.trim().split(" … ").collect();
    let asks = ["why", "app", "-n", &*place.namespace];
    let told = poll(PATIENCE, || async {
        let told = swell(&asks).await;
        is_in_order(told.out.lines().next().unwrap_or_default(), &parts).then_some(told)
    })
    .await;
    let Some(told) = told else {
        let told = swell(&asks).await;
        let status = place.get("swell.dev/v1alpha1", "Application", "app").await.map(|app| app["status"].to_string());
        return Some(format!("{name}: expected {expected:?}, and was told:\n{}{}\n{status:?}", told.out, told.err));
    };
    let lines = told.out.lines().count();
    let is_fine = lines <= MOST_LINES && told.out.contains('→') && matches!(told.code, 3 | 4);
    (!is_fine).then(|| format!("{name}: {lines} lines, exit code {}:\n{}", told.code, told.out))
}

/// Whether a line has these parts, one behind the other.
fn is_in_order(line: &str, parts: &[&str]) -> bool {
    let mut rest = line;
    parts.iter().all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}
