//! `docs/rules.md` and `docs/failure-modes.md` are made of the YAML files beside them, and say nothing that is not so: no row is
//! missing, and every test that they name exists. A test that carries the number of a row in its name stands in that row by itself.
//!
//! `SWELL_UPDATE_GOLDEN=1 cargo test --test it docs` (`make generate`) writes them anew; look at their difference before you commit it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Whether a row may say what still comes instead of naming a test. `false` forbids it: the last step before a release.
const PENDING_IS_ALLOWED: bool = false;

/// Where the cases of the health rules are; one test runs them all.
const CASES: &str = "tests/it/health";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Words above the tables.
    intro: String,
    /// Heads of the second and the third column.
    columns: [String; 2],
    sections: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    title: String,
    #[serde(default)]
    text: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    /// What Argo CD does, or how others fail.
    #[serde(alias = "argo", alias = "failure")]
    what: String,
    /// What Swell does.
    #[serde(default)]
    swell: String,
    /// Names of tests beside those that carry the row's number; `path::name` where several files have one of that name.
    #[serde(default)]
    tests: Vec<String>,
    /// Cases of the health rules, as beginnings of their paths under `tests/it/health/`.
    #[serde(default)]
    cases: Vec<String>,
    /// Why it is out of scope.
    out_of_scope: Option<String>,
    /// Why it cannot occur here.
    cannot_occur: Option<String>,
    /// What is said of something that comes later.
    later: Option<String>,
    /// What is still to be shown by a test.
    pending: Option<String>,
}

/// A test of the source tree.
struct Test {
    path: String,
    ignored: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// All tests by name; a name may be that of tests in several files.
fn tests() -> BTreeMap<String, Vec<Test>> {
    let mut found: BTreeMap<String, Vec<Test>> = BTreeMap::new();
    for path in ["src", "tests", "testbed/src", "testbed/tests"].into_iter().flat_map(|folder| files(folder, "rs")) {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let mut attributes = Vec::new();
        for line in text.lines().map(str::trim) {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if line.starts_with("#[") {
                attributes.push(line);
            } else if let Some(function) = function {
                if attributes.iter().any(|line| *line == "#[test]" || line.starts_with("#[tokio::test")) {
                    let name = function.split(['(', '<']).next().unwrap_or_default().to_owned();
                    let ignored = attributes.iter().any(|line| line.starts_with("#[ignore"));
                    found.entry(name).or_default().push(Test { path: path.clone(), ignored });
                }
                attributes.clear();
            } else if !line.starts_with("//") {
                attributes.clear();
            }
        }
    }
    assert!(found.len() > 100, "only {} tests were found", found.len());
    found
}

/// Rows of `docs/failure-modes.md` that a name tells of, and rules that it begins with (those of `R` excepted: other lists have such numbers).
fn numbers(name: &str) -> BTreeSet<String> {
    let number = |letter: char, digits: std::ops::RangeInclusive<usize>, word: &str| {
        let rest = word.strip_prefix(letter)?;
        (digits.contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit())).then(|| word.to_uppercase())
    };
    let is_number = |word: &&str| word.len() > 1 && word[1..].bytes().all(|byte| byte.is_ascii_digit());
    let words = || name.split(['_', '-', '/']);
    let failures = words().filter_map(|word| number('f', 2..=2, word).or_else(|| number('F', 2..=2, word)));
    let rule = |word| "vcoshdpxa".chars().find_map(|letter| number(letter, 1..=2, word));
    failures.chain(words().take_while(is_number).filter_map(rule)).collect()
}

fn read(name: &str) -> Table {
    let text = std::fs::read_to_string(root().join(format!("docs/{name}.yaml"))).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("docs/{name}.yaml: {error}"))
}

/// Everything that is wrong with a table, beside its number of rows that wait for a test.
fn mistakes(table: &Table, ids: &[String]) -> (Vec<String>, usize) {
    let (tests, cases) = (tests(), files(CASES, "yaml"));
    let rows: Vec<&Row> = table.sections.iter().flat_map(|section| &section.rows).collect();
    let mut wrong = Vec::new();
    let found: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    for id in ids.iter().filter(|id| !found.contains(&id.as_str())) {
        wrong.push(format!("{id} has no row"));
    }
    for (place, id) in found.iter().enumerate() {
        if found[..place].contains(id) || !ids.iter().any(|known| known == id) {
            wrong.push(format!("{id} is there twice, or is no row of the list"));
        }
    }
    let mut pending = 0;
    for row in &rows {
        let id = &row.id;
        let without_test = [&row.out_of_scope, &row.cannot_occur, &row.later];
        let reasons: Vec<&String> = without_test.into_iter().flatten().collect();
        if row.what.trim().is_empty() || reasons.iter().any(|reason| reason.trim().is_empty()) {
            wrong.push(format!("{id} is empty"));
        }
        if row.swell.trim().is_empty() && reasons.is_empty() {
            wrong.push(format!("{id} does not say what Swell does"));
        }
        let numbered = by_number(id, &tests).filter(|(_, test)| !test.ignored).count();
        let mut proofs = row.cases.len() + numbered;
        for name in &row.tests {
            match here(name, &tests).as_slice() {
                [] => wrong.push(format!("{id} names the test {name}, which does not exist")),
                [test] => proofs += usize::from(!test.ignored),
                _ => wrong.push(format!("{id} names {name}, of which there are several: write path::{name}")),
            }
        }
        for start in row.cases.iter().filter(|start| !cases.iter().any(|case| is_case(case, start))) {
            wrong.push(format!("{id} names the cases {start}, of which there is none"));
        }
        match &row.pending {
            Some(_) if !PENDING_IS_ALLOWED => wrong.push(format!("{id} is pending")),
            Some(_) => pending += 1,
            None if proofs == 0 && reasons.is_empty() => wrong.push(format!("{id} names no test that is run")),
            None => {}
        }
    }
    for case in &cases {
        for number in numbers(case) {
            let row = rows.iter().find(|row| row.id == number);
            if row.is_some_and(|row| !row.cases.iter().any(|start| is_case(case, start))) {
                wrong.push(format!("{number} does not name the case {case}"));
            }
        }
    }
    (wrong, pending)
}

/// The tests that carry the number of a row.
fn by_number<'a>(
    id: &'a str,
    tests: &'a BTreeMap<String, Vec<Test>>,
) -> impl Iterator<Item = (&'a String, &'a Test)> + use<'a> {
    let named = tests.iter().filter(move |(name, _)| numbers(name).contains(id));
    named.flat_map(|(name, places)| places.iter().map(move |test| (name, test)))
}

fn short(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

fn here<'a>(name: &str, tests: &'a BTreeMap<String, Vec<Test>>) -> Vec<&'a Test> {
    let path = name.rsplit_once("::").map(|(path, _)| path);
    let places = tests.get(short(name)).map(Vec::as_slice).unwrap_or_default();
    places.iter().filter(|test| path.is_none_or(|path| test.path == path)).collect()
}

fn is_case(case: &str, start: &str) -> bool {
    case.strip_prefix(CASES).and_then(|case| case.strip_prefix('/')).is_some_and(|case| case.starts_with(start))
}

fn markdown(name: &str, table: &Table) -> String {
    let tests = tests();
    let mut text = format!("<!-- Made of {name}.yaml by `make generate`; edit that. -->\n{}\n", table.intro.trim_end());
    for section in &table.sections {
        let _ = write!(text, "\n## {}\n\n", section.title);
        if !section.text.is_empty() {
            let _ = write!(text, "{}\n\n", section.text.trim_end());
        }
        let [what, swell] = &table.columns;
        let _ = writeln!(text, "| | {what} | {swell} | Shown by |\n|---|---|---|---|");
        for row in &section.rows {
            let said = [
                Some(row.swell.clone()).filter(|swell| !swell.is_empty()),
                row.out_of_scope.as_ref().map(|reason| format!("**Out of scope:** {reason}")),
                row.cannot_occur.as_ref().map(|reason| format!("**Cannot occur:** {reason}")),
                row.later.as_ref().map(|reason| format!("**Later:** {reason}")),
            ];
            let said: Vec<_> = said.into_iter().flatten().collect();
            let named =
                row.tests.iter().flat_map(|name| here(name, &tests).into_iter().map(move |test| (short(name), test)));
            let numbered = by_number(&row.id, &tests).map(|(name, test)| (name.as_str(), test));
            let mut shown: Vec<String> = Vec::new();
            for (name, test) in numbered.chain(named) {
                let ignored = if test.ignored { " (ignored: a known defect)" } else { "" };
                let line = format!("`{}::{name}`{ignored}", test.path);
                if !shown.contains(&line) {
                    shown.push(line);
                }
            }
            shown.extend(row.cases.iter().map(|start| format!("`{CASES}/{start}*`")));
            shown.extend(row.pending.iter().map(|what| format!("pending: {what}")));
            if shown.is_empty() {
                shown.push("–".to_owned());
            }
            let cell = |text: &str| text.trim().replace('\n', " ").replace('|', "\\|");
            let (what, said, shown) = (cell(&row.what), cell(&said.join(" ")), cell(&shown.join("<br>")));
            let _ = writeln!(text, "| {} | {what} | {said} | {shown} |", row.id);
        }
    }
    text
}

fn check(name: &str, ids: &[String]) {
    let table = read(name);
    let (wrong, pending) = mistakes(&table, ids);
    assert!(wrong.is_empty(), "docs/{name}.yaml:\n  {}", wrong.join("\n  "));
    println!("docs/{name}.yaml: {} rows, {pending} of them pending", ids.len());
    let path: PathBuf = root().join(format!("docs/{name}.md"));
    let text = markdown(name, &table);
    if std::env::var_os("SWELL_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "docs/{name}.md is not what docs/{name}.yaml says: run make generate");
}

fn numbered(prefix: &str, last: usize, width: usize) -> impl Iterator<Item = String> {
    (1..=last).map(move |number| format!("{prefix}{number:0width$}"))
}

#[test]
fn the_table_of_rules_is_whole_and_every_row_is_shown_by_a_test() {
    let options = [
        "Validate=false",
        "CreateNamespace=true",
        "PrunePropagationPolicy",
        "PruneLast=true",
        "Prune=false",
        "Prune=confirm",
        "Delete=false",
        "Delete=confirm",
        "ApplyOutOfSyncOnly=true",
        "RespectIgnoreDifferences=true",
        "Replace=true",
        "Force=true",
        "ServerSideApply=true",
        "ServerSideApply=false",
        "ClientSideApplyMigration=false",
        "SkipDryRunOnMissingResource=true",
        "FailOnSharedResource=true",
        "Replace=false",
    ];
    let kinds = [
        "Order of rules",
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Pod",
        "Job",
        "CronJob",
        "Service",
        "Ingress",
        "PersistentVolumeClaim",
        "HorizontalPodAutoscaler",
        "APIService",
        "Workflow",
        "CustomResourceDefinition",
        "PodDisruptionBudget",
        "Everything else",
        "Health of the application",
    ];
    let others = ["Tracking", "Status fields", "Projects"];
    let lists = [("V", 33), ("C", 12), ("O", 10), ("S", 15), ("H", 8), ("D", 7), ("SyncFail F", 5), ("P", 7), ("X", 7)];
    let ids: Vec<String> = lists
        .into_iter()
        .chain([("R", 10), ("A", 4)])
        .flat_map(|(prefix, last)| numbered(prefix, last, 0))
        .chain(options.into_iter().chain(kinds).chain(others).map(str::to_owned))
        .collect();
    check("rules", &ids);
}

#[test]
fn the_table_of_attacks_is_whole_and_every_row_is_shown_by_a_test() {
    let published = [
        "CVE-2022-24768",
        "CVE-2023-22736",
        "CVE-2024-31990",
        "CVE-2023-23947",
        "CVE-2025-55190",
        "CVE-2026-42880",
        "CVE-2025-23216",
        "CVE-2023-40029",
        "CVE-2023-25163",
        "CVE-2024-36106",
        "CVE-2024-32476",
        "CVE-2022-31016",
        "CVE-2023-40584",
        "CVE-2024-40634",
        "CVE-2024-31989",
        "CVE-2022-24348",
        "CVE-2026-45738",
        "CVE-2021-41254",
        "CVE-2022-24817",
        "CVE-2022-24877",
        "CVE-2022-24878",
        "CVE-2022-39272",
        "CVE-2026-23990",
    ];
    check("security", &numbered("T", 26, 0).chain(published.into_iter().map(str::to_owned)).collect::<Vec<_>>());
}

#[test]
fn the_table_of_failure_modes_is_whole_and_every_row_is_shown_by_a_test() {
    check("failure-modes", &numbered("F", 80, 2).collect::<Vec<_>>());
}

/// `docs/lint.md`, of what `swell lint --rules` knows and of what it prints for each example.
fn rules_of_lint() -> String {
    let lint = |args: &[&str], input: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_swell"));
        command.arg("lint").args(args).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let rules: Vec<serde_json::Value> = serde_json::from_str(&lint(&["--rules", "-o", "json"], "")).unwrap();
    let mut text = "<!-- Made of what `swell lint` knows by `make generate`; edit src/cli/lint/rules.rs and the examples beside it. -->\n".to_owned()
        + include_str!("lint/intro.md");
    let field = |rule: &serde_json::Value, name: &str| rule[name].as_str().unwrap().to_owned();
    text.push_str("\n| Rule | Level | Finds |\n|---|---|---|\n");
    for rule in &rules {
        let [id, level, title] = ["id", "level", "title"].map(|name| field(rule, name));
        let _ = writeln!(text, "| [{id}](#{id}) | {level} | {title} |");
    }
    for rule in &rules {
        let [id, level, title, why, example] = ["id", "level", "title", "why", "example"].map(|name| field(rule, name));
        let shown = lint(&["-f", "-"], &example);
        let shown = shown.rsplit_once("\n\n").map_or("", |(finding, _)| finding);
        let _ =
            write!(text, "\n## {id}\n\n{title} ({level}). {why}\n\n```yaml\n{example}```\n\n```text\n{shown}\n```\n");
    }
    text
}

#[test]
fn the_page_about_lint_says_what_lint_does() {
    let path = root().join("docs/lint.md");
    let text = rules_of_lint();
    if std::env::var_os("SWELL_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "docs/lint.md is not what swell lint says: run make generate");
}

#[test]
fn numbers_are_read_out_of_names_of_tests_and_cases() {
    let of = |name: &str| numbers(name).into_iter().collect::<Vec<_>>();
    assert_eq!(of("v20_f70_the_old_goes_after_the_new"), ["F70", "V20"]);
    assert_eq!(of("f33_a_passive_hook_and_f30_outlives"), ["F30", "F33"]);
    assert_eq!(of("autoscaler_of_v1_is_judged"), Vec::<String>::new());
    assert_eq!(of("tests/it/health/job/cron-job-F06-whose-last-run"), ["F06"]);
}

#[test]
fn a_row_that_proves_nothing_is_told() {
    let table = |rows: &str| Table {
        intro: String::new(),
        columns: [String::new(), String::new()],
        sections: vec![Section {
            title: String::new(),
            text: String::new(),
            rows: serde_saphyr::from_str(rows).unwrap(),
        }],
    };
    let ids = ["X1".to_owned(), "X2".to_owned()];
    let told = |rows: &str| mistakes(&table(rows), &ids).0.join("; ");
    let good = "- {id: X1, argo: a, swell: b, tests: [a_row_that_proves_nothing_is_told]}\n";
    assert_eq!(told(&format!("{good}- {{id: X2, argo: a, out_of_scope: because}}")), "");
    assert_eq!(told(good), "X2 has no row");
    for (row, wrong) in [
        ("{id: X2, argo: a, swell: b}", "X2 names no test that is run"),
        (
            "{id: X2, argo: a, swell: b, tests: [no_such_test]}",
            "X2 names the test no_such_test, which does not exist; X2 names no test that is run",
        ),
        ("{id: X2, argo: '', out_of_scope: because}", "X2 is empty"),
        ("{id: X2, argo: a, tests: [a_row_that_proves_nothing_is_told]}", "X2 does not say what Swell does"),
        ("{id: X2, argo: a, swell: b, cases: [no/such]}", "X2 names the cases no/such, of which there is none"),
    ] {
        assert_eq!(told(&format!("{good}- {row}")), wrong);
    }
}
