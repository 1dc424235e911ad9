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
use weir_tests::plugins::reloads::{self, another};
use weir_tests::plugins::rogues;
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
pub(crate) async fn rogue(sin: &str, more: &str) -> Client {
    let lines =
        format!("    key: data:/user\n    plugins: [{{plugin: rogue, config: {{sin: {sin}}}}}]\n{more}");
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    route(3, &schemas, &lines).await.start().await
}

pub(crate) fn event(number: usize, sinful: bool) -> Value {
    let mut event = json!({"n": number, "user": format!("u-{}", number % 5)});
    if sinful {
        event["sin"] = "yes".into();
    }
    event
}

/// Sends these, and again what was turned away as a busy machine has no time for slow plugins: the gateway asks for that.
async fn patiently(client: &Client, events: &[Value]) -> Vec<Value> {
    let mut results: Vec<Value> = Vec::new();
    until("the route has time for all of them", Duration::from_secs(60), async || {
        let answer = client.event(json!(events[results.len()..]).to_string()).await;
        let told = answer.body["results"].as_array().into_iter().flatten();
        // Those turned away are the last.
        results.extend(told.take_while(|one| one["problem"]["code"] != "overloaded").cloned());
        let all = results.len() == events.len();
        assert_eq!(all, answer.status == 200, "{}", answer.body);
        all.then_some(())
    })
    .await;
    results
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
        let results = patiently(&client, &sent).await;
        let (bad, good): (Vec<_>, Vec<_>) =
            sent.iter().zip(&results).partition(|(sent, _)| sent["sin"] == "yes");
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

impl Client {
    /// Asks the admin listener.
    pub(crate) async fn admin(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let url = self.weir.admin_url(&format!("/admin/v1/plugins/{path}"));
        let response = self.http.post(url).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    /// The digests of a plugin's versions, the newest last.
    pub(crate) async fn versions(&self, plugin: &str) -> Vec<String> {
        let text = self.http.get(self.weir.admin_url("/admin/v1/plugins")).send().await.unwrap();
        let list: Value = serde_json::from_slice(&text.bytes().await.unwrap()).unwrap();
        let versions = list["plugins"][plugin].as_array().unwrap();
        versions.iter().map(|version| version["digest"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_change_under_load_and_every_event_met_one_that_was_in_force() {
    let effort = reloads::Effort { reloads: 24, files: 8, senders: 4, batch: 100 };
    let found = reloads::reload(&effort, shared_kafka().await, |_| ()).await.unwrap();
    assert!(found.well() && found.digests > effort.files, "{found:?}");
}

/// What spins has a thread of its own that gets only what the others leave.
#[test]
fn rogues_end_as_their_rows_say_and_their_neighbours_hardly_notice() {
    let effort = |only: &str| rogues::Effort { seconds: 1, good_per_s: 500, only: Some(only.to_owned()) };
    for sin in ["spin", "bloat"] {
        let seen = rogues::look(&effort(sin)).unwrap();
        // The bound of the long run is 1.5; this machine may be busy with anything.
        assert!(seen.well() && seen.worst_ratio() < 4.0, "{seen:?}");
    }
}

/// Both find the user's key; the one over payloads gives up on a user whose id is a number. In structured mode the ids that are
/// made up are within the values, and are no difference either.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_extractor_in_the_shadow_tells_what_it_would_move_and_moves_nothing() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let client = route(3, &schemas, "    kafka_content_mode: structured\n    plugins: [{plugin: field-key}]")
        .await
        .start()
        .await;
    let file = std::fs::read(inputs::plugin("payload_key")).expect("is built");
    let (status, staged) = client.admin("field-key/versions", file).await;
    assert_eq!((status, &staged["stage"]), (201, &json!("staged")));
    let digest = staged["digest"].as_str().unwrap();
    let choice = json!({"digest": digest}).to_string().into_bytes();
    assert_eq!(client.admin("field-key/activate", choice.clone()).await.0, 409, "nobody knows what it moves");
    let in_shadow = json!({"digest": digest, "every": 1}).to_string().into_bytes();
    assert_eq!(client.admin("field-key/shadow", in_shadow).await.0, 200);

    let user = |n: u32| if n.is_multiple_of(10) { json!(n) } else { json!(format!("u-{n}")) };
    let order = |n| json!({"order_id": format!("o-{n}"), "customer": {"user_id": user(n)}});
    let batch = Value::from_iter((0..100).map(order)).to_string();
    let mut sent = 0;
    let report = until("a thousand events were compared", Duration::from_secs(60), async || {
        assert_eq!(client.event(batch.clone()).await.status, 200);
        sent += 100;
        let list = client.http.get(client.weir.admin_url("/admin/v1/plugins")).send().await.unwrap();
        let list: Value = serde_json::from_slice(&list.bytes().await.unwrap()).unwrap();
        let report = list["plugins"]["field-key"][1]["shadow"].clone();
        (report["events"].as_u64().unwrap() >= 1000).then_some(report)
    })
    .await;
    // The first of each ten; the report may be of a batch that is being compared.
    let tenth = report["events"].as_u64().unwrap().div_ceil(10);
    assert_eq!(
        (report["changed"].as_u64(), report["moved"].as_u64()),
        (Some(tenth), Some(tenth)),
        "{report}"
    );
    let first = &report["differences"][0];
    assert_eq!((&first["what"], &first["now"], &first["then"]), (&json!("key"), &json!("0"), &Value::Null));
    let records = shared_kafka().await.records(&client.route).await;
    assert_eq!(records.len(), sent, "the shadow emits nothing");
    assert!(records.iter().all(|record| record.key().is_some()), "and changes nothing");
    let (status, version) = client.admin("field-key/activate", choice).await;
    assert_eq!((status, &version["stage"]), (200, &json!("active")), "now it is known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_comes_back_with_a_rollback() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let client =
        route(1, &schemas, "    plugins: [{plugin: redact, config: {remove: [/card]}}]").await.start().await;
    let first = client.versions("redact").await.remove(0);
    let file = another(&std::fs::read(inputs::plugin("redact")).expect("is built"), 1);
    let (status, second) = client.admin("redact/versions?activate=true", file).await;
    assert_eq!((status, &second["stage"]), (201, &json!("active")));
    let (status, version) = client.admin("redact/rollback", Vec::new()).await;
    assert_eq!((status, &version["digest"]), (200, &json!(first)));
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
