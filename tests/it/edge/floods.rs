//! HTTP/2 frames that cost their sender nothing (rows 55 and 56), written by hand: no client library sends them.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gate::Gate;
use super::wire::PATIENCE;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113 §7: the peer is doing too much.
const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head, coded without tables (RFC 7541 §6.2.2): a POST of JSON to the plain route.
fn post() -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let (path, authority) = (text("/v1/events/plain"), text("weir"));
    [&[0x83, 0x86, 0x04][..], &path, &[0x01], &authority, &[0x0f, 0x10], &text("application/json")].concat()
}

/// The streams a client opens: 1, 3, 5 and so on.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|index| 2 * index + 1)
}

/// A name and a value that fill the table, then thousands of references to them.
fn hpack_bomb() -> Vec<u8> {
    let value = vec![b'v'; 4_000];
    // 4 000 less 127, in groups of seven bits.
    let insert = [&[0x40, 1, b'n', 0x7f, 0xa1, 0x1e][..], &value].concat();
    [post(), insert, vec![0xbe; 4_000]].concat()
}

struct Flood {
    name: &'static str,
    frames: Vec<u8>,
    /// Whether the connection has to end for it.
    cut: bool,
}

/// No window for answers (RFC 9113 §6.5.2).
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

fn floods() -> Vec<Flood> {
    let open = |stream| frame(HEADERS, END_HEADERS, stream, &post());
    let whole = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &post());
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let overflow = |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
    let flood = |name, frames, cut| Flood { name, frames, cut };
    vec![
        flood("rapid reset", streams(10_000).flat_map(|it| [whole(it), reset(it)].concat()).collect(), true),
        flood(
            "made you reset",
            streams(10_000).flat_map(|it| [open(it), overflow(it)].concat()).collect(),
            true,
        ),
        flood(
            "continuations",
            [frame(HEADERS, 0, 1, &post()), frame(CONTINUATION, 0, 1, &[]).repeat(100_000)].concat(),
            true,
        ),
        flood("empty data", [open(1), frame(DATA, 0, 1, &[]).repeat(100_000)].concat(), true),
        flood("data of one byte", [open(1), frame(DATA, 0, 1, b" ").repeat(100_000)].concat(), true),
        flood("a head of 16 MB from 8 KB", frame(HEADERS, END_HEADERS | END_STREAM, 1, &hpack_bomb()), false),
        flood("pings", frame(PING, 0, 0, &[0; 8]).repeat(100_000), false),
        flood("settings", frame(SETTINGS, 0, 0, &[]).repeat(100_000), false),
        flood("window updates", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(100_000), false),
    ]
}

/// What the gateway said to it: the reason of its GOAWAY, if it sent one, and whether the connection is over.
async fn send(address: &str, flood: &Flood) -> (Option<u32>, bool) {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    // A PING behind it all: its answer says that the rest was dealt with.
    let last = frame(PING, 0, 0, b"the last");
    let bytes =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], &flood.frames, &last].concat();
    let sending = tokio::spawn(async move {
        // Who is cut off cannot send it all.
        drop(writer.write_all(&bytes).await);
        writer
    });
    let mut reason = None;
    let ended = timeout(PATIENCE, async {
        let mut head = [0; 9];
        while reader.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if reader.read_exact(&mut payload).await.is_err() {
                break;
            }
            match head[3] {
                GOAWAY => reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
                PING if payload == b"the last" => return false,
                _ => {}
            }
        }
        true
    });
    let ended = ended.await.unwrap_or_else(|_| panic!("{}: neither an end nor an answer", flood.name));
    drop(sending.await);
    (reason, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_ends_its_connection_or_costs_no_more_than_its_bytes() {
    let gate = Gate::start("").await;
    gate.still_works().await;
    for flood in floods() {
        let (before, cpu) = (gate.stored(), gate.cpu());
        let (reason, ended) = send(&gate.address(), &flood).await;
        let cpu = gate.cpu() - cpu;
        println!("{}: {:?}, ended: {ended}, {cpu:?}", flood.name, reason);
        if flood.cut {
            assert!(ended && reason == Some(ENHANCE_YOUR_CALM), "{}: {reason:?}, ended: {ended}", flood.name);
        }
        assert!(cpu <= Duration::from_secs(1), "{}: {cpu:?}", flood.name);
        assert_eq!(gate.stored(), before, "{}", flood.name);
        gate.still_works().await;
    }
}

/// Row 56: it answers every PING, so it is there; but it reads no answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_no_window_is_cut() {
    let gate = Gate::start("idle_timeout_ms: 1000").await;
    let (mut reader, mut writer) = TcpStream::connect(gate.address()).await.unwrap().into_split();
    let settings = frame(SETTINGS, 0, 0, &NO_WINDOW);
    let head = frame(HEADERS, END_HEADERS, 1, &post());
    let body = frame(DATA, END_STREAM, 1, b"{}");
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &head, &body].concat();
    writer.write_all(&bytes).await.unwrap();
    let ended = timeout(PATIENCE, async {
        let mut head = [0; 9];
        while reader.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            if reader.read_exact(&mut payload).await.is_err() {
                break;
            }
            assert_ne!((head[3], payload.is_empty()), (DATA, false), "it was given what it has no room for");
            if head[3] == PING && head[4] == 0 {
                // Its own fate is not decided by this write.
                drop(writer.write_all(&frame(PING, 1, 0, &payload)).await);
            }
        }
    });
    assert!(ended.await.is_ok(), "the connection goes on");
    assert_eq!(gate.stored(), 1);
    gate.still_works().await;
}
