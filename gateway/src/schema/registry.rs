//! All schemas of one directory, `<subject>/<version>.json`, loaded whole or not at all. It does not watch the
//! directory and decides nothing about events.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bumpalo::Bump;
use serde_json::Value;

use super::Limits;
use super::compile::{Documents, Refusal, Schema, address};
use crate::event::document;

/// The longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 200;
/// Below the schemas stand the interfaces of the gateway itself.
const API_DIRECTORY: &str = "api";
/// What a schema's own JSON may cost; serde_json's nesting limit is the same.
const SCHEMA_TEXT: document::Limits = document::Limits { depth_max: 127, nodes_max: 500_000 };

/// Every schema, by subject and version.
#[derive(Debug, Default)]
pub struct Registry {
    subjects: HashMap<Arc<str>, BTreeMap<u32, Arc<Schema>>>,
}

/// A schema file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct LoadError {
    /// The file, or the directory.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: Refusal,
}

impl Registry {
    /// Reads and compiles every schema below `directory`. Blocking: not for a worker. On failure it returns
    /// everything that is wrong.
    pub fn load(directory: &Path, limits: &Limits) -> Result<Registry, Vec<LoadError>> {
        let (files, mut errors) = find(directory, limits);
        let mut documents = HashMap::new();
        for file in &files {
            match read(&file.path, limits) {
                Ok(document) => drop(documents.insert(address(&file.subject, file.version), document)),
                Err(reason) => errors.push(LoadError { file: file.path.clone(), reason }),
            }
        }
        let documents = Documents(Arc::new(documents));
        let mut registry = Registry::default();
        for file in files {
            if errors.iter().any(|error| error.file == file.path) {
                continue;
            }
            match Schema::compile(&file.subject, file.version, &documents, limits) {
                Ok(schema) => registry.insert(schema),
                Err(reason) => errors.push(LoadError { file: file.path, reason }),
            }
        }
        if errors.is_empty() { Ok(registry) } else { Err(errors) }
    }

    /// The latest version of a subject's schema.
    pub fn subject(&self, subject: &str) -> Option<&Arc<Schema>> {
        self.subjects.get(subject)?.last_key_value().map(|(_, schema)| schema)
    }

    /// One version of a subject's schema.
    pub fn version(&self, subject: &str, version: u32) -> Option<Arc<Schema>> {
        self.subjects.get(subject)?.get(&version).cloned()
    }

    /// Every schema, in no order.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.subjects.values().flat_map(BTreeMap::values)
    }

    fn insert(&mut self, schema: Schema) {
        let versions = self.subjects.entry(Arc::clone(schema.subject())).or_default();
        versions.insert(schema.version(), Arc::new(schema));
    }
}

/// A file that should be a schema.
struct File {
    path: PathBuf,
    subject: String,
    version: u32,
}

/// Every `.json` file one level down. Deeper directories, such as a subject's examples, are not read.
fn find(directory: &Path, limits: &Limits) -> (Vec<File>, Vec<LoadError>) {
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    let unreadable = |file: &Path, error: std::io::Error| LoadError {
        file: file.to_owned(),
        reason: Refusal::Unreadable(error.to_string()),
    };
    let subjects = list(directory).unwrap_or_else(|error| {
        errors.push(unreadable(directory, error));
        Vec::new()
    });
    for subject in subjects.into_iter().filter(|path| path.is_dir() && !path.ends_with(API_DIRECTORY)) {
        let paths = list(&subject).unwrap_or_else(|error| {
            errors.push(unreadable(&subject, error));
            Vec::new()
        });
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
            match name(&path) {
                Some((subject, version)) => files.push(File { path, subject, version }),
                None => errors.push(LoadError { file: path, reason: Refusal::BadName }),
            }
        }
    }
    if files.len() > limits.schemas_max {
        files.clear();
        let reason = Refusal::TooManySchemas { schemas_max: limits.schemas_max };
        errors.push(LoadError { file: directory.to_owned(), reason });
    }
    (files, errors)
}

/// What a directory holds, by name, so that errors come in the same order each time.
fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The subject and version a path spells.
fn name(path: &Path) -> Option<(String, u32)> {
    let subject = path.parent()?.file_name()?.to_str()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let version = path.file_stem()?.to_str()?;
    let canonical =
        version.parse::<u32>().ok().filter(|number| *number > 0 && number.to_string() == version)?;
    let fits =
        subject.len() <= SUBJECT_BYTES_MAX && !subject.starts_with('.') && subject.bytes().all(allowed);
    fits.then(|| (subject.to_owned(), canonical))
}

fn read(path: &Path, limits: &Limits) -> Result<Value, Refusal> {
    let unreadable = |error: std::io::Error| Refusal::Unreadable(error.to_string());
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > limits.schema_bytes_max as u64 {
        return Err(Refusal::TooLarge { schema_bytes_max: limits.schema_bytes_max });
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    // The same strict rules as for events: a schema with a key twice would not say what its author sees.
    let checked = document::Parser::new(SCHEMA_TEXT).parse(&Bump::new(), &bytes).map(|_| ());
    checked.map_err(|error| Refusal::NotJson(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::NotJson(error.to_string()))
}
