//! Calls over gRPC: through the client that `tonic` generates, and by hand where no well-behaved client would go.

mod access;
mod lookups;
mod publish;
mod refusals;
mod rows;
mod services;
mod stream;

use std::time::Duration;

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
pub(crate) use weir_tests::api::io::cloudevents::v1 as cloudevents;
pub(crate) use weir_tests::api::weir::v1 as api;
use weir_tests::world::{Weir, WeirOptions, canaries};

use self::api::events_client::EventsClient;
use self::cloudevents::cloud_event::CloudEventAttributeValue;
pub(crate) use self::cloudevents::cloud_event::Data;
use self::cloudevents::cloud_event::cloud_event_attribute_value::Attr;

/// An order that the example's schema takes.
pub(crate) const ORDER: &str = r#"{"order_id":"o-1", "customer":{"user_id":"u-7"},"items":[{"sku":"BK-30411","quantity":1,"price":12.50}],"total":12.5,"currency":"EUR","placed_at":"2026-11-23T09:26:53Z"}"#;

/// A gateway of `weir dev`, and clients of it.
pub(crate) struct World {
    pub(crate) weir: Weir,
    pub(crate) events: EventsClient<Channel>,
    pub(crate) channel: Channel,
    pub(crate) http: reqwest::Client,
    /// The key that metrics are asked for with.
    pub(crate) scraper: Option<String>,
}

impl World {
    /// The example's route `orders`, with these limits.
    pub(crate) async fn dev(limits: &[(&str, &str)]) -> World {
        let limit = |(name, value): &(&str, &str)| (format!("WEIR__LIMITS__{name}"), (*value).to_owned());
        let env = limits.iter().map(limit).collect();
        World::of(Weir::start(WeirOptions { env, ..WeirOptions::dev() }).await).await
    }

    pub(crate) async fn of(weir: Weir) -> World {
        let channel = Channel::from_shared(weir.url("")).unwrap().connect().await.unwrap();
        World { weir, events: EventsClient::new(channel.clone()), channel, http: by_hand(), scraper: None }
    }

    /// Publishes to `orders`.
    pub(crate) async fn publish(
        &mut self,
        events: Vec<cloudevents::CloudEvent>,
    ) -> Result<Vec<api::Result>, Status> {
        let request = api::PublishRequest { events, route: "orders".to_owned() };
        Ok(self.events.publish(request).await?.into_inner().results)
    }

    /// That a good call is answered well, whatever came before.
    pub(crate) async fn goes_on(&mut self) {
        let results = self.publish(vec![order("goes-on")]).await.unwrap();
        assert_eq!(receipt(&results[0]).outcome, "stored");
    }

    /// A call made by hand, of which only what is in the head of its answer is seen.
    pub(crate) async fn raw(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Raw {
        raw(&self.http, self.weir.url(path), headers, body.into()).await
    }

    /// The sum of all samples of a metric whose labels contain `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let request = reqwest::Client::new().get(self.weir.admin_url("/metrics"));
        let request = self.scraper.iter().fold(request, |request, key| request.bearer_auth(key));
        let text = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
        canaries().told(&text);
        let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// That every event which came in ended in one way.
    pub(crate) async fn nothing_vanished(&self) {
        let (came, ended) =
            (self.metric("weir_events_in_total", "").await, self.metric("weir_events_out_total", "").await);
        assert_eq!(came, ended);
        assert_eq!(self.metric("weir_events_out_total", "outcome=\"lost\"").await, 0.0);
    }
}

/// A client that makes calls by hand.
pub(crate) fn by_hand() -> reqwest::Client {
    reqwest::Client::builder().http2_prior_knowledge().build().unwrap()
}

pub(crate) async fn raw(
    http: &reqwest::Client,
    url: String,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Raw {
    let mut request = http.post(url).header("te", "trailers");
    if headers.iter().all(|(name, _)| *name != "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    canaries().told(&format!("{headers:?}"));
    Raw { http: status, status: Status::from_header_map(&headers), headers }
}

/// Publishes an event by hand: the status and its reason, nothing if it was stored.
pub(crate) async fn publish(
    http: &reqwest::Client,
    url: String,
    headers: &[(&str, &str)],
    route: &str,
) -> Option<(Code, String)> {
    let events = vec![event("by-hand", "orders.x", Data::TextData(r#"{"key":"k"}"#.to_owned()))];
    let message = framed(&api::PublishRequest { events, route: route.to_owned() });
    let answer = raw(http, url, headers, message).await;
    assert_eq!(answer.http, 200);
    answer.status.is_some().then(|| answer.told())
}

/// The head of an answer.
pub(crate) struct Raw {
    pub(crate) http: u16,
    pub(crate) status: Option<Status>,
    pub(crate) headers: reqwest::header::HeaderMap,
}

impl Raw {
    /// The status, and its reason if it has one.
    pub(crate) fn told(&self) -> (Code, String) {
        let status = self.status.as_ref().expect("the answer has nothing but a status");
        (status.code(), reason(status))
    }
}

/// The code of Weir that a status carries.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The outcome that a status carries.
pub(crate) fn outcome(status: &Status) -> String {
    status.get_details_error_info().and_then(|info| info.metadata.get("outcome").cloned()).unwrap_or_default()
}

pub(crate) fn event(id: &str, event_type: &str, data: Data) -> cloudevents::CloudEvent {
    cloudevents::CloudEvent {
        id: id.to_owned(),
        source: "/shop".to_owned(),
        spec_version: "1.0".to_owned(),
        r#type: event_type.to_owned(),
        attributes: std::collections::HashMap::new(),
        data: Some(data),
    }
}

pub(crate) fn order(id: &str) -> cloudevents::CloudEvent {
    event(id, "orders.created", Data::TextData(ORDER.to_owned()))
}

pub(crate) fn with(mut event: cloudevents::CloudEvent, name: &str, attr: Attr) -> cloudevents::CloudEvent {
    event.attributes.insert(name.to_owned(), CloudEventAttributeValue { attr: Some(attr) });
    event
}

pub(crate) fn receipt(result: &api::Result) -> &api::Receipt {
    match &result.end {
        Some(api::result::End::Receipt(receipt)) => receipt,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn problem(result: &api::Result) -> &api::Problem {
    match &result.end {
        Some(api::result::End::Problem(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

/// A message as it travels.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    prefixed(0, &message.encode_to_vec())
}

pub(crate) fn prefixed(compressed: u8, bytes: &[u8]) -> Bytes {
    let mut out = vec![compressed];
    out.put_u32(u32::try_from(bytes.len()).unwrap());
    out.extend_from_slice(bytes);
    out.into()
}

pub(crate) const PUBLISH: &str = "/weir.v1.Events/Publish";
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
