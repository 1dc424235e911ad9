//! Environment variables that set single keys: `WEIR__KAFKA__BROKERS='["a:9092"]'`.
//!
//! Not a template language: a variable's value is YAML, put into the tree before it is typed, so a variable
//! that names no key or has the wrong type is refused like the file, by its own name.

use std::sync::Arc;

use super::tree::{self, Node};

/// What every override begins with; `__` then stands between the keys of the path.
pub const PREFIX: &str = "WEIR__";

/// A variable that could not be applied. Never holds its value.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub(crate) struct Unusable {
    name: String,
    reason: String,
}

/// Puts every `WEIR__…` variable into the tree, in the order of their names.
pub(crate) fn apply(
    root: &mut Node,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Vec<Unusable> {
    let mut overrides: Vec<_> =
        environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    overrides.sort();
    overrides.into_iter().filter_map(|(name, text)| apply_one(root, name, &text).err()).collect()
}

fn apply_one(root: &mut Node, name: String, text: &str) -> Result<(), Unusable> {
    let variable: Arc<str> = name.as_str().into();
    let path: Vec<&str> = name.trim_start_matches(PREFIX).split("__").collect();
    let result = if path.iter().any(|step| step.is_empty()) {
        Err(format!("write it as {PREFIX}KEY or {PREFIX}SECTION__KEY"))
    } else {
        tree::parse(text, Some(&variable))
            .map_err(|_| "the value is not valid YAML; put text with special characters in quotes".to_owned())
            .and_then(|value| root.put(&path, value))
    };
    result.map_err(|reason| Unusable { name, reason })
}
