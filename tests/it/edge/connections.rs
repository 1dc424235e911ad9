//! How many connections an address has (row 56), and how old they get: the one bound turns newcomers away, the other one
//! nobody's request.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_tests::world::until;

use super::gate::Gate;
use super::wire::http1::{Connection, written};
use super::wire::{PATIENCE, Request};

const BY_ADDRESS: &str = r#"weir_connections_closed_total{reason="address"}"#;
const BY_AGE: &str = r#"weir_connections_closed_total{reason="age"}"#;

/// An event on this connection: its status, and whether the connection ends with the answer.
async fn post(connection: &mut Connection) -> (u16, bool) {
    connection.send(&written(&Request::event("plain", "{}"))).await;
    let answer = connection.answer().await.unwrap();
    (answer.status, answer.header("connection") == Some("close"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_no_more() {
    let gate = Gate::start("connections_per_address_max: 3").await;
    let (address, others) = (gate.address(), "127.0.0.2");
    let mut own = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(&address).await.unwrap();
        assert_eq!(post(&mut connection).await, (201, false));
        own.push(connection);
    }
    for count in 1..=20 {
        assert!(Connection::open(&address).await.unwrap().is_closed().await);
        assert_eq!(gate.metric(BY_ADDRESS).await, count);
    }
    let mut other = Connection::open_from(others, &address).await.unwrap();
    assert_eq!(post(&mut other).await, (201, false), "another address has its own");
    for connection in &mut own {
        assert_eq!(post(connection).await, (201, false), "who was there stays");
    }
    assert_eq!(gate.metric("weir_connections").await, 4);

    drop(own.pop());
    let mut third = until("one that ended makes room", PATIENCE, async || {
        let mut connection = Connection::open(&address).await.ok()?;
        connection.send(&written(&Request::event("plain", "{}"))).await;
        connection.answer().await.is_ok().then_some(connection)
    })
    .await;
    assert!(Connection::open(&address).await.unwrap().is_closed().await, "for one");
    assert_eq!(post(&mut third).await, (201, false));
    let told = gate.weir.process().log().matches("connections of an address are closed").count();
    assert!((1..=20).contains(&told), "{told} lines");
    drop((own, third));
    until("all are gone", PATIENCE, async || (gate.metric("weir_connections").await == 1).then_some(()))
        .await;
    gate.still_works().await;
}

/// A tenth less than a second, and as much time as a busy machine may take to notice.
const DUE: std::ops::Range<Duration> = Duration::from_millis(900)..Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_of_http_1_ends_with_an_answer() {
    let gate = Gate::start("connection_age_max_ms: 1000").await;
    let mut quiet = Connection::open(&gate.address()).await.unwrap();
    assert_eq!(post(&mut quiet).await, (201, false));
    let (since, mut busy) = (Instant::now(), Connection::open(&gate.address()).await.unwrap());
    let mut posts = 0;
    loop {
        let (status, last) = post(&mut busy).await;
        assert_eq!(status, 201);
        posts += 1;
        if last {
            break;
        }
    }
    let age = since.elapsed();
    assert!(DUE.contains(&age), "told after {age:?}");
    assert!(busy.is_closed().await);
    // By now it is as old, give or take a fifth of a second; its next request could be on the way.
    let closed = timeout(Duration::from_millis(500), quiet.stream.readable()).await;
    assert!(closed.is_err(), "a quiet connection was closed for its age");
    assert_eq!(post(&mut quiet).await, (201, true));
    assert!(quiet.is_closed().await);
    assert_eq!(gate.stored(), posts + 2, "each request was answered by what became of it");
    until("both are counted", PATIENCE, async || (gate.metric(BY_AGE).await == 2).then_some(())).await;
}

/// Opens a stream of this connection.
fn begin(
    sender: &mut SendRequest<Bytes>,
    headers: &[(&str, &str)],
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    let head = http::Request::post("http://weir/v1/events/plain");
    let head = headers.iter().fold(head, |head, (name, value)| head.header(*name, *value));
    sender.send_request(head.body(()).unwrap(), false)
}

/// The next piece of an answer, as text; empty at its end.
async fn piece(body: &mut RecvStream) -> String {
    let Some(data) = timeout(PATIENCE, body.data()).await.expect("an answer in time") else {
        return String::new();
    };
    let data = data.unwrap();
    body.flow_control().release_capacity(data.len()).unwrap();
    String::from_utf8(data.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_of_http_2_finishes_what_was_begun_on_it() {
    let gate = Gate::start("connection_age_max_ms: 1000").await;
    let (since, stream) = (Instant::now(), TcpStream::connect(gate.address()).await.unwrap());
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let json = [("content-type", "application/json")];
    let (answer, mut slow) = begin(&mut sender, &json).unwrap();
    slow.send_data(r#"{"a":"#.into(), false).unwrap();
    // Its answer lasts for as long as lines are sent.
    let lines = [("content-type", "application/x-ndjson"), ("accept", "application/x-ndjson")];
    let (lasting, mut lines) = begin(&mut sender, &lines).unwrap();
    lines.send_data("{}\n".into(), false).unwrap();
    let mut lasting = lasting.await.unwrap().into_body();
    assert!(piece(&mut lasting).await.contains(r#""outcome":"stored""#));

    let mut posts = 0;
    let told = loop {
        let begun = match std::future::poll_fn(|context| sender.poll_ready(context)).await {
            Ok(()) => begin(&mut sender, &json),
            Err(error) => Err(error),
        };
        let (answer, mut body) = match begun {
            Ok(begun) => begun,
            Err(error) => break error,
        };
        let sent = body.send_data("{}".into(), true);
        match (answer.await, sent) {
            (Ok(response), Ok(())) => {
                assert_eq!(response.status(), 201);
                let mut body = response.into_body();
                while !piece(&mut body).await.is_empty() {}
            }
            // Not begun with: the client may send it again.
            (Err(error), _) | (_, Err(error)) => break error,
        }
        posts += 1;
    };
    let age = since.elapsed();
    assert!(told.is_go_away() && told.reason() == Some(h2::Reason::NO_ERROR), "{told}");
    assert!(DUE.contains(&age), "told after {age:?}");
    slow.send_data("1}".into(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 201, "a request that was under way");
    assert!(!driver.is_finished());
    lines.send_data("{}\n".into(), false).unwrap();
    assert!(piece(&mut lasting).await.contains(r#""outcome":"stored""#), "an answer that lasts goes on");
    lines.send_data(Bytes::new(), true).unwrap();
    assert_eq!(piece(&mut lasting).await, "");
    drop((lasting, lines, slow, sender));
    timeout(PATIENCE, driver).await.expect("then it ends").unwrap().unwrap();
    assert_eq!(gate.stored(), posts + 3);
    until("it is counted", PATIENCE, async || (gate.metric(BY_AGE).await == 1).then_some(())).await;
    gate.still_works().await;
}
