//! One schema: from its text to a compiled check. It reads no files (that is [`super::registry`]) and fetches
//! none: a `$ref` leads to another file of the same registry or the schema is refused.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ReferencingError, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value;

use super::Limits;
use super::email::is_email;
use super::explain::explain;
use super::instance::{Budget, Instance, OnTape};
use crate::event::document::Node;
use crate::problem::Violation;

/// The drafts that `$schema` may name; without it a schema is read as the last.
const DRAFTS: [&str; 5] = [
    "http://json-schema.org/draft-04/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];

/// The scheme of the addresses of schemas.
pub(super) const SCHEME: &str = "weir:";

/// One version of a subject's schema, compiled.
pub struct Schema {
    subject: Arc<str>,
    version: u32,
    header: String,
    receipt: String,
    limits: Limits,
    validator: Validator<OnTape>,
}

/// Why a schema is refused. Each text starts with a stable name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("unreadable: {0}")]
    Unreadable(String),
    #[error(
        "bad-name: a schema is <subject>/<version>.json, the subject of letters, digits, '.', '_' and '-', the version an integer from 1"
    )]
    BadName,
    #[error("too-many-schemas: more than {schemas_max}")]
    TooManySchemas { schemas_max: usize },
    #[error("schema-too-complex: larger than {schema_bytes_max} bytes")]
    TooLarge { schema_bytes_max: usize },
    #[error("schema-too-complex: more than {subschemas_max} subschemas")]
    TooManySubschemas { subschemas_max: usize },
    #[error("not-json: {0}")]
    NotJson(String),
    #[error("unknown-draft: {0} is none of drafts 4, 6, 7, 2019-09 and 2020-12")]
    UnknownDraft(String),
    #[error("remote-ref-forbidden: {uri} is outside the registry; refer to its files by relative path")]
    RemoteRef { uri: String },
    #[error("unknown-ref: {0}")]
    UnknownRef(String),
    #[error(
        "unsupported-pattern: at {pointer}: not a regular expression that is matched in linear time and within the size limit; look-around and back-references are not supported"
    )]
    UnsupportedPattern { pointer: String },
    #[error("not-a-schema: at {pointer}: {detail}")]
    NotASchema { pointer: String, detail: String },
}

impl Schema {
    /// Compiles a schema's document. `others` are all documents of the registry, by address.
    pub(super) fn compile(
        subject: &str,
        version: u32,
        others: &Documents,
        limits: &Limits,
    ) -> Result<Schema, Refusal> {
        let address = address(subject, version);
        let document = others.0.get(&address).ok_or_else(|| Refusal::UnknownRef(address.clone()))?;
        check_draft(document)?;
        if subschemas(document) > limits.subschemas_max {
            return Err(Refusal::TooManySubschemas { subschemas_max: limits.subschemas_max });
        }
        let patterns = PatternOptions::regex();
        let patterns = patterns.size_limit(limits.pattern_bytes_max).dfa_size_limit(limits.pattern_bytes_max);
        let validator = jsonschema::options_for::<OnTape>()
            .offline()
            .with_retriever(others.clone())
            .with_base_uri(address)
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .with_format("email", is_email)
            .build(document)
            .map_err(|error| refusal(&error))?;
        Ok(Schema {
            subject: subject.into(),
            version,
            header: format!("{subject}/{version}"),
            receipt: serde_json::json!({"subject": subject, "version": version}).to_string(),
            limits: limits.clone(),
            validator,
        })
    }

    /// `<subject>/<version>`, as in the `weir-schema` record header.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The schema's part of a receipt, a JSON object.
    pub fn receipt(&self) -> &str {
        &self.receipt
    }

    /// The subject, e.g. `orders.created`.
    pub fn subject(&self) -> &Arc<str> {
        &self.subject
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether a value matches. One that needs more steps than allowed does not.
    pub fn check(&self, node: Node<'_>) -> bool {
        let budget = Budget::new(self.limits.check_steps_max);
        self.validator.is_valid(Instance { node, budget: &budget }) && !budget.is_spent()
    }

    /// Why a value does not match: where and by which keyword, never which value. Empty if it does match.
    pub fn explain(&self, node: Node<'_>) -> Vec<Violation> {
        explain(&self.validator, node, self.limits.explain_steps_max)
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schema({}/{})", self.subject, self.version)
    }
}

/// The address of a schema: what `$ref`s are relative to. It mirrors the files.
pub(super) fn address(subject: &str, version: u32) -> String {
    format!("{SCHEME}///{subject}/{version}.json")
}

/// All documents of a registry by address, and nothing beyond them.
#[derive(Clone, Default)]
pub(super) struct Documents(pub(super) Arc<HashMap<String, Value>>);

/// A document outside the registry was asked for.
#[derive(Debug, thiserror::Error)]
#[error("not in the registry")]
struct NotHere;

impl Retrieve for Documents {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        self.0.get(uri.as_str()).cloned().ok_or_else(|| NotHere.into())
    }
}

fn check_draft(document: &Value) -> Result<(), Refusal> {
    match document.get("$schema") {
        None => Ok(()),
        Some(Value::String(draft)) if DRAFTS.contains(&draft.trim_end_matches('#')) => Ok(()),
        Some(other) => Err(Refusal::UnknownDraft(other.to_string())),
    }
}

/// How many JSON objects a document holds: no fewer than its subschemas.
fn subschemas(document: &Value) -> usize {
    match document {
        Value::Object(members) => 1 + members.values().map(subschemas).sum::<usize>(),
        Value::Array(items) => items.iter().map(subschemas).sum(),
        _ => 0,
    }
}

fn refusal(error: &ValidationError<'_>) -> Refusal {
    match error.kind() {
        ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) => {
            if uri.starts_with(SCHEME) {
                Refusal::UnknownRef(format!("{uri} is not in the registry"))
            } else {
                Refusal::RemoteRef { uri: uri.clone() }
            }
        }
        ValidationErrorKind::Referencing(other) => Refusal::UnknownRef(other.to_string()),
        ValidationErrorKind::Format { format } if format == "regex" => {
            Refusal::UnsupportedPattern { pointer: place(error) }
        }
        _ => Refusal::NotASchema { pointer: place(error), detail: error.to_string() },
    }
}

/// Where in the schema an error is: errors of the meta-schema have it as instance, those of compiling as schema.
fn place(error: &ValidationError<'_>) -> String {
    match error.instance_path().as_str() {
        "" => error.schema_path().to_string(),
        path => path.to_owned(),
    }
}
