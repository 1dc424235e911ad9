//! What was found in one or several slots becomes a page: filtered, in order, with a cursor and a tag.

use std::str::FromStr;
use std::time::Instant;

use super::answer::{AsOf, Page};
use super::lookup::ByKey;
use super::record::type_digest;
use super::view::{Hit, View};
use super::{Recent, Topic, unix_ms};
use crate::problem::{Code, Problem};

/// What was found in one or several slots.
pub(super) struct Listing {
    /// Of all slots in one: another where any of them begins a new life.
    generation: u64,
    pub(super) from_log: bool,
    pub(super) hits: Vec<Hit>,
    as_of: Vec<AsOf>,
    pub(super) window_start_ms: i64,
    pub(super) complete_since_ms: i64,
    /// Whether older records are still being filled in.
    pub(super) filling: bool,
    /// Whether more within the window are listed than were asked for.
    pub(super) partial: bool,
}

impl Listing {
    /// The hits within the window, newest first.
    pub(super) fn of(topic: &Topic, views: Vec<View>) -> Listing {
        let windows = views.iter().map(|view| view.watermark.extent.window_ms);
        let window_ms = windows.fold(topic.settings.keep().window_ms, i64::min);
        let window_start_ms = unix_ms().saturating_sub(window_ms);
        let mut listing = Listing {
            generation: 0,
            from_log: false,
            hits: Vec::new(),
            as_of: Vec::new(),
            window_start_ms,
            complete_since_ms: window_start_ms,
            filling: false,
            partial: false,
        };
        let one_slot = views.len() == 1;
        for view in views {
            listing.generation = listing.generation.rotate_left(1) ^ view.watermark.generation.0;
            listing.from_log |= view.from_log;
            listing.filling |= view.watermark.to_fill() > 0;
            let in_window = |hit: &Hit| hit.at.time_ms >= window_start_ms;
            listing.partial |= view.partial && view.hits.last().is_none_or(in_window);
            listing.as_of.push(view.as_of);
            listing.complete_since_ms = listing.complete_since_ms.max(view.complete_since_ms);
            listing.hits.extend(view.hits.into_iter().filter(in_window));
        }
        // One partition has an order of its own, offsets; several only have time.
        if !one_slot {
            listing.hits.sort_unstable_by_key(|hit| std::cmp::Reverse(Cursor::at(hit).place()));
        }
        listing
    }

    pub(super) fn keep(&mut self, ask: &ByKey, after: Option<Cursor>) {
        let one_slot = self.as_of.len() == 1;
        let wanted_type = ask.type_.as_deref().map(type_digest);
        self.hits.retain(|hit| {
            let at = Cursor::at(hit);
            wanted_type.is_none_or(|wanted| hit.at.type_digest == wanted)
                && ask.since_ms.is_none_or(|since| hit.at.time_ms >= since)
                && ask.until_ms.is_none_or(|until| hit.at.time_ms < until)
                && after.is_none_or(|after| {
                    if one_slot { hit.at.offset < after.offset } else { at.place() < after.place() }
                })
        });
    }

    pub(super) async fn page(
        self,
        recent: &Recent,
        topic: &Topic,
        limit: usize,
        one_slot: bool,
        deadline: Instant,
    ) -> Result<Page, Problem> {
        let newest = self.hits.first().map_or((-1, -1), |hit| (hit.partition, hit.at.offset));
        let version = recent.control.version(&topic.topic);
        let etag = format!("W/\"{:016x}-{}.{}\"", self.generation ^ version, newest.0, newest.1);
        let (mut events, mut last, mut rest) = (Vec::new(), None, self.hits);
        // Hidden events take no place on the page.
        while events.len() < limit && !rest.is_empty() {
            let left = rest.split_off(rest.len().min(limit - events.len()));
            let next = std::mem::replace(&mut rest, left);
            last = next.last().map(Cursor::at);
            events.extend(recent.events(topic, next, deadline).await?);
        }
        let last = last.filter(|_| !rest.is_empty());
        let cursor = last.map(|last| if one_slot { last.offset.to_string() } else { last.to_string() });
        let from_log = self.from_log || events.iter().any(|event| event.from_log);
        Ok(Page {
            events,
            etag,
            from_log,
            as_of: self.as_of,
            window_start_ms: self.window_start_ms,
            truncated: self.complete_since_ms > self.window_start_ms,
            complete_since_ms: self.complete_since_ms,
            cursor,
        })
    }
}

/// Where a page ended: an offset, or `<time>.<partition>.<offset>` where pages run over several partitions.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    time_ms: i64,
    partition: i32,
    offset: i64,
}

impl Cursor {
    fn at(hit: &Hit) -> Cursor {
        Cursor { time_ms: hit.at.time_ms, partition: hit.partition, offset: hit.at.offset }
    }

    fn place(self) -> (i64, i32, i64) {
        (self.time_ms, self.partition, self.offset)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.time_ms, self.partition, self.offset)
    }
}

impl FromStr for Cursor {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Cursor, Problem> {
        let parse = || {
            if let Ok(offset) = text.parse() {
                return Some(Cursor { time_ms: i64::MAX, partition: 0, offset });
            }
            let mut parts = text.splitn(3, '.');
            let time_ms = parts.next()?.parse().ok()?;
            let partition = parts.next()?.parse().ok()?;
            Some(Cursor { time_ms, partition, offset: parts.next()?.parse().ok()? })
        };
        parse().ok_or_else(|| Problem::new(Code::BadQuery, "cursor is not one that an answer gave"))
    }
}
