//! How long the texts of a question may be: longer ones are in no event, so they are refused, whoever brings them.

use crate::event::parse::ATTRIBUTE_BYTES_MAX;
use crate::problem::{Code, Problem};
use crate::route::KEY_BYTES_MAX;

/// Refuses a key or a kind of keys that is too long (`bad-query`).
pub(super) fn keys(texts: &[Option<&str>]) -> Result<(), Problem> {
    at_most(KEY_BYTES_MAX, texts, "a key has at most 512 bytes")
}

/// Refuses a text that is too long for an attribute, or for a name of ours (`bad-query`).
pub(super) fn attributes(texts: &[Option<&str>]) -> Result<(), Problem> {
    at_most(ATTRIBUTE_BYTES_MAX, texts, "an id, a source or a type has at most 1024 bytes")
}

fn at_most(bytes_max: usize, texts: &[Option<&str>], detail: &'static str) -> Result<(), Problem> {
    let longer = texts.iter().flatten().any(|text| text.len() > bytes_max);
    if longer { Err(Problem::new(Code::BadQuery, detail)) } else { Ok(()) }
}
