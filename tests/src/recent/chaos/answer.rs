//! What was asked and what was answered, small enough to keep half a million of them.

use serde::Serialize;

/// How far an answer has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All that was acked a second ago.
    Bounded,
    /// A position that the client shows.
    Token,
    /// All that was acked before.
    Strong,
}

impl Level {
    /// All of them.
    pub const ALL: [Level; 3] = [Level::Bounded, Level::Token, Level::Strong];
}

/// A place in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub partition: i32,
    pub offset: i64,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The newest events of a partition key.
    Key { key: u32, limit: usize },
    /// The newest events of a lookup key, over all partitions.
    Group { group: u32, limit: usize },
    /// The event of this number, by its id.
    Id { number: u64 },
    /// An id that no event has.
    Nobody { number: u64 },
    /// Whatever is there.
    At { at: Position },
}

impl Ask {
    /// Its name in the report.
    pub fn kind(&self) -> &'static str {
        match self {
            Ask::Key { .. } => "key",
            Ask::Group { .. } => "lookup-key",
            Ask::Id { .. } => "id",
            Ask::Nobody { .. } => "absent-id",
            Ask::At { .. } => "position",
        }
    }
}

/// An event in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub at: Position,
    /// See [`Data::digest`](super::event::Data::digest).
    pub digest: u64,
}

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<Seen>,
    pub as_of: Vec<Position>,
    pub window_start_ms: i64,
    pub complete_since_ms: i64,
    pub truncated: bool,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Page(Page),
    One(Seen),
    /// 404.
    Nothing,
    /// 503.
    Behind,
    /// A status, or a body, that no such lookup should have.
    Odd(String),
    /// No answer.
    Cut,
}

/// One lookup.
#[derive(Clone, Debug)]
pub struct Answer {
    pub level: Level,
    pub ask: Ask,
    pub min_position: Option<Position>,
    /// Asked of the gateway that comes and goes.
    pub of_second: bool,
    /// Microseconds since the run began.
    pub begin_us: u64,
    pub end_us: u64,
    /// Answered by the store alone.
    pub hit: bool,
    pub found: Found,
}
