//! Live tails over HTTP: server-sent events (WHATWG HTML §9.2), made when the client takes them. It knows nothing
//! of where events come from.
//!
//! An `id` says for each partition what comes next, after this event. A block of an `id` alone does not reach the
//! client's code, but moves what it will send as `Last-Event-ID`: the first one says where the stream begins, and
//! later ones pass what the client's filter kept from it. Lines end with `\n` alone. `data` is cut into lines at
//! `\n`, which a client puts together again; a raw `\r` cannot be carried, so data that holds one comes as
//! `data_base64`.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::lasting::Lasting;
use super::preferences::asks_for;
use super::recent::{enabled, parameters, path};
use super::reply;
use crate::problem::{Code, Problem};
use crate::recent::{Begin, Cut, Filter, Follower, Next, Positions, Recent};

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Then the client comes again, perhaps to another gateway.
const AGE_MAX: Duration = Duration::from_secs(4 * 3600);
const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailQuery {
    key: Option<String>,
    kind: Option<String>,
    #[serde(rename = "type")]
    type_: Option<String>,
    from: Option<String>,
}

/// Whether a request wants events as they come.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    asks_for(headers, EVENT_STREAM)
}

/// Answers with a stream, or with the problem why there is none.
pub(super) async fn tail(
    State(recent): State<Option<Recent>>,
    headers: HeaderMap,
    route: Result<Path<String>, PathRejection>,
    query: Result<Query<TailQuery>, QueryRejection>,
) -> Response<Body> {
    let following = async {
        let (route, query) = (path(route)?, parameters(query)?);
        let begin = begin(&headers, query.from.as_deref())?;
        let kind = query.kind.filter(|kind| !kind.is_empty());
        let filter = Filter { kind, key: query.key, type_: query.type_ };
        enabled(recent.as_ref())?.follow(&route, filter, &begin).await
    };
    match following.await {
        Ok(follower) => stream(follower),
        Err(problem) => reply::problem(&problem),
    }
}

/// Where a client stopped goes before where it began: it sends both when it comes again.
fn begin(headers: &HeaderMap, from: Option<&str>) -> Result<Begin, Problem> {
    let last = headers.get(LAST_EVENT_ID).map(|value| value.to_str());
    match last {
        Some(Ok("")) | None => {}
        Some(Ok(id)) => return Ok(Begin::After(id.parse()?)),
        Some(Err(_)) => return Err(Problem::new(Code::BadQuery, "Last-Event-ID is <partition>:<offset>,…")),
    }
    match from {
        None | Some("now") => Ok(Begin::Now),
        Some("start") => Ok(Begin::Start),
        Some(text) => text.parse().map(Begin::At).map_err(|_: Problem| {
            Problem::new(Code::BadQuery, "`from` is `now`, `start` or <partition>:<offset>,…")
        }),
    }
}

fn stream(follower: Follower) -> Response<Body> {
    let (begun, stopping) = (Instant::now(), follower.stopping());
    let mut heartbeat = interval_at(begun + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut out = Text(b"retry: 1000\n".to_vec());
    out.position(follower.positions());
    let positions = follower.positions().clone();
    let tail = Tail { follower, out, positions, heartbeat, until: begun + AGE_MAX, ends: false };
    let pieces = stream::unfold(tail, |tail| async move {
        tail.piece().await.map(|(piece, tail)| (Ok::<_, Infallible>(piece), tail))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response.extensions_mut().insert(Lasting(stopping));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// One stream. It does nothing while nobody takes its pieces.
struct Tail {
    follower: Follower,
    out: Text,
    /// What the client was told last.
    positions: Positions,
    heartbeat: Interval,
    until: Instant,
    ends: bool,
}

impl Tail {
    /// The next piece; `None` at the end.
    async fn piece(mut self) -> Option<(Bytes, Tail)> {
        if self.out.0.is_empty() {
            if self.ends {
                return None;
            }
            self.wait().await;
        }
        let piece = Bytes::from(std::mem::take(&mut self.out.0));
        (!piece.is_empty()).then_some((piece, self))
    }

    async fn wait(&mut self) {
        let Tail { follower, out, heartbeat, .. } = self;
        let mut each = |positions: &Positions, json: &[u8]| out.event(positions, json);
        tokio::select! {
            next = follower.next(&mut each) => match next {
                Next::Events => self.positions = self.follower.positions().clone(),
                Next::Cut(why) => {
                    self.out.cut(self.follower.positions(), why);
                    self.ends = true;
                }
                Next::Ended => self.ends = true,
            },
            _ = heartbeat.tick() => self.beat(),
            () = tokio::time::sleep_until(self.until) => self.ends = true,
        }
    }

    fn beat(&mut self) {
        self.out.comment(&Timestamp::now().to_string());
        let positions = self.follower.positions();
        if *positions != self.positions {
            self.out.position(positions);
            self.positions = positions.clone();
        } else {
            self.out.line("", b"");
        }
    }
}

/// Server-sent events in the making.
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    fn line(&mut self, field: &str, value: &[u8]) {
        self.0.extend_from_slice(field.as_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn event(&mut self, positions: &Positions, json: &[u8]) {
        self.line("event: ", b"event");
        for line in json.split(|byte| *byte == b'\n') {
            self.line("data: ", line);
        }
        self.position(positions);
    }

    /// Ends a block.
    fn position(&mut self, positions: &Positions) {
        self.line("id: ", positions.to_string().as_bytes());
        self.line("", b"");
    }

    fn comment(&mut self, text: &str) {
        self.line(": ", text.as_bytes());
    }

    fn cut(&mut self, positions: &Positions, why: Cut) {
        let why: &[u8] = match why {
            Cut::Slow => br#"{"reason":"slow","detail":"events came faster than they were read; come again with Last-Event-ID"}"#,
            Cut::Broken => br#"{"reason":"broken","detail":"the topic does not go on where it was; come again with Last-Event-ID"}"#,
        };
        self.line("event: ", b"cut");
        self.line("data: ", why);
        self.position(positions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn who_comes_again_goes_on_where_it_stopped() {
        let (nothing, id) = (HeaderMap::new(), headers(LAST_EVENT_ID, "0:7"));
        let at: Positions = "0:7".parse().expect("positions");
        assert_eq!(begin(&id, Some("start")), Ok(Begin::After(at.clone())));
        assert_eq!(begin(&headers(LAST_EVENT_ID, ""), Some("0:7")), Ok(Begin::At(at)));
        assert_eq!(begin(&nothing, None), Ok(Begin::Now));
        assert_eq!(begin(&nothing, Some("start")), Ok(Begin::Start));
        for bad in [begin(&nothing, Some("")), begin(&headers(LAST_EVENT_ID, "x"), None)] {
            assert_eq!(bad.map_err(|problem| problem.code), Err(Code::BadQuery));
        }
    }

    /// What a client makes of one block: the joined data.
    fn data(block: &str) -> String {
        let lines: Vec<_> = block.split('\n').filter_map(|line| line.strip_prefix("data: ")).collect();
        lines.join("\n")
    }

    #[test]
    fn a_client_gets_the_same_bytes_back() {
        let at: Positions = "0:17,1:5".parse().expect("positions");
        for json in ["{}", "{\n  \"a\": \": \\n\",\n\n \"b\":\t1\n}\n"] {
            let mut out = Text::default();
            out.event(&at, json.as_bytes());
            let text = String::from_utf8(out.0).expect("UTF-8");
            let block = text.strip_suffix("id: 0:17,1:5\n\n").expect("the id ends it");
            assert!(block.starts_with("event: event\ndata: ") && !block.contains("\n\n"), "{block}");
            assert_eq!(data(block), json);
        }
    }

    #[test]
    fn positions_and_comments_are_blocks_without_data() {
        let mut out = Text::default();
        out.comment("now");
        out.position(&"0:1".parse().expect("positions"));
        assert_eq!(out.0, b": now\nid: 0:1\n\n");
    }
}
