//! What goes in compressed and comes out, or is refused by name.

use std::io::Write as _;

use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::event::budget::EVENT_OVERHEAD_BYTES;

const BUDGET_BYTES: usize = 64 << 20;
const BYTES_MAX: usize = 8 << 20;
/// An order of 76 bytes, by brotli at its defaults.
const BROTLI_ORDER: &str =
    "G0sAgC2Pdx6dsQqUm9tX8A5Yssjt9ZuYG92KSSudvhYB+SpbLWQJIkIHG3DgFGWPNAgOG3CQJDQP6124NoD5cTqFyWfSbD1VRQ==";
/// 64 MiB of zeros, by brotli with its largest window.
const BROTLI_ZEROS: &str = "z///f/gnAOKxQCD3/p/////wTwDEYQGA7v0/////4Z8AiMMiAN37//z//8c/ARCHBQC69/8=";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut coded = vec![0; zstd_safe::compress_bound(bytes.len())];
    let length = zstd_safe::compress(&mut *coded, bytes, 3).expect("room");
    coded.truncate(length);
    coded
}

/// Blocks that are not compressed (RFC 7932 §9.2), which any bytes can be written as.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    for (index, block) in bytes.chunks(1 << 16).enumerate() {
        // A window of 64 KiB, once; not the last block, four nibbles of length less one, not compressed.
        let length = u32::try_from(block.len() - 1).expect("16 bits");
        let (head, bits) = (length << 3 | 1 << 19, 20);
        let (head, bits) = if index == 0 { (head << 1, bits + 1) } else { (head, bits) };
        coded.extend_from_slice(&head.to_le_bytes()[..usize::div_ceil(bits, 8)]);
        coded.extend_from_slice(block);
    }
    coded.push(if bytes.is_empty() { 0b110 } else { 0b11 });
    coded
}

fn base64(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

/// Bytes that compress about twice.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + u8::try_from(state >> 28).expect("four bits")
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What comes out, or the code of the refusal. The budget gets everything back.
async fn undo(coding: Coding, body: &[u8], bytes_max: usize) -> Result<Bytes, Code> {
    let budget = Budget::new(BUDGET_BYTES);
    let undone = Encoding(coding).undo(body, bytes_max, &budget).await;
    if let Ok((bytes, _)) = &undone {
        assert_eq!(budget.used_bytes(), 2 * bytes.len() + EVENT_OVERHEAD_BYTES, "charged as any body is");
    }
    let undone = undone.map(|(bytes, _)| bytes).map_err(|problem| problem.code);
    assert_eq!(budget.used_bytes(), 0);
    undone
}

#[tokio::test]
async fn every_coding_gives_back_what_went_in() {
    for length in [0, 1, 77, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 << 20] {
        let bytes = noise(length);
        for (coding, coded) in
            [(Coding::Gzip, gzip(&bytes)), (Coding::Zstd, zstd(&bytes)), (Coding::Brotli, brotli(&bytes))]
        {
            let exact = undo(coding, &coded, length).await;
            assert!(exact.is_ok_and(|undone| undone == bytes), "{coding:?} of {length} bytes");
            if length > 0 {
                assert_eq!(undo(coding, &coded, length - 1).await, Err(Code::DecompressedTooLarge));
            }
        }
    }
    let order = undo(Coding::Brotli, &base64(BROTLI_ORDER), BYTES_MAX).await.expect("well formed");
    assert!(order.starts_with(b"{\"order_id\"") && order.ends_with(b"}"));
}

#[tokio::test]
async fn members_and_frames_may_follow_each_other() {
    let (gzipped, frame) = (gzip(b"{\"a\":"), zstd(b"{\"a\":"));
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let joined = [
        (Coding::Gzip, [gzipped, gzip(b""), gzip(b"1}")].concat()),
        (Coding::Zstd, [skippable.clone(), frame, skippable, zstd(b"1}")].concat()),
    ];
    for (coding, body) in joined {
        assert_eq!(undo(coding, &body, BYTES_MAX).await.as_deref(), Ok(&b"{\"a\":1}"[..]));
    }
}

#[tokio::test]
async fn whatever_is_cut_short_or_goes_on_is_refused() {
    let samples = [
        (Coding::Gzip, gzip(&noise(200))),
        (Coding::Zstd, zstd(&noise(200))),
        (Coding::Brotli, base64(BROTLI_ORDER)),
        (Coding::Brotli, brotli(&noise(200))),
    ];
    for (coding, whole) in samples {
        for length in 0..whole.len() {
            let cut = undo(coding, &whole[..length], BYTES_MAX).await;
            assert_eq!(cut, Err(Code::BadEncoding), "{coding:?} after {length} bytes");
        }
        let longer = [whole, b"x".to_vec()].concat();
        assert_eq!(undo(coding, &longer, BYTES_MAX).await, Err(Code::BadEncoding), "{coding:?}");
    }
}

#[tokio::test]
async fn what_no_honest_client_sends_is_refused() {
    let mut wrong_crc = gzip(b"{}");
    let crc = wrong_crc.len() - 8;
    wrong_crc[crc] ^= 1;
    let frame = |descriptor: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd], descriptor, &[1, 0, 0]].concat();
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    let cases = [
        ("a wrong checksum", Coding::Gzip, wrong_crc, Err(Code::BadEncoding)),
        ("no coding at all", Coding::Gzip, b"{}".to_vec(), Err(Code::BadEncoding)),
        ("empty members", Coding::Gzip, gzip(b"").repeat(10_000), Err(Code::BadEncoding)),
        ("a window of 8 MiB", Coding::Zstd, frame(&[0, 13 << 3]), Ok(0)),
        ("a window of 16 MiB", Coding::Zstd, frame(&[0, 14 << 3]), Err(Code::BadEncoding)),
        ("a dictionary", Coding::Zstd, frame(&[1, 0, 7]), Err(Code::BadEncoding)),
        ("skippable frames", Coding::Zstd, skippable.repeat(10_000), Err(Code::BadEncoding)),
        ("empty blocks", Coding::Gzip, empty_blocks(Coding::Gzip), Err(Code::BadEncoding)),
        ("empty blocks", Coding::Zstd, empty_blocks(Coding::Zstd), Err(Code::BadEncoding)),
        ("empty blocks", Coding::Brotli, empty_blocks(Coding::Brotli), Err(Code::BadEncoding)),
        ("4 GiB announced", Coding::Zstd, frame(&[0xa0, 0, 0, 0, 0xff]), Err(Code::DecompressedTooLarge)),
        ("a bomb", Coding::Gzip, gzip(&vec![0; 64 << 20]), Err(Code::DecompressedTooLarge)),
        ("a bomb", Coding::Zstd, unannounced(64 << 20), Err(Code::DecompressedTooLarge)),
        ("a bomb", Coding::Brotli, base64(BROTLI_ZEROS), Err(Code::DecompressedTooLarge)),
        ("a nested bomb is one layer", Coding::Gzip, gzip(&gzip(&vec![0; 32 << 20])), Ok(0)),
    ];
    for (name, coding, body, expected) in cases {
        let undone = undo(coding, &body, BYTES_MAX).await;
        let undone = if name.starts_with("a nested") { undone.map(|_| 0) } else { undone.map(|it| it.len()) };
        assert_eq!(undone, expected, "{name}, {coding:?}");
    }
}

/// A whole body of blocks of nothing, which are what costs most to read.
fn empty_blocks(coding: Coding) -> Vec<u8> {
    const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let (head, block, end): (&[u8], &[u8], &[u8]) = match coding {
        Coding::Gzip => (&GZIP_HEAD, &[0, 0, 0, 0xff, 0xff], &[1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]),
        Coding::Zstd => (&[0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3], &[0, 0, 0], &[1, 0, 0]),
        Coding::Brotli => (&[0b1100], &[0b110], &[0b11]),
    };
    [head, &block.repeat(100_000 / block.len()), end].concat()
}

/// Zeros in a frame that does not say how many: blocks of one byte and a count (RFC 8878 §3.1.1.2.2).
fn unannounced(zeros: u32) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3];
    let blocks = zeros >> 17;
    for block in 1..=blocks {
        let head = (1_u32 << 17) << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[tokio::test]
async fn little_may_become_a_megabyte_and_no_more_than_its_ratio() {
    let zeros = gzip(&vec![0; FREE_BYTES]);
    assert!(zeros.len() * RATIO_MAX < FREE_BYTES);
    assert!(undo(Coding::Gzip, &zeros, BYTES_MAX).await.is_ok());
    let more = gzip(&vec![0; FREE_BYTES + 1]);
    assert_eq!(undo(Coding::Gzip, &more, BYTES_MAX).await, Err(Code::DecompressedTooLarge));
}

#[tokio::test]
async fn a_spent_budget_stops_it_before_there_is_memory_for_it() {
    let body = gzip(&noise(3 << 20));
    for budget_bytes in [0, 1 << 10, 1 << 20, 4 << 20] {
        let budget = Budget::new(budget_bytes);
        let refused = Encoding(Coding::Gzip).undo(&body, BYTES_MAX, &budget).await;
        assert_eq!(refused.expect_err("no room").code, Code::Overloaded);
        assert_eq!(budget.used_bytes(), 0);
    }
}

#[test]
fn a_request_names_at_most_one_coding_that_we_know() {
    let of = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(http::header::CONTENT_ENCODING, value.parse().expect("a header value"));
        }
        Encoding::of(&headers).map(|found| found.map(|found| found.0)).map_err(|problem| problem.code)
    };
    let known: [(&[&str], Option<Coding>); 7] = [
        (&[], None),
        (&["identity"], None),
        (&["gzip"], Some(Coding::Gzip)),
        (&["X-GZIP"], Some(Coding::Gzip)),
        (&["identity, zstd"], Some(Coding::Zstd)),
        (&["br"], Some(Coding::Brotli)),
        (&["identity", "br"], Some(Coding::Brotli)),
    ];
    for (values, coding) in known {
        assert_eq!(of(values), Ok(coding), "{values:?}");
    }
    for values in [&["gzip, gzip"][..], &["gzip", "zstd"], &["deflate"], &["aws-chunked"], &["gzip;q=1"]] {
        assert_eq!(of(values), Err(Code::UnsupportedEncoding), "{values:?}");
    }
}
