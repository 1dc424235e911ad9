//! Calls that no well-behaved client makes: each is refused by name, and a good one goes on after it.

use std::io::Write;

use prost::Message;
use tonic::Code;

use super::{PUBLISH, World, api, framed, order, prefixed, reason};

fn publish(events: usize) -> api::PublishRequest {
    api::PublishRequest { events: vec![order("x"); events], route: "orders".to_owned() }
}

/// So many zeros, in a kilobyte for each million.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .args(["-9", "-c"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(&vec![0; bytes]).unwrap());
    let out = child.wait_with_output().unwrap();
    writing.join().unwrap();
    out.stdout
}

#[tokio::test]
async fn what_is_too_large_exhausts_resources() {
    let settings = ["BATCH_BYTES_MAX=100000", "EVENT_BYTES_MAX=50000", "BATCH_EVENTS_MAX=100"];
    let settings = settings.map(|setting| setting.split_once('=').unwrap());
    let mut world = World::dev(&settings).await;
    let exhausted = |reason: &str| (Code::ResourceExhausted, reason.to_owned());
    let large = world.raw(PUBLISH, &[], framed(&publish(1000))).await;
    assert_eq!(large.told(), exhausted("body-too-large"));
    world.goes_on().await;
    // Announced only: nothing but the prefix is ever sent.
    let announced = world.raw(PUBLISH, &[], vec![0, 0x7f, 0xff, 0xff, 0xff]).await;
    assert_eq!(announced.told(), exhausted("body-too-large"));
    let bomb = world.raw(PUBLISH, &[("grpc-encoding", "gzip")], prefixed(1, &bomb(20 << 20))).await;
    assert_eq!(bomb.told(), exhausted("decompressed-too-large"));
    world.goes_on().await;
    let many = world.publish(vec![super::event("", "", super::Data::TextData(String::new())); 101]).await;
    let many = many.unwrap_err();
    assert_eq!((many.code(), reason(&many)), exhausted("batch-too-large"));
    world.goes_on().await;
    assert_eq!(world.metric("weir_in_flight_bytes", "").await, 0.0, "every permit came back");
    world.nothing_vanished().await;
}

/// Headers, a body, and the status and reason that are due.
type Case = (&'static [(&'static str, &'static str)], bytes::Bytes, (Code, String));

#[tokio::test]
async fn what_is_no_call_is_refused_by_name() {
    let mut world = World::dev(&[]).await;
    let good = framed(&publish(1));
    let invalid = |reason: &str| (Code::InvalidArgument, reason.to_owned());
    let garbage = [0xff_u8, 0x13, 0x37].repeat(10);
    let deep: Vec<u8> = (0..500).fold(Vec::new(), |inner, _| {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        [outer, inner].concat()
    });
    let cases: [Case; 12] = [
        (&[], prefixed(0, &garbage), invalid("cloudevents-invalid")),
        (&[], prefixed(0, &deep), invalid("invalid-utf8")),
        (&[], prefixed(0, &[2, 0xff]), invalid("cloudevents-invalid")),
        (&[], prefixed(2, b"x"), invalid("bad-encoding")),
        (&[], prefixed(1, &publish(1).encode_to_vec()), invalid("bad-encoding")),
        (&[("grpc-encoding", "gzip")], prefixed(1, b"no gzip"), invalid("bad-encoding")),
        (&[("grpc-encoding", "zstd")], prefixed(1, b"no zstd"), invalid("bad-encoding")),
        (&[], bytes::Bytes::new(), invalid("body-incomplete")),
        (&[], good.slice(..good.len() - 1), invalid("body-incomplete")),
        (&[], good.slice(..3), invalid("body-incomplete")),
        (&[], [good.clone(), good.clone()].concat().into(), invalid("bad-query")),
        (&[("grpc-timeout", "soon")], good.clone(), invalid("bad-query")),
    ];
    for (headers, body, expected) in cases {
        let refused = world.raw(PUBLISH, headers, body).await;
        assert_eq!(refused.told(), expected, "{headers:?}");
        world.goes_on().await;
    }
    world.nothing_vanished().await;
}

#[tokio::test]
async fn what_there_is_not_is_unimplemented() {
    let mut world = World::dev(&[]).await;
    for path in ["/weir.v1.Events/Nothing", "/weir.v1.Others/Publish", "/v1/events/orders", "/"] {
        let refused = world.raw(path, &[], framed(&publish(1))).await;
        assert_eq!(refused.told().0, Code::Unimplemented, "{path}");
    }
    let encoding = world.raw(PUBLISH, &[("grpc-encoding", "br")], framed(&publish(1))).await;
    assert_eq!(encoding.told().0, Code::Unimplemented);
    assert_eq!(encoding.headers["grpc-accept-encoding"], "identity,gzip,zstd");
    for content_type in ["application/grpc+json", "application/grpc-web+proto", "application/grpcx"] {
        let refused = world.raw(PUBLISH, &[("content-type", content_type)], framed(&publish(1))).await;
        assert_eq!((refused.http, refused.status.is_none()), (415, true), "{content_type}");
    }
    let get = world.http.get(world.weir.url(PUBLISH)).header("content-type", "application/grpc");
    assert_eq!(get.send().await.unwrap().status(), 415);
    world.goes_on().await;
    world.nothing_vanished().await;
}
