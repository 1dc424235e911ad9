//! What a plugin makes of an event, in the pipeline's words: its verdict, and the changes that it asks for.

use std::sync::Arc;

use crate::event::document::Pointer;

/// What becomes of one event, by one plugin. Reasons are the plugin's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It goes on, with its ops applied.
    Pass,
    /// It is not to be stored.
    Drop(&'a str),
    /// The client is at fault.
    Refuse(&'a str),
    /// It is to be kept aside.
    DeadLetter(&'a str),
    /// The plugin could not judge it.
    Failed(&'a str),
}

/// One change that a plugin asks for; texts are within their limits, names and pointers well-formed. The rare
/// large part is boxed, so that the frequent ones stay small.
#[derive(Clone, Debug, PartialEq)]
pub enum Op<'a> {
    /// The partition key; the last one wins.
    SetPartitionKey(&'a str),
    /// A further key that finds the event.
    AddLookupKey {
        /// `[a-z0-9_-]`.
        kind: &'a str,
        /// The key.
        key: &'a str,
    },
    /// A record header that is not the gateway's own.
    SetHeader {
        /// In lower case.
        name: &'a str,
        /// Visible text.
        value: &'a str,
    },
    /// Takes a header away.
    RemoveHeader {
        /// In lower case.
        name: &'a str,
    },
    /// Sets one place of the data; the value is text, and whether it is JSON shows when the result is parsed.
    JsonSet {
        /// Where.
        pointer: Box<Pointer>,
        /// JSON text.
        value: &'a [u8],
    },
    /// Removes one place of the data.
    JsonRemove {
        /// Where.
        pointer: Box<Pointer>,
    },
    /// Replaces the data.
    ReplacePayload(&'a [u8]),
    /// One of the topics that the route allows; the last one wins.
    SetTopic(&'a Arc<str>),
}

/// A checked answer: for each event of the call a verdict and its ops, in order.
#[derive(Debug)]
pub struct Verdicts<'a> {
    /// Each with where its event's ops end.
    pub(super) verdicts: Vec<(Verdict<'a>, usize)>,
    pub(super) ops: Vec<Op<'a>>,
}

impl<'a> Verdicts<'a> {
    /// How many events were judged.
    pub fn len(&self) -> usize {
        self.verdicts.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    /// Each event's verdict, and its ops if it passes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Verdict<'a>, &[Op<'a>])> {
        let mut start = 0;
        self.verdicts.iter().map(move |(verdict, end)| {
            let ops = &self.ops[start..*end];
            start = *end;
            (*verdict, ops)
        })
    }
}
