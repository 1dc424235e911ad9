//! Live tails under a reload: one that changes nothing of theirs leaves them alone; any other breaks them off, and they
//! resume without a hole and without a duplicate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_tests::world::until;

use super::{PATIENCE, config, metric, reload, rewrite, start};
use crate::recent::tail::Stream;
use crate::spine::Client;

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_breaks_off_with_the_lookups_and_misses_nothing() {
    let (without, with) = (config("", &["orders"]), config("", &["orders", "visits"]));
    let weir = start(without.clone()).await;
    let client = Arc::new(Client { weir, route: "orders".to_owned(), http: reqwest::Client::new() });
    let mut stream = Stream::open(&client, "?from=start", None).await;
    assert_eq!(rewrite(&client.weir, &config("limits: {nodes_max: 9}\n", &["orders"])).await, ["limits"]);
    assert_eq!(client.event("{}").await.status, 201);
    let first = stream.message().await.expect("the stream goes on").json();
    assert_eq!(first["offset"], 0);

    let follower = tokio::spawn({
        let client = Arc::clone(&client);
        async move {
            let (mut seen, mut breaks) = (vec![0], 0);
            loop {
                match stream.message().await {
                    Some(message) if message.kind == "event" => {
                        let event = message.json();
                        seen.push(event["offset"].as_i64().unwrap());
                        if event["data"]["last"] == true {
                            return (seen, breaks);
                        }
                    }
                    // It ended, or was cut for being slow on a busy machine: a browser does the same for both.
                    _ => {
                        breaks += 1;
                        let last_id = std::mem::take(&mut stream.last_id);
                        stream = Stream::open(&client, "?from=start", Some(&last_id)).await;
                    }
                }
            }
        }
    });
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (client, over) = (Arc::clone(&client), Arc::clone(&over));
        async move {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(client.event(r#"{"a":1}"#).await.status, 201);
            }
            client.event(r#"{"last":true}"#).await.body["offset"].as_i64().unwrap()
        }
    });
    for text in [&with, &without, &with] {
        until("it is followed", PATIENCE, async || {
            (metric(&client.weir, "weir_tail_subscribers").await == Some(1.0)).then_some(())
        })
        .await;
        client.weir.write_config(text);
        let done = reload(&client.weir).await;
        assert_eq!(done.status, 200, "{done:?}");
    }
    over.store(true, Ordering::Relaxed);
    let last = writer.await.unwrap();
    let (seen, breaks) =
        tokio::time::timeout(PATIENCE, follower).await.expect("it sees the last one").unwrap();
    assert!(breaks >= 3, "{breaks} breaks");
    assert!(seen.iter().copied().eq(0..=last), "{} of {last}: {seen:?}", seen.len());
}
