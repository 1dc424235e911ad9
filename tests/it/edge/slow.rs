//! Clients that take their time, and more of them than there is room for.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::gate::Gate;
use super::wire::http1::{Connection, written};
use super::wire::{Request, http1};

/// How long the slowest of 99 % of 200 good requests took, on one connection.
async fn p99(address: &str) -> Duration {
    let mut connection = Connection::open(address).await.unwrap();
    let bytes = written(&Request::event("plain", "{}"));
    let mut times = Vec::new();
    for _ in 0..200 {
        let sent = Instant::now();
        connection.send(&bytes).await;
        assert_eq!(connection.answer().await.unwrap().status, 201);
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    times[198]
}

/// Row 9, with a tenth of its 10 000 connections.
#[tokio::test(flavor = "multi_thread")]
async fn heads_that_come_byte_by_byte_are_cut_and_hold_up_nobody() {
    let gate = Gate::start("header_timeout_ms: 3000").await;
    let address = gate.address();
    let quiet = p99(&address).await;
    let started = Instant::now();
    let drip = async || {
        let mut connection = Connection::open(&address).await.unwrap();
        for byte in b"POST /v1/events/plain HTTP/1.1\r\nhost: weir\r\nx-slow: ".iter().chain([&b'x'; 60]) {
            if connection.stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            // The pace of the client is what is tested.
            if tokio::time::timeout(Duration::from_millis(500), connection.stream.readable()).await.is_ok() {
                break;
            }
        }
        started.elapsed()
    };
    let cpu = gate.cpu();
    let slow = join_all((0..1_000).map(|_| drip()));
    let (times, busy) = tokio::join!(slow, p99(&address));
    let last = times.into_iter().max().unwrap();
    let cpu = gate.cpu() - cpu;
    println!(
        "1 000 slow heads: cut after {last:?}, {cpu:?} of CPU; P99 of good requests {quiet:?}, meanwhile {busy:?}"
    );
    assert!(last <= Duration::from_secs(6), "the last was cut after {last:?}");
    // The thousand clients run on the same cores as the gateway, so this bound is loose and the other one tight.
    assert!(busy <= 3 * quiet + Duration::from_millis(100), "{quiet:?} became {busy:?}");
    assert!(cpu <= Duration::from_secs(2), "{cpu:?}");
    gate.still_works().await;
}

/// Row 9, before it is known which protocol it is: the first byte of a POST is that of HTTP/2, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_byte_that_two_protocols_have_is_waited_for_and_costs_nothing() {
    let gate = Gate::start("header_timeout_ms: 2000").await;
    let address = gate.address();
    let cpu = gate.cpu();
    let silent = async || {
        let mut connection = Connection::open(&address).await.unwrap();
        connection.send(b"P").await;
        connection.is_closed().await
    };
    let closed = join_all((0..500).map(|_| silent())).await;
    let cpu = gate.cpu() - cpu;
    println!("500 connections of one byte: {cpu:?} of CPU");
    assert!(closed.iter().all(|closed| *closed) && cpu <= Duration::from_millis(300), "{cpu:?}");

    let request = written(&Request::event("plain", "{}"));
    let (first, rest) = request.split_at(1);
    let mut late = Connection::open(&address).await.unwrap();
    late.send(first).await;
    // Time for the gateway to see that byte alone.
    assert!(tokio::time::timeout(Duration::from_millis(100), late.stream.readable()).await.is_err());
    late.send(rest).await;
    assert_eq!(late.answer().await.unwrap().status, 201);
    let (since, mut gone) = (Instant::now(), Connection::open(&address).await.unwrap());
    gone.send(first).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), gone.stream.readable()).await.is_err());
    gone.stream.shutdown().await.unwrap();
    assert!(gone.is_closed().await && since.elapsed() < Duration::from_secs(1), "nothing more is to come");
    let (preface, rest) = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".split_at(2);
    let mut h2 = Connection::open(&address).await.unwrap();
    h2.send(preface).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), h2.stream.readable()).await.is_err());
    h2.send(rest).await;
    let mut settings = [0; 4];
    h2.stream.read_exact(&mut settings).await.unwrap();
    assert_eq!(settings[3], 4, "a SETTINGS frame: {settings:?}");
    gate.still_works().await;
}

/// Row 9, between the requests of a connection: what it may be silent for is not what it may be slow for.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_head_has_no_more_time_than_the_first() {
    let gate = Gate::start("header_timeout_ms: 500").await;
    let mut connection = Connection::open(&gate.address()).await.unwrap();
    for _ in 0..3 {
        connection.send(&written(&Request::event("plain", "{}"))).await;
        assert_eq!(connection.answer().await.unwrap().status, 201);
        // Silence of twice that is fine.
        let silent = tokio::time::timeout(Duration::from_secs(1), connection.stream.readable()).await;
        assert!(silent.is_err(), "an idle connection was closed");
    }
    connection.send(b"POST /v1/ev").await;
    assert!(connection.is_closed().await);
    assert_eq!(gate.stored(), 3);
}

/// Row 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_or_trickles_is_given_up() {
    let gate = Gate::start("body_timeout_ms: 1500").await;
    let head = "POST /v1/events/plain HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    for pause in [Duration::from_secs(60), Duration::from_millis(100)] {
        let mut connection = Connection::open(&gate.address()).await.unwrap();
        connection.send(head.as_bytes()).await;
        let mut sent = 0;
        while tokio::time::timeout(pause.min(Duration::from_secs(5)), connection.stream.readable())
            .await
            .is_err()
        {
            sent += 1;
            assert!(sent < 50, "it still waits");
            connection.send(b" ").await;
        }
        let answer = connection.answer().await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (408, "body-timeout"), "{pause:?}");
        assert_eq!(gate.stored(), 0);
    }
    gate.still_works().await;
}

/// Row 49: what does not fit into the budget is refused at once, and told when to come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_house_sheds_what_comes_last() {
    let gate =
        Gate::start("batch_bytes_max: 1048576, batch_events_max: 100, in_flight_bytes_max: 2200000").await;
    let mut first = Connection::open(&gate.address()).await.unwrap();
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000_000));
    let bytes = written(&Request::event("plain", body.clone()));
    let (head, rest) = bytes.split_at(bytes.len() - 10);
    first.send(head).await;
    let shed = loop {
        let answer = gate.ask(&Request::event("plain", body.clone())).await;
        // Until the first one's head has been read, there is room.
        if answer.status != 201 {
            break answer;
        }
    };
    assert_eq!((shed.status, shed.code().as_str()), (503, "overloaded"));
    assert_eq!(shed.json()["outcome"], "not-stored");
    assert!(
        shed.header("retry-after").is_some_and(|seconds| (1..=5).contains(&seconds.parse::<u64>().unwrap()))
    );
    first.send(rest).await;
    assert_eq!(first.answer().await.unwrap().status, 201);
    assert_eq!(http1::ask(&gate.address(), &Request::event("plain", body)).await.unwrap().status, 201);
    gate.still_works().await;
}
