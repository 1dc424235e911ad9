//! Traces, as a collector gets them: OTLP over HTTP, in protobuf.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use rdkafka::Message as _;
use rdkafka::message::Headers as _;
use reqwest::header::HeaderMap;
use tokio::net::TcpListener;
use weir_tests::world::{Kafka, Weir, WeirOptions, free_port, until};

use crate::grpc::{ORDER, World};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const KEY: &str = "collector-canary-5be1";

/// What came to a collector.
#[derive(Clone, Default)]
struct Collector {
    posts: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    endpoint: String,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Collector { endpoint, ..Collector::default() };
        let posts = Arc::clone(&collector.posts);
        let take = async move |headers: HeaderMap, body: Bytes| posts.lock().unwrap().push((headers, body));
        let app = Router::new().route("/v1/traces", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, app).await });
        collector
    }

    fn spans(&self) -> Vec<Span> {
        let posts = self.posts.lock().unwrap();
        let requests = posts.iter().map(|(_, body)| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// Waits for so many spans.
    async fn has(&self, spans: usize) -> Vec<Span> {
        until(&format!("{spans} spans"), Duration::from_secs(20), async || {
            Some(self.spans()).filter(|seen| seen.len() >= spans)
        })
        .await
    }
}

/// `weir dev` with traces to this endpoint.
fn options(endpoint: &str, sample_ratio: &str) -> WeirOptions {
    let env = [
        ("WEIR__TRACES__OTLP_ENDPOINT", endpoint),
        ("WEIR__TRACES__SAMPLE_RATIO", sample_ratio),
        ("WEIR__TRACES__HEADERS", "{x-collector-key: {env: COLLECTOR_KEY}}"),
        ("COLLECTOR_KEY", KEY),
    ];
    WeirOptions {
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..WeirOptions::dev()
    }
}

fn post(http: &reqwest::Client, weir: &Weir, body: &str) -> reqwest::RequestBuilder {
    let request = http.post(weir.url("/v1/events/orders")).header("content-type", "application/json");
    request.body(body.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute, as text.
fn attribute(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match attribute.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:?}");
    found[0]
}

/// The address of the Kafka inside a `weir dev`.
fn kafka(weir: &Weir) -> Kafka {
    let log = weir.process().log();
    let line = log.lines().find_map(|line| line.trim().strip_prefix("Kafka ")).unwrap();
    Kafka::at(line.split_whitespace().next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_traced_is_a_span_with_its_stages_and_its_records_below_it() {
    let collector = Collector::start().await;
    let weir = Weir::start(options(&collector.endpoint, "0")).await;
    let http = reqwest::Client::new();
    let traced = post(&http, &weir, &format!("[{ORDER},{ORDER}]")).header("tracestate", "vendor=1");
    let answer = traced.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    let spans = collector.has(4).await;
    let (server, send) = (named(&spans, "POST /v1/events/{route}"), named(&spans, "send orders"));
    assert_eq!((hex(&server.trace_id).as_str(), hex(&server.parent_span_id).as_str()), (TRACE, CALLER));
    assert_eq!((server.kind(), server.flags, server.status.clone()), (SpanKind::Server, 0x301, None));
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/events/{route}"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("weir.route", "orders"),
        ("weir.events", "2"),
    ] {
        assert_eq!(attribute(server, key).as_deref(), Some(value), "{key}");
    }
    for child in [named(&spans, "check"), named(&spans, "plugin"), send] {
        assert_eq!(
            (&child.trace_id, &child.parent_span_id),
            (&server.trace_id, &server.span_id),
            "{child:?}"
        );
        assert!(child.span_id != server.span_id && child.span_id.len() == 8);
        assert!(child.start_time_unix_nano >= server.start_time_unix_nano, "{child:?} in {server:?}");
        assert!(child.start_time_unix_nano <= child.end_time_unix_nano);
        let slack = 1_000_000;
        assert!(child.end_time_unix_nano <= server.end_time_unix_nano + slack, "{child:?} in {server:?}");
    }
    assert_eq!(send.kind(), SpanKind::Producer);
    for (key, value) in [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", "orders"),
        ("messaging.operation.name", "send"),
        ("messaging.batch.message_count", "2"),
    ] {
        assert_eq!(attribute(send, key).as_deref(), Some(value), "{key}");
    }

    let records = kafka(&weir).records("orders").await;
    assert_eq!(records.len(), 2);
    for record in records {
        let header = |name: &str| {
            let found = record.headers().unwrap().iter().find(|header| header.key == name)?;
            Some(String::from_utf8(found.value?.to_vec()).unwrap())
        };
        assert_eq!(header("traceparent"), Some(format!("00-{TRACE}-{}-01", hex(&server.span_id))));
        assert_eq!(header("tracestate").as_deref(), Some("vendor=1"));
    }
    let headers = collector.posts.lock().unwrap()[0].0.clone();
    assert_eq!(
        (&headers["content-type"], &headers["x-collector-key"]),
        (&"application/x-protobuf".parse().unwrap(), &KEY.parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_sends_nothing_and_goes_on_as_it_came() {
    let collector = Collector::start().await;
    let weir = Weir::start(options(&collector.endpoint, "0")).await;
    let http = reqwest::Client::new();
    let not_sampled = format!("00-{TRACE}-{CALLER}-00");
    for parent in [Some(not_sampled.as_str()), None, Some("no-trace")] {
        for _ in 0..20 {
            let request = post(&http, &weir, ORDER);
            let request =
                parent.into_iter().fold(request, |request, parent| request.header("traceparent", parent));
            assert_eq!(request.send().await.unwrap().status(), 201);
        }
    }
    let last = "0af7651916cd43dd8448eb211c80319c";
    let traced = post(&http, &weir, ORDER).header("traceparent", format!("00-{last}-{CALLER}-01"));
    assert_eq!(traced.send().await.unwrap().status(), 201);
    let spans = collector.has(4).await;
    assert!(spans.len() == 4 && spans.iter().all(|span| hex(&span.trace_id) == last), "{spans:?}");
    let records = kafka(&weir).records("orders").await;
    let parents = records.iter().map(|record| {
        let headers = record.headers().unwrap();
        headers.iter().find(|header| header.key == "traceparent").map(|header| header.value.unwrap().to_vec())
    });
    let as_it_came = parents.filter(|parent| parent.as_deref() == Some(not_sampled.as_bytes()));
    assert_eq!((records.len(), as_it_came.count()), (61, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_bring_no_trace_begin_one_over_both_protocols_and_however_they_end() {
    let collector = Collector::start().await;
    let world = World::of(Weir::start(options(&collector.endpoint, "1")).await).await;
    let mut world = world;
    world.goes_on().await;
    let http = reqwest::Client::new();
    assert_eq!(post(&http, &world.weir, "{").send().await.unwrap().status(), 400);
    let odd = http.get(world.weir.url("/nowhere/canary-path?canary-query"));
    assert_eq!(odd.send().await.unwrap().status(), 404);
    let looked = http.get(world.weir.url("/v1/events/orders?key=canary-key")).send().await.unwrap();
    assert_eq!(looked.status(), 200);
    // Call, check, plugin, send; then check of what is refused is one chunk, too; then a span each.
    let spans = collector.has(4 + 2 + 2).await;
    let call = named(&spans, "weir.v1.Events/Publish");
    assert!(call.parent_span_id.is_empty() && call.flags == 0x101, "{call:?}");
    let told = ["rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "weir.route"];
    let told = told.map(|key| attribute(call, key).unwrap());
    assert_eq!(told, ["grpc", "weir.v1.Events", "Publish", "0", "orders"]);
    let of_the_call = spans.iter().filter(|span| span.parent_span_id == call.span_id).count();
    assert_eq!(of_the_call, 3, "{spans:?}");
    let refused = named(&spans, "POST /v1/events/{route}");
    assert_eq!(attribute(refused, "error.type").as_deref(), Some("invalid-json"));
    assert_eq!(refused.status, None, "the client's fault");
    assert_eq!(attribute(named(&spans, "GET"), "http.response.status_code").as_deref(), Some("404"));
    let lookup = named(&spans, "GET /v1/events/{route}");
    assert_eq!(attribute(lookup, "weir.route").as_deref(), Some("orders"));
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
    assert_eq!(ids.len(), 4, "each began one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_changes_no_answer_and_its_loss_is_counted() {
    let weir = Weir::start(options(&format!("http://127.0.0.1:{}", free_port()), "1")).await;
    let http = reqwest::Client::new();
    for _ in 0..50 {
        assert_eq!(post(&http, &weir, ORDER).send().await.unwrap().status(), 201);
    }
    until("all are counted", Duration::from_secs(20), async || {
        (spans(&http, &weir, "not-taken").await == 200.0).then_some(())
    })
    .await;
    assert_eq!((spans(&http, &weir, "sent").await, spans(&http, &weir, "queue-full").await), (0.0, 0.0));
    weir.sigterm();
    assert_eq!(weir.wait(Duration::from_secs(10)).await, Some(0));
    let log = weir.process().log();
    assert_eq!(log.matches("spans are lost").count(), 1, "told once: {log}");
    assert!(!log.contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_and_never_answers_holds_up_nobody() {
    // It listens, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let weir = Weir::start(options(&format!("http://{}", silent.local_addr().unwrap()), "1")).await;
    let http = reqwest::Client::new();
    until("the queue is full", Duration::from_secs(60), async || {
        let posts = (0..100).map(|_| post(&http, &weir, ORDER).send());
        let answers = futures_util::future::join_all(posts).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap().status() == 201));
        (spans(&http, &weir, "queue-full").await > 0.0).then_some(())
    })
    .await;
    weir.sigterm();
    assert_eq!(weir.wait(Duration::from_secs(10)).await, Some(0), "it stops in time");
}

/// What the gateway counts of its spans.
async fn spans(http: &reqwest::Client, weir: &Weir, ending: &str) -> f64 {
    let text = http.get(weir.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let start = format!("weir_trace_spans_total{{ending=\"{ending}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payload_and_no_secret_is_in_a_span() {
    let collector = Collector::start().await;
    let weir = Weir::start(options(&collector.endpoint, "1")).await;
    let http = reqwest::Client::new();
    let canaries =
        ["canary-payload", "canary-header", "canary-query", "canary-id", "canary-bearer", "canary-path"];
    let [payload, header, query, id, bearer, path] = canaries;
    let order = ORDER.replace("BK-30411", payload).replace("u-7", payload);
    let event =
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/{id}","type":"orders.x","data":{order}}}"#);
    let mut sent = 0;
    for url in [
        "/v1/events/orders",
        "/v1/events",
        "/v1/events/canary-path",
        "/canary-path",
        "/v1/events/orders?canary-query",
    ] {
        for (content_type, body) in
            [("application/json", &order), ("application/cloudevents+json", &event), (header, &order)]
        {
            let request = http.post(weir.url(url)).header("content-type", content_type).bearer_auth(bearer);
            let request = request.header("x-canary", header).header("tracestate", format!("c={header}"));
            request.body(body.clone()).send().await.unwrap();
            sent += 1;
        }
    }
    let servers = async || {
        let servers = collector.spans().into_iter().filter(|span| span.kind() == SpanKind::Server);
        (servers.count() == sent).then_some(())
    };
    until("every request has its span", Duration::from_secs(20), servers).await;
    assert!(collector.spans().iter().any(|span| span.name == "send orders"));
    let posts = collector.posts.lock().unwrap();
    for (_, body) in posts.iter() {
        let text = String::from_utf8_lossy(body);
        for canary in canaries.into_iter().chain([query, path, KEY]) {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }
}
