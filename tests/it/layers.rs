//! The house as the code draws it: a module imports only from its left, and the file budgets hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The order in which an event meets the modules; those of one row do not know each other.
pub(crate) const LINE: &[&[&str]] = &[
    &["problem"],
    &["metrics"],
    &["secret"],
    &["telemetry"],
    &["follow"],
    &["access"],
    &["event"],
    &["traces"],
    &["admission"],
    &["schema"],
    &["plugin"],
    &["route"],
    &["ports"],
    &["kafka", "valkey", "memory"],
    &["recent"],
    &["pipeline"],
    &["http"],
    &["grpc"],
    &["config"],
    &["parts"],
    &["serve"],
    &["dev", "commands"],
    &["main"],
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn gateway() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/src")
}

fn row(module: &str) -> Option<usize> {
    LINE.iter().position(|row| row.contains(&module))
}

/// The top-level modules that a text names, as `crate::x` or, in a use list, `crate::{x, y}`.
fn named(text: &str) -> BTreeSet<String> {
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, prefix) in text.match_indices("crate::").chain(text.match_indices("weir::")) {
        let (_, rest) = text.split_at(at + prefix.len());
        match rest.strip_prefix('{').and_then(|list| list.split_once('}')) {
            Some((list, _)) => found.extend(list.split(',').map(|item| word(item.trim()))),
            None => drop(found.insert(word(rest))),
        }
    }
    found
}

#[test]
fn imports_point_up_the_stream() {
    let root = gateway();
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the gateway's sources are at {}", root.display());
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).expect("below the root");
        let first = relative.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let Some(own) = row(&module) else {
            wrong.push(format!("{module} is not on the line: add it where an event would meet it"));
            continue;
        };
        let text = fs::read_to_string(&file).expect("readable");
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for other in named(&code) {
            match row(&other) {
                Some(place) if other != module && place >= own => {
                    wrong.push(format!("{module} may not know {other} ({})", relative.display()));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_reader_holds() {
    let mut files = Vec::new();
    sources(&gateway(), &mut files);
    let long: Vec<_> = files
        .iter()
        .map(|file| (fs::read_to_string(file).expect("readable").lines().count(), file))
        .filter(|(lines, file)| *lines > if file.ends_with("tests.rs") { 600 } else { 400 })
        .collect();
    assert!(long.is_empty(), "over 400 lines, or 600 of tests: {long:?}");
}
