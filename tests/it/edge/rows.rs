//! Bad requests that both protocols can carry, and the answer to each.

use super::differs::DIFFERS;
use super::gate::Gate;
use super::wire::{Answer, Request, http1, http2};

#[derive(Clone)]
struct Row {
    number: u8,
    name: &'static str,
    request: Request,
    status: u16,
    code: &'static str,
}

fn row(number: u8, name: &'static str, request: Request, status: u16, code: &'static str) -> Row {
    Row { number, name, request, status, code }
}

fn plain(body: impl Into<Vec<u8>>) -> Request {
    Request::event("plain", body)
}

/// Heads: targets, methods, types, codings, announced lengths.
fn heads() -> Vec<Row> {
    let post = |path: &str| Request { path: path.to_owned(), ..plain("{}") };
    let typed = |content_type: &str| plain("{}").header("content-type", content_type);
    let untyped = Request { headers: Vec::new(), ..plain("{}") };
    let coded = |coding: &str| plain("{}").header("content-encoding", coding);
    let long = format!("/v1/events/plain?{}", "q".repeat(9_000));
    let long_text = |path: &str, bytes: usize| {
        Request::new("GET", format!("/v1/events/plain{path}{}", "t".repeat(bytes)))
    };
    vec![
        row(2, "a header block of 40 KiB", plain("{}").header("x-large", "x".repeat(40 << 10)), 431, ""),
        row(3, "a target of 9 KB", post(&long), 414, "uri-too-long"),
        row(13, "a method for nothing", Request::new("PUT", "/v1/events/plain"), 405, "method-not-allowed"),
        row(
            13,
            "a method for no lookup",
            Request::new("PUT", "/v1/events/plain/e-1"),
            405,
            "method-not-allowed",
        ),
        row(13, "a path for nothing", Request::new("GET", "/nothing"), 404, "not-found"),
        row(13, "dots, coded", post("/v1/events/%2e%2e"), 404, "unknown-route"),
        row(13, "dots", post("/v1/events/plain/../plain"), 404, "not-found"),
        row(13, "a coded NUL", post("/v1/events/%00"), 404, "unknown-route"),
        row(13, "two slashes", post("//v1/events/plain"), 404, "not-found"),
        row(13, "two slashes inside", post("/v1//events/plain"), 404, "not-found"),
        row(13, "a coded slash", post("/v1/events%2fplain"), 404, "not-found"),
        row(14, "no content type", untyped, 415, "unsupported-media-type"),
        row(14, "text", typed("text/plain"), 415, "unsupported-media-type"),
        row(14, "another charset", typed("application/json; charset=utf-16"), 415, "unsupported-media-type"),
        row(15, "gzip twice", coded("gzip, gzip"), 415, "unsupported-encoding"),
        row(15, "two codings", coded("zstd, gzip"), 415, "unsupported-encoding"),
        row(15, "an unknown coding", coded("deflate"), 415, "unsupported-encoding"),
        row(16, "not what it says", coded("gzip"), 400, "bad-encoding"),
        row(50, "a negative limit", Request::new("GET", "/v1/events/plain?key=k&limit=-1"), 400, "bad-query"),
        row(50, "a forged cursor", Request::new("GET", "/v1/events/plain?key=k&cursor=x"), 400, "bad-query"),
        row(50, "a long key", long_text("?key=", 513), 400, "bad-query"),
        row(50, "a long type", long_text("?key=k&type=", 1025), 400, "bad-query"),
        row(50, "a long id", long_text("/", 1025), 400, "bad-query"),
        row(51, "metrics", Request::new("GET", "/metrics"), 404, "not-found"),
        row(51, "health", Request::new("GET", "/livez"), 404, "not-found"),
        row(51, "admin", Request::new("GET", "/admin/v1/plugins"), 404, "not-found"),
        row(51, "erasing", Request::new("DELETE", "/admin/v1/recent/plain?key=k"), 404, "not-found"),
    ]
}

/// Bodies that are no JSON we take.
fn texts() -> Vec<Row> {
    let utf16 = |bom: &[u8]| [bom, b"{\0}\0"].concat();
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    let mut rows = vec![
        row(21, "a byte order mark", plain(b"\xef\xbb\xbf{}"), 400, "invalid-utf8"),
        row(21, "UTF-16", plain(utf16(b"\xff\xfe")), 400, "invalid-utf8"),
        row(21, "UTF-16 without a mark", plain(utf16(b"")), 400, "invalid-json"),
        row(21, "UTF-32", plain(b"\xff\xfe\0\0{\0\0\0}\0\0\0"), 400, "invalid-utf8"),
        row(21, "a lone byte", plain(b"{\"a\":\"\xff\"}"), 400, "invalid-utf8"),
        row(21, "an overlong slash", plain(b"{\"a\":\"\xc0\xaf\"}"), 400, "invalid-utf8"),
        row(21, "a surrogate in UTF-8", plain(b"{\"a\":\"\xed\xa0\x80\"}"), 400, "invalid-utf8"),
        row(22, "half a pair", plain(r#"{"a":"\ud800"}"#), 400, "invalid-utf8"),
        row(22, "the other half", plain(r#"{"\udfff":1}"#), 400, "invalid-utf8"),
        row(24, "65 deep", plain(deep(65)), 400, "too-deep"),
        row(24, "100 000 brackets", plain("[".repeat(100_000)), 400, "too-deep"),
        row(24, "100 000 objects", plain("{\"a\":".repeat(100_000)), 400, "too-deep"),
        row(25, "a key twice", plain(r#"{"a":1,"a":2}"#), 400, "duplicate-key"),
        row(25, "below", plain(r#"{"a":{"b":[{"c":1,"c":1}]}}"#), 400, "duplicate-key"),
        row(25, "once escaped", plain(r#"{"a":1,"\u0061":2}"#), 400, "duplicate-key"),
        row(26, "beyond f64", plain(r#"{"a":1e999}"#), 400, "number-out-of-range"),
        row(26, "below f64", plain(r#"{"a":-1e999}"#), 400, "number-out-of-range"),
        row(
            26,
            "10 000 digits",
            plain(format!("{{\"a\":{}}}", "9".repeat(10_000))),
            400,
            "number-out-of-range",
        ),
        row(27, "beyond u64", plain(r#"{"a":18446744073709551616}"#), 400, "number-out-of-range"),
        row(27, "below i64", plain(r#"{"a":-9223372036854775809}"#), 400, "number-out-of-range"),
    ];
    let no_json = [
        "",
        "  \n",
        "{\"a\":",
        "{}{}",
        "{} x",
        "{/* a */}",
        "{} // a",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "'x'",
        "{'a':1}",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":0x1}",
        "{\"a\":1,}",
        "[1,]x",
        "\"a\nb\"",
        "\"\\x\"",
        "tru",
        "{\"a\" 1}",
    ];
    rows.extend(no_json.map(|text| row(19, text, plain(text), 400, "invalid-json")));
    rows
}

/// Bodies that are too much.
fn sizes() -> Vec<Row> {
    let keys: String = (0..100_000).map(|key| format!("\"{key}\":0,")).collect();
    let event = |bytes: usize| plain(format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)));
    let large = || event(9 << 20);
    vec![
        row(11, "9 MiB announced", large(), 413, "body-too-large"),
        row(11, "an event of 1 MiB", event(1 << 20), 413, "event-too-large"),
        row(12, "9 MiB not announced", large().unannounced(), 413, "body-too-large"),
        row(28, "a million elements", plain(format!("[{}1]", "1,".repeat(999_999))), 413, "batch-too-large"),
        row(
            28,
            "60 000 within",
            plain(format!("{{\"a\":[{}1]}}", "1,".repeat(60_000))),
            413,
            "too-many-nodes",
        ),
        row(28, "100 000 keys", plain(format!("{{{keys}\"a\":0}}")), 413, "too-many-nodes"),
        row(
            28,
            "a key of 1 MiB",
            plain(format!("{{\"{}\":0}}", "k".repeat(1 << 20))),
            413,
            "event-too-large",
        ),
        row(36, "10 001 events", plain(format!("[{}{{}}]", "{},".repeat(10_000))), 413, "batch-too-large"),
    ]
}

/// Attributes.
fn attributes() -> Vec<Row> {
    let named = |body: &str| Request::event("named", body);
    let event = Request::cloudevent;
    let id = |id: &str| event(&format!("\"id\":\"{id}\""));
    let invalid = "invalid-attribute";
    vec![
        row(23, "NUL in a plain id", named(r#"{"id":"a\u0000b"}"#), 400, invalid),
        row(23, "NUL in a partition key", named(r#"{"id":"a","key":"a\u0000b"}"#), 400, invalid),
        row(23, "a line break in one", named(r#"{"id":"a","key":"a\nb"}"#), 400, invalid),
        row(23, "NUL in an id", id(r"a\u0000b"), 400, invalid),
        row(23, "NUL in a source", event(r#""source":"\u0000""#), 400, invalid),
        row(23, "NUL in a subject", event(r#""subject":"a\u0000""#), 400, invalid),
        row(23, "DEL in a type", event(r#""type":"edge.\u007f""#), 400, invalid),
        row(23, "CR and LF in an extension", event(r#""tenant":"a\r\nb""#), 400, invalid),
        row(32, "an empty id", id(""), 400, invalid),
        row(32, "a long id", id(&"i".repeat(1025)), 400, invalid),
        row(32, "upper case", event(r#""Tenant":"a""#), 400, "cloudevents-invalid"),
        row(32, "a name of 21", event(r#""aaaaaaaaaaaaaaaaaaaaa":"a""#), 400, "cloudevents-invalid"),
        row(33, "no time", event(r#""time":"yesterday""#), 400, "cloudevents-invalid"),
        row(33, "no zone", event(r#""time":"2026-11-23T09:26:53""#), 400, "cloudevents-invalid"),
        row(33, "February 30", event(r#""time":"2026-02-30T00:00:00Z""#), 400, "cloudevents-invalid"),
        row(27, "no whole number", Request::event("whole", r#"{"n":1.5}"#), 422, "schema-violation"),
        row(
            27,
            "2^53 is not 2^53 + 1",
            Request::event("whole", r#"{"big":9007199254740992}"#),
            422,
            "schema-violation",
        ),
    ]
}

/// What looks bad and is not.
fn good() -> Vec<(u8, &'static str, Request)> {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63));
    let event = Request::cloudevent;
    vec![
        (14, "a charset", plain("{}").header("content-type", "application/json;charset=\"UTF-8\"")),
        (23, "NUL in data", plain(r#"{"a":"\u0000","b":"\u001f"}"#)),
        (24, "64 deep", plain(deep)),
        (
            27,
            "integers beyond f64",
            plain(r#"{"a":9007199254740993,"b":18446744073709551615,"c":-9223372036854775808}"#),
        ),
        (
            27,
            "negative zero, and zeros behind the point",
            plain(r#"{"a":-0,"b":-0.0,"c":1.0,"d":1.10,"e":1E+2}"#),
        ),
        (27, "1.0 is a whole number", Request::event("whole", r#"{"n":1.0,"big":9007199254740993}"#)),
        (
            30,
            "names with a meaning elsewhere",
            plain(r##"{"__proto__":{"a":1},"constructor":1,"$ref":"#/x"}"##),
        ),
        (30, "a long string", plain(format!("{{\"a\":\"{}\"}}", "x".repeat((1 << 20) - 8)))),
        (32, "an empty plain id", Request::event("named", r#"{"id":""}"#)),
        (33, "year 9999", event(r#""time":"9999-12-30T00:00:00Z""#)),
        (33, "year 1", event(r#""time":"0001-01-01T00:00:00Z""#)),
    ]
}

/// Whether an answer is what the row says.
fn is_right(row: &Row, answer: &Answer) -> bool {
    let json = answer.json();
    let detail = json["detail"].as_str().unwrap_or_default();
    let told = match (row.status, row.code) {
        (405, _) => answer.header("allow").is_some_and(|allow| allow.starts_with("GET, ")),
        (_, "unsupported-encoding") => answer.header("accept-encoding") == Some("gzip, zstd, br"),
        (_, "invalid-json") => detail.contains("byte "),
        (_, "duplicate-key") => detail.contains(" /a"),
        _ => true,
    };
    let problem = row.code.is_empty()
        || answer.header("content-type") == Some("application/problem+json")
            && json["outcome"] == "refused"
            && answer.body.len() <= 4096;
    told && problem && (answer.status, answer.code().as_str()) == (row.status, row.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_is_refused_by_name_and_stores_nothing() {
    let gate = Gate::start("").await;
    let mut wrong = Vec::new();
    for row in [heads(), texts(), sizes(), attributes()].concat() {
        for over in ["HTTP/1.1", "HTTP/2"] {
            let before = gate.stored();
            let answer = match over {
                "HTTP/2" => http2::ask(&gate.address(), &row.request).await.map_err(std::io::Error::other),
                _ => http1::ask(&gate.address(), &row.request).await,
            };
            let right = answer.as_ref().is_ok_and(|answer| is_right(&row, answer));
            if !right || gate.stored() != before {
                wrong.push(format!("row {}, {}, over {over}: {answer:?}", row.number, row.name));
            }
            gate.still_works().await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_bad_is_stored_byte_for_byte() {
    let gate = Gate::start("").await;
    for (number, name, request) in good() {
        for over in ["HTTP/1.1", "HTTP/2"] {
            let answer = match over {
                "HTTP/2" => http2::ask(&gate.address(), &request).await.expect("an answer"),
                _ => gate.ask(&request).await,
            };
            let receipt = answer.json();
            assert_eq!(answer.status, 201, "row {number}, {name}, over {over}: {receipt}");
            if request.path.ends_with("/events") {
                continue;
            }
            let at = format!("{}/at/0/{}", request.path, receipt["offset"]);
            let found = gate.ask(&Request::new("GET", at)).await;
            let sent = String::from_utf8(request.body.clone()).unwrap();
            let text = String::from_utf8(found.body).unwrap();
            assert!(text.contains(&format!("\"data\":{sent}")), "row {number}, {name}: {}", found.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_pages_have_the_limits_they_are_said_to_have() {
    let gate = Gate::start("").await;
    let empty = gate.ask(&plain("[]")).await;
    assert_eq!((empty.status, gate.stored()), (200, 0));
    let mixed: Vec<_> = (0..100).map(|number| if number == 42 { "{\"a\":1e999}" } else { "{}" }).collect();
    let answer = gate.ask(&plain(format!("[{}]", mixed.join(",")))).await;
    let results = answer.json()["results"].as_array().unwrap().clone();
    assert_eq!((answer.status, results.len(), gate.stored()), (207, 100, 99));
    assert_eq!(results[42]["problem"]["code"], "number-out-of-range");
    let twice = gate.ask(&Request::event("named", r#"[{"id":"a"},{"id":"a"}]"#)).await;
    assert_eq!((twice.status, gate.stored()), (200, 101));
    let page = gate.ask(&Request::new("GET", "/v1/events/plain?key=k&limit=1000000000")).await;
    assert_eq!(page.status, 200, "the largest limit there is: {page:?}");
}

/// Sorted, not hashed: no choice of keys is worse than another.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_alike_cost_no_more_than_others() {
    let gate = Gate::start("").await;
    let cost = async |key: &dyn Fn(u32) -> String| {
        let members: Vec<_> = (0..24_000).map(|number| format!("\"{}\":0", key(number))).collect();
        let request = plain(format!("{{{}}}", members.join(",")));
        let before = gate.cpu();
        for _ in 0..10 {
            assert_eq!(gate.ask(&request).await.status, 201);
        }
        (gate.cpu() - before).as_millis()
    };
    let varied = cost(&|number| format!("{:012x}", u64::from(number.wrapping_mul(2_654_435_761)) << 8)).await;
    let alike = cost(&|number| format!("k{number:010}k")).await;
    assert!(alike <= 2 * varied + 50, "10 events of 24 000 keys: {alike} ms instead of {varied} ms");
}

#[test]
fn whatever_differs_is_gathered_with_its_reason() {
    let decisions =
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../DECISIONS.md"));
    let decisions = decisions.unwrap().replace('\n', " ");
    for (number, difference, reason) in DIFFERS {
        assert!(
            !reason.is_empty() && decisions.contains(difference),
            "row {number} is not in DECISIONS.md: {difference}"
        );
    }
}
