//! Too much: of one tenant, and of all together. Whoever is refused is told when to come again, nothing of it is
//! stored, nobody else notices, and afterwards all is as before.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir::access::{Minted, mint};
use weir_tests::world::{Answer, Weir, WeirOptions, canaries, until};

use crate::edge::budget::Sink;

const ROUTES: &str = r#"
routes:
  - name: orders
    tenant: shop
    match: {type: "orders.*"}
    topic: orders
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
  - name: visits
    tenant: other
    match: {type: "visits.*"}
    topic: visits
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
"#;

struct Stage {
    weir: Weir,
    http: reqwest::Client,
}

/// Status, code and the seconds to wait, if any are told.
fn refusal(answer: &Answer) -> (u16, String, Option<u64>) {
    (answer.status, answer.code(), answer.header("retry-after").parse().ok())
}

impl Stage {
    async fn dev(config: &str) -> Stage {
        let weir = Weir::start(WeirOptions::dev_with(format!("{config}{ROUTES}"))).await;
        Stage { weir, http: reqwest::Client::new() }
    }

    fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.http.post(self.weir.url(path)).header("content-type", "application/json").body(body)
    }

    async fn metrics(&self, key: Option<&str>) -> String {
        let request = self.http.get(self.weir.admin_url("/metrics"));
        Answer::to(key.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth)).await.text
    }
}

/// The sum of a metric's lines.
fn sum(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        (series.split('{').next() == Some(name)).then(|| value.parse::<f64>().unwrap())
    });
    values.sum()
}

fn array(events: usize) -> String {
    format!("[{}]", vec![r#"{"a":1}"#; events].join(","))
}

fn key(id: &str, tenant: &str, role: &str) -> (String, String) {
    let Minted { key, sha256 } = mint(id).unwrap();
    canaries().note(key.rsplit('_').next().unwrap());
    (key, format!("    - {{id: {id}, sha256: {sha256}, tenant: {tenant}, roles: [{role}]}}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_sends_too_many_events_is_refused_whole_and_nobody_else_is() {
    let (shop, of_shop) = key("shop", "shop", "write");
    let (other, of_other) = key("other", "other", "write");
    let (scraper, of_scraper) = key("scraper", "default", "metrics");
    let limits = "limits: {tenants: {shop: {events_per_s: 4, burst_s: 5}}}\n";
    let stage = Stage::dev(&format!("{limits}access:\n  keys:\n{of_shop}{of_other}{of_scraper}")).await;
    let post = |body: String| Answer::to(stage.post("/v1/events/orders", body).bearer_auth(&shop));

    let good = post(array(18)).await;
    assert_eq!(good.status, 200, "{good:?}");
    assert_eq!(good.header("ratelimit-policy"), r#""events";q=20;qu="events";w=5"#);
    assert_eq!(good.header("ratelimit"), r#""events";r=2;t=5"#);

    let refused = post(array(12)).await;
    let (status, code, wait) = refusal(&refused);
    assert_eq!((status, code.as_str()), (429, "rate-limited"), "{refused:?}");
    assert!(matches!(wait, Some(2 | 3)), "ten events come back in two and a half seconds: {refused:?}");
    assert!(refused.header("ratelimit").starts_with(r#""events";r="#), "{refused:?}");
    let never = post(array(21)).await;
    assert_eq!(
        refusal(&never),
        (413, "batch-too-large".into(), None),
        "no wait would make it fit: {never:?}"
    );

    let elsewhere = Answer::to(stage.post("/v1/events/visits", array(50)).bearer_auth(&other)).await;
    assert_eq!((elsewhere.status, elsewhere.header("ratelimit")), (200, ""), "{elsewhere:?}");

    let wait = Duration::from_secs(wait.unwrap_or_default());
    tokio::time::sleep(wait).await;
    let after = post(array(12)).await;
    assert_eq!(after.status, 200, "it came again when it was told to: {after:?}");
    assert_eq!(after.json()["results"][0]["offset"], 18, "nothing of what was refused is stored");

    let metrics = stage.metrics(Some(&scraper)).await;
    for line in [
        r#"weir_throttled_total{tenant="shop",unit="events"} 2"#,
        r#"weir_events_out_total{code="rate-limited",outcome="refused",route="orders"} 12"#,
        r#"weir_events_out_total{code="batch-too-large",outcome="refused",route="orders"} 21"#,
    ] {
        assert!(metrics.contains(line), "{line} not in\n{metrics}");
    }
    assert_eq!(sum(&metrics, "weir_events_in_total"), sum(&metrics, "weir_events_out_total"));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bytes_are_refused_before_they_are_read() {
    let stage = Stage::dev("limits: {tenants: {shop: {bytes_per_s: 1000}}}\n").await;
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(792));
    let good = Answer::to(stage.post("/v1/events/orders", body.clone())).await;
    assert_eq!(good.status, 201, "{good:?}");
    assert_eq!(good.header("ratelimit-policy"), r#""bytes";q=1000;qu="content-bytes";w=1"#);

    // Nothing of the body is ever sent.
    let address = stage.weir.url("").replace("http://", "");
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = "POST /v1/events/orders HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\n\
                content-length: 990\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = vec![0; 4096];
    let bytes = stream.read(&mut read).await.unwrap();
    let told = String::from_utf8_lossy(&read[..bytes]).to_ascii_lowercase();
    assert!(told.starts_with("http/1.1 429 ") && told.contains("\r\nretry-after: 1\r\n"), "{told}");

    let unannounced = || {
        let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(body.clone())]);
        Answer::to(stage.post("/v1/events/orders", reqwest::Body::wrap_stream(pieces)))
    };
    let taken = until("there is room again", Duration::from_secs(10), async || {
        let answer = unannounced().await;
        (answer.status == 201).then_some(answer)
    })
    .await;
    assert_eq!(taken.json()["offset"], 1, "nothing in between is stored: {taken:?}");
    assert_eq!(refusal(&unannounced().await), (429, "rate-limited".into(), Some(1)));
    let large = Answer::to(stage.post("/v1/events/orders", "x".repeat(1001))).await;
    assert_eq!(refusal(&large), (413, "body-too-large".into(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_lines_waits_until_its_lines_are_due() {
    let stage = Stage::dev("limits: {tenants: {shop: {events_per_s: 20}}}\n").await;
    let lines = "{\"a\":1}\n".repeat(40);
    let begun = Instant::now();
    let request = stage.http.post(stage.weir.url("/v1/events/orders")).body(lines);
    let request =
        request.header("content-type", "application/x-ndjson").header("accept", "application/x-ndjson");
    let answered = Answer::to(request).await;
    assert_eq!(answered.text.matches(r#""outcome":"stored""#).count(), 40, "{answered:?}");
    assert!(begun.elapsed() >= Duration::from_millis(900), "twenty more than the burst take a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_asked_it_is_the_routes_tenant_that_pays() {
    let stage = Stage::dev("limits: {tenants: {shop: {events_per_s: 1, burst_s: 2}}}\n").await;
    let event = |kind: &str, id: usize| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"{kind}.made","data":{{}}}}"#)
    };
    let orders = (0..3).map(|id| event("orders", id));
    let batch = orders.chain((3..6).map(|id| event("visits", id))).collect::<Vec<_>>().join(",");
    let request = stage.http.post(stage.weir.url("/v1/events")).body(format!("[{batch}]"));
    let answered = Answer::to(request.header("content-type", "application/cloudevents-batch+json")).await;
    let results = answered.json()["results"].clone();
    let codes: Vec<_> = results.as_array().unwrap().iter().map(|it| it["problem"]["code"].clone()).collect();
    let none = Value::Null;
    let too_many = Value::from("batch-too-large");
    assert_eq!(
        codes.iter().collect::<Vec<_>>(),
        [&too_many, &too_many, &too_many, &none, &none, &none],
        "{answered:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_silent_newcomers_are_shed_and_afterwards_all_is_as_before() {
    const BUDGET_BYTES: usize = 64 << 20;
    let sink = Sink::start();
    let config = format!(
        "listen: {{listen}}\nadmin: {{admin}}\nkafka: {{brokers: [\"{}\"], allow_weak_topics: true}}\n\
         limits: {{in_flight_bytes_max: {BUDGET_BYTES}, ack_target_ms: 1000}}\nroutes: [{{name: orders, topic: orders}}]\n",
        sink.bootstrap
    );
    let weir = Weir::start(WeirOptions::serve(config)).await;
    let stage = Stage { weir, http: reqwest::Client::new() };
    let post = || Answer::to(stage.post("/v1/events/orders", array(1000)));
    assert_eq!(post().await.status, 200);

    sink.signal(Signal::STOP);
    // They have the target's second to come in: before it is over, silence is no sign.
    let early = tokio::spawn({
        let posts: Vec<_> = (0..8).map(|_| stage.post("/v1/events/orders", array(1000))).collect();
        async move { join_all(posts.into_iter().map(Answer::to)).await }
    });
    until("less may wait than does", Duration::from_secs(10), async || {
        let metrics = stage.metrics(None).await;
        let [allowed, used] =
            ["weir_waiting_bytes_allowed", "weir_in_flight_bytes"].map(|name| sum(&metrics, name));
        (used > 0.0 && allowed < used).then_some(())
    })
    .await;
    let mut waits = BTreeSet::new();
    for _ in 0..40 {
        let (status, code, wait) = refusal(&post().await);
        assert_eq!((status, code.as_str()), (503, "overloaded"));
        waits.insert(wait.unwrap());
    }
    assert!(waits.len() > 1 && waits.iter().all(|wait| (1..6).contains(wait)), "{waits:?}");

    sink.signal(Signal::CONT);
    let statuses: Vec<_> = early.await.unwrap().iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200; 8], "who was in before is stored");
    let metrics = until("the limit is back", Duration::from_secs(60), async || {
        assert!(matches!(post().await.status, 200 | 503));
        let metrics = stage.metrics(None).await;
        (sum(&metrics, "weir_waiting_bytes_allowed") == BUDGET_BYTES as f64).then_some(metrics)
    })
    .await;
    assert_eq!(post().await.status, 200);
    assert!(metrics.contains(r#"weir_shed_total{reason="budget"} 0"#), "{metrics}");
    until("every event has its outcome", Duration::from_secs(10), async || {
        let metrics = stage.metrics(None).await;
        assert!(!metrics.contains("lost"), "{metrics}");
        (sum(&metrics, "weir_events_in_total") == sum(&metrics, "weir_events_out_total")).then_some(())
    })
    .await;
}
