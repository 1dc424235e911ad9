//! Events found over gRPC, in the read model of `weir dev`.

use tonic::Code;

use super::api::get_event_request::By;
use super::cloudevents::cloud_event::Data;
use super::{ORDER, PATIENCE, World, api, order, reason, receipt};

fn position(result: &api::Result) -> api::Position {
    let stored = receipt(result);
    api::Position { partition: stored.partition, offset: stored.offset.unwrap() }
}

fn get(by: By) -> api::GetEventRequest {
    api::GetEventRequest { route: "orders".to_owned(), by: Some(by), ..api::GetEventRequest::default() }
}

fn query(key: &str) -> api::QueryEventsRequest {
    api::QueryEventsRequest {
        route: "orders".to_owned(),
        key: key.to_owned(),
        ..api::QueryEventsRequest::default()
    }
}

fn id(event: &api::Event) -> &str {
    &event.event.as_ref().unwrap().id
}

#[tokio::test]
async fn an_event_is_found_by_position_and_by_id() {
    let mut world = World::dev(&[]).await;
    let stored = world.publish(vec![order("e-1")]).await.unwrap();
    let at = position(&stored[0]);
    let by_position = world.events.get_event(get(By::Position(at))).await.unwrap().into_inner();
    let by_id = api::GetEventRequest { min_position: Some(at), ..get(By::Id("e-1".to_owned())) };
    let by_id = world.events.get_event(by_id).await.unwrap().into_inner();
    assert_eq!(by_id, by_position);
    let event = by_id.event.as_ref().unwrap();
    assert_eq!(event.data, Some(Data::BinaryData(ORDER.into())), "byte for byte");
    assert_eq!(
        (event.id.as_str(), event.source.as_str(), event.r#type.as_str()),
        ("e-1", "/shop", "orders.created")
    );
    assert_eq!((by_id.key.as_deref(), by_id.schema.as_deref()), (Some("u-7"), Some("orders.created/1")));
    assert_eq!((by_id.topic.as_str(), by_id.partition, by_id.offset), ("orders", at.partition, at.offset));

    let strong = api::GetEventRequest { level: api::Level::Strong.into(), ..get(By::Id("none".to_owned())) };
    let other = api::GetEventRequest {
        source: Some("/other".to_owned()),
        min_position: Some(at),
        ..get(By::Id("e-1".to_owned()))
    };
    let beyond = api::Position { offset: at.offset + 1000, ..at };
    let cases = [
        (strong, Code::NotFound, "not-in-window"),
        (other, Code::NotFound, "not-in-window"),
        (get(By::Position(beyond)), Code::OutOfRange, "position-unknown"),
        (get(By::Position(api::Position { partition: -1, offset: 0 })), Code::InvalidArgument, "bad-query"),
        (api::GetEventRequest { by: None, ..get(By::Id(String::new())) }, Code::InvalidArgument, "bad-query"),
        (
            api::GetEventRequest { route: "none".to_owned(), ..get(By::Id("e-1".to_owned())) },
            Code::NotFound,
            "recent-disabled",
        ),
    ];
    for (ask, code, why) in cases {
        let refused = world.events.get_event(ask.clone()).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, why), "{ask:?}");
    }
}

#[tokio::test]
async fn a_keys_events_come_newest_first_page_by_page() {
    let mut world = World::dev(&[]).await;
    let mut last = None;
    for number in 0..5 {
        last = Some(position(&world.publish(vec![order(&format!("e-{number}"))]).await.unwrap()[0]));
    }
    let ask = api::QueryEventsRequest { limit: 2, min_position: last, ..query("u-7") };
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let ask = api::QueryEventsRequest { cursor: cursor.clone(), ..ask.clone() };
        let page = world.events.query_events(ask).await.unwrap().into_inner();
        assert!(
            page.events.len() <= 2 && page.as_of.len() == 1 && page.as_of[0].offset >= last.unwrap().offset
        );
        seen.extend(page.events.iter().map(|event| id(event).to_owned()));
        cursor = page.cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["e-4", "e-3", "e-2", "e-1", "e-0"]);

    let by_order = api::QueryEventsRequest {
        kind: "order".to_owned(),
        level: api::Level::Strong.into(),
        ..query("o-1")
    };
    let page = world.events.query_events(by_order).await.unwrap().into_inner();
    assert_eq!((page.events.len(), page.as_of.len(), page.truncated), (5, 3, false));
    let future = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let none = api::QueryEventsRequest { since: future, ..ask.clone() };
    assert!(world.events.query_events(none).await.unwrap().into_inner().events.is_empty());

    let elsewhere = api::Position { partition: (last.unwrap().partition + 1) % 3, offset: 0 };
    let cases = [
        (api::QueryEventsRequest { min_position: Some(elsewhere), ..ask.clone() }, "position-elsewhere"),
        (api::QueryEventsRequest { cursor: "nonsense".to_owned(), ..ask.clone() }, "bad-query"),
        (api::QueryEventsRequest { key: "k".repeat(513), ..ask }, "bad-query"),
    ];
    for (ask, why) in cases {
        let refused = world.events.query_events(ask).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, why));
    }
}

#[tokio::test]
async fn a_tail_goes_on_where_it_stopped_and_ends_with_the_gateway() {
    let mut world = World::dev(&[]).await;
    let follow = |after: &str| api::TailEventsRequest {
        route: "orders".to_owned(),
        after: after.to_owned(),
        ..api::TailEventsRequest::default()
    };
    let mut events = world.events.clone();
    let next = async |tail: &mut tonic::Streaming<api::TailEventsResponse>| {
        loop {
            let told = tokio::time::timeout(PATIENCE, tail.message()).await.unwrap().unwrap().unwrap();
            if let Some(event) = &told.event {
                return (id(event).to_owned(), told.positions);
            }
        }
    };
    let mut tail = events.tail_events(follow("")).await.unwrap().into_inner();
    let begun = tail.message().await.unwrap().unwrap();
    assert_eq!((begun.event, begun.positions.as_str()), (None, "0:0,1:0,2:0"));
    world.publish(vec![order("a"), order("b")]).await.unwrap();
    assert_eq!(next(&mut tail).await.0, "a");
    let (last, positions) = next(&mut tail).await;
    assert_eq!(last, "b");
    drop(tail);
    world.publish(vec![order("c")]).await.unwrap();
    let mut tail = events.tail_events(follow(&positions)).await.unwrap().into_inner();
    assert_eq!(next(&mut tail).await.0, "c", "nothing is missed, nothing comes twice");

    for (after, code, why) in
        [("0:1000", Code::OutOfRange, "position-unknown"), ("x", Code::InvalidArgument, "bad-query")]
    {
        let refused = events.tail_events(follow(after)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, why));
    }
    world.weir.sigterm();
    let ended = tokio::time::timeout(PATIENCE, tail.message()).await.unwrap().unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "shutting-down"));
    assert_eq!(world.weir.wait(PATIENCE).await, Some(0));
}
