//! What becomes of events that come over gRPC.

use std::time::Duration;

use prost::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::Value;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_types::StatusExt;
use weir_tests::world::{Weir, WeirOptions};

use super::cloudevents::cloud_event::Data;
use super::cloudevents::cloud_event::cloud_event_attribute_value::Attr;
use super::{ORDER, PUBLISH, World, api, event, framed, order, outcome, problem, reason, receipt, with};

#[tokio::test]
async fn an_event_is_stored_as_it_came_and_found_over_http() {
    let mut world = World::dev(&[]).await;
    let event = with(
        order("e-1"),
        "time",
        Attr::CeTimestamp(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
    );
    let event = with(event, "traceparent", Attr::CeString("00-a-b-01".to_owned()));
    let results = world.publish(vec![event]).await.unwrap();
    let [result] = results.as_slice() else { panic!("{results:?}") };
    let stored = receipt(result);
    assert_eq!(
        (stored.outcome.as_str(), stored.duplicate, stored.topic.as_str()),
        ("stored", false, "orders")
    );
    assert_eq!(
        (stored.id.as_str(), stored.source.as_str(), stored.r#type.as_str()),
        ("e-1", "/shop", "orders.created")
    );
    assert_eq!((stored.offset, stored.key.as_deref()), (Some(0), Some("u-7")));
    assert_eq!(stored.schema, Some(api::Schema { subject: "orders.created".to_owned(), version: 1 }));
    assert_eq!(stored.plugins.len(), 1);
    assert!(stored.plugins[0].name == "entity-key" && stored.plugins[0].digest.starts_with("sha256:"));

    let path = format!("/v1/events/orders/at/{}/0", stored.partition);
    let found = world.http.get(world.weir.url(&path)).send().await.unwrap().text().await.unwrap();
    assert!(found.contains(&format!("\"data\":{ORDER}")), "byte for byte: {found}");
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found["id"], &found["time"]), (&"e-1".into(), &"2026-09-21T14:13:20Z".into()));
    world.nothing_vanished().await;
}

#[tokio::test]
async fn a_batch_is_answered_event_by_event_and_in_order() {
    let mut world = World::dev(&[]).await;
    let bad = event("bad", "orders.created", Data::BinaryData(ORDER.replace("12.5,", "\"much\",").into()));
    let mut nameless = order("");
    nameless.source = "x".to_owned();
    let proto = event("any", "orders.created", Data::ProtoData(prost_types::Any::default()));
    let results = world.publish(vec![order("a"), bad, nameless, proto, order("b")]).await.unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!((receipt(&results[0]).id.as_str(), receipt(&results[4]).id.as_str()), ("a", "b"));
    let violated = problem(&results[1]);
    assert_eq!(
        (violated.code.as_str(), violated.outcome.as_str(), violated.retryable),
        ("schema-violation", "refused", false)
    );
    assert_eq!((violated.status, violated.violations[0].pointer.as_str()), (3, "/total"));
    assert_eq!(problem(&results[2]).code, "invalid-attribute");
    assert_eq!(problem(&results[3]).code, "unsupported-media-type");

    let none = world.publish(Vec::new()).await.unwrap();
    assert!(none.is_empty());
    let all_bad = world.publish(vec![order(""), order("")]).await.unwrap();
    assert_eq!(all_bad.len(), 2, "also when all ended badly");
    world.nothing_vanished().await;
}

#[tokio::test]
async fn one_event_that_ends_badly_is_the_calls_status() {
    let mut world = World::dev(&[]).await;
    let bad = event("bad", "orders.created", Data::TextData(ORDER.replace("12.5,", "\"much\",")));
    let refused = world.publish(vec![bad]).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str(), outcome(&refused).as_str()),
        (Code::InvalidArgument, "schema-violation", "refused")
    );
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.domain, "weir");
    let fields = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!((fields[0].field.as_str(), fields[0].reason.as_str()), ("/total", "type"));
    assert!(refused.get_details_retry_info().is_none(), "it would not go better later");
    world.goes_on().await;
    world.nothing_vanished().await;
}

#[tokio::test]
async fn without_a_route_the_events_say_which() {
    let mut world = World::dev(&[]).await;
    let mut publish = async |events| {
        let request = api::PublishRequest { events, route: String::new() };
        world.events.publish(request).await.map(|response| response.into_inner().results)
    };
    let results = publish(vec![order("a"), order("b")]).await.unwrap();
    assert!(results.iter().all(|result| receipt(result).route == "orders"), "{results:?}");
    let other = event("c", "payments.made", Data::TextData("{}".to_owned()));
    let refused = publish(vec![other.clone()]).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "unknown-route"));
    // In a batch each finds its own.
    let mixed = publish(vec![order("d"), other.clone(), order("e")]).await.unwrap();
    assert_eq!((receipt(&mixed[0]).id.as_str(), receipt(&mixed[2]).id.as_str()), ("d", "e"));
    assert_eq!(problem(&mixed[1]).code, "unknown-route");
    let request = api::PublishRequest { events: vec![order("e")], route: "nowhere".to_owned() };
    let refused = world.events.publish(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "unknown-route"));
    world.nothing_vanished().await;
}

#[tokio::test]
async fn messages_may_be_compressed() {
    let world = World::dev(&[]).await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut events = world.events.clone().send_compressed(encoding);
        let request = api::PublishRequest { events: vec![order("z"); 50], route: "orders".to_owned() };
        let results = events.publish(request).await.unwrap().into_inner().results;
        assert!(results.len() == 50 && results.iter().all(|result| receipt(result).outcome == "stored"));
    }
    world.nothing_vanished().await;
}

#[tokio::test]
async fn data_of_other_kinds_is_carried_untouched() {
    let mut options =
        WeirOptions { config: "routes: [{name: any, topic: any}]".to_owned(), ..WeirOptions::dev() };
    options.args.extend(["--config", "{config}"].map(str::to_owned));
    let mut world = World::of(Weir::start(options).await).await;
    let bytes = vec![0, 0xff, b'\n', 0x80];
    let event = with(
        event("bin", "any", Data::BinaryData(bytes.clone())),
        "datacontenttype",
        Attr::CeString("application/octet-stream".to_owned()),
    );
    let request = api::PublishRequest { events: vec![event], route: "any".to_owned() };
    let results = world.events.publish(request).await.unwrap().into_inner().results;
    let stored = receipt(&results[0]);
    let path = format!("/v1/events/any/at/{}/{}", stored.partition, stored.offset.unwrap());
    let found: Value = world.http.get(world.weir.url(&path)).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&found["data_base64"], &found["content_type"]),
        (&"AP8KgA==".into(), &"application/octet-stream".into())
    );
}

#[tokio::test]
async fn a_deadline_that_passed_stores_nothing_and_says_so() {
    let mut world = World::dev(&[]).await;
    let request = api::PublishRequest { events: vec![order("late"); 3], route: "orders".to_owned() };
    for timeout in ["1n", "0S"] {
        let late = world.raw(PUBLISH, &[("grpc-timeout", timeout)], framed(&request)).await;
        assert_eq!(late.told(), (Code::DeadlineExceeded, "deadline-passed".to_owned()));
        assert_eq!(outcome(&late.status.unwrap()), "not-stored");
    }
    assert_eq!(world.metric("weir_events_out_total", "outcome=\"stored\"").await, 0.0);
    let results = world.publish(vec![order("first")]).await.unwrap();
    assert_eq!(receipt(&results[0]).offset, Some(0), "nothing was stored before");
    world.nothing_vanished().await;
}

#[tokio::test]
async fn a_deadline_that_passes_while_kafka_is_asked_is_unknown() {
    let kafka: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    kafka.create_topic("slow", 1, 1).unwrap();
    // One worker: each has a producer of its own, and another's may still be on its way to Kafka when Kafka is slow. The
    // event that it holds then comes behind the next one.
    let config = format!(
        "listen: {{listen}}\nadmin: {{admin}}\nworkers: 1\nkafka: {{brokers: [\"{}\"], allow_weak_topics: true}}\n\
         routes:\n  - {{name: slow, topic: slow, topic_settings: {{partitions: 1, replication_factor: 1, min_insync_replicas: 1}}}}\n",
        kafka.bootstrap_servers()
    );
    let mut world = World::of(Weir::start(WeirOptions::serve(config)).await).await;
    let request = |id: &str| api::PublishRequest {
        events: vec![event(id, "slow", Data::TextData("{}".to_owned()))],
        route: "slow".to_owned(),
    };
    let before = world.events.publish(request("before")).await.unwrap().into_inner().results;
    assert_eq!(receipt(&before[0]).offset, Some(0), "{before:?}");
    kafka.broker_round_trip_time(1, Duration::from_secs(3)).unwrap();
    let unknown = world.raw(PUBLISH, &[("grpc-timeout", "200m")], framed(&request("asked"))).await;
    assert_eq!(unknown.told(), (Code::DeadlineExceeded, "delivery-unknown".to_owned()));
    let unknown = unknown.status.unwrap();
    assert_eq!(outcome(&unknown), "unknown");
    assert!(unknown.get_details_retry_info().is_some(), "it is to be sent again");
    kafka.broker_round_trip_time(1, Duration::ZERO).unwrap();
    let after = world.events.publish(request("after")).await.unwrap().into_inner().results;
    assert_eq!(receipt(&after[0]).offset, Some(2), "unknown was the truth: this one was stored");
    assert_eq!(world.metric("weir_events_out_total", "outcome=\"unknown\"").await, 1.0);
    world.nothing_vanished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protobuf_format_is_taken_over_http_too() {
    let world = World::dev(&[]).await;
    let made = event("p-1", "orders.created", Data::TextData(ORDER.to_owned()));
    let batch = super::cloudevents::CloudEventBatch {
        events: vec![made.clone(), event("p-2", "no.such", Data::TextData("{}".to_owned()))],
    };
    let post = async |content_type: &str, body: Vec<u8>| {
        let request = world.http.post(world.weir.url("/v1/events")).header("content-type", content_type);
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
    };
    let (status, one) = post("application/cloudevents+protobuf", made.encode_to_vec()).await;
    assert_eq!((status, &one["id"], &one["outcome"]), (201, &"p-1".into(), &"stored".into()), "{one}");
    let (status, both) = post("application/cloudevents-batch+protobuf", batch.encode_to_vec()).await;
    assert_eq!((status, &both["results"][1]["problem"]["code"]), (207, &"unknown-route".into()), "{both}");
    let (status, alone) = post("application/cloudevents-batch+protobuf", made.encode_to_vec()).await;
    assert_eq!(status, 400, "an event is no batch: {alone}");
    let (status, bad) = post("application/cloudevents+protobuf", vec![0xff; 9]).await;
    assert_eq!((status, &bad["code"]), (400, &"cloudevents-invalid".into()), "{bad}");
}
