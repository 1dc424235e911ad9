//! The access log: one line for each request, or for as many as may be, and nothing in it that a client wrote.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Command;
use weir_tests::world::{Answer, Weir, WeirOptions, free_port, inputs, until};

use super::{Stage, key, options};
use crate::grpc::World;

const PATIENCE: Duration = Duration::from_secs(20);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_one_line_that_says_what_came_of_it() {
    let (writer, stanza) = key("till-3", "shop", "roles: [write]");
    let stage = Stage::start(&format!("access:\n  keys:\n  {stanza}")).await;
    let h2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let events = r#"[{"key":"a"},{"key":"b"},{"key":"c"}]"#;
    let request = h2.post(stage.weir.url("/v1/events/orders")).header("content-type", "application/json");
    let request = request.header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
    assert_eq!(Answer::to(request.bearer_auth(&writer).body(events)).await.status, 200);
    assert_eq!(stage.post("/v1/events/orders?dry_run=maybe", Some(&writer)).await.status, 400);
    assert_eq!(stage.post("/v1/events/visits", Some(&writer)).await.status, 404);
    assert_eq!(stage.post("/v1/events/orders", None).await.status, 401);
    assert_eq!(stage.get(stage.weir.url("/v1/events/orders?key=k"), Some(&writer)).await.status, 403);
    assert_eq!(stage.get(stage.weir.url("/secret/path?of=mine"), Some(&writer)).await.status, 404);
    let odd = reqwest::Method::from_bytes(b"PROPFIND").unwrap();
    assert_eq!(stage.ask(odd, stage.weir.url("/v1/events/orders"), Some(&writer), "").await.status, 405);

    let lines = stage.logged("access");
    let told = |line: &Value| {
        ["method", "route", "status", "code", "who", "tenant", "events", "trace"]
            .map(|name| line[name].clone())
    };
    let expected = [
        json!(["POST", "orders", 200, null, "till-3", "shop", 3, TRACE]),
        json!(["POST", "orders", 400, "bad-query", "till-3", "shop", null, null]),
        json!(["POST", "visits", 404, "unknown-route", null, null, null, null]),
        json!(["POST", "orders", 401, "unauthorized", null, null, null, null]),
        json!(["GET", "orders", 403, "not-permitted", null, null, null, null]),
        json!(["GET", "none", 404, "not-found", null, null, null, null]),
        json!(["_OTHER", "none", 405, "method-not-allowed", null, null, null, null]),
    ];
    assert_eq!(lines.iter().map(|line| json!(told(line))).collect::<Vec<_>>(), expected);
    assert_eq!((&lines[0]["version"], &lines[1]["version"]), (&json!("HTTP/2.0"), &json!("HTTP/1.1")));
    assert_eq!(lines[0]["bytes"], events.len());
    for line in &lines {
        assert!(line["duration_us"].as_u64().unwrap() > 0 && line["skipped"] == 0, "{line}");
    }
    stage.never_logged(&["secret/path", "of=mine", "PROPFIND", "maybe"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_grpc_have_lines_too() {
    let env = [("WEIR__LOG__FORMAT", "json"), ("WEIR__LOG__LEVEL", "info")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut world = World::of(Weir::start(WeirOptions { env, ..WeirOptions::dev() }).await).await;
    world.goes_on().await;
    let call = crate::grpc::api::QueryEventsRequest { route: "nothing".to_owned(), ..Default::default() };
    assert!(world.events.query_events(call).await.is_err());
    let log = world.weir.process().log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.filter(|line| line["target"] == "access").collect();
    let told = |line: &Value| ["method", "route", "status", "code", "events"].map(|name| line[name].clone());
    let expected =
        [json!(["POST", "orders", 200, null, 1]), json!(["POST", "none", 200, "recent-disabled", null])];
    assert_eq!(lines.iter().map(|line| json!(told(line))).collect::<Vec<_>>(), expected, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_the_ones_leaves_lines_for_the_others_and_all_are_counted() {
    const LINES_PER_S: u32 = 20;
    let (writer, stanza) = key("writer", "shop", "roles: [write]");
    let mut options = options(&format!("access:\n  keys:\n  {stanza}"));
    options.env.push(("WEIR__LOG__ACCESS_LINES_PER_S_MAX".to_owned(), LINES_PER_S.to_string()));
    options.env.push(("WEIR__WORKERS".to_owned(), "1".to_owned()));
    let stage = Stage { weir: Weir::start(options).await, http: reqwest::Client::new() };
    let begun = Instant::now();
    let (mut good, mut bad) = (0_u64, 0_u64);
    while begun.elapsed() < Duration::from_secs(2) {
        let posts = (0..64).map(|_| stage.post("/v1/events/orders", Some(&writer)));
        let refused = (0..8).map(|_| stage.post("/v1/events/orders", None));
        let (posts, refused) = tokio::join!(join_all(posts), join_all(refused));
        assert!(posts.iter().all(|status| *status == 201) && refused.iter().all(|status| *status == 401));
        (good, bad) = (good + 64, bad + 8);
    }
    let seconds = begun.elapsed().as_secs() + 1;
    let lines = |code: Value| {
        let lines = stage.logged("access");
        lines.into_iter().filter(|line| line["code"] == code).collect::<Vec<_>>()
    };
    for (code, sent) in [(Value::Null, good), (json!("unauthorized"), bad)] {
        let written = lines(code.clone()).len() as u64;
        let at_most = u64::from(LINES_PER_S) * (seconds + 1);
        assert!(
            (u64::from(LINES_PER_S)..=at_most).contains(&written),
            "{code}: {written} of {sent} in {seconds} s"
        );
        assert!(sent > 2 * written, "that was no flood: {sent}");
    }
    // The last line stands for all before it, and so all are counted.
    let stands_for =
        |lines: &[Value]| lines.iter().map(|line| 1 + line["skipped"].as_u64().unwrap()).sum::<u64>();
    until("a line tells of the rest", Duration::from_secs(20), async || {
        good += 1;
        assert_eq!(stage.post("/v1/events/orders", Some(&writer)).await.status, 201);
        (stands_for(&lines(Value::Null)) == good).then_some(())
    })
    .await;
}

async fn join_all(asked: impl Iterator<Item = impl Future<Output = super::Answer>>) -> Vec<u16> {
    futures_util::future::join_all(asked).await.iter().map(|answer| answer.status).collect()
}

/// Whoever reads the log stops reading: no request waits for that, lines are left away and counted, and only an order to
/// the gateway waits for its line.
#[tokio::test(flavor = "multi_thread")]
async fn a_standard_error_that_nobody_reads_holds_up_no_request() {
    let (listen, admin) = (free_port(), free_port());
    let (reader, writer) = std::io::pipe().unwrap();
    let mut weir = Command::new(inputs::weir())
        .args(["dev", "--listen", &format!("127.0.0.1:{listen}"), "--admin", &format!("127.0.0.1:{admin}")])
        .env("WEIR__LOG__FORMAT", "json")
        .env("WEIR__LOG__LEVEL", "info")
        .env("WEIR__LOG__ACCESS_LINES_PER_S_MAX", "1000000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let http = reqwest::Client::new();
    let ready = format!("http://127.0.0.1:{admin}/readyz");
    until("it is ready", PATIENCE, async || {
        http.get(&ready).send().await.ok().filter(|answer| answer.status() == 200)
    })
    .await;
    let dropped = async || -> f64 {
        let metrics = format!("http://127.0.0.1:{admin}/metrics");
        let metrics = http.get(metrics).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("weir_log_lines_dropped_total "));
        line.unwrap().parse().unwrap()
    };
    assert_eq!(dropped().await, 0.0);
    let post = async || {
        let request = http.post(format!("http://127.0.0.1:{listen}/v1/events/orders"));
        let request = request.header("content-type", "application/json").timeout(PATIENCE);
        request.body("{").send().await.unwrap().status()
    };
    // A pipe holds 64 KiB, and a line has some 200 bytes.
    for _ in 0..1000 {
        assert_eq!(post().await, 400);
    }
    let before = dropped().await;
    assert!((100.0..1000.0).contains(&before), "{before} of a thousand lines");
    // One that comes to nothing has no other line than that of the audit.
    let order = format!("http://127.0.0.1:{admin}/admin/v1/plugins/none/shadow");
    let order = tokio::spawn(http.delete(order).send());
    for _ in 0..50 {
        assert_eq!(post().await, 400, "whoever waits holds up nobody");
    }
    let newcomer = reqwest::Client::new().get(&ready).timeout(PATIENCE);
    assert_eq!(newcomer.send().await.unwrap().status(), 200, "nor who comes to its own thread");
    assert!(!order.is_finished());

    let read = std::thread::spawn(move || std::io::read_to_string(reader).unwrap());
    order.await.unwrap().unwrap();
    assert_eq!(post().await, 400);
    assert_eq!(dropped().await, before + 50.0, "what is read is written again");
    kill_process(Pid::from_raw(weir.id().unwrap().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    assert!(weir.wait().await.unwrap().success());
    let log = read.join().unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |target: &str| lines.iter().filter(|line| line["target"] == target).count() as f64;
    assert_eq!((of("access"), of("audit")), (1051.0 - before - 50.0, 1.0));
}
