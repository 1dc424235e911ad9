//! Framing: where in a request's body each event begins and ends. Nothing is parsed here beyond what
//! framing needs; each event is then parsed alone and gets its own answer.

use super::document::elements;
use super::protobuf::{self, Value};
use super::{Limits, RawEvent};
use crate::problem::{Code, Problem};

/// How a body holds events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One JSON text: an array is a batch, anything else is one event.
    Json,
    /// One JSON array.
    Batch,
    /// One JSON text a line.
    Ndjson,
    /// Exactly one event.
    Single,
    /// The CloudEvents in a protobuf message's field 1: `io.cloudevents.v1.CloudEventBatch`, and what looks like it.
    Protobuf,
}

/// The events of a body, in order, and whether the client sent a batch.
#[derive(Debug)]
pub struct Frames<'a> {
    /// In the order sent.
    pub events: Vec<RawEvent<'a>>,
    /// A batch is answered with a list, even one of a single event.
    pub batch: bool,
}

/// Splits a body. An error refuses the request whole: without frames there are no events to answer.
pub fn frame<'a>(body: &'a [u8], framing: Framing, limits: &Limits) -> Result<Frames<'a>, Problem> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match framing {
        Framing::Ndjson => lines(body, limits),
        Framing::Json | Framing::Batch if first == Some(&b'[') => array(body, limits),
        Framing::Batch => Err(Problem::new(Code::CloudEventsInvalid, "a batch is a JSON array")),
        Framing::Protobuf => messages(body, limits),
        Framing::Json | Framing::Single => {
            Ok(Frames { events: vec![RawEvent { bytes: body, index: None }], batch: false })
        }
    }
}

fn array<'a>(body: &'a [u8], limits: &Limits) -> Result<Frames<'a>, Problem> {
    let mut events = Vec::new();
    for element in elements(body, limits.depth_max) {
        let range = element?;
        push(&mut events, &body[range], limits)?;
    }
    Ok(Frames { events, batch: true })
}

fn lines<'a>(body: &'a [u8], limits: &Limits) -> Result<Frames<'a>, Problem> {
    let mut events = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', body).chain([body.len()]) {
        let line = &body[start..end];
        if !line.iter().all(u8::is_ascii_whitespace) {
            push(&mut events, line, limits)?;
        }
        start = (end + 1).min(body.len());
    }
    Ok(Frames { events, batch: true })
}

fn messages<'a>(body: &'a [u8], limits: &Limits) -> Result<Frames<'a>, Problem> {
    let mut events = Vec::new();
    for field in protobuf::fields(body) {
        if let (1, Value::Bytes(bytes)) = field? {
            push(&mut events, bytes, limits)?;
        }
    }
    Ok(Frames { events, batch: true })
}

fn push<'a>(events: &mut Vec<RawEvent<'a>>, bytes: &'a [u8], limits: &Limits) -> Result<(), Problem> {
    if events.len() == limits.batch_events_max {
        let detail = format!("send at most {} events in one request", limits.batch_events_max);
        return Err(Problem::new(Code::BatchTooLarge, detail));
    }
    events.push(RawEvent { bytes, index: Some(events.len()) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &'static str, framing: Framing) -> Result<Vec<String>, Code> {
        let limits = Limits { batch_events_max: 3, ..Limits::default() };
        let frames = frame(body.as_bytes(), framing, &limits);
        let texts = |frames: Frames<'_>| {
            frames.events.iter().map(|raw| String::from_utf8_lossy(raw.bytes).trim().to_owned()).collect()
        };
        frames.map(texts).map_err(|problem| problem.code)
    }

    #[test]
    fn one_event_stays_whole() {
        assert_eq!(split(r#" {"a":[1]} "#, Framing::Json), Ok(vec![r#"{"a":[1]}"#.into()]));
        assert_eq!(split("", Framing::Json), Ok(vec!["".into()]));
        assert_eq!(split("[1,2]", Framing::Single), Ok(vec!["[1,2]".into()]));
        assert_eq!(split("{}", Framing::Batch), Err(Code::CloudEventsInvalid));
    }

    #[test]
    fn arrays_are_split_at_their_own_commas() {
        let events = split(r#" [ {"a":"],["} , [1,2] ,3 ] "#, Framing::Json);
        assert_eq!(events, Ok(vec![r#"{"a":"],["}"#.into(), "[1,2]".into(), "3".into()]));
        assert_eq!(split("[]", Framing::Json), Ok(vec![]));
        assert_eq!(split("[1,2,3,4]", Framing::Json), Err(Code::BatchTooLarge));
        assert_eq!(split("[1,2", Framing::Json), Err(Code::InvalidJson));
        assert_eq!(split("[1] x", Framing::Json), Err(Code::InvalidJson));
    }

    #[test]
    fn lines_may_be_blank_and_end_in_crlf() {
        assert_eq!(split("1\r\n\n 2\n3", Framing::Ndjson), Ok(vec!["1".into(), "2".into(), "3".into()]));
        assert_eq!(split("1\n2\n3\n4\n", Framing::Ndjson), Err(Code::BatchTooLarge));
    }
}
