//! Messages published on one stream: credit, acks out of order, and every way it can end.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use weir_tests::world::{Weir, WeirOptions, until};

use super::api::events_client::EventsClient;
use super::cloudevents::cloud_event::Data;
use super::{PATIENCE, World, api, event, order, problem, reason, receipt};

/// A stream, and how to send on it.
pub(super) struct Stream {
    send: mpsc::Sender<api::PublishStreamRequest>,
    acks: Streaming<api::PublishStreamResponse>,
    credit: u32,
}

impl Stream {
    pub(super) async fn open(events: &EventsClient<Channel>) -> Stream {
        let (send, mut messages) = mpsc::channel(1000);
        let messages = futures_util::stream::poll_fn(move |context| messages.poll_recv(context));
        let mut acks = events.clone().publish_stream(messages).await.unwrap().into_inner();
        let first = acks.message().await.unwrap().unwrap();
        assert!(first.ack.is_none() && first.credit > 0, "{first:?}");
        Stream { send, acks, credit: first.credit }
    }

    pub(super) async fn send(&self, sequence: u64, events: Vec<super::cloudevents::CloudEvent>, route: &str) {
        let message = api::PublishStreamRequest { events, route: route.to_owned(), sequence };
        self.send.send(message).await.unwrap();
    }

    pub(super) async fn ack(&mut self) -> Result<api::Ack, tonic::Status> {
        let response = tokio::time::timeout(PATIENCE, self.acks.message()).await.expect("in time")?;
        let response = response.ok_or_else(|| tonic::Status::ok("the end"))?;
        assert_eq!(response.credit, 1, "an ack gives its credit back");
        Ok(response.ack.unwrap())
    }
}

/// A gateway with a Kafka that can be slowed down, with the route `slow`.
async fn slow() -> (MockCluster<'static, DefaultProducerContext>, World) {
    let kafka: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    kafka.create_topic("slow", 1, 1).unwrap();
    let config = format!(
        "listen: {{listen}}\nadmin: {{admin}}\nkafka: {{brokers: [\"{}\"], allow_weak_topics: true}}\n\
         routes:\n  - {{name: slow, topic: slow, topic_settings: {{partitions: 1, replication_factor: 1, min_insync_replicas: 1}}}}\n",
        kafka.bootstrap_servers()
    );
    let world = World::of(Weir::start(WeirOptions::serve(config)).await).await;
    (kafka, world)
}

fn any(id: &str) -> Vec<super::cloudevents::CloudEvent> {
    vec![event(id, "slow", Data::TextData("{}".to_owned()))]
}

#[tokio::test]
async fn every_message_is_acknowledged_by_its_number() {
    let world = World::dev(&[]).await;
    let mut stream = Stream::open(&world.events).await;
    let mut open = BTreeSet::new();
    for sequence in 0..200 {
        if open.len() == usize::try_from(stream.credit).unwrap() {
            let ack = stream.ack().await.unwrap();
            assert!(open.remove(&ack.sequence) && receipt(&ack.results[0]).outcome == "stored");
        }
        stream.send(sequence, vec![order(&format!("s-{sequence}"))], "orders").await;
        open.insert(sequence);
    }
    while !open.is_empty() {
        let ack = stream.ack().await.unwrap();
        assert!(open.remove(&ack.sequence));
        assert_eq!(receipt(&ack.results[0]).id, format!("s-{}", ack.sequence));
    }
    // What is refused is acknowledged, too, and the stream goes on.
    stream.send(1000, vec![order(""), order("x")], "orders").await;
    let mixed = stream.ack().await.unwrap();
    assert_eq!((mixed.sequence, problem(&mixed.results[0]).code.as_str()), (1000, "invalid-attribute"));
    assert_eq!(receipt(&mixed.results[1]).outcome, "stored");
    stream.send(1001, vec![order("x")], "nowhere").await;
    let refused = stream.ack().await.unwrap();
    assert_eq!((refused.results.len(), refused.problem.unwrap().code.as_str()), (0, "unknown-route"));
    stream.send(1002, Vec::new(), "orders").await;
    assert_eq!(stream.ack().await.unwrap(), api::Ack { sequence: 1002, ..api::Ack::default() });
    let Stream { send, mut acks, .. } = stream;
    drop(send);
    assert!(acks.message().await.unwrap().is_none(), "the client's end is the stream's, with OK");
    world.nothing_vanished().await;
}

#[tokio::test]
async fn a_client_that_exceeds_its_credit_is_refused_after_its_acks() {
    let (kafka, world) = slow().await;
    let mut stream = Stream::open(&world.events).await;
    kafka.broker_round_trip_time(1, Duration::from_secs(1)).unwrap();
    for sequence in 0..u64::from(stream.credit) + 5 {
        stream.send(sequence, any("x"), "slow").await;
    }
    let mut acked = BTreeSet::new();
    let ended = loop {
        match stream.ack().await {
            Ok(ack) => assert!(receipt(&ack.results[0]).outcome == "stored" && acked.insert(ack.sequence)),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::ResourceExhausted, "credit-exceeded"));
    assert_eq!(acked, (0..u64::from(stream.credit)).collect(), "all that there was credit for, and no more");
    assert_eq!(world.metric("weir_events_in_total", "").await, f64::from(stream.credit));
    world.nothing_vanished().await;
}

#[tokio::test]
async fn what_a_client_left_behind_still_ends_counted() {
    let (kafka, world) = slow().await;
    let stream = Stream::open(&world.events).await;
    kafka.broker_round_trip_time(1, Duration::from_secs(1)).unwrap();
    for sequence in 0..20 {
        stream.send(sequence, any("x"), "slow").await;
    }
    until("all of them came in", PATIENCE, async || {
        (world.metric("weir_events_in_total", "").await == 20.0).then_some(())
    })
    .await;
    drop(stream);
    until("all of them are stored", PATIENCE, async || {
        (world.metric("weir_events_out_total", "outcome=\"stored\"").await == 20.0).then_some(())
    })
    .await;
    world.nothing_vanished().await;
    assert_eq!(world.metric("weir_in_flight_bytes", "").await, 0.0);
}

#[tokio::test]
async fn a_gateway_that_stops_acknowledges_what_it_accepted() {
    let (kafka, world) = slow().await;
    let mut stream = Stream::open(&world.events).await;
    kafka.broker_round_trip_time(1, Duration::from_secs(1)).unwrap();
    for sequence in 0..20 {
        stream.send(sequence, any("x"), "slow").await;
    }
    until("all of them came in", PATIENCE, async || {
        (world.metric("weir_events_in_total", "").await == 20.0).then_some(())
    })
    .await;
    world.weir.sigterm();
    let mut acked = 0;
    let ended = loop {
        match stream.ack().await {
            Ok(ack) => acked += usize::from(receipt(&ack.results[0]).outcome == "stored"),
            Err(status) => break status,
        }
    };
    assert_eq!((acked, ended.code(), reason(&ended).as_str()), (20, Code::Unavailable, "shutting-down"));
    assert_eq!(world.weir.wait(PATIENCE).await, Some(0));
}
