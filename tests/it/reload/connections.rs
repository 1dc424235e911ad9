//! Connections under a reload: none is closed. What is asked on them next is answered under the new config, and what was
//! begun ends as it began.

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::time::timeout;
use weir_tests::world::{Weir, until};

use super::{PATIENCE, config, metric, reload, start};
use crate::edge::wire::http1::{Connection, written};
use crate::edge::wire::{Answer, Request, http2};

/// Of each protocol: the least loaded worker gets the next one, so that each has some.
const EACH: usize = 4;

struct Connections {
    http1: Vec<Connection>,
    http2: Vec<SendRequest<Bytes>>,
}

impl Connections {
    async fn open(address: &str) -> Self {
        let mut connections = Connections { http1: Vec::new(), http2: Vec::new() };
        for _ in 0..EACH {
            connections.http1.push(Connection::open(address).await.unwrap());
            connections.http2.push(http2::open(address).await.unwrap());
        }
        connections
    }

    /// Sends an event to a route on each of them; each is answered like this.
    async fn post(&mut self, route: &str, status: u16, code: &str) {
        let request = Request::event(route, r#"{"a":1}"#);
        let is_expected =
            |answer: Answer| assert_eq!((answer.status, answer.code().as_str()), (status, code));
        for connection in &mut self.http1 {
            connection.send(&written(&request)).await;
            is_expected(connection.answer().await.unwrap());
        }
        for sender in &self.http2 {
            let answer = timeout(PATIENCE, http2::ask_on(sender.clone(), &request)).await;
            is_expected(answer.expect("an answer in time").unwrap());
        }
    }
}

/// How many there are.
async fn open_now(weir: &Weir) -> f64 {
    metric(weir, "weir_connections").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_under_the_new_config() {
    let weir = start(config("workers: 2\n", &["orders"])).await;
    let address = weir.url("").strip_prefix("http://").unwrap().to_owned();
    let mut connections = Connections::open(&address).await;
    connections.post("orders", 201, "").await;
    connections.post("visits", 404, "unknown-route").await;

    // One whose next request is on the way, and one with a request and a tail under way.
    let mut early = Connection::open(&address).await.unwrap();
    early.send(b"POST /v1/events/visits HTTP/1.1\r\nhost: weir\r\n").await;
    let mut sender = connections.http2[0].clone().ready().await.unwrap();
    let tail = http::Request::get("http://weir/v1/events/orders").header("accept", "text/event-stream");
    let (tail, _) = sender.send_request(tail.body(()).unwrap(), true).unwrap();
    let tail = timeout(PATIENCE, tail).await.expect("an answer in time").unwrap();
    assert_eq!(tail.status(), 200);
    let mut sender = sender.ready().await.unwrap();
    let slow = http::Request::post("http://weir/v1/events/orders").header("content-type", "application/json");
    let slow = slow.header("content-length", 7).body(()).unwrap();
    let (answer, mut slow) = sender.send_request(slow, false).unwrap();
    slow.send_data(r#"{"a""#.into(), false).unwrap();
    until("it was let in", PATIENCE, async || {
        (metric(&weir, "weir_in_flight_bytes").await > Some(0.0)).then_some(())
    })
    .await;
    let opened = open_now(&weir).await;
    assert_eq!(opened, 2.0 * EACH as f64 + 1.0);

    weir.write_config(&config("workers: 2\n", &["visits"]));
    let done = reload(&weir).await;
    assert_eq!(done.status, 200, "{done:?}");
    connections.post("visits", 201, "").await;
    connections.post("orders", 404, "unknown-route").await;
    early.send(b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!(early.answer().await.unwrap().status, 201, "it began when its head was complete");
    slow.send_data(":1}".into(), true).unwrap();
    let answer = timeout(PATIENCE, answer).await.expect("an answer in time").unwrap();
    assert_eq!(answer.status(), 201, "it ends as it began");
    let mut tail = tail.into_body();
    while let Some(piece) = timeout(PATIENCE, tail.data()).await.expect("it breaks off") {
        let piece = piece.expect("it ends well");
        tail.flow_control().release_capacity(piece.len()).unwrap();
    }
    connections.post("visits", 201, "").await;
    assert_eq!(open_now(&weir).await, opened, "none was closed");
}
