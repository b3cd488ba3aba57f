//! `swell health` as a user calls it: its text, JSON and exit code compared with the files in `tests/it/verdicts/golden/`.
//!
//! `SWELL_UPDATE_GOLDEN=1 cargo test --test it verdicts` writes these files anew; look at their difference before you commit it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const FOLDER: &str = "tests/it/verdicts";

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
    // Paths in the output are those of the call.
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER)).arg("health").args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Compares the output of a call with a golden file, and its exit code.
fn golden(name: &str, args: &[&str], code: i32) {
    let output = run(args);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join("golden").join(name);
    let is = text(&output.stdout);
    if std::env::var_os("SWELL_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &is).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(is == was, "swell health {}: is\n{is}\nand was, in {}\n{was}", args.join(" "), path.display());
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn the_checks_of_an_application_judge_the_objects_beside_it_and_the_worst_is_the_exit_code() {
    // One of them is of another version than its check: it cannot be judged, which is worse than Degraded.
    golden("application.txt", &["-f", "objects.yaml", "-f", "application.yaml"], 5);
    golden("application.json", &["-f", "objects.yaml", "-f", "application.yaml", "-o", "json"], 5);
}

#[test]
fn checks_may_stand_in_a_file_of_their_own() {
    golden("checks.txt", &["-f", "objects.yaml", "--checks", "checks.yaml"], 5);
    golden("checks-of-application.txt", &["-f", "healthy.yaml", "--checks", "application.yaml"], 0);
}

#[test]
fn without_checks_swells_own_rules_judge_and_on_the_way_is_3() {
    golden("own-rules.txt", &["-f", "objects.yaml"], 3);
    golden("application-itself.txt", &["-f", "application.yaml"], 0);
}

#[test]
fn degraded_is_4() {
    golden("degraded.txt", &["-f", "degraded.yaml", "-f", "application.yaml"], 4);
}

#[test]
fn i8_checks_that_cannot_be_used_are_told_with_their_lines_and_nothing_is_judged() {
    golden("broken-checks.txt", &["-f", "objects.yaml", "--checks", "broken-checks.yaml"], 1);
    golden("no-checks.txt", &["-f", "objects.yaml", "--checks", "healthy.yaml"], 1);
    golden("two-checks.txt", &["-f", "degraded.yaml", "-f", "application.yaml", "--checks", "checks.yaml"], 1);
}

#[test]
fn yaml_and_json_hold_the_same() {
    let args = ["-f", "objects.yaml", "-f", "application.yaml", "-o"];
    let json: Value = serde_json::from_slice(&run(&[&args[..], &["json"]].concat()).stdout).unwrap();
    let yaml: Value = serde_saphyr::from_str(&text(&run(&[&args[..], &["yaml"]].concat()).stdout)).unwrap();
    assert_eq!(json, yaml);
}

#[test]
fn what_cannot_be_read_ends_with_1_and_a_wrong_call_with_2() {
    let missing = run(&["-f", "nowhere.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("cannot read nowhere.yaml"), "{}", text(&missing.stderr));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["-f", "objects.yaml", "-o", "xml"]).status.code(), Some(2));
}
