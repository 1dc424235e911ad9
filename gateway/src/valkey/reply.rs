//! What the scripts answer, in the port's words.

use fred::types::Value;

use crate::ports::{Applied, Extent, Floor, Generation, Ref, StoreError, Watermark};

pub(super) fn outcome(reply: &[Value]) -> Result<Applied, StoreError> {
    let word = reply.first().and_then(Value::as_str);
    match (word.as_deref(), reply.get(1).and_then(Value::as_i64)) {
        (Some("OK"), _) => Ok(Applied::Done),
        (Some("GAP"), Some(next)) => Ok(Applied::Gap(next)),
        (Some("GEN" | "NOGEN" | "FLOOR"), _) => Ok(Applied::Elsewhere),
        _ => Err(unexpected("no outcome of a script")),
    }
}

/// Reads the text of a watermark.
pub(super) fn watermark(text: &Value) -> Result<Watermark, StoreError> {
    let text = text.as_str().ok_or_else(|| unexpected("no watermark"))?;
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or_else(|| unexpected("a short watermark"));
    let number = |word: &str| word.parse().map_err(|_| unexpected("no number in a watermark"));
    Ok(Watermark {
        generation: Generation::parse(word()?).ok_or_else(|| unexpected("no generation"))?,
        next: number(word()?)?,
        fresh_ms: number(word()?)?,
        floor: Floor { offset: number(word()?)?, time_ms: number(word()?)? },
        start: number(word()?)?,
        extent: Extent::parse(word()?).ok_or_else(|| unexpected("no extent"))?,
    })
}

/// Reads refs that stand one behind the other.
pub(super) fn refs(refs: &Value) -> Result<Vec<Ref>, StoreError> {
    let refs = refs.as_bytes().ok_or_else(|| unexpected("no refs"))?;
    refs.chunks(Ref::BYTES)
        .map(|bytes| Ref::from_bytes(bytes).ok_or_else(|| unexpected("half a ref")))
        .collect()
}

pub(super) fn array(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(unexpected("no array")),
    }
}

pub(super) fn unexpected(what: &str) -> StoreError {
    StoreError::Unexpected(what.to_owned())
}
