//! GitHub's own webhooks as test input: its published example payloads, its published schema as one subject per
//! event, and a second opinion on which payloads match. `tests/setup.sh` fetches them; nothing is committed.
//!
//! The published schema is one draft-07 document of 344 definitions. [`write_schemas`] makes a file per event of it
//! that carries just the definitions it needs, so that each compiles alone and quickly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::world::inputs;

/// One published payload.
pub struct Example {
    /// GitHub's event name, as its header `x-github-event` has it.
    pub event: String,
    /// Its number among the payloads of that event.
    pub index: usize,
    /// The payload as JSON text.
    pub payload: String,
}

/// What the reference validator says of one payload.
#[derive(Debug, serde::Deserialize)]
pub struct Verdict {
    /// GitHub's event name.
    pub event: String,
    /// Its number among the payloads of that event.
    pub index: usize,
    /// Whether the payload matches.
    pub valid: bool,
    /// Every error, those within alternatives included.
    pub errors: Vec<Place>,
}

/// Where a payload breaks which rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub struct Place {
    /// JSON pointer into the payload.
    pub pointer: String,
    /// The schema keyword.
    pub keyword: String,
}

/// Every published payload of api.github.com, in the published order.
pub fn examples() -> io::Result<Vec<Example>> {
    let events: Vec<Value> = serde_json::from_slice(&fs::read(index())?)?;
    let mut examples = Vec::new();
    for event in &events {
        let name = event["name"].as_str().unwrap_or_default();
        for (index, payload) in event["examples"].as_array().into_iter().flatten().enumerate() {
            examples.push(Example { event: name.to_owned(), index, payload: payload.to_string() });
        }
    }
    Ok(examples)
}

/// Writes `github.<event>/1.json` for every event of the published schema; returns how many.
pub fn write_schemas(directory: &Path) -> io::Result<usize> {
    let published: Value = serde_json::from_slice(&fs::read(published_schema())?)?;
    let schemas = schemas(&published);
    for (event, schema) in &schemas {
        let subject = directory.join(format!("github.{event}"));
        fs::create_dir_all(&subject)?;
        fs::write(subject.join("1.json"), schema.to_string())?;
    }
    Ok(schemas.len())
}

/// Asks PyPI's jsonschema, with its format checker, about every payload.
pub fn reference_verdicts() -> io::Result<Vec<Verdict>> {
    let lines = run(reference().arg(published_schema()).arg(index()))?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Asks PyPI's jsonschema which texts are of a format; one answer per (format, text).
pub fn reference_formats(cases: &[(String, String)]) -> io::Result<Vec<bool>> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), serde_json::to_vec(cases)?)?;
    Ok(serde_json::from_str(&run(reference().arg("formats").stdin(file.reopen()?))?)?)
}

fn index() -> PathBuf {
    inputs::webhook_examples().join("api.github.com/index.json")
}

fn published_schema() -> PathBuf {
    inputs::webhook_schemas().join("schema.json")
}

fn reference() -> Command {
    let mut command = Command::new(inputs::python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("reference_verdicts.py"));
    command
}

/// One schema per event, each with the definitions it reaches.
///
/// Every definition the root lists is an event, named `<event>_event` or `<event>$event`.
fn schemas(published: &Value) -> BTreeMap<String, Value> {
    let mut schemas = BTreeMap::new();
    for root in published["oneOf"].as_array().into_iter().flatten() {
        let Some(name) = root["$ref"].as_str().and_then(definition_name) else { continue };
        let Some(event) = name.strip_suffix("_event").or_else(|| name.strip_suffix("$event")) else {
            continue;
        };
        let definition = published["definitions"][name].clone();
        let mut needed = BTreeSet::new();
        reach(&definition, &published["definitions"], &mut needed);
        let definitions: Map<String, Value> = needed
            .into_iter()
            .map(|name| (name.to_owned(), published["definitions"][name].clone()))
            .collect();
        let mut schema = json!({ "$schema": published["$schema"], "definitions": definitions });
        if let (Value::Object(schema), Value::Object(definition)) = (&mut schema, definition) {
            schema.extend(definition);
        }
        schemas.insert(event.to_owned(), schema);
    }
    schemas
}

/// Adds the names of all definitions a schema refers to, directly or not.
fn reach<'a>(schema: &Value, definitions: &'a Value, reached: &mut BTreeSet<&'a str>) {
    match schema {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str).and_then(definition_name);
            let found = name.and_then(|name| definitions.as_object()?.get_key_value(name));
            if let Some((name, definition)) = found
                && reached.insert(name)
            {
                reach(definition, definitions, reached);
            }
            members.values().for_each(|member| reach(member, definitions, reached));
        }
        Value::Array(items) => items.iter().for_each(|item| reach(item, definitions, reached)),
        _ => {}
    }
}

fn definition_name(reference: &str) -> Option<&str> {
    reference.strip_prefix("#/definitions/")
}

/// What a command prints, or an error with what it complained about.
fn run(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{command:?}: {complaint}")));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
