//! What `-f` names: files, directories and standard input, as texts with the labels that positions carry.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// One text of manifests.
#[derive(Debug)]
pub(in crate::cli) struct Text {
    /// The path as it was given, with the rest below a directory; `stdin` for standard input.
    pub(in crate::cli) label: String,
    /// The whole text.
    pub(in crate::cli) text: String,
}

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads all of them, each file once, in the order given; the files below a directory sorted by path, hidden ones left out.
pub(in crate::cli) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Text>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" || !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut below = Vec::new();
        walk(path, &mut below)?;
        if below.is_empty() {
            bail!("{} holds no manifests: there is no *.yaml, *.yml or *.json file in it or below it", path.display());
        }
        below.sort();
        files.extend(below);
    }
    let mut seen = Vec::new();
    let mut texts = Vec::new();
    for file in files {
        // A file that is given twice, by itself and by its directory, is one file.
        let identity = file.canonicalize().unwrap_or_else(|_| file.clone());
        if !seen.contains(&identity) {
            seen.push(identity);
            texts.push(read_one(&file)?);
        }
    }
    Ok(texts)
}

fn read_one(file: &Path) -> anyhow::Result<Text> {
    let (label, bytes) = if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("reading standard input")?;
        ("stdin".to_owned(), bytes)
    } else {
        let label = file.display().to_string();
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {label}"))?;
        (label, bytes)
    };
    let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{label} is not UTF-8 text"))?;
    Ok(Text { label, text })
}

/// Symbolic links to files are followed (mounted ConfigMaps are such links), those to directories are not: they may go in circles.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let reading = || format!("cannot read the directory {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type().with_context(reading)?.is_dir() {
            walk(&path, files)?;
        } else if path.is_file() && path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known)) {
            files.push(path);
        }
    }
    Ok(())
}
