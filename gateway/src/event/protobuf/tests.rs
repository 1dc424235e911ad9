use std::collections::HashMap;

use proptest::prelude::*;
use prost::Message as _;

use self::api::cloud_event::cloud_event_attribute_value::Attr;
use self::api::cloud_event::{CloudEventAttributeValue, Data};
use self::api::{CloudEvent, CloudEventBatch};
use super::*;
use crate::event::frame::{Framing, frame};
use crate::event::{Headers, Limits, Parser, RawEvent};

#[expect(clippy::all, clippy::doc_markdown, unreachable_pub, reason = "generated")]
mod api {
    include!(concat!(env!("OUT_DIR"), "/io.cloudevents.v1.rs"));
}

fn event(attributes: &[(&str, Attr)], data: Option<Data>) -> CloudEvent {
    let value = |attr: &Attr| CloudEventAttributeValue { attr: Some(attr.clone()) };
    CloudEvent {
        id: "i".into(),
        source: "/s".into(),
        spec_version: "1.0".into(),
        r#type: "t".into(),
        attributes: attributes.iter().map(|(name, attr)| ((*name).to_owned(), value(attr))).collect(),
        data,
    }
}

/// What is read of a message: attributes by name, then the data; or the code.
fn read(message: &[u8], names: &[&str]) -> Result<(Vec<Option<String>>, Vec<u8>), Code> {
    let (arena, headers) = (Bump::new(), Headers::new());
    let mut parser = Parser::new(Limits { event_bytes_max: 1000, ..Limits::default() });
    let read = parser.protobuf(&arena, RawEvent { bytes: message, index: None }, &headers);
    let read = read.map_err(|problem| problem.code)?;
    let texts = names.iter().map(|name| read.attributes().get(name).map(str::to_owned)).collect();
    Ok((texts, read.data().to_vec()))
}

#[test]
fn attributes_of_every_type_become_their_canonical_text() {
    let stamp = |seconds, nanos| Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos });
    let cases = [
        ("subject", Attr::CeString("o-1".into()), "o-1"),
        ("time", stamp(1_790_000_000, 5_000_000), "2026-09-21T14:13:20.005Z"),
        ("time", Attr::CeString("2026-01-02T03:04:05+01:00".into()), "2026-01-02T03:04:05+01:00"),
        ("dataschema", Attr::CeUri("https://s/1".into()), "https://s/1"),
        ("yes", Attr::CeBoolean(true), "true"),
        ("no", Attr::CeBoolean(false), "false"),
        ("least", Attr::CeInteger(i32::MIN), "-2147483648"),
        ("most", Attr::CeInteger(i32::MAX), "2147483647"),
        ("bytes", Attr::CeBytes(vec![0xff, 0].into()), "/wA="),
        ("ref", Attr::CeUriRef("../x".into()), "../x"),
        ("past", stamp(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z"),
    ];
    for (name, attr, expected) in cases {
        let read = read(&event(&[(name, attr)], None).encode_to_vec(), &[name]);
        assert_eq!(read, Ok((vec![Some(expected.to_owned())], Vec::new())), "{name}");
    }
}

#[test]
fn data_is_untouched() {
    let json = r#"{ "n": 1.0e0,	"é":"\u0041" }"#;
    let text = event(&[], Some(Data::TextData(json.into()))).encode_to_vec();
    assert_eq!(read(&text, &["datacontenttype"]), Ok((vec![Some("application/json".into())], json.into())));
    let binary = [("datacontenttype", Attr::CeString("application/octet-stream".into()))];
    let bytes = event(&binary, Some(Data::BinaryData(vec![0, 0xff].into()))).encode_to_vec();
    assert_eq!(read(&bytes, &[]), Ok((Vec::new(), vec![0, 0xff])));
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    let good = || event(&[], None);
    let string = |text: &str| Attr::CeString(text.into());
    let any = Data::ProtoData(prost_types::Any::default());
    let stamp = prost_types::Timestamp { seconds: 0, nanos: 1_000_000_000 };
    let cases = [
        (CloudEvent { id: String::new(), ..good() }, Code::InvalidAttribute),
        (CloudEvent { source: "a\nb".into(), ..good() }, Code::InvalidAttribute),
        (CloudEvent { spec_version: "0.3".into(), ..good() }, Code::CloudEventsInvalid),
        (CloudEvent::default(), Code::CloudEventsInvalid),
        (event(&[("Upper", string("x"))], None), Code::CloudEventsInvalid),
        (event(&[("", string("x"))], None), Code::CloudEventsInvalid),
        (event(&[("id", string("x"))], None), Code::CloudEventsInvalid),
        (event(&[("time", string("noon"))], None), Code::CloudEventsInvalid),
        (event(&[("time", Attr::CeTimestamp(stamp))], None), Code::CloudEventsInvalid),
        (event(&[], Some(any)), Code::UnsupportedMediaType),
        (event(&[], Some(Data::TextData("{".into()))), Code::InvalidJson),
        (event(&[], Some(Data::BinaryData(vec![b'1'; 1000].into()))), Code::EventTooLarge),
    ];
    for (event, code) in cases {
        assert_eq!(read(&event.encode_to_vec(), &[]), Err(code), "{event:?}");
    }
    let twice = [
        event(&[("a", string("1"))], None).encode_to_vec(),
        event(&[("a", string("2"))], None).encode_to_vec(),
    ];
    assert_eq!(read(&twice.concat(), &[]), Err(Code::DuplicateKey));
    let utf8 = [good().encode_to_vec(), vec![1 << 3 | 2, 1, 0xff]].concat();
    assert_eq!(read(&utf8, &[]), Err(Code::InvalidUtf8));
    let number = [good().encode_to_vec(), vec![1 << 3, 1]].concat();
    assert_eq!(read(&number, &[]), Err(Code::CloudEventsInvalid), "an id that is a number");
}

#[test]
fn unknown_fields_are_passed_over_and_the_last_one_counts() {
    // Fields 9 (varint), 10 (8 bytes), 11 (4 bytes) and 100 (bytes), then another id.
    let unknown: &[u8] =
        &[9 << 3, 0x80, 1, 10 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 11 << 3 | 5, 0, 0, 0, 0, 0xa2, 6, 1, b'x'];
    let id: &[u8] = &[1 << 3 | 2, 1, b'j'];
    let message = [&event(&[], None).encode_to_vec(), unknown, id].concat();
    assert_eq!(read(&message, &["id"]), Ok((vec![Some("j".into())], Vec::new())));
}

#[test]
fn a_batch_is_framed_in_place() {
    let limits = Limits { batch_events_max: 2, ..Limits::default() };
    let batch = |count: usize| {
        CloudEventBatch { events: vec![event(&[], Some(Data::TextData("1".into()))); count] }.encode_to_vec()
    };
    let framed = |body: &[u8]| {
        let frames = frame(body, Framing::Protobuf, &limits);
        frames.map(|frames| (frames.batch, frames.events.iter().map(|raw| raw.index).collect::<Vec<_>>()))
    };
    let framed = |body: &[u8]| framed(body).map_err(|problem| problem.code);
    let frames = batch(2);
    let events: Vec<_> = fields(&frames).map(|field| field.expect("it is one").1).collect();
    let bytes = events.iter().map(|event| if let Value::Bytes(bytes) = event { *bytes } else { &[] });
    assert_eq!(super::batch(bytes), frames, "what is taken apart is put together again");
    let long = vec![b'x'; 300];
    assert_eq!(fields(&super::batch([&*long].into_iter())).next(), Some(Ok((1, Value::Bytes(&long)))));
    assert_eq!(framed(&batch(0)), Ok((true, vec![])));
    assert_eq!(framed(&batch(1)), Ok((true, vec![Some(0)])));
    assert_eq!(framed(&batch(2)), Ok((true, vec![Some(0), Some(1)])));
    assert_eq!(framed(&batch(3)), Err(Code::BatchTooLarge));
    let (whole, body) = (batch(2), |end: usize| batch(2)[..end].to_vec());
    assert_eq!(framed(&body(whole.len() - 1)), Err(Code::CloudEventsInvalid), "cut off");
    // A group, a key without a number, a varint without an end, a varint of more than 64 bits.
    for bad in [
        &[1 << 3 | 3][..],
        &[2, 0],
        &[0xff; 12],
        &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
    ] {
        assert_eq!(framed(bad), Err(Code::CloudEventsInvalid), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_bring_it_down(bytes: Vec<u8>) {
        drop(read(&bytes, &[]));
        drop(frame(&bytes, Framing::Protobuf, &Limits::default()));
    }

    #[test]
    fn what_prost_writes_is_read_as_prost_reads_it(
        id in "[a-z]{1,9}", source in "[a-z/]{1,9}", names: [bool; 3], number: i32, data: Vec<u8>
    ) {
        let all = [("a", Attr::CeInteger(number)), ("b", Attr::CeBoolean(number > 0)), ("datacontenttype", Attr::CeString("x/y".into()))];
        let chosen: HashMap<_, _> = all.into_iter().zip(names).filter_map(|(attr, chosen)| chosen.then_some(attr)).collect();
        let attributes: Vec<_> = chosen.clone().into_iter().collect();
        let event = CloudEvent { id: id.clone(), source, ..event(&attributes, Some(Data::BinaryData(data.clone().into()))) };
        let expected = names[2] || data.is_empty() || serde_json::from_slice::<serde_json::Value>(&data).is_ok();
        let read = read(&event.encode_to_vec(), &["id", "a"]);
        prop_assert_eq!(read.is_ok(), expected);
        if let Ok((texts, read)) = read {
            prop_assert_eq!(texts, vec![Some(id), names[0].then(|| number.to_string())]);
            prop_assert_eq!(read, data);
        }
    }
}
