//! `GetEvent` and `QueryEvents`: messages to the read model's words and its answers back. It knows nothing of how an
//! answer is found or proven.

use std::time::Instant;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use prost::Message;

use super::api::get_event_request::By;
use super::{Grpc, Refused, api, deadline, reply};
use crate::http::doors::Door;
use crate::http::gate::Caller;
use crate::http::summary::Summary;
use crate::problem::{Code, Problem};
use crate::recent::{AsOf, ById, ByKey, Found, Level, MinPosition, Page, Recent};

const LIMIT_DEFAULT: usize = 20;
/// Of a message that asks for something.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// A message that asks for something of a route.
pub(super) trait Asks: Message + Default {
    /// The door whose action its call is.
    const DOOR: Door;

    /// The route that it names.
    fn route(&self) -> &str;
}

impl Asks for api::GetEventRequest {
    const DOOR: Door = Door::GetEventById;

    fn route(&self) -> &str {
        &self.route
    }
}

impl Asks for api::QueryEventsRequest {
    const DOOR: Door = Door::GetEvents;

    fn route(&self) -> &str {
        &self.route
    }
}

impl Grpc {
    pub(super) async fn get_event(
        &self,
        request: Request<Incoming>,
        summary: &mut Summary,
    ) -> Result<Response<Body>, Refused> {
        let deadline = deadline::of(request.headers())?;
        let asked: api::GetEventRequest = self.asked(request, deadline, summary).await?;
        let (recent, level, min_position) =
            (self.recent()?, level(asked.level), min_position(asked.min_position)?);
        let finding = async {
            match asked.by {
                Some(By::Id(id)) => {
                    let ask = ById { id, source: asked.source, min_position, level };
                    recent.by_id(&asked.route, &ask).await
                }
                Some(By::Position(at)) => {
                    let at = self::min_position(Some(at))?
                        .ok_or_else(|| bad("an event is asked for by something"))?;
                    recent.by_position(&asked.route, at.partition, at.offset).await
                }
                None => Err(bad("an event is asked for by its id or by its position")),
            }
        };
        let event = in_time(deadline, finding).await?;
        Ok(reply::message(&found(event.found())))
    }

    pub(super) async fn query_events(
        &self,
        request: Request<Incoming>,
        summary: &mut Summary,
    ) -> Result<Response<Body>, Refused> {
        let deadline = deadline::of(request.headers())?;
        let asked: api::QueryEventsRequest = self.asked(request, deadline, summary).await?;
        let (route, ask) = ask(asked)?;
        let page = in_time(deadline, self.recent()?.by_key(&route, &ask)).await?;
        Ok(reply::message(&told(page)))
    }

    pub(super) fn recent(&self) -> Result<&Recent, Problem> {
        let none = || Problem::new(Code::RecentDisabled, "this gateway has no `valkey` section");
        self.recent.as_ref().ok_or_else(none)
    }

    /// The message of a call. Nothing is read of whoever may go through its door to no route at all.
    pub(super) async fn asked<M: Asks>(
        &self,
        request: Request<Incoming>,
        deadline: Option<Instant>,
        summary: &mut Summary,
    ) -> Result<M, Refused> {
        summary.door = Some(M::DOOR);
        let who = self.gate.admit_to_some(M::DOOR, Caller::new(request.headers(), request.extensions()))?;
        let (_, messages) = self.messages(request)?;
        let message = messages.at_most(MESSAGE_BYTES_MAX).only(deadline, None).await?;
        let asked = M::decode(message.bytes).map_err(|_| bad("the message is not the one of this call"))?;
        summary.route = self.gate.route(asked.route()).cloned();
        self.gate.admit_to(asked.route(), M::DOOR, &who)?;
        summary.who = Some(who);
        Ok(asked)
    }
}

/// The read model has its own limit of time; this is the caller's.
async fn in_time<T>(
    deadline: Option<Instant>,
    finding: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let Some(deadline) = deadline else { return finding.await };
    let late = |_| Problem::new(Code::DeadlinePassed, "there was no answer in time");
    tokio::time::timeout_at(deadline.into(), finding).await.map_err(late)?
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(Code::BadQuery, detail)
}

fn level(level: i32) -> Level {
    if level == api::Level::Strong as i32 { Level::Strong } else { Level::Bounded }
}

fn min_position(position: Option<api::Position>) -> Result<Option<MinPosition>, Problem> {
    let Some(api::Position { partition, offset }) = position else { return Ok(None) };
    // The same bounds as for one that comes as text.
    format!("{partition}:{offset}").parse().map(Some)
}

fn ask(asked: api::QueryEventsRequest) -> Result<(String, ByKey), Problem> {
    let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let ask = ByKey {
        kind: some(asked.kind),
        key: asked.key,
        limit: if limit == 0 { LIMIT_DEFAULT } else { limit },
        type_: some(asked.r#type),
        since_ms: asked.since.map(unix_ms).transpose()?,
        until_ms: asked.until.map(unix_ms).transpose()?,
        min_position: min_position(asked.min_position)?,
        level: level(asked.level),
        cursor: some(asked.cursor),
    };
    Ok((asked.route, ask))
}

fn unix_ms(time: prost_types::Timestamp) -> Result<i64, Problem> {
    let time =
        jiff::Timestamp::new(time.seconds, time.nanos).map_err(|_| bad("`since` or `until` is no time"))?;
    Ok(time.as_millisecond())
}

fn timestamp(unix_ms: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(unix_ms.rem_euclid(1000) * 1_000_000).unwrap_or_default();
    prost_types::Timestamp { seconds: unix_ms.div_euclid(1000), nanos }
}

fn told(page: Page) -> api::QueryEventsResponse {
    let as_of = |as_of: &AsOf| api::AsOf {
        partition: as_of.partition,
        offset: as_of.offset,
        time: (as_of.time_ms > 0).then(|| timestamp(as_of.time_ms)),
    };
    api::QueryEventsResponse {
        events: page.events.iter().map(|event| found(event.found())).collect(),
        as_of: page.as_of.iter().map(as_of).collect(),
        window_start: Some(timestamp(page.window_start_ms)),
        truncated: page.truncated,
        complete_since: Some(timestamp(page.complete_since_ms)),
        cursor: page.cursor.unwrap_or_default(),
    }
}

/// An event that was found, with its data as it came.
pub(super) fn found(found: Found<'_>) -> api::Event {
    use api::io::cloudevents::v1::CloudEvent;
    use api::io::cloudevents::v1::cloud_event::cloud_event_attribute_value::Attr;
    use api::io::cloudevents::v1::cloud_event::{CloudEventAttributeValue, Data};
    let time = found.time().map(|time| match time.parse::<jiff::Timestamp>() {
        Ok(time) => {
            let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
            // Before 1970 jiff counts both down; protobuf has nanoseconds count up.
            let below = nanos < 0;
            let (seconds, nanos) =
                if below { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) };
            Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos })
        }
        Err(_) => Attr::CeString(time.to_owned()),
    });
    let content_type = found.content_type().map(|text| Attr::CeString(text.to_owned()));
    let named = [("time", time), ("datacontenttype", content_type)];
    let attributes = named
        .into_iter()
        .filter_map(|(name, attr)| Some((name.to_owned(), CloudEventAttributeValue { attr: Some(attr?) })));
    let event = CloudEvent {
        id: found.id().to_owned(),
        source: found.source().to_owned(),
        spec_version: "1.0".to_owned(),
        r#type: found.event_type().to_owned(),
        attributes: attributes.collect(),
        data: Some(Data::BinaryData(found.data().clone())),
    };
    api::Event {
        event: Some(event),
        topic: found.topic.to_owned(),
        partition: found.partition,
        offset: found.offset,
        key: found.partition_key().map(str::to_owned),
        schema: found.schema().map(str::to_owned),
    }
}
