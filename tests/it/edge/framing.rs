//! HTTP/1.1 and HTTP/2 requests that are not framed as they must be: refused before the gateway's own words, or cut off.

use super::gate::Gate;
use super::wire::http1::Connection;
use super::wire::{Request, http2};

/// What becomes of it: an answer with this status and the end of the connection, or just the end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Answered(u16),
    Cut,
}

use Ending::{Answered, Cut};

const EVENT: &str = "POST /v1/events/plain HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\n";

/// Row numbers as in `rows.rs`.
fn rows() -> Vec<(u8, &'static str, Vec<u8>, Ending)> {
    let event = |rest: &str| format!("{EVENT}{rest}").into_bytes();
    let chunked = |chunks: &str| event(&format!("transfer-encoding: chunked\r\n\r\n{chunks}"));
    let many = |header: &str, count: usize| event(&format!("{}\r\n", header.repeat(count)));
    let target = format!("GET /{} HTTP/1.1\r\nhost: weir\r\n\r\n", "q".repeat(30_000));
    vec![
        (1, "no request line", b"\x16\x03\x01\x02\x00\r\n\r\n".to_vec(), Answered(400)),
        (1, "a bad version", b"GET / HTTP/9.9\r\n\r\n".to_vec(), Answered(400)),
        (1, "a blank before the colon", event("foo : x\r\n\r\n"), Answered(400)),
        (1, "a folded header", event("foo: x\r\n y\r\n\r\n"), Answered(400)),
        (1, "NUL in a header", event("foo: a\0b\r\n\r\n"), Answered(400)),
        (1, "CR in a header", event("foo: a\rb\r\n\r\n"), Answered(400)),
        (2, "101 headers", many("x-a: b\r\n", 101), Answered(431)),
        (2, "a head of 33 KiB", event(&format!("x: {}\r\n\r\n", "x".repeat(33 << 10))), Answered(431)),
        (2, "a head without an end", event(&format!("x: {}", "x".repeat(200 << 10))), Answered(431)),
        (
            3,
            "a target of 40 KB",
            target.replace("/q", &format!("/{}", "q".repeat(10_000))).into_bytes(),
            Answered(431),
        ),
        (4, "two lengths", event("content-length: 2\r\ncontent-length: 3\r\n\r\n{}"), Answered(400)),
        (4, "a length with a sign", event("content-length: +2\r\n\r\n{}"), Answered(400)),
        (4, "a list of lengths", event("content-length: 2,2\r\n\r\n{}"), Answered(400)),
        (4, "a negative length", event("content-length: -2\r\n\r\n{}"), Answered(400)),
        (4, "an endless length", event("content-length: 99999999999999999999\r\n\r\n{}"), Answered(400)),
        (6, "chunks in HTTP/1.0", chunked("2\r\n{}\r\n0\r\n\r\n").strip("1.1", "1.0"), Answered(400)),
        (6, "chunked is not last", event("transfer-encoding: chunked, gzip\r\n\r\n"), Answered(400)),
        (6, "not chunked at all", event("transfer-encoding: gzip\r\n\r\n"), Answered(400)),
        (7, "a chunk of 2^64", chunked("10000000000000000\r\n{}\r\n0\r\n\r\n"), Answered(400)),
        (7, "a chunk that is longer", chunked("1\r\n{}\r\n0\r\n\r\n"), Answered(400)),
        (7, "a size that is none", chunked("x\r\n{}\r\n0\r\n\r\n"), Answered(400)),
        (
            7,
            "a large extension",
            chunked(&format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(20 << 10))),
            Answered(400),
        ),
        (
            7,
            "large trailers",
            chunked(&format!("2\r\n{{}}\r\n0\r\nx: {}\r\n\r\n", "x".repeat(40 << 10))),
            Answered(400),
        ),
        (8, "a body that ends early", event("content-length: 20\r\n\r\n{\"a\":1}"), Cut),
        (8, "chunks that end early", chunked("7\r\n{\"a\":1}\r\n"), Cut),
    ]
}

trait Strip {
    fn strip(self, from: &str, to: &str) -> Self;
}

impl Strip for Vec<u8> {
    fn strip(self, from: &str, to: &str) -> Self {
        String::from_utf8(self).unwrap().replacen(from, to, 1).into_bytes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_framed_ends_its_connection() {
    use tokio::io::AsyncWriteExt as _;

    let gate = Gate::start("").await;
    for (number, name, bytes, ending) in rows() {
        let what = format!("row {number}, {name}");
        let mut connection = Connection::open(&gate.address()).await.unwrap();
        connection.send(&bytes).await;
        match ending {
            Answered(status) => {
                let answer = connection.answer().await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(answer.status, status, "{what}: {answer:?}");
                assert!(connection.is_closed().await, "{what}: the connection goes on");
            }
            Cut => {
                connection.stream.shutdown().await.unwrap();
                let answer = connection.answer().await;
                assert!(
                    answer.as_ref().map_or(true, |answer| answer.code() == "body-incomplete"),
                    "{what}: {answer:?}"
                );
            }
        }
        assert_eq!(gate.stored(), 0, "{what}");
    }
    gate.still_works().await;
}

/// RFC 9112 §6.1: with both a length and chunks, chunks count, and the connection ends with the answer: what follows, which
/// another reader may have taken for the body's end or for a request of its own, is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_behind_a_body_with_two_lengths() {
    let gate = Gate::start("").await;
    let smuggled = format!("{EVENT}content-length: 12\r\n\r\n{{\"bad\":true}}");
    for heads in
        ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"]
    {
        let before = gate.stored();
        let mut connection = Connection::open(&gate.address()).await.unwrap();
        let bytes = format!("{EVENT}{heads}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{smuggled}");
        connection.send(bytes.as_bytes()).await;
        let answer = connection.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (201, Some("close")), "{heads}");
        assert!(connection.is_closed().await, "{heads}");
        assert_eq!(gate.stored(), before + 1, "{heads}");
    }
    gate.still_works().await;
}

/// Row 11: who asks first is told before it has sent a byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_too_large_is_not_asked_for() {
    let gate = Gate::start("").await;
    let mut connection = Connection::open(&gate.address()).await.unwrap();
    connection
        .send(format!("{EVENT}content-length: 9437184\r\nexpect: 100-continue\r\n\r\n").as_bytes())
        .await;
    let answer = connection.answer().await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "body-too-large"), "no 100 comes before it");
    assert!(connection.is_closed().await);
    let mut connection = Connection::open(&gate.address()).await.unwrap();
    connection.send(format!("{EVENT}content-length: 2\r\nexpect: 100-continue\r\n\r\n").as_bytes()).await;
    assert_eq!(connection.answer().await.unwrap().status, 100);
    connection.send(b"{}").await;
    assert_eq!(connection.answer().await.unwrap().status, 201);
    assert_eq!(gate.stored(), 1);
}

/// Row 1, as far as it is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_bare_line_feed_ends_a_line() {
    let gate = Gate::start("").await;
    let mut connection = Connection::open(&gate.address()).await.unwrap();
    connection.send(format!("{EVENT}content-length: 2\r\n\r\n{{}}").replace('\r', "").as_bytes()).await;
    assert_eq!(connection.answer().await.unwrap().status, 201);
    gate.still_works().await;
}

/// Rows 4 and 8, over HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_body_is_not_as_long_as_announced_is_reset() {
    let gate = Gate::start("").await;
    for (length, body) in [("3", "{}"), ("1", "{}"), ("+2", "{}"), ("2,2", "{}"), ("x", "{}")] {
        let request = Request::event("plain", body).header("content-length", length).unannounced();
        let answer = http2::ask(&gate.address(), &request).await;
        let refused = match &answer {
            Ok(answer) => answer.status == 400,
            Err(error) => error.reason() == Some(h2::Reason::PROTOCOL_ERROR),
        };
        assert!(refused, "content-length: {length}: {answer:?}");
        assert_eq!(gate.stored(), 0, "content-length: {length}");
    }
    gate.still_works().await;
}
