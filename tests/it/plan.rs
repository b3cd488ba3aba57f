//! `swell plan` as a user calls it: the program itself, its text, JSON and exit code compared with the files in `tests/it/plan/golden/`.
//!
//! `SWELL_UPDATE_GOLDEN=1 cargo test --test it plan` writes these files anew; look at their difference before you commit it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn swell(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
    // Paths in the output are those of the call.
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("plan").args(args);
    command
}

fn run(args: &[&str]) -> Output {
    swell(args).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json_of(args: &[&str]) -> Value {
    let output = run(&[args, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Compares the output of a call with a golden file, and its exit code.
fn golden(name: &str, args: &[&str], code: i32) {
    let output = run(args);
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/plan/golden").join(name);
    let text = stdout(&output);
    if std::env::var_os("SWELL_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == wanted, "swell plan {}: is\n{text}\nand was, in {}\n{wanted}", args.join(" "), path.display());
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

/// Both forms of one call.
fn golden_pair(name: &str, path: &str, code: i32) {
    golden(&format!("{name}.txt"), &["-f", path], code);
    golden(&format!("{name}.json"), &["-f", path, "-o", "json"], code);
}

#[test]
fn the_example_is_planned_in_the_order_that_its_comments_promise() {
    golden_pair("agent-v1", "examples/agent/v1.yaml", 0);
}

#[test]
fn f43_the_examples_need_nothing_that_comes_too_late() {
    let output = json_of(&["-f", "examples/agent"]);
    let applications = output["applications"].as_array().unwrap();
    assert!(applications.len() >= 2);
    for application in applications {
        assert_eq!(application["warnings"], json!([]));
    }
    assert_eq!(output["mistakes"], json!([]));
}

#[test]
fn manifests_without_an_application_are_planned_with_everything_that_their_annotations_say() {
    golden_pair("shop", "tests/it/plan/shop", 0);
}

#[test]
fn an_application_takes_its_manifests_from_config_maps_among_the_files() {
    golden_pair("maps", "tests/it/plan/maps", 0);
}

#[test]
fn i8_every_mistake_of_every_file_is_told_with_document_and_line() {
    golden_pair("broken", "tests/it/plan/broken", 1);
}

#[test]
fn i8_mistakes_of_applications_and_of_what_is_inside_them_are_told_with_their_lines() {
    golden_pair("broken-applications", "tests/it/plan/broken-applications", 1);
}

#[test]
fn v5_a_hook_whose_kind_has_a_check_with_failed_is_planned_as_one_that_runs_to_an_end() {
    let plan = |failed: &str| {
        let application = format!(
            "apiVersion: swell.dev/v1alpha1\nkind: Application\nmetadata: {{name: a}}\nspec:\n  healthChecks:\n    - {{apiVersion: example.com/v1, kind: Migration, current: 'true'{failed}}}\n  source:\n    inline: |\n      apiVersion: example.com/v1\n      kind: Migration\n      metadata: {{name: m, annotations: {{swell.dev/hook: PreSync}}}}\n"
        );
        let mut child = swell(&["-f", "-", "-o", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(application.as_bytes()).unwrap();
        let output: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
        output["applications"][0]["stages"][0]["tasks"][0]["action"].clone()
    };
    assert_eq!(plan(", failed: status.phase == \"Failed\""), "RunHook");
    assert_eq!(plan(""), "ApplyHook");
}

#[test]
fn i8_health_checks_that_cannot_be_used_are_told_with_their_lines() {
    golden("broken-checks.txt", &["-f", "tests/it/plan/broken-checks"], 1);
}

#[test]
fn i8_the_line_of_the_file_is_that_of_the_mistake() {
    let file = std::fs::read_to_string("tests/it/plan/broken-applications/application.yaml").unwrap();
    let output = json_of(&["-f", "tests/it/plan/broken-applications"]);
    let mistakes = output["mistakes"].as_array().unwrap();
    let line = |word: &str| {
        let mistake = mistakes.iter().find(|m| m["message"].as_str().unwrap().contains(word)).unwrap();
        let line = mistake.get("fileLine").unwrap_or(&mistake["line"]).as_u64().unwrap();
        file.lines().nth(usize::try_from(line).unwrap() - 1).unwrap().trim().to_owned()
    };
    assert_eq!(line("PreSnyc"), "argocd.argoproj.io/hook: PreSnyc");
    assert_eq!(line("Purne"), "- Purne=false");
    assert_eq!(line("nowhere"), "- name: nowhere");
}

#[test]
fn i9_the_plan_says_as_which_service_account_of_its_own_namespace_an_application_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.yaml");
    let shown = |spec: &Value| {
        let application = json!({"apiVersion": "swell.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "web", "namespace": "team"}, "spec": spec});
        std::fs::write(&path, application.to_string()).unwrap();
        let path = path.to_str().unwrap();
        (stdout(&run(&["-f", path])), json_of(&["-f", path])["applications"][0]["account"].clone())
    };
    let source = json!({"inline": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"});
    let (text, account) = shown(&json!({"source": source, "destination": {"namespace": "shop"}}));
    assert!(text.contains("namespace shop, service account team/default"), "{text}");
    assert_eq!(account, "team/default");
    let (text, account) = shown(&json!({"source": source, "serviceAccountName": "deployer"}));
    assert!(text.contains("namespace team, service account team/deployer"), "{text}");
    assert_eq!(account, "team/deployer");
    // Manifests alone are nobody's yet.
    std::fs::write(&path, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}").unwrap();
    let path = path.to_str().unwrap();
    assert!(!stdout(&run(&["-f", path])).contains("service account"));
    assert_eq!(json_of(&["-f", path])["applications"][0].get("account"), None);
}

#[test]
fn no_name_or_message_of_a_file_reaches_the_terminal_as_more_than_text() {
    let evil = "x\n\u{1b}[2JTotal: 0 forged\u{9b}31m\u{202e}\r";
    let objects = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": evil}}),
        json!({"apiVersion": evil, "kind": evil, "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "annotations": {(evil): 1, "swell.dev/timeout": evil}}}),
        json!({"apiVersion": "example.com/v1", "kind": "Engine", "metadata": {"name": "c", "namespace": "shop"}, "status": {
            "conditions": [{"type": "Ready", "status": "False", "reason": evil, "message": evil}]}}),
    ];
    let manifests: String =
        objects.iter().map(|object| format!("---\n{object}\n").replace('\u{9b}', "\\u009b")).collect();
    for (command, args) in [("plan", ["-f", "-"]), ("health", ["-f", "-"])] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_swell"));
        let program =
            program.arg(command).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = stdout(&output) + &stderr(&output);
        assert!(text.contains("forged"), "{command}: what is wrong is quoted: {text}");
        assert!(!text.lines().any(|line| line.starts_with("Total: 0 forged")), "{command}: {text:?}");
        let harmful = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
        assert!(!text.contains(harmful), "{command}: {text:?}");
    }
}

#[test]
fn yaml_and_json_hold_the_same() {
    for path in ["examples/agent/v1.yaml", "tests/it/plan/shop", "tests/it/plan/broken"] {
        let yaml: Value = serde_saphyr::from_str(&stdout(&run(&["-f", path, "-o", "yaml"]))).unwrap();
        assert_eq!(yaml, json_of(&["-f", path]));
    }
}

#[test]
fn standard_input_is_read_as_a_file_is() {
    let mut child =
        swell(&["-f", "-", "-n", "shop", "-o", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let manifest = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    child.stdin.take().unwrap().write_all(manifest).unwrap();
    let output: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    let task = &output["applications"][0]["stages"][0]["tasks"][0];
    assert_eq!(task["namespace"], "shop");
    assert_eq!(task["position"], json!({"source": "stdin", "document": 1, "line": 1}));
}

#[test]
fn f42_of_two_families_of_annotations_the_plan_shows_what_counts() {
    let mut child = swell(&["-f", "-", "-o", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "annotations": {
        "argocd.argoproj.io/hook": "PreSync", "helm.sh/hook": "post-install",
        "argocd.argoproj.io/sync-wave": "2", "helm.sh/hook-weight": "7",
        "argocd.argoproj.io/hook-delete-policy": "HookSucceeded", "helm.sh/hook-delete-policy": "hook-failed"}}});
    child.stdin.take().unwrap().write_all(manifest.to_string().as_bytes()).unwrap();
    let output: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    let application = &output["applications"][0];
    let stage = &application["stages"][0];
    assert_eq!((&stage["phase"], &stage["wave"]), (&json!("PreSync"), &json!(2)));
    assert_eq!(
        stage["tasks"][0]["deletePolicies"],
        json!(["HookSucceeded", "HookFailed"]),
        "added together, as in Argo CD"
    );
    for what in ["name different hooks", "name different waves"] {
        assert!(application["warnings"].to_string().contains(what), "{}", application["warnings"]);
    }
}

#[test]
fn a_rule_for_ignored_differences_that_cannot_be_understood_is_a_mistake_and_a_good_one_no_warning() {
    let plan = |pointer: &str, expression: &str| -> Value {
        let application = json!({
            "apiVersion": "swell.dev/v1alpha1", "kind": "Application", "metadata": {"name": "app", "namespace": "shop"},
            "spec": {
                "source": {"inline": "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1}}"},
                "syncPolicy": {"automated": {"selfHeal": true}, "syncOptions": ["RespectIgnoreDifferences=true"]},
                "ignoreDifferences": [{
                    "group": "apps", "kind": "Deployment", "jsonPointers": [pointer], "jqPathExpressions": [expression]
                }]
            }
        });
        let mut child = swell(&["-f", "-", "-o", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(application.to_string().as_bytes()).unwrap();
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
    };
    let good = plan("/spec/replicas", ".spec.replicas");
    assert_eq!(good["applications"][0]["totals"]["objects"], 1, "{good}");
    assert!(!good.to_string().contains("without effect"), "{good}");
    for (bad, field) in [
        (plan("/spec/~replicas", ".a"), "spec.ignoreDifferences[0].jsonPointers[0]"),
        (plan("/spec", "[recurse]"), "spec.ignoreDifferences[0].jqPathExpressions[0]"),
    ] {
        assert!(bad["mistakes"].to_string().contains(field), "{bad}");
    }
}

#[test]
fn a_file_that_is_named_twice_is_one_file() {
    let once = json_of(&["-f", "tests/it/plan/maps"]);
    assert_eq!(json_of(&["-f", "tests/it/plan/maps", "-f", "tests/it/plan/maps/application.yaml"]), once);
}

#[test]
fn a_config_map_that_was_forgotten_is_named() {
    let output = run(&["-f", "tests/it/plan/maps/application.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for name in ["team/manifests", "team/more"] {
        assert!(text.contains(&format!("ConfigMap {name}, which is not among these files")), "{text}");
    }
}

#[test]
fn what_cannot_be_read_ends_with_1_and_a_wrong_call_with_2() {
    let missing = run(&["-f", "no/such/file.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("cannot read no/such/file.yaml"), "{}", stderr(&missing));
    let empty = run(&["-f", "src/engine"]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(stderr(&empty).contains("src/engine holds no manifests"), "{}", stderr(&empty));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["-f", "examples", "-o", "xml"]).status.code(), Some(2));
}
