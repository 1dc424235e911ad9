//! Compressed bodies, over both protocols: what they hold is stored as it was before, and bombs cost little.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::gate::Gate;
use super::wire::{Answer, Request, http2};

/// `{"order_id":"o-1","note":"to be or not to be, that is the question whether"}`, by brotli at its defaults.
const BROTLI: &[u8] = b"\x1bK\x00\x80-\x8fw\x1e\x9d\xb1\x0a\x94\x9b\xdbW\xf0\x0eX\xb2\xc8\xed\xf5\x9b\x98\x1b\xdd\x8aI+\x9d\xbe\x16\x01\xf9*[-d\x09\"B\x07\x1bp\xe0\x14e\x8f4\x08\x0e\x1bp\x90$4\x0f\xeb]\xb86\x80\xf9q:\x85\xc9g\xd2l=UE";
const TEXT: &str = r#"{"order_id":"o-1","note":"to be or not to be, that is the question whether"}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut coded = vec![0; zstd_safe::compress_bound(bytes.len())];
    let length = zstd_safe::compress(&mut *coded, bytes, 3).unwrap();
    coded.truncate(length);
    coded
}

/// Zeros in blocks of one byte and a count, in a frame with a window of 8 MiB that does not say how many.
fn zstd_zeros(blocks: u32) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3];
    for block in 1..=blocks {
        let head = (1_u32 << 17) << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

fn coded(coding: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::event("plain", body).header("content-encoding", coding)
}

async fn over_both(gate: &Gate, request: &Request) -> [Answer; 2] {
    [gate.ask(request).await, http2::ask(&gate.address(), request).await.expect("an answer")]
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_out_of_every_coding_as_they_went_in() {
    let gate = Gate::start("").await;
    for (coding, body) in
        [("gzip", gzip(TEXT.as_bytes())), ("zstd", zstd(TEXT.as_bytes())), ("br", BROTLI.to_vec())]
    {
        for request in [coded(coding, body.clone()), coded(coding, body).unannounced()] {
            for answer in over_both(&gate, &request).await {
                assert_eq!(answer.status, 201, "{coding}: {answer:?}");
                let at = format!("/v1/events/plain/at/0/{}", answer.json()["offset"]);
                let found = gate.ask(&Request::new("GET", at)).await;
                assert!(
                    String::from_utf8(found.body).unwrap().contains(&format!("\"data\":{TEXT}")),
                    "{coding}"
                );
            }
        }
    }
    // An array of a megabyte in a request of a tenth of it.
    let events: Vec<_> = (0..9_000_u32)
        .map(|it| {
            format!(r#"{{"id":"{:08x}","text":"{}"}}"#, it.wrapping_mul(2_654_435_761), TEXT.replace('"', ""))
        })
        .collect();
    let batch = format!("[{}]", events.join(","));
    for (coding, body) in [("gzip", gzip(batch.as_bytes())), ("zstd", zstd(batch.as_bytes()))] {
        let before = gate.stored();
        let answer = gate.ask(&coded(coding, body)).await;
        assert_eq!((answer.status, gate.stored() - before), (200, 9_000), "{coding}");
    }
}

/// Row, name, coding, body, status and code.
type BadBody = (u8, &'static str, &'static str, Vec<u8>, u16, &'static str);

/// Rows 16 to 18.
pub(crate) fn bad_bodies() -> Vec<BadBody> {
    let zeros = gzip(&vec![0; 256 << 20]);
    let (cut, longer) = (gzip(TEXT.as_bytes())[..40].to_vec(), [gzip(b"{}"), b"{}".to_vec()].concat());
    let mut wrong_crc = gzip(b"{}");
    let crc = wrong_crc.len() - 8;
    wrong_crc[crc] ^= 1;
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].repeat(10_000);
    let window = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 14 << 3, 1, 0, 0];
    let dictionary = vec![0x28, 0xb5, 0x2f, 0xfd, 1, 0, 7, 1, 0, 0];
    let bad = "bad-encoding";
    vec![
        (16, "a bomb of 1 GiB", "gzip", zeros.repeat(4), 413, "decompressed-too-large"),
        (16, "a bomb within a bomb", "gzip", gzip(&zeros), 400, "invalid-utf8"),
        (16, "a bomb of 1 GiB", "zstd", zstd_zeros(8192), 413, "decompressed-too-large"),
        (17, "a truncated body", "gzip", cut, 400, bad),
        (17, "a wrong checksum", "gzip", wrong_crc, 400, bad),
        (17, "something behind", "gzip", longer, 400, bad),
        (17, "10 000 empty members", "gzip", gzip(b"").repeat(10_000), 400, bad),
        (18, "a window of 16 MiB", "zstd", window, 400, bad),
        (18, "a dictionary", "zstd", dictionary, 400, bad),
        (18, "10 000 skippable frames", "zstd", skippable, 400, bad),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_broken_bodies_are_refused_and_cost_little() {
    let gate = Gate::start("").await;
    gate.still_works().await;
    for (number, name, coding, body, status, code) in bad_bodies() {
        let request = coded(coding, body);
        for over in ["HTTP/1.1", "HTTP/2"] {
            let (before, cpu) = (gate.memory_bytes("VmRSS"), gate.cpu());
            gate.reset_peak();
            let answer = match over {
                "HTTP/2" => http2::ask(&gate.address(), &request).await.expect("an answer"),
                _ => gate.ask(&request).await,
            };
            let (grown, cpu) = (gate.memory_bytes("VmHWM").saturating_sub(before), gate.cpu() - cpu);
            let what = format!("row {number}, {name}, {coding}, over {over}: {} KiB, {cpu:?}", grown >> 10);
            println!("{what}");
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}");
            // The request itself, of up to 1 MiB, is among it.
            assert!(grown <= 16 << 20, "{what}");
            // Decompressing takes a few milliseconds of it; ticks are of 10 ms.
            assert!(cpu <= Duration::from_millis(100), "{what}");
        }
        gate.still_works().await;
    }
}
