//! Plugins in a gateway that runs on: tables that change under them, files that change, instances that wear out, and
//! plugins that are too slow for the workers or change events in ways that cannot be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::Message as _;
use rdkafka::message::Headers as _;
use serde_json::json;
use weir_tests::plugins::reloads::another;
use weir_tests::world::{Reply, Weir, WeirOptions, fresh_name, inputs, shared_kafka, shared_valkey, until};

use crate::plugins::event;
use crate::spine::{Client, Route, route};

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

const GEO: &str =
    "    plugins: [{plugin: geo, config: {table: regions, pointer: /country, header: x-region}}]";

/// What the table of a [`GEO`] route has for a country.
async fn region(client: &Client) -> Option<String> {
    let answer = client.event(r#"{"country": "CZ"}"#).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let records = shared_kafka().await.records(&client.route).await;
    header(records.last().unwrap(), "x-region")
}

fn header(record: &rdkafka::message::OwnedMessage, name: &str) -> Option<String> {
    let found = record.headers()?.iter().find(|header| header.key == name)?;
    Some(String::from_utf8(found.value?.to_vec()).unwrap())
}

/// A route whose plugin commits this sin, with more of the config at its beginning and in the route.
async fn sinner(sin: &str, config: &str, more: &str) -> Route {
    let lines = format!("    plugins: [{{plugin: rogue, config: {{sin: {sin}}}}}]\n{more}");
    let mut route = route(1, &schemas(), &lines).await;
    route.config.insert_str(0, config);
    route
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enricher_looks_into_a_table_that_is_swapped_while_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("regions.json");
    std::fs::write(&table, r#"{"CZ": "eu"}"#).expect("is written");
    let mut route = route(1, &schemas(), GEO).await;
    route.config.insert_str(0, &format!("tables: {{regions: {{path: \"{}\"}}}}\n", table.display()));
    let client = route.start().await;
    let region = async || region(&client).await;
    assert_eq!(region().await.as_deref(), Some("eu"));
    std::fs::write(&table, r#"{"CZ": "central"}"#).expect("is written");
    until("the new table is in use", Duration::from_secs(10), async || {
        (region().await.as_deref() == Some("central")).then_some(())
    })
    .await;
    std::fs::write(&table, r#"{"DE": "eu"}"#).expect("is written");
    until("the row is gone", Duration::from_secs(10), async || region().await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_may_be_a_valkey_hash_and_comes_when_it_can_be_read() {
    let hash = fresh_name("regions");
    let primary = shared_valkey().await.primary_of(&hash).await.expect("a primary");
    let put = async |region: &str| {
        let reply = primary.call(&["HSET", &hash, "CZ", region]).await.expect("an answer");
        assert!(matches!(reply, Reply::Integer(_)), "{reply:?}");
    };
    let mut route = route(1, &schemas(), GEO).await;
    route.config.insert_str(0, &format!("tables: {{regions: {{valkey_hash: \"{hash}\"}}}}\n"));
    let weir = Weir::launch(WeirOptions::serve(&route.config));
    let client = Client { weir, route: route.name.clone(), http: reqwest::Client::new() };
    until("it says what it waits for", Duration::from_secs(30), async || {
        let answer = reqwest::get(client.weir.admin_url("/readyz")).await.ok()?;
        let text = (answer.status() == 503).then_some(answer)?.text().await.ok()?;
        text.contains("tables could not be read yet: regions").then_some(())
    })
    .await;
    put("eu").await;
    client.weir.ready().await;
    let region = async || region(&client).await;
    assert_eq!(region().await.as_deref(), Some("eu"));
    put("central").await;
    until("the new row is in use", Duration::from_secs(30), async || {
        (region().await.as_deref() == Some("central")).then_some(())
    })
    .await;
    primary.call(&["DEL", &hash]).await.expect("an answer");
    until("its absence is counted", Duration::from_secs(30), async || {
        (client.metric("weir_table_read_failures_total", "regions").await >= 2.0).then_some(())
    })
    .await;
    assert_eq!(region().await.as_deref(), Some("central"), "a table stays as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_replaced_after_its_calls_or_for_its_memory_and_no_event_notices() {
    for (sin, limits, reason) in
        [("none", "instance_calls_max: 5", "calls"), ("hoard", "memory_bytes_max: 16777216", "memory")]
    {
        let config = format!("workers: 1\nplugin_limits: {{{limits}}}\n");
        let client = sinner(sin, &config, "").await.start().await;
        for number in 0..32 {
            assert_eq!(client.event(event(number, true).to_string()).await.status, 201);
        }
        let retired = client.metric("weir_plugin_instances_retired_total", reason).await;
        assert!(retired >= 2.0, "{sin}: {retired}");
        assert_eq!(client.metric("weir_plugin_instances_retired_total", "").await, retired, "{sin}");
        assert_eq!(client.metric("weir_plugin_calls_total", "").await, 32.0, "{sin}: none was run twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_in_force_soon_and_a_bad_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("redact.wasm");
    let original = std::fs::read(inputs::plugin("redact")).unwrap();
    std::fs::write(&file, &original).unwrap();
    let mut route = route(1, &schemas(), "    plugins: [{plugin: redact, config: {remove: [/card]}}]").await;
    route.config =
        route.config.replace(&inputs::plugin("redact").display().to_string(), &file.display().to_string());
    let client = route.start().await;
    let met = async || {
        let answer = client.event(r#"{"card": 1}"#).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["plugins"][0]["digest"].as_str().unwrap().to_owned()
    };
    let first = met().await;
    // Written beside it and moved: what is half there is no plugin either, but would be a line in the log.
    let replace = |bytes: &[u8]| {
        std::fs::write(folder.path().join("new"), bytes).unwrap();
        std::fs::rename(folder.path().join("new"), &file).unwrap();
    };
    replace(&another(&original, 1));
    let second = until("the new file is in force", Duration::from_secs(20), async || {
        let digest = met().await;
        (digest != first).then_some(digest)
    })
    .await;
    replace(b"no plugin at all");
    until("the bad file was looked at", Duration::from_secs(20), async || {
        client.weir.process().log().contains("its file changed and cannot be used").then_some(())
    })
    .await;
    assert_eq!(met().await, second);
    assert_eq!(client.versions("redact").await.len(), 2);
}

/// Each event takes its plugin milliseconds, and more of them wait than may.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_plugin_runs_aside_and_what_waits_too_long_for_it_is_turned_away() {
    // So long that a busy machine has done what may wait.
    let limits = "plugin_limits: {deadline_ms: 10000}\nlimits: {answer_timeout_ms: 25000}\n";
    let client = sinner("crawl", limits, "").await.start().await;
    let crawling = async |number| client.event(event(number, true).to_string()).await;
    until("it is known to be slow", Duration::from_secs(30), async || {
        assert_eq!(crawling(0).await.status, 201);
        (client.metric("weir_route_aside", &client.route).await == 1.0).then_some(())
    })
    .await;
    let before = shared_kafka().await.records(&client.route).await.len();
    let answers = join_all((0..600).map(crawling)).await;
    let stored = answers.iter().filter(|answer| answer.status == 201).count();
    let away: Vec<_> = answers.iter().filter(|answer| answer.status != 201).collect();
    assert!(stored >= 256 && !away.is_empty(), "{stored} stored, {} turned away", away.len());
    for answer in away {
        assert_eq!((answer.status, &answer.body["code"]), (503, &json!("overloaded")), "{}", answer.body);
        assert_eq!(answer.body["outcome"], "not-stored", "{}", answer.body);
    }
    assert_eq!(shared_kafka().await.records(&client.route).await.len() - before, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_made_or_breaks_the_schema_is_kept_aside_with_its_reason() {
    let schema = tempfile::tempdir().unwrap();
    std::fs::create_dir(schema.path().join("counts")).unwrap();
    let counts = json!({"properties": {"n": {"type": "integer"}}});
    std::fs::write(schema.path().join("counts/1.json"), counts.to_string()).unwrap();
    let masked = "    subject: counts\n    plugins: [{plugin: redact, config: {mask: [/n]}}]";
    let masking = route(1, schema.path(), masked).await;
    for (route, code) in [(sinner("edit-nowhere", "", "").await, "edit"), (masking, "schema")] {
        let client = route.start().await;
        let sent = event(7, true).to_string();
        let answer = client.event(sent.clone()).await;
        assert_eq!(
            (answer.status, &answer.body["outcome"]),
            (200, &json!("dead-lettered")),
            "{}",
            answer.body
        );
        let records = shared_kafka().await.records(&format!("{}.dead-letter", client.route)).await;
        assert_eq!(header(&records[0], "weir-dead-letter-code").as_deref(), Some(code));
        assert_eq!(records[0].payload().unwrap(), sent.as_bytes());
    }
}
