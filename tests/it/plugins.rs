//! Plugins from a file to a verdict, with the gateway's own binary as the compiler; and what one bad event costs
//! the others.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde_json::{Value, json};
use weir::metrics::Metrics;
use weir::plugin::{CompileError, Compiler, Counters, Host, LoadError, Plugin, Settings, Use};
use weir_tests::world::{inputs, shared_kafka, until};

use crate::spine::{Client, route};

const CONFIG: &str = r#"{"keys": [{"kind": "user", "pointer": "/user/id"}]}"#;

fn load(settings: Settings, compiler: PathBuf) -> Result<Arc<Plugin>, LoadError> {
    let metrics = Metrics::new().expect("registers");
    let counters = Counters::new(metrics.registry()).expect("registers");
    let host = Host::new(settings, Compiler::Child(compiler), counters, Arc::default()).expect("starts");
    let usage = Use { name: "keys", config_json: CONFIG, topics_allowed: &[] };
    host.load(&inputs::plugin("entity_key"), &usage)
}

fn within(cache: &Path) -> Settings {
    Settings { cache: cache.to_owned(), ..Settings::default() }
}

#[test]
fn a_plugin_is_compiled_once_in_a_process_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = load(within(folder.path()), inputs::weir()).expect("is compiled");
    assert_eq!((&*plugin.name, &*plugin.version), ("entity-key", "0.1.0"));
    // Nobody is there to compile it: it comes from the cache.
    load(within(folder.path()), folder.path().join("nobody")).expect("is in the cache");
}

#[test]
fn a_compiler_that_wants_too_much_is_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let tight = Settings { compile_memory_bytes_max: 8 << 20, ..within(folder.path()) };
    let refused = load(tight, inputs::weir()).expect_err("is stopped");
    assert!(matches!(refused, LoadError::Compile(CompileError::Failed { .. })), "{refused}");
    let kept = std::fs::read_dir(folder.path()).expect("lists").filter(|entry| {
        entry.as_ref().expect("is there").path().extension().is_some_and(|ending| ending == "cwasm")
    });
    assert_eq!(kept.count(), 0, "nothing half-made is kept");
}

/// A gateway whose one route has a plugin that commits this sin when an event asks for it.
async fn rogue(sin: &str, more: &str) -> Client {
    let lines =
        format!("    key: data:/user\n    plugins: [{{plugin: rogue, config: {{sin: {sin}}}}}]\n{more}");
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    route(3, &schemas, &lines).await.start().await
}

fn event(number: usize, sinful: bool) -> Value {
    let mut event = json!({"n": number, "user": format!("u-{}", number % 5)});
    if sinful {
        event["sin"] = "yes".into();
    }
    event
}

/// Every way in which one event can bring its call down, each in an array of good ones.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_brings_its_call_down_is_kept_aside_alone() {
    // Which limit a growing guest meets first depends on the machine.
    for (sin, codes) in [
        ("panic", ["trap"].as_slice()),
        ("spin", &["deadline"]),
        ("bloat", &["memory", "deadline"]),
        ("recurse", &["stack", "deadline"]),
        ("span-outside", &["output"]),
        ("op-unknown", &["output"]),
        ("bad-utf8", &["output"]),
    ] {
        let client = rogue(sin, "").await;
        let sent: Vec<Value> = (0..100).map(|number| event(number, number % 40 == 7)).collect();
        let answer = client.event(json!(sent).to_string()).await;
        assert_eq!(answer.status, 200, "{sin}: {}", answer.body);
        let results = answer.body["results"].as_array().unwrap();
        let (bad, good): (Vec<_>, Vec<_>) =
            sent.iter().zip(results).partition(|(sent, _)| sent["sin"] == "yes");
        assert_eq!((bad.len(), good.len()), (3, 97));

        let mut log = HashMap::new();
        for topic in [client.route.clone(), format!("{}.dead-letter", client.route)] {
            for record in shared_kafka().await.records(&topic).await {
                let position = (topic.clone(), i64::from(record.partition()), record.offset());
                log.insert(position, record);
            }
        }
        assert_eq!(log.len(), 100, "{sin}: each is stored once");
        let at = |receipt: &Value| {
            let number = |name: &str| receipt[name].as_i64().unwrap();
            log[&(receipt["topic"].as_str().unwrap().to_owned(), number("partition"), number("offset"))]
                .clone()
        };
        let mut last = HashMap::new();
        for (sent, receipt) in &good {
            assert_eq!(
                (&receipt["outcome"], &receipt["topic"]),
                (&json!("stored"), &json!(client.route)),
                "{sin}"
            );
            assert_eq!(at(receipt).payload().unwrap(), sent.to_string().as_bytes());
            let before = last.insert(receipt["key"].to_string(), receipt["offset"].as_i64());
            assert!(before < Some(receipt["offset"].as_i64()), "{sin}: in order within a key");
        }
        for (sent, receipt) in &bad {
            let code = receipt["code"].as_str().unwrap_or_default();
            assert!(receipt["outcome"] == "dead-lettered" && codes.contains(&code), "{sin}: {receipt}");
            let record = at(receipt);
            assert_eq!(record.payload().unwrap(), sent.to_string().as_bytes());
            assert_eq!(record.key().unwrap(), sent["user"].as_str().unwrap().as_bytes());
            let headers = record.headers().unwrap();
            let header = |name: &str| {
                let found =
                    headers.iter().find(|header| header.key == name).unwrap_or_else(|| panic!("{name}"));
                String::from_utf8(found.value.unwrap().to_vec()).unwrap()
            };
            assert_eq!(header("weir-dead-letter-code"), code);
            assert_eq!(header("weir-dead-letter-topic"), client.route);
            assert_eq!(header("weir-dead-letter-plugin"), receipt["plugin"].as_str().unwrap());
            assert_eq!(header("ce_id"), receipt["id"].as_str().unwrap());
        }
        let kept_aside = client.metric("weir_events_out_total", "outcome=\"dead-lettered\"").await;
        assert_eq!(kept_aside, 3.0, "{sin}");
        assert_eq!(client.metric("weir_events_out_total", "outcome=\"lost\"").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_route_says_what_becomes_of_an_event_that_a_plugin_failed_on() {
    for (policy, status, outcome, stored) in
        [("refuse", 207, "refused", 2), ("pass", 200, "stored", 3), ("drop", 200, "dropped", 2)]
    {
        let client = rogue("panic", &format!("    on_error: {policy}")).await;
        let sent = json!([event(1, false), event(2, true), event(3, false)]);
        let answer = client.event(sent.to_string()).await;
        let bad = &answer.body["results"][1];
        let ended = if bad["problem"].is_null() { bad } else { &bad["problem"] };
        assert_eq!((answer.status, &ended["outcome"]), (status, &json!(outcome)), "{}", answer.body);
        assert_eq!(shared_kafka().await.records(&client.route).await.len(), stored, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enricher_looks_into_a_table_that_is_swapped_while_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("regions.json");
    std::fs::write(&table, r#"{"CZ": "eu"}"#).expect("is written");
    let lines = "    plugins: [{plugin: geo, config: {table: regions, pointer: /country, header: x-region}}]";
    let mut route = route(1, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas"), lines).await;
    route.config.insert_str(0, &format!("tables: {{regions: {{path: \"{}\"}}}}\n", table.display()));
    let client = route.start().await;
    let region = async || {
        let answer = client.event(r#"{"country": "CZ"}"#).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let records = shared_kafka().await.records(&client.route).await;
        let headers = records.last().unwrap().headers().unwrap();
        let found = headers.iter().find(|header| header.key == "x-region")?;
        Some(String::from_utf8(found.value.unwrap().to_vec()).unwrap())
    };
    assert_eq!(region().await.as_deref(), Some("eu"));
    std::fs::write(&table, r#"{"CZ": "central"}"#).expect("is written");
    until("the new table is in use", Duration::from_secs(10), async || {
        (region().await.as_deref() == Some("central")).then_some(())
    })
    .await;
    std::fs::write(&table, r#"{"DE": "eu"}"#).expect("is written");
    until("the row is gone", Duration::from_secs(10), async || region().await.is_none().then_some(())).await;
}

/// The same module with another digest.
fn another(module: &[u8], number: u8) -> Vec<u8> {
    // A custom section (WebAssembly core 3.0, §5.5.3): id 0, its size, a name and any bytes.
    [module, &[0, 4, 2, b'n', b'o', number]].concat()
}

impl Client {
    /// Asks the admin listener.
    async fn admin(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let url = self.weir.admin_url(&format!("/admin/v1/plugins/{path}"));
        let response = self.http.post(url).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    /// The digests of a plugin's versions, the newest last.
    async fn versions(&self, plugin: &str) -> Vec<String> {
        let text = self.http.get(self.weir.admin_url("/admin/v1/plugins")).send().await.unwrap();
        let list: Value = serde_json::from_slice(&text.bytes().await.unwrap()).unwrap();
        let versions = list["plugins"][plugin].as_array().unwrap();
        versions.iter().map(|version| version["digest"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_change_under_load_and_every_event_met_one_that_was_in_force() {
    const SENDERS: usize = 4;
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let lines = "    key: data:/user\n    plugins: [{plugin: redact, config: {remove: [/card]}}]";
    let client = route(3, &schemas, lines).await.start().await;
    let module = std::fs::read(inputs::plugin("redact")).expect("is built");
    let files: Vec<_> = (0..8).map(|number| another(&module, number)).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let sending = async |sender: usize| {
        let mut receipts = Vec::new();
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let batch: Vec<_> = (0..100)
                .map(|n| json!({"user": format!("u-{sender}"), "n": receipts.len() + n, "card": 1}))
                .collect();
            let answer = client.event(json!(batch).to_string()).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            receipts.extend(answer.body["results"].as_array().unwrap().clone());
        }
        receipts
    };
    let mut live = client.versions("redact").await;
    let changing = async {
        for (round, file) in files.iter().cycle().take(24).enumerate() {
            let (status, version) = client.admin("redact/versions?activate=true", file.clone()).await;
            assert_eq!((status, &version["stage"]), (201, &json!("active")), "round {round}: {version}");
            live.push(version["digest"].as_str().unwrap().to_owned());
            let (status, refused) = client.admin("redact/versions?activate=true", b"no wasm".to_vec()).await;
            assert_eq!((status, &refused["code"]), (422, &json!("plugin-unusable")));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(futures_util::future::join_all((0..SENDERS).map(sending)), changing);

    let mut log = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for record in shared_kafka().await.records(&client.route).await {
        log.insert((i64::from(record.partition()), record.offset()), record);
    }
    assert_eq!(log.len(), sent.iter().map(Vec::len).sum::<usize>(), "none is lost, none is there twice");
    for (sender, receipts) in sent.iter().enumerate() {
        let mut before = -1;
        for (n, receipt) in receipts.iter().enumerate() {
            let position = (receipt["partition"].as_i64().unwrap(), receipt["offset"].as_i64().unwrap());
            let record = &log[&position];
            let stored: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
            assert_eq!(stored, json!({"user": format!("u-{sender}"), "n": n}));
            assert!(position.1 > before, "in order");
            before = position.1;
            let headers = record.headers().unwrap();
            let label = headers.iter().find(|header| header.key == "weir-plugins").unwrap().value.unwrap();
            let label = String::from_utf8(label.to_vec()).unwrap();
            assert!(
                label.ends_with(receipt["plugins"][0]["digest"].as_str().unwrap()),
                "receipt and record agree"
            );
            let known = live.iter().any(|digest| label == format!("redact@0.1.0+sha256:{digest}"));
            assert!(known, "{label} was never in force");
            seen.insert(label);
        }
    }
    assert!(seen.len() > 5, "events met {} versions", seen.len());

    let (status, version) = client.admin("redact/rollback", Vec::new()).await;
    assert_eq!((status, &version["digest"]), (200, &json!(live[live.len() - 2])), "the one before the last");
}

/// Four of five events bring it down: it is not asked any more, its events are kept aside, and good ones bring it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_on_most_events_is_in_quarantine_until_a_call_is_well() {
    let client = rogue("panic", "").await;
    let list = async || {
        let text = client.http.get(client.weir.admin_url("/admin/v1/plugins")).send().await.unwrap();
        let list: Value = serde_json::from_slice(&text.bytes().await.unwrap()).unwrap();
        list["plugins"]["rogue"][0]["in_quarantine"].as_bool().unwrap()
    };
    let batch: Vec<_> = (0..100).map(|number| event(number, number % 5 != 0)).collect();
    let code = async |sent: &Value| {
        let answer = client.event(sent.to_string()).await;
        answer.body["code"].as_str().unwrap_or("stored").to_owned()
    };
    // After 16 failures, the last of them the event at 19, nobody asks about the rest.
    let answer = client.event(json!(batch).to_string()).await;
    let results = answer.body["results"].as_array().unwrap();
    let unasked = results.iter().filter(|result| result["code"] == "quarantine").count();
    assert_eq!(unasked, 100 - 20, "{}", answer.body);
    assert!(list().await);
    until("a call now and then finds it well", Duration::from_secs(20), async || {
        (code(&event(1, false)).await == "stored").then_some(())
    })
    .await;
    assert!(!list().await);
    assert_eq!(code(&event(2, true)).await, "trap", "it is asked again");
    let counted = client.metric("weir_events_in_total", "").await;
    assert_eq!(counted, client.metric("weir_events_out_total", "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_extractor_changes_only_when_that_is_asked_for() {
    let client = crate::spine::orders().await.start().await;
    let file = another(&std::fs::read(inputs::plugin("entity_key")).expect("is built"), 1);
    let (status, refused) = client.admin("entity-key/versions?activate=true", file).await;
    assert_eq!((status, &refused["code"]), (409, &json!("key-change")));
    let staged = client.versions("entity-key").await.pop().unwrap();
    let choice = |allow: bool| json!({"digest": staged, "allow_key_changes": allow}).to_string().into_bytes();
    assert_eq!(client.admin("entity-key/activate", choice(false)).await.0, 409);
    let (status, version) = client.admin("entity-key/activate", choice(true)).await;
    assert_eq!((status, &version["stage"]), (200, &json!("active")), "it was loaded before");
    let unknown = json!({"digest": "00"}).to_string().into_bytes();
    assert_eq!(client.admin("entity-key/activate", unknown).await.1["code"], "unknown-version");
    assert_eq!(client.admin("nobody/rollback", Vec::new()).await.1["code"], "unknown-plugin");
    assert_eq!(client.admin("entity-key/activate", b"{}".to_vec()).await.1["code"], "invalid-json");
    let url = client.weir.admin_url("/admin/v1/plugins/entity-key/rollback");
    let from_a_page = client.http.post(url).header("origin", "http://localhost").send().await.unwrap();
    assert_eq!(from_a_page.status(), 403);
}
