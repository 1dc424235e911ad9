//! The rows of the list of bad inputs (see `edge`) that an event or a message can be, as calls: each is refused by the name
//! it has over HTTP, alone and on a stream, none is stored, and after each a good call succeeds.
//!
//! Not here: rows 12 and 34, which a message and its attributes cannot be; 13 to 15 and 52 to 54 (`refusals`); 20 and 29, which
//! meet the same parser; 44 to 48 (`access`, and beside their rows over HTTP), of which no client can send 48.

use futures_util::{StreamExt as _, stream};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::api::events_client::EventsClient;
use super::cloudevents::CloudEvent;
use super::cloudevents::cloud_event::Data;
use super::cloudevents::cloud_event::cloud_event_attribute_value::Attr;
use super::stream::Stream;
use super::{PUBLISH, api, by_hand, event, framed, prefixed, problem, raw, reason, receipt, with};
use crate::edge::compressed::bad_bodies;
use crate::edge::gate::Gate;

/// A row's number, what it is, the event, its route, and the reason that is due.
type Row = (u8, &'static str, CloudEvent, &'static str, &'static str);

fn made(data: Data) -> CloudEvent {
    event("e-1", "edge.plain", data)
}

fn text(data: impl Into<String>) -> CloudEvent {
    made(Data::TextData(data.into()))
}

fn bytes(data: &[u8]) -> CloudEvent {
    made(Data::BinaryData(data.to_vec()))
}

fn named(name: &str, value: &str) -> CloudEvent {
    with(text("{}"), name, Attr::CeString(value.to_owned()))
}

fn at(seconds: i64, nanos: i32) -> CloudEvent {
    with(text("{}"), "time", Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos }))
}

/// Data that says it is JSON and is not, or not as we take it.
fn data() -> Vec<Row> {
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    let keys: String = (0..100_000).map(|key| format!("\"{key}\":0,")).collect();
    let no_json = [
        "  \n",
        "{\"a\":",
        "{}{}",
        "{/* a */}",
        "{\"a\":NaN}",
        "'x'",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":1,}",
        "tru",
    ];
    let no_json = no_json.map(|data| (19, data, text(data), "plain", "invalid-json"));
    let rows = [
        (11, "an event of 1 MiB", text("x".repeat(1 << 20)), "event-too-large"),
        (21, "a byte order mark", text("\u{feff}{}"), "invalid-utf8"),
        (21, "UTF-16", bytes(b"\xff\xfe{\0}\0"), "invalid-utf8"),
        (21, "a lone byte", bytes(b"{\"a\":\"\xff\"}"), "invalid-utf8"),
        (21, "an overlong slash", bytes(b"{\"a\":\"\xc0\xaf\"}"), "invalid-utf8"),
        (21, "a surrogate in UTF-8", bytes(b"{\"a\":\"\xed\xa0\x80\"}"), "invalid-utf8"),
        (22, "half a pair", text(r#"{"a":"\ud800"}"#), "invalid-utf8"),
        (24, "65 deep", text(deep(65)), "too-deep"),
        (24, "100 000 brackets", text("[".repeat(100_000)), "too-deep"),
        (25, "a key twice", text(r#"{"a":1,"a":2}"#), "duplicate-key"),
        (25, "below, once escaped", text(r#"{"a":{"b":[{"c":1,"\u0063":1}]}}"#), "duplicate-key"),
        (26, "beyond f64", text(r#"{"a":1e999}"#), "number-out-of-range"),
        (26, "10 000 digits", text(format!("{{\"a\":{}}}", "9".repeat(10_000))), "number-out-of-range"),
        (27, "beyond u64", text(r#"{"a":18446744073709551616}"#), "number-out-of-range"),
        (27, "below i64", text(r#"{"a":-9223372036854775809}"#), "number-out-of-range"),
        (28, "60 000 within", text(format!("{{\"a\":[{}1]}}", "1,".repeat(60_000))), "too-many-nodes"),
        (28, "100 000 keys", text(format!("{{{keys}\"a\":0}}")), "too-many-nodes"),
        (28, "a key of 1 MiB", text(format!("{{\"{}\":0}}", "k".repeat(1 << 20))), "event-too-large"),
        (
            35,
            "a message as data",
            made(Data::ProtoData(prost_types::Any::default())),
            "unsupported-media-type",
        ),
    ];
    let on_plain = rows.map(|(number, name, event, reason)| (number, name, event, "plain", reason));
    let whole = [
        (27, "no whole number", text(r#"{"n":1.5}"#), "whole", "schema-violation"),
        (27, "2^53 is not 2^53 + 1", text(r#"{"big":9007199254740992}"#), "whole", "schema-violation"),
        (
            14,
            "no JSON for a schema",
            with(text("{}"), "datacontenttype", Attr::CeString("text/plain".to_owned())),
            "whole",
            "unsupported-media-type",
        ),
    ];
    [no_json.to_vec(), on_plain.to_vec(), whole.to_vec()].concat()
}

/// Attributes.
fn attributes() -> Vec<Row> {
    let (invalid, no_event) = ("invalid-attribute", "cloudevents-invalid");
    let id = |id: &str| CloudEvent { id: id.to_owned(), ..text("{}") };
    let version = |version: &str| CloudEvent { spec_version: version.to_owned(), ..text("{}") };
    let rows = [
        (23, "NUL in an id", id("a\0b"), invalid),
        (23, "NUL in a source", CloudEvent { source: "\0".to_owned(), ..text("{}") }, invalid),
        (23, "NUL in a subject", named("subject", "a\0"), invalid),
        (23, "DEL in a type", CloudEvent { r#type: "edge.\u{7f}".to_owned(), ..text("{}") }, invalid),
        (23, "CR and LF in an extension", named("tenant", "a\r\nb"), invalid),
        (23, "CR and LF in a content type", named("datacontenttype", "text/plain\r\nx: y"), invalid),
        (31, "no id", id(""), invalid),
        (31, "no source", CloudEvent { source: String::new(), ..text("{}") }, invalid),
        (31, "no type", CloudEvent { r#type: String::new(), ..text("{}") }, invalid),
        (31, "no version", version(""), no_event),
        (31, "version 0.3", version("0.3"), no_event),
        (31, "version 2.0", version("2.0"), no_event),
        (32, "a long id", id(&"i".repeat(1025)), invalid),
        (32, "a long extension", named("tenant", &"t".repeat(1025)), invalid),
        (32, "an empty extension", named("tenant", ""), invalid),
        (32, "upper case", named("Tenant", "a"), no_event),
        (32, "a name of 21", named("aaaaaaaaaaaaaaaaaaaaa", "a"), no_event),
        (32, "no name", named("", "a"), no_event),
        (32, "named `data`", named("data", "a"), no_event),
        (32, "named `id`", named("id", "a"), no_event),
        (33, "no time", named("time", "yesterday"), no_event),
        (33, "no zone", named("time", "2026-11-23T09:26:53"), no_event),
        (33, "February 30", named("time", "2026-02-30T00:00:00Z"), no_event),
        (33, "two billion nanoseconds", at(0, 2_000_000_000), no_event),
        (33, "less than no nanoseconds", at(0, -1), no_event),
        (33, "year 33658", at(1_000_000_000_000, 0), no_event),
    ];
    let rows = rows.map(|(number, name, event, reason)| (number, name, event, "plain", reason));
    let keyed = (23, "NUL in a partition key", text(r#"{"key":"a\u0000b"}"#), "named", invalid);
    rows.into_iter().chain([keyed]).collect()
}

async fn client(gate: &Gate) -> EventsClient<Channel> {
    EventsClient::new(Channel::from_shared(gate.weir.url("")).unwrap().connect().await.unwrap())
}

async fn publish(
    client: &mut EventsClient<Channel>,
    events: Vec<CloudEvent>,
    route: &str,
) -> Result<Vec<api::Result>, (Code, String)> {
    let request = api::PublishRequest { events, route: route.to_owned() };
    let answer = client.publish(request).await.map_err(|status| (status.code(), reason(&status)))?;
    Ok(answer.into_inner().results)
}

/// That a good call stores one event.
async fn still_works(gate: &Gate, client: &mut EventsClient<Channel>) {
    let before = gate.stored();
    let results = publish(client, vec![text(r#"{"good": true}"#)], "plain").await.unwrap();
    assert_eq!((receipt(&results[0]).outcome.as_str(), gate.stored()), ("stored", before + 1));
}

/// The status that belongs to a reason.
fn status(reason: &str) -> Code {
    match reason {
        "event-too-large" | "too-many-nodes" | "batch-too-large" => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_event_is_refused_by_name_and_stores_nothing() {
    let gate = Gate::start("").await;
    let mut client = client(&gate).await;
    let mut wrong = Vec::new();
    for (number, name, event, route, reason) in [data(), attributes()].concat() {
        let before = gate.stored();
        let refused = publish(&mut client, vec![event], route).await;
        if refused != Err((status(reason), reason.to_owned())) || gate.stored() != before {
            wrong.push(format!("row {number}, {name}: {refused:?}"));
        }
        still_works(&gate, &mut client).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_stream_it_is_acknowledged_by_name_and_the_stream_goes_on() {
    let gate = Gate::start("").await;
    let mut stream = Stream::open(&client(&gate).await).await;
    let mut wrong = Vec::new();
    let rows = [data(), attributes()].concat();
    let (count, mut sequences) = (rows.len(), 0..);
    for (number, name, event, route, reason) in rows {
        for (event, route, reason) in [(event, route, reason), (text("{}"), "plain", "")] {
            let sequence = sequences.next().unwrap();
            stream.send(sequence, vec![event], route).await;
            let ack = stream.ack().await.unwrap();
            let told = match &ack.results[..] {
                [result] if reason.is_empty() => receipt(result).outcome == "stored",
                [result] => problem(result).code == reason && problem(result).outcome == "refused",
                _ => false,
            };
            if !told || ack.sequence != sequence || ack.problem.is_some() {
                wrong.push(format!("row {number}, {name}: {ack:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(gate.stored(), i64::try_from(count).unwrap(), "the good ones, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_bad_is_stored_byte_for_byte() {
    let gate = Gate::start("").await;
    let (mut client, http) = (client(&gate).await, by_hand());
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63));
    let good = [
        (
            14,
            "plain",
            with(
                text("{}"),
                "datacontenttype",
                Attr::CeString("application/json;charset=\"UTF-8\"".to_owned()),
            ),
        ),
        (23, "plain", text(r#"{"a":"\u0000","b":"\u001f"}"#)),
        (24, "plain", text(deep)),
        (27, "plain", text(r#"{"a":9007199254740993,"b":18446744073709551615,"c":-9223372036854775808}"#)),
        (27, "plain", text(r#"{"a":-0,"b":-0.0,"c":1.0,"d":1.10,"e":1E+2}"#)),
        (27, "whole", text(r#"{"n":1.0,"big":9007199254740993}"#)),
        (30, "plain", text(r##"{"__proto__":{"a":1},"constructor":1,"$ref":"#/x"}"##)),
        (33, "plain", at(253_370_764_800, 0)),
        (33, "plain", at(-62_135_596_800, 0)),
    ];
    for (number, route, event) in good {
        let Some(Data::TextData(sent)) = event.data.clone() else { unreachable!() };
        let results = publish(&mut client, vec![event], route).await.unwrap();
        let offset = receipt(&results[0]).offset.unwrap();
        let found =
            http.get(gate.weir.url(&format!("/v1/events/{route}/at/0/{offset}"))).send().await.unwrap();
        let found = found.text().await.unwrap();
        assert!(found.contains(&format!("\"data\":{sent}")), "row {number}: {found}");
    }
}

/// Rows 16 to 18.
#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_broken_messages_are_refused() {
    let gate = Gate::start("").await;
    let (mut client, http) = (client(&gate).await, by_hand());
    for (number, name, coding, body, _, reason) in bad_bodies() {
        let (before, coding) = (gate.stored(), [("grpc-encoding", coding)]);
        // What comes out of the inner bomb is no text over HTTP, and no message here.
        let (status, reason) = match reason {
            "decompressed-too-large" => (Code::ResourceExhausted, reason),
            "invalid-utf8" => (Code::InvalidArgument, "cloudevents-invalid"),
            _ => (Code::InvalidArgument, reason),
        };
        let refused = raw(&http, gate.weir.url(PUBLISH), &coding, prefixed(1, &body)).await;
        assert_eq!(refused.told(), (status, reason.to_owned()), "row {number}, {name}");
        assert_eq!(gate.stored(), before, "row {number}, {name}");
        still_works(&gate, &mut client).await;
    }
}

/// Rows 10 and 36.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_a_time_and_a_batch_a_size() {
    let gate = Gate::start("body_timeout_ms: 500").await;
    let (mut client, http) = (client(&gate).await, by_hand());
    let begun = prefixed(0, &[0; 100]).slice(..50);
    let stalled = stream::iter([Ok::<_, std::io::Error>(begun)]).chain(stream::pending());
    let refused = raw(&http, gate.weir.url(PUBLISH), &[], reqwest::Body::wrap_stream(stalled)).await;
    assert_eq!(refused.told(), (Code::DeadlineExceeded, "body-timeout".to_owned()));
    let many = publish(&mut client, vec![text("{}"); 10_001], "plain").await;
    assert_eq!(many, Err((Code::ResourceExhausted, "batch-too-large".to_owned())));
    assert_eq!(gate.stored(), 0);
    still_works(&gate, &mut client).await;

    let mixed = (0..100).map(|number| text(if number == 42 { "{\"a\":1e999}" } else { "{}" }));
    let results = publish(&mut client, mixed.collect(), "plain").await.unwrap();
    assert_eq!((results.len(), gate.stored()), (100, 100), "the good one, and 99 of these");
    assert_eq!(problem(&results[42]).code, "number-out-of-range");
    let twice = publish(&mut client, vec![text("{}"), text("{}")], "plain").await.unwrap();
    assert!(twice.iter().all(|result| receipt(result).outcome == "stored"), "there is no deduplication yet");
}

/// Row 49.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_more_than_it_may_is_told_when_to_come_again() {
    let gate = Gate::start("tenants: {default: {events_per_s: 1, burst_s: 30}}").await;
    let mut client = client(&gate).await;
    publish(&mut client, vec![text("{}"); 30], "plain").await.unwrap();
    let request = api::PublishRequest { events: vec![text("{}"); 9], route: "plain".to_owned() };
    let refused = client.publish(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "rate-limited"));
    let again = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((1..=30).contains(&again.as_secs()), "{again:?}");
    let mut stream = Stream::open(&client).await;
    stream.send(7, vec![text("{}"); 9], "plain").await;
    let ack = stream.ack().await.unwrap();
    let refused = ack.problem.unwrap();
    assert_eq!((ack.sequence, refused.code.as_str(), refused.retryable), (7, "rate-limited", true));
    assert_eq!(gate.stored(), 30);
}

/// Row 51.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_takes_no_calls_and_this_one_no_orders() {
    let gate = Gate::start("").await;
    let (mut client, http) = (client(&gate).await, by_hand());
    let good = framed(&api::PublishRequest { events: vec![text("{}")], route: "plain".to_owned() });
    let admin = raw(&http, gate.weir.admin_url(PUBLISH), &[], good.clone()).await;
    assert_eq!((admin.http, admin.status.is_some()), (404, false));
    for path in ["/admin/v1/plugins", "/metrics", "/weir.v1.Admin/Rebuild"] {
        let refused = raw(&http, gate.weir.url(path), &[], good.clone()).await;
        assert_eq!(refused.told().0, Code::Unimplemented, "{path}");
    }
    assert_eq!(gate.stored(), 0);
    still_works(&gate, &mut client).await;
}
