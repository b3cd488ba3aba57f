//! The house is in order: the deciding half is pure, every file is declared, none is too large.

use std::fs;
use std::path::{Path, PathBuf};

/// Production lines above which a file has to be split.
const MOST_LINES: usize = 600;

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no source");
    found
}

fn production(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

#[test]
fn the_engine_names_no_acting_module_and_awaits_nothing() {
    let forbidden =
        ["crate::cluster", "crate::telemetry", "crate::operator", "crate::cli", "async fn", ".await", "tokio::"];
    for path in sources("src/engine") {
        for (number, line) in production(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in forbidden {
                assert!(!code.contains(word), "{}:{}: the engine must not name {word}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_wire_types_know_nobody() {
    for path in sources("src/api") {
        for word in ["crate::engine", "crate::cluster", "crate::telemetry", "crate::operator", "crate::cli"] {
            assert!(!production(&path).contains(word), "{} must not name {word}", path.display());
        }
    }
}

#[test]
fn the_acting_half_does_not_know_the_loop() {
    for path in sources("src/cluster") {
        for word in ["crate::operator", "crate::cli"] {
            assert!(!production(&path).contains(word), "{} must not name {word}", path.display());
        }
    }
}

#[test]
fn what_watches_the_operator_neither_acts_nor_decides() {
    for path in sources("src/telemetry") {
        for word in ["crate::cluster", "crate::operator", "crate::cli"] {
            assert!(!production(&path).contains(word), "{} must not name {word}", path.display());
        }
    }
}

#[test]
fn every_source_file_is_declared_by_its_parent() {
    for folder in ["src", "tests/it", "tests/cluster", "testbed/src"] {
        for path in sources(folder) {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let parent = path.parent().unwrap();
            if ["main", "lib"].contains(&name.as_str()) {
                continue;
            }
            let beside = parent.with_extension("rs");
            let candidates = [beside, parent.join("main.rs"), parent.join("lib.rs")];
            let declared = candidates.iter().filter_map(|file| fs::read_to_string(file).ok()).any(|text| {
                text.lines().any(|line| {
                    let line = line.trim();
                    line.ends_with(&format!("mod {name};"))
                })
            });
            assert!(declared, "{} is declared nowhere, so it is never compiled", path.display());
        }
    }
}

#[test]
fn no_file_is_too_large() {
    for folder in ["src", "testbed", "tests"] {
        for path in sources(folder) {
            let lines = production(&path).lines().count();
            assert!(lines <= MOST_LINES, "{} has {lines} lines before its tests: split it by purpose", path.display());
        }
    }
}
