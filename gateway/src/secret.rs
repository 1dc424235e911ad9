//! A secret as the config names it: where to read it, never what it is.
//!
//! Not a store: the value is read when a connection is made, so a rotated file is seen by the next one, and
//! nothing in the process keeps it longer than the client library does.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};

/// Where a secret is to be read: `{env: NAME}` or `{file: path}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The environment variable of this name.
    Env(String),
    /// The file at this path, without one trailing newline.
    File(PathBuf),
}

/// A secret that could not be read. Names the place, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No such variable, or it is not UTF-8.
    #[error("the environment variable {0} is not set (or is not UTF-8)")]
    Env(String),
    /// The file cannot be read as UTF-8.
    #[error("the secret file {} cannot be read: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The value is empty, which is never meant.
    #[error("the secret at {0} is empty")]
    Empty(String),
}

/// A secret's value. It has no `Debug` or `Display`: to use it is to call [`Revealed::as_str`].
pub struct Revealed(String);

impl Revealed {
    /// The value itself; hand it to the client library and to nothing else.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Secret {
    /// Reads the value now.
    #[expect(clippy::disallowed_methods, reason = "the config names this variable; nobody else does")]
    pub fn reveal(&self) -> Result<Revealed, SecretError> {
        let value = match self {
            Secret::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?,
            Secret::File(path) => std::fs::read_to_string(path)
                .map_err(|cause| SecretError::File { path: path.clone(), cause })?,
        };
        let value = value.strip_suffix('\n').unwrap_or(&value);
        let value = value.strip_suffix('\r').unwrap_or(value);
        if value.is_empty() { Err(SecretError::Empty(self.place())) } else { Ok(Revealed(value.to_owned())) }
    }

    /// Makes a relative file path relative to `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        if let Secret::File(path) = self {
            *path = folder.join(&*path);
        }
    }

    fn place(&self) -> String {
        match self {
            Secret::Env(name) => format!("{{env: {name}}}"),
            Secret::File(path) => format!("{{file: {}}}", path.display()),
        }
    }
}

/// What to write instead of a secret.
const SPELLING: &str = "`{env: NAME}` or `{file: path}` (a secret is never written into the config itself)";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reference)
    }
}

struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = Secret;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(SPELLING)
    }

    fn visit_str<E: Error>(self, _literal: &str) -> Result<Secret, E> {
        Err(E::invalid_type(Unexpected::Other("a literal secret"), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(A::Error::invalid_length(0, &self));
        };
        let secret = match key.as_str() {
            "env" => Secret::Env(map.next_value()?),
            "file" => Secret::File(map.next_value()?),
            _ => return Err(A::Error::unknown_field(&key, &["env", "file"])),
        };
        match map.next_key::<String>()? {
            None => Ok(secret),
            Some(_) => Err(A::Error::invalid_length(2, &self)),
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where to read a secret; never the secret itself.",
            "oneOf": [
                {"type": "object", "properties": {"env": {"type": "string", "description": "An environment variable."}},
                 "required": ["env"], "additionalProperties": false},
                {"type": "object", "properties": {"file": {"type": "string", "description": "A file, relative to the config's folder."}},
                 "required": ["file"], "additionalProperties": false}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_place_and_the_error_names_it() {
        let secret: Secret = serde_json::from_str(r#"{"env": "WEIR_NO_SUCH_VARIABLE"}"#).unwrap();
        let error = secret.reveal().err().unwrap();
        assert_eq!(
            error.to_string(),
            "the environment variable WEIR_NO_SUCH_VARIABLE is not set (or is not UTF-8)"
        );
    }

    #[test]
    fn a_literal_is_refused_without_being_repeated() {
        let error = serde_json::from_str::<Secret>(r#""hunter2""#).unwrap_err().to_string();
        assert!(error.contains("{env: NAME}"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
