//! Events made up from a schema of a registry: the same for the same seed, and each of them one that the gateway
//! would let pass.

use std::path::Path;

use bumpalo::Bump;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use super::Failure;
use super::event::{Written, parser};
use crate::schema::{Limits, Registry, Schema};

/// Attempts for each event that is wanted: what is made up may miss a keyword that the generator does not know.
const ATTEMPTS: usize = 10;

/// What was made up, in order.
pub(super) struct Generated {
    /// The data of each event, and the event.
    pub(super) events: Vec<(String, Written)>,
    /// How many more were made up and did not match the schema.
    pub(super) missed: usize,
}

/// Makes up so many events that match the schema in `file`, which is `<registry>/<subject>/<version>.json`.
pub(super) fn generate(file: &Path, count: usize, seed: u64) -> Result<Generated, Failure> {
    let unusable = |why: &str| Failure::Config(format!("{}: {why}", file.display()));
    let schema = compiled(file).map_err(|why| unusable(&why))?;
    let text = std::fs::read(file).map_err(|error| unusable(&error.to_string()))?;
    let document: Value = serde_json::from_slice(&text).map_err(|error| unusable(&error.to_string()))?;
    let mut chance = StdRng::seed_from_u64(seed);
    let mut generated = Generated { events: Vec::new(), missed: 0 };
    while generated.events.len() < count && generated.missed < ATTEMPTS * count {
        let advice = "no events can be made up from it; write some and give them with --events";
        let value = noson::generate(&document, &mut chance);
        let data = value.map_err(|error| unusable(&format!("{error}: {advice}")))?.to_string();
        match written(&data, &schema) {
            Some(event) => generated.events.push((data, event)),
            None => generated.missed += 1,
        }
    }
    if generated.events.is_empty() {
        return Err(unusable(
            "nothing that was made up matches it; write events and give them with --events",
        ));
    }
    Ok(generated)
}

/// The schema as the gateway has it, with the others of its registry that it may refer to.
fn compiled(file: &Path) -> Result<std::sync::Arc<Schema>, String> {
    let file = file.canonicalize().map_err(|error| error.to_string())?;
    let layout = "a schema lies in its registry as <subject>/<version>.json";
    let subject = file.parent().ok_or(layout)?;
    let registry = Registry::load(subject.parent().ok_or(layout)?, &Limits::default());
    let registry =
        registry.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let version = file.file_stem().and_then(|version| version.to_str()?.parse().ok()).ok_or(layout)?;
    let name = subject.file_name().and_then(|subject| subject.to_str()).ok_or(layout)?;
    registry.version(name, version).ok_or_else(|| layout.to_owned())
}

/// The event with this data, if the gateway would take it.
fn written(data: &str, schema: &Schema) -> Option<Written> {
    let matches =
        parser().document(&Bump::new(), data.as_bytes()).is_ok_and(|data| schema.check(data.root()));
    matches.then(|| Written::plain(data.as_bytes()).ok()).flatten()
}
