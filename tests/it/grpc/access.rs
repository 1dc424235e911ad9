//! Who may call: the same keys and tenants as over HTTP.

use std::time::Duration;

use futures_util::StreamExt as _;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};
use weir::access::{Minted, mint};
use weir_tests::world::{Weir, WeirOptions, canaries};

use super::api::get_event_request::By;
use super::cloudevents::cloud_event::Data;
use super::{World, api, event, reason, receipt};

const ROUTES: &str = "
routes:
  - {name: orders, tenant: shop, topic: orders, match: {type: 'orders.*'}}
  - {name: visits, tenant: other, topic: visits, match: {type: 'visits.*'}}
";

fn key(id: &str, role: &str) -> (String, String) {
    let Minted { key, sha256 } = mint(id).unwrap();
    canaries().note(key.rsplit('_').next().unwrap());
    let tenant = if role == "metrics" { "default" } else { "shop" };
    (key, format!("{{id: {id}, sha256: {sha256}, tenant: {tenant}, roles: [{role}]}}"))
}

/// A gateway with keys to write, to read and to scrape, the first two of which are given.
async fn world(limits: &str) -> (World, String, String) {
    let [(writer, write), (reader, read), (scraper, scrape)] =
        [("writer", "write"), ("reader", "read"), ("scraper", "metrics")].map(|(id, role)| key(id, role));
    let mut options = WeirOptions::dev();
    options.config = format!("{limits}access: {{keys: [{write}, {read}, {scrape}]}}{ROUTES}");
    options.args.extend(["--config", "{config}"].map(str::to_owned));
    let world = World::of(Weir::start(options).await).await;
    (World { scraper: Some(scraper), ..world }, writer, reader)
}

fn by<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value: AsciiMetadataValue = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn publish(route: &str, event_type: &str) -> api::PublishRequest {
    let events = vec![event("a", event_type, Data::TextData("{}".to_owned()))];
    api::PublishRequest { events, route: route.to_owned() }
}

fn told<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let refused = answer.unwrap_err();
    (refused.code(), reason(&refused))
}

#[tokio::test]
async fn calls_need_a_key_that_is_for_them() {
    let (mut world, writer, reader) = world("").await;
    let unauthorized = || (Code::Unauthenticated, "unauthorized".to_owned());

    assert_eq!(told(world.events.publish(publish("orders", "orders.x")).await), unauthorized());
    assert_eq!(
        told(world.events.publish(by("weir_no_key", publish("orders", "orders.x"))).await),
        unauthorized()
    );
    let nothing = futures_util::stream::pending::<api::PublishStreamRequest>();
    assert_eq!(told(world.events.publish_stream(nothing).await), unauthorized());
    let ask = api::GetEventRequest {
        route: "orders".to_owned(),
        by: Some(By::Id("a".to_owned())),
        ..api::GetEventRequest::default()
    };
    assert_eq!(told(world.events.get_event(ask.clone()).await), unauthorized());
    let query = api::QueryEventsRequest { route: "orders".to_owned(), ..api::QueryEventsRequest::default() };
    assert_eq!(told(world.events.query_events(query.clone()).await), unauthorized());
    let tail = api::TailEventsRequest { route: "orders".to_owned(), ..api::TailEventsRequest::default() };
    assert_eq!(told(world.events.tail_events(tail.clone()).await), unauthorized());
    assert_eq!(world.metric("weir_events_in_total", "").await, 0.0, "nothing came in");

    let denied = (Code::PermissionDenied, "not-permitted".to_owned());
    assert_eq!(told(world.events.publish(by(&reader, publish("orders", "orders.x"))).await), denied);
    assert_eq!(told(world.events.get_event(by(&writer, ask.clone())).await), denied);
    // Another tenant's route is none, named or found, whatever a client says of itself.
    for route in ["visits", ""] {
        let mut request = by(&writer, publish(route, "visits.x"));
        request.metadata_mut().insert("x-tenant", "other".parse().unwrap());
        let refused = told(world.events.publish(request).await);
        assert_eq!(refused, (Code::NotFound, "unknown-route".to_owned()), "{route}");
    }
    let [others, nowhere] = ["visits", "nowhere"].map(|route| {
        let (get, query, tail) = (ask.clone(), query.clone(), tail.clone());
        (
            api::GetEventRequest { route: route.to_owned(), ..get },
            api::QueryEventsRequest { route: route.to_owned(), cursor: "0".to_owned(), ..query },
            api::TailEventsRequest { route: route.to_owned(), after: "0:0".to_owned(), ..tail },
        )
    });
    let mut looks = async |(get, query, tail): (_, _, _)| {
        let events = &mut world.events;
        let found = told(events.get_event(by(&reader, get)).await);
        let listed = told(events.query_events(by(&reader, query)).await);
        [found, listed, told(events.tail_events(by(&reader, tail)).await)]
    };
    let told_of_others = looks(others).await;
    assert_eq!(told_of_others, looks(nowhere).await, "nobody can tell that there is one");
    assert!(told_of_others.iter().all(|(code, _)| *code == Code::NotFound), "{told_of_others:?}");
    for route in ["orders", ""] {
        let stored =
            world.events.publish(by(&writer, publish(route, "orders.x"))).await.unwrap().into_inner();
        assert_eq!(receipt(&stored.results[0]).outcome, "stored");
    }
    let ask = api::GetEventRequest { level: api::Level::Strong.into(), ..ask };
    assert!(world.events.get_event(by(&reader, ask)).await.is_ok());
    assert!(world.events.tail_events(by(&reader, tail)).await.is_ok());
}

/// A call of which only this is sent, and no end: how it is answered, long before its message would have to be there.
async fn begun(world: &World, method: &str, key: Option<&str>, bytes: Vec<u8>) -> (Code, String) {
    let start = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
    let body = reqwest::Body::wrap_stream(start.chain(futures_util::stream::pending()));
    let request = world.http.post(world.weir.url(&format!("/weir.v1.Events/{method}")));
    let request = request.header("content-type", "application/grpc").header("te", "trailers").body(body);
    let request = key.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
    let answered = tokio::time::timeout(Duration::from_secs(5), request.send()).await;
    let response = answered.expect("answered before its message").unwrap();
    let status = Status::from_header_map(response.headers()).expect("nothing but a status");
    (status.code(), reason(&status))
}

#[tokio::test]
async fn what_is_refused_is_refused_before_it_is_read() {
    let limits = "limits: {tenants: {shop: {bytes_per_s: 500, burst_s: 2}}}\n";
    let (mut world, writer, reader) = world(limits).await;
    let unauthorized = (Code::Unauthenticated, "unauthorized".to_owned());
    let denied = (Code::PermissionDenied, "not-permitted".to_owned());
    let announced = |bytes: u32| [&[0][..], &bytes.to_be_bytes()].concat();

    for method in ["GetEvent", "QueryEvents", "TailEvents"] {
        assert_eq!(begun(&world, method, None, Vec::new()).await, unauthorized, "{method}");
        assert_eq!(begun(&world, method, Some(&writer), Vec::new()).await, denied, "{method}");
        let too_large = begun(&world, method, Some(&reader), announced(70_000)).await;
        assert_eq!(too_large, (Code::ResourceExhausted, "body-too-large".to_owned()), "{method}");
    }
    assert_eq!(begun(&world, "Publish", Some(&reader), Vec::new()).await, denied);
    let never = begun(&world, "Publish", Some(&writer), announced(1_001)).await;
    assert_eq!(never, (Code::ResourceExhausted, "body-too-large".to_owned()), "more than a burst");
    let event = event("a", "orders.x", Data::TextData(format!("\"{}\"", "x".repeat(600))));
    let message = api::PublishRequest { events: vec![event], route: "orders".to_owned() };
    let stored = world.events.publish(by(&writer, message)).await.unwrap().into_inner();
    assert_eq!(receipt(&stored.results[0]).outcome, "stored");
    let limited = begun(&world, "Publish", Some(&writer), announced(990)).await;
    assert_eq!(limited, (Code::ResourceExhausted, "rate-limited".to_owned()));
    let refused = world.metric("weir_throttled_total", r#"unit="bytes""#).await;
    assert_eq!(refused, 2.0, "each was paid for once");
}
