//! `TailEvents`: a route's events as they come, made into messages when the client takes them. It knows nothing of where they
//! come from.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::BytesMut;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::Status;

use super::lookups::Asks;
use super::{Grpc, Refused, api, deadline, lookups, reply};
use crate::http::doors::Door;
use crate::http::lasting::Lasting;
use crate::http::summary::Summary;
use crate::problem::{Code, Problem};
use crate::recent::{Begin, Cut, Filter, Follower, Found, Next, Positions};

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Then the client comes again, perhaps to another gateway.
const AGE_MAX: Duration = Duration::from_secs(4 * 3600);

impl Asks for api::TailEventsRequest {
    const DOOR: Door = Door::GetEvents;

    fn route(&self) -> &str {
        &self.route
    }
}

impl Grpc {
    pub(super) async fn tail_events(
        &self,
        request: Request<Incoming>,
        summary: &mut Summary,
    ) -> Result<Response<Body>, Refused> {
        let deadline = deadline::of(request.headers())?;
        let asked: api::TailEventsRequest = self.asked(request, deadline, summary).await?;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let begin = begin(&asked.after, &asked.from)?;
        let filter = Filter { kind: some(asked.kind), key: some(asked.key), type_: some(asked.r#type) };
        let follower = self.recent()?.follow(&asked.route, filter, &begin).await?;
        Ok(stream(follower, deadline))
    }
}

/// Where a client stopped goes before where it began.
fn begin(after: &str, from: &str) -> Result<Begin, Problem> {
    match (after, from) {
        ("", "" | "now") => Ok(Begin::Now),
        ("", "start") => Ok(Begin::Start),
        ("", from) => from.parse().map(Begin::At),
        (after, _) => after.parse().map(Begin::After),
    }
}

fn stream(follower: Follower, deadline: Option<std::time::Instant>) -> Response<Body> {
    let begun = Instant::now();
    let mut heartbeat = interval_at(begun + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (stopping, positions) = (follower.stopping(), follower.positions().clone());
    let until = deadline.map_or(begun + AGE_MAX, |deadline| (begun + AGE_MAX).min(deadline.into()));
    let mut tail =
        Tail { follower, out: BytesMut::new(), positions, heartbeat, until, end: None, ended: false };
    // The first one says where the stream begins.
    tail.tell_positions();
    let pieces = stream::unfold(tail, |tail| async move {
        tail.piece().await.map(|(piece, tail)| (Ok::<_, Infallible>(piece), tail))
    });
    let mut response = reply::response(Body::new(StreamBody::new(pieces)));
    response.extensions_mut().insert(Lasting(stopping));
    response
}

/// One stream. It does nothing while nobody takes its pieces.
struct Tail {
    follower: Follower,
    out: BytesMut,
    /// What the client was told last.
    positions: Positions,
    heartbeat: Interval,
    until: Instant,
    end: Option<Status>,
    ended: bool,
}

impl Tail {
    /// The next piece; `None` after the status.
    async fn piece(mut self) -> Option<(Frame<bytes::Bytes>, Tail)> {
        if self.ended {
            return None;
        }
        while self.out.is_empty() && self.end.is_none() {
            self.wait().await;
        }
        if !self.out.is_empty() {
            return Some((Frame::data(std::mem::take(&mut self.out).freeze()), self));
        }
        self.ended = true;
        let status = self.end.take().unwrap_or_else(|| Status::ok(""));
        Some((Frame::trailers(reply::trailers(&status)), self))
    }

    async fn wait(&mut self) {
        let Tail { follower, out, heartbeat, .. } = self;
        let mut each = |positions: &Positions, found: Found<'_>| {
            let message = api::TailEventsResponse {
                event: Some(lookups::found(found)),
                positions: positions.to_string(),
            };
            out.extend_from_slice(&reply::framed(&message));
        };
        tokio::select! {
            next = follower.next_found(&mut each) => match next {
                Next::Events => self.positions = self.follower.positions().clone(),
                Next::Cut(why) => self.end = Some(cut(why)),
                Next::Ended => self.end = Some(reply::shutting_down()),
            },
            _ = heartbeat.tick() => if *self.follower.positions() != self.positions { self.tell_positions() },
            () = tokio::time::sleep_until(self.until) => self.end = Some(Status::ok("")),
        }
    }

    fn tell_positions(&mut self) {
        self.positions = self.follower.positions().clone();
        let message = api::TailEventsResponse { event: None, positions: self.positions.to_string() };
        self.out.extend_from_slice(&reply::framed(&message));
    }
}

fn cut(why: Cut) -> Status {
    reply::status(&match why {
        Cut::Slow => {
            Problem::new(Code::TailCut, "come again with `after`, the positions of the last message")
        }
        Cut::Broken => Problem::new(Code::PositionGone, "the topic does not go on where it was; begin anew"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_goes_on_where_it_stopped() {
        let at: Positions = "0:7".parse().expect("positions");
        assert_eq!(begin("", ""), Ok(Begin::Now));
        assert_eq!(begin("", "now"), Ok(Begin::Now));
        assert_eq!(begin("", "start"), Ok(Begin::Start));
        assert_eq!(begin("", "0:7"), Ok(Begin::At(at.clone())));
        assert_eq!(begin("0:7", "start"), Ok(Begin::After(at)));
        for (after, from) in [("", "soon"), ("start", ""), ("x", "now")] {
            assert_eq!(begin(after, from).map_err(|problem| problem.code), Err(Code::BadQuery));
        }
    }
}
