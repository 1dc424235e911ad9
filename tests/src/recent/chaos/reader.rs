//! Lookups at a steady rate, whatever is answered meanwhile: what to ask, and what the answer says in few bytes.
//! Whether that is right is the checker's business.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::answer::{Answer, Ask, Found, Level, Page, Position, Seen};
use super::chance::Chance;
use super::event::{Data, GROUPS, group, id, key};
use super::journal::{Acked, Journal};
use super::stage::{Stage, is_hit};

const PERIOD: Duration = Duration::from_millis(10);
/// Lookups under way. A lookup that finds no place is held back, and counted.
const UNDER_WAY_MAX: usize = 1_024;
/// In 100 lookups, to the gateway that comes and goes.
const TO_SECOND: u64 = 35;

/// Where answers are gathered.
#[derive(Debug, Default)]
pub struct Gathered {
    answers: Mutex<Vec<Answer>>,
    /// Lookups that were due and not begun.
    pub held_back: AtomicU64,
    /// Lookups that the gateway that comes and goes cut off: they say nothing.
    pub cut_by_second: AtomicU64,
}

impl Gathered {
    fn add(&self, answer: Answer) {
        if answer.of_second && answer.found == Found::Cut {
            self.cut_by_second.fetch_add(1, Ordering::Relaxed);
        } else {
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All of them, at the end.
    pub fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Begins lookups at a rate until told to stop, and waits for the last of them.
pub async fn read(
    stage: &Arc<Stage>,
    journal: &Journal,
    gathered: &Arc<Gathered>,
    (keys, per_s): (u32, u32),
    mut chance: Chance,
    done: &AtomicBool,
) {
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut under_way = JoinSet::new();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (begun_us, mut begun) = (stage.clock.us(), 0);
    while !done.load(Ordering::Relaxed) {
        ticks.tick().await;
        while under_way.try_join_next().is_some() {}
        let due = (stage.clock.us() - begun_us) * u64::from(per_s) / 1_000_000;
        for _ in begun..due {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                gathered.held_back.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let Some(lookup) = Lookup::draw(keys, journal, &mut chance) else { continue };
            let second = stage.second.is_up() && chance.percent(TO_SECOND);
            let (stage, gathered) = (Arc::clone(stage), Arc::clone(gathered));
            under_way.spawn(async move {
                gathered.add(lookup.make(&stage, second).await);
                drop(place);
            });
        }
        begun = due;
    }
    while under_way.join_next().await.is_some() {}
}

/// A lookup to be made.
struct Lookup {
    level: Level,
    ask: Ask,
    min_position: Option<Position>,
}

impl Lookup {
    /// `None` where nothing has been acked that could be shown.
    fn draw(keys: u32, journal: &Journal, chance: &mut Chance) -> Option<Self> {
        let level = match chance.below(100) {
            0..15 => Level::Bounded,
            15..58 => Level::Token,
            _ => Level::Strong,
        };
        let (what, number) = (chance.below(100), chance.below(u64::MAX));
        let limit = *chance.of(&[1, 5, 5, 10, 10, 20, 20, 100]);
        let any = || journal.any(number);
        let (ask, token) = match what {
            // Half of these by an event that came just now, half by any.
            0..10 => {
                let acked = if what < 5 { newest_of(keys, journal, chance)? } else { any()? };
                (Ask::Id { number: acked.number }, Some(acked.at))
            }
            10 => (Ask::Nobody { number }, any().map(|acked| acked.at)),
            11..16 => {
                let acked = if what < 13 { newest_of(keys, journal, chance)? } else { any()? };
                return Some(Self { level: Level::Token, ask: Ask::At { at: acked.at }, min_position: None });
            }
            16..20 => {
                let group = u32::try_from(chance.below(u64::from(GROUPS))).ok()?;
                (Ask::Group { group, limit }, any().map(|acked| acked.at))
            }
            _ => {
                let key = drawn_key(keys, chance);
                let newest = journal.newest(key);
                // Mostly the newest; else one of those before it.
                let shown = if chance.percent(80) { newest.last() } else { newest.get(newest.len() / 2) };
                (Ask::Key { key, limit }, shown.map(|acked| acked.at))
            }
        };
        match level {
            Level::Token => Some(Self { level, ask, min_position: Some(token?) }),
            _ => Some(Self { level, ask, min_position: None }),
        }
    }

    fn path(&self, topic: &str) -> String {
        let path = match self.ask {
            Ask::Key { key: number, limit } => format!("?key={}&limit={limit}&", key(number)),
            Ask::Group { group: number, limit } => {
                format!("?kind=group&key={}&limit={limit}&", group(number))
            }
            Ask::Id { number } | Ask::Nobody { number } => format!("/{}?", self.id(number)),
            Ask::At { at } => return format!("/v1/events/{topic}/at/{}/{}", at.partition, at.offset),
        };
        let reach = match (self.level, self.min_position) {
            (Level::Strong, _) => "level=strong".to_owned(),
            (_, Some(at)) => format!("min_position={}:{}", at.partition, at.offset),
            (_, None) => "level=bounded".to_owned(),
        };
        format!("/v1/events/{topic}{path}{reach}")
    }

    fn id(&self, number: u64) -> String {
        if matches!(self.ask, Ask::Nobody { .. }) { format!("nobody-{number}") } else { id(number) }
    }

    async fn make(self, stage: &Stage, second: bool) -> Answer {
        let url = stage.gateway(second).weir.url(&self.path(stage.topic()));
        let begin_us = stage.clock.us();
        let (hit, found) = match stage.http.get(url).send().await {
            Ok(response) => {
                let (status, hit) = (response.status(), is_hit(response.headers()));
                match response.bytes().await {
                    Ok(body) => (hit, read_answer(status, &body, self.ask)),
                    Err(_) => (false, Found::Cut),
                }
            }
            Err(_) => (false, Found::Cut),
        };
        let (level, ask, min_position) = (self.level, self.ask, self.min_position);
        Answer { level, ask, min_position, of_second: second, begin_us, end_us: stage.clock.us(), hit, found }
    }
}

/// A key that somebody looks up: a busy one, mostly.
fn drawn_key(keys: u32, chance: &mut Chance) -> u32 {
    let bound = u64::from(keys);
    let drawn = if chance.percent(80) { chance.skewed(bound) } else { chance.below(bound) };
    u32::try_from(drawn).expect("below a u32")
}

fn newest_of(keys: u32, journal: &Journal, chance: &mut Chance) -> Option<Acked> {
    journal.newest(drawn_key(keys, chance)).last().copied()
}

#[derive(Deserialize)]
struct EventBody<'a> {
    id: &'a str,
    key: Option<&'a str>,
    partition: i32,
    offset: i64,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct AsOfBody {
    partition: i32,
    offset: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AsOfBodies {
    One(AsOfBody),
    Many(Vec<AsOfBody>),
}

#[derive(Deserialize)]
struct PageBody<'a> {
    #[serde(borrow)]
    events: Vec<EventBody<'a>>,
    as_of: AsOfBodies,
    window_start: &'a str,
    truncated: bool,
    complete_since: &'a str,
}

#[derive(Deserialize)]
struct ProblemBody<'a> {
    code: &'a str,
}

fn read_answer(status: StatusCode, body: &[u8], ask: Ask) -> Found {
    let odd = |why: &dyn std::fmt::Display| {
        Found::Odd(format!("{status}, {why}: {}", String::from_utf8_lossy(&body[..body.len().min(300)])))
    };
    let code = || serde_json::from_slice::<ProblemBody<'_>>(body).map_or("", |problem| problem.code);
    match status {
        StatusCode::OK if matches!(ask, Ask::Key { .. } | Ask::Group { .. }) => {
            match serde_json::from_slice::<PageBody<'_>>(body).ok().and_then(page) {
                Some(page) => Found::Page(page),
                None => odd(&"not a page"),
            }
        }
        StatusCode::OK => match serde_json::from_slice::<EventBody<'_>>(body) {
            Ok(event) => Found::One(seen(&event)),
            Err(why) => odd(&why),
        },
        StatusCode::NOT_FOUND if code() == "not-in-window" => Found::Nothing,
        StatusCode::SERVICE_UNAVAILABLE => Found::Behind,
        _ => odd(&"no answer to such a lookup"),
    }
}

fn seen(event: &EventBody<'_>) -> Seen {
    let at = Position { partition: event.partition, offset: event.offset };
    Seen { at, digest: event.data.digest(event.id, event.key) }
}

fn page(body: PageBody<'_>) -> Option<Page> {
    let time_ms = |text: &str| text.parse::<Timestamp>().ok().map(|time| time.as_millisecond());
    let as_of = match body.as_of {
        AsOfBodies::One(one) => vec![one],
        AsOfBodies::Many(many) => many,
    };
    let position = |as_of: &AsOfBody| Position { partition: as_of.partition, offset: as_of.offset };
    Some(Page {
        events: body.events.iter().map(seen).collect(),
        as_of: as_of.iter().map(position).collect(),
        window_start_ms: time_ms(body.window_start)?,
        complete_since_ms: time_ms(body.complete_since)?,
        truncated: body.truncated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recent::chaos::event::Event;

    fn json(event: Event, id: &str, key: &str) -> String {
        let data = event.to_json();
        format!(r#"{{"id":"{id}","source":"/s","key":"{key}","partition":3,"offset":7,"data":{data}}}"#)
    }

    #[test]
    fn an_event_that_is_mixed_up_has_no_digest_of_any_event() {
        let event = Event { number: 5, key: 9, sequence: 2 };
        let ask = Ask::Id { number: 5 };
        let read = |text: String| match read_answer(StatusCode::OK, text.as_bytes(), ask) {
            Found::One(seen) => seen.digest,
            other => panic!("{other:?}"),
        };
        let good = read(json(event, "e-5", "k-9"));
        assert_ne!(good, 0);
        assert_eq!(read(json(event, "e-6", "k-9")), 0);
        assert_eq!(read(json(event, "e-5", "k-8")), 0);
        assert_ne!(read(json(Event { sequence: 3, ..event }, "e-5", "k-9")), good);
    }

    #[test]
    fn answers_are_told_apart() {
        let event = json(Event { number: 5, key: 9, sequence: 2 }, "e-5", "k-9");
        let text = format!(
            r#"{{"events":[{event}],"as_of":{{"partition":3,"offset":8,"time":null}},"window_start":"1970-01-01T00:00:01Z","truncated":true,"complete_since":"1970-01-01T00:00:02.5Z","cursor":null}}"#
        );
        let ask = Ask::Key { key: 9, limit: 1 };
        let Found::Page(page) = read_answer(StatusCode::OK, text.as_bytes(), ask) else { panic!("{text}") };
        assert_eq!((page.events.len(), page.events[0].at), (1, Position { partition: 3, offset: 7 }));
        assert_eq!(page.as_of, [Position { partition: 3, offset: 8 }]);
        assert_eq!((page.window_start_ms, page.complete_since_ms, page.truncated), (1_000, 2_500, true));
        let not_there = br#"{"code":"not-in-window"}"#;
        assert_eq!(read_answer(StatusCode::NOT_FOUND, not_there, ask), Found::Nothing);
        assert!(matches!(read_answer(StatusCode::NOT_FOUND, b"{}", ask), Found::Odd(_)));
        assert_eq!(read_answer(StatusCode::SERVICE_UNAVAILABLE, b"", ask), Found::Behind);
        assert!(matches!(read_answer(StatusCode::GONE, b"{}", ask), Found::Odd(_)));
        assert!(matches!(read_answer(StatusCode::OK, b"{}", ask), Found::Odd(_)));
    }
}
