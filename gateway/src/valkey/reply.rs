//! What the scripts answer, in the port's words.

use fred::types::Value;

use crate::ports::{Applied, Floor, Generation, Ref, StoreError, Watermark};

pub(super) fn outcome(reply: &[Value]) -> Result<Applied, StoreError> {
    let word = reply.first().and_then(Value::as_str);
    match (word.as_deref(), reply.get(1).and_then(Value::as_i64)) {
        (Some("OK"), _) => Ok(Applied::Done),
        (Some("GAP"), Some(next)) => Ok(Applied::Gap(next)),
        (Some("GEN" | "NOGEN"), _) => Ok(Applied::Elsewhere),
        _ => Err(unexpected("no outcome of a script")),
    }
}

pub(super) fn watermark(fields: &[Value]) -> Result<Watermark, StoreError> {
    let number = |at: usize| fields.get(at).and_then(Value::as_i64).ok_or_else(|| unexpected("no watermark"));
    let generation = fields.first().and_then(Value::as_str).and_then(|text| Generation::parse(&text));
    Ok(Watermark {
        generation: generation.ok_or_else(|| unexpected("no generation"))?,
        next: number(1)?,
        fresh_ms: number(2)?,
        floor: Floor { offset: number(3)?, time_ms: number(4)? },
    })
}

pub(super) fn refs(refs: Vec<Value>) -> Result<Vec<Ref>, StoreError> {
    let read = |value: &Value| value.as_bytes().and_then(Ref::from_bytes).ok_or_else(|| unexpected("no ref"));
    refs.iter().map(read).collect()
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
