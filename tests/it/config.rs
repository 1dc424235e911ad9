//! The command line as its operator meets it: what is printed, and the exit code.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::world::{
    Answer, Kafka, KafkaOptions, Valkey, ValkeyOptions, Weir, WeirOptions, canaries, fresh_name, inputs,
    shared_kafka, shared_valkey, until,
};

/// A folder with this `weir.yaml`.
fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("weir.yaml"), config).unwrap();
    folder
}

/// Runs `weir` in `folder` with this environment.
fn weir(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(inputs::weir())
        .args(args)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn expect(output: &Output, code: i32, texts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in texts {
        assert!(said.contains(text), "no `{text}` in:\n{said}");
    }
}

/// A config with one route, whose Kafka is at `brokers`.
fn config(brokers: &str, topic: &str) -> String {
    let settings = "{partitions: 2, replication_factor: 1, min_insync_replicas: 1}";
    format!(
        "kafka: {{brokers: [\"{brokers}\"], allow_weak_topics: true}}\nroutes:\n  - name: orders\n    topic: {topic}\n    \
         topic_settings: {settings}\n"
    )
}

/// A port that nobody listens on.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn a_bad_config_ends_with_64_and_shows_where() {
    let folder = folder("kafka: {brokers: [\"a:9092\"]}\nroutes:\n  - {name: orders, topik: orders}\n");
    for args in [["serve", "-c", "weir.yaml"], ["validate", "-c", "weir.yaml"]] {
        let output = weir(folder.path(), &args, &[]);
        expect(&output, 64, &["unknown key `topik`", "weir.yaml:3:20", "did you mean `topic`?"]);
    }
    expect(
        &weir(folder.path(), &["serve", "-c", "none.yaml"], &[]),
        64,
        &["none.yaml: the config cannot be read"],
    );
}

#[test]
fn a_wrong_command_line_ends_with_64_and_help_with_0() {
    let folder = folder("");
    expect(&weir(folder.path(), &["serve"], &[]), 64, &["--config <FILE>"]);
    expect(&weir(folder.path(), &["sevre"], &[]), 64, &["serve"]);
    expect(&weir(folder.path(), &["--help"], &[]), 0, &["weir dev", "Exit codes"]);
}

#[test]
fn the_schema_for_editors_is_printed_whole() {
    let folder = folder("");
    let output = weir(folder.path(), &["config", "schema"], &[]);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["properties"]["routes"].is_object());
    assert!(jsonschema::meta::is_valid(&schema));
}

#[test]
fn validate_checks_files_without_asking_anybody() {
    let config =
        config(NOBODY, "orders").replace("routes:", "schemas: schemas\nroutes:") + "    subject: orders\n";
    let folder = folder(&config);
    let args = ["validate", "-c", "weir.yaml", "--no-environment"];
    std::fs::create_dir_all(folder.path().join("schemas/orders")).unwrap();
    expect(
        &weir(folder.path(), &args, &[]),
        64,
        &["✗ route orders: there is no schema schemas/orders/<version>.json"],
    );

    let schema = folder.path().join("schemas/orders/1.json");
    std::fs::write(&schema, r#"{"type": "object"}"#).unwrap();
    expect(
        &weir(folder.path(), &args, &[]),
        0,
        &["✓ config weir.yaml: 1 route", "✓ schemas schemas: 1 schema"],
    );

    std::fs::write(&schema, r#"{"type": "nothing"}"#).unwrap();
    let output = weir(folder.path(), &[&args[..], &["-o", "json"]].concat(), &[]);
    expect(&output, 64, &["schemas/orders/1.json"]);
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checks["verdict"], "wrong");
    assert_eq!(checks["checks"][0]["verdict"], "good");
}

#[test]
fn validate_starts_plugins_with_their_config() {
    let plugin = inputs::plugin("entity_key");
    let plugins = format!("plugins: {{entity-key: {{path: \"{}\"}}}}\nroutes:", plugin.display());
    let chain = |config: &str| format!("    plugins: [{{plugin: entity-key, config: {config}}}]\n");
    let config = config(NOBODY, "orders").replace("routes:", &plugins);
    let args = ["validate", "-c", "weir.yaml", "--no-environment"];

    let good = folder(&(config.clone() + &chain("{keys: [{kind: order, pointer: /id}]}")));
    expect(&weir(good.path(), &args, &[]), 0, &["✓ route orders: entity-key 0."]);
    let bad = folder(&(config + &chain("{keys: none}")));
    expect(&weir(bad.path(), &args, &[]), 64, &["✗ plugins: route orders: plugin entity-key:"]);
}

#[test]
fn variables_and_secrets_are_named_when_they_fail() {
    let folder = folder(&config(NOBODY, "orders"));
    let args = ["validate", "-c", "weir.yaml"];
    let unknown = weir(folder.path(), &args, &[("WEIR__KAFKA__BROKER", "[a]")]);
    expect(&unknown, 64, &["WEIR__KAFKA__BROKER: unknown key `broker`", "did you mean `brokers`?"]);
    let login = "{mechanism: plain, username: u, password: {env: WEIR_TEST_NO_SUCH}}";
    let missing = weir(folder.path(), &args, &[("WEIR__KAFKA__SASL", login)]);
    expect(&missing, 64, &["the environment variable WEIR_TEST_NO_SUCH is not set"]);
}

#[test]
fn validate_says_who_does_not_answer() {
    let folder = folder(&config(NOBODY, "orders"));
    let output = weir(
        folder.path(),
        &["validate", "-c", "weir.yaml"],
        &[("WEIR__VALKEY", "{nodes: ['127.0.0.1:1']}")],
    );
    expect(&output, 1, &["✗ kafka 127.0.0.1:1: Kafka does not answer", "✗ valkey 127.0.0.1:1: "]);
}

#[tokio::test]
async fn a_valkey_that_evicts_is_refused() {
    let settings = vec![("maxmemory-policy".to_owned(), "allkeys-lru".to_owned())];
    let valkey = Valkey::start(ValkeyOptions { settings, ..ValkeyOptions::default() }).await;
    let (kafka, topic) = (shared_kafka().await, fresh_name("evicting"));
    for topic in [&topic, &format!("{topic}.dead-letter")] {
        kafka.create_topic(topic, 2, &[]).await;
    }
    let brokers = kafka.bootstrap().split(',').next().unwrap();
    let nodes = format!("{{nodes: ['{}']}}", valkey.nodes()[0].address());
    let folder = folder(&format!("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n{}", config(brokers, &topic)));
    let texts = ["`maxmemory-policy` is `allkeys-lru`", "set `noeviction`"];
    for command in ["validate", "serve"] {
        let output = weir(folder.path(), &[command, "-c", "weir.yaml"], &[("WEIR__VALKEY", &nodes)]);
        expect(&output, 64, &texts);
    }
}

#[tokio::test]
async fn topics_are_made_and_weak_ones_refused() {
    let (kafka, valkey) = (shared_kafka().await, shared_valkey().await);
    let (topic, weak) = (fresh_name("made"), fresh_name("weak"));
    let brokers = kafka.bootstrap().split(',').next().unwrap();
    let made = folder(&config(brokers, &topic));
    let (check, create) = (["topics", "check", "-c", "weir.yaml"], ["topics", "create", "-c", "weir.yaml"]);
    let line = |mark: &str, topic: &str, rest: &str| format!("{mark} topic {topic}: {rest}");
    expect(&weir(made.path(), &check, &[]), 64, &[&line("✗", &topic, "does not exist")]);
    expect(&weir(made.path(), &create, &[]), 0, &[&line("✓", &topic, "made: 2 partitions, 1 copies")]);
    expect(&weir(made.path(), &create, &[]), 0, &[&line("!", &topic, "has 1 copies")]);
    let nodes = format!("{{nodes: ['{}']}}", valkey.nodes()[0].address());
    let all = weir(made.path(), &["validate", "-c", "weir.yaml"], &[("WEIR__VALKEY", &nodes)]);
    expect(&all, 0, &["✓ kafka", "✓ valkey", "answers"]);

    kafka.create_topic(&weak, 2, &[("cleanup.policy", "compact"), ("min.insync.replicas", "1")]).await;
    let strong = format!(
        "kafka: {{brokers: [\"{brokers}\"]}}\nroutes: [{{name: orders, topic: {weak}, topic_settings: {{partitions: 2}}}}]\n"
    );
    let output = weir(folder(&strong).path(), &check, &[]);
    expect(
        &output,
        64,
        &[&line("✗", &weak, "min.insync.replicas is 1"), &line("✗", &weak, "cleanup.policy")],
    );
}

#[test]
fn a_routes_tests_run_in_the_real_engine_and_say_what_differs() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dev.yaml").display().to_string();
    let here = folder("");
    expect(
        &weir(here.path(), &["test", "-c", &example], &[]),
        0,
        &["✓ orders: a total is a number", "2 passed, 0 failed"],
    );

    let rogue = inputs::plugin("rogue").display().to_string();
    let tests = format!(
        r#"plugins: {{rogue: {{path: "{rogue}"}}}}
kafka: {{brokers: ["{NOBODY}"]}}
routes:
  - name: a
    key: data:/k
    plugins: [{{plugin: rogue, config: {{sin: panic}}}}]
    topic: a
    tests:
      - {{name: stored, event: {{k: k-1}}, record: {{topic: a, key: k-1, data: {{k: k-1}}, headers: {{ce_type: a, x: null}}}}}}
      - {{name: trapped, event: {{k: k-1, sin: "yes"}}, dead_letter: {{code: trap, key: k-1}}}}
      - {{name: wrong key, event: {{k: k-1}}, record: {{key: k-2, headers: {{ce_type: b}}, data: {{k: 1}}}}}}
      - {{name: wrong end, event: {{k: k-1}}, dropped: {{}}}}
      - {{name: cloud, cloudevent: {{specversion: "1.0", id: i, source: s, type: t, data: {{k: 5}}}}, record: {{key: "5", headers: {{ce_id: i}}}}}}
  - name: b
    topic: b
    kafka_content_mode: structured
    tests:
      - {{name: enveloped, event: {{k: 1}}, record: {{data: {{k: 1}}, headers: {{ce_type: null}}}}}}
"#
    );
    let here = folder(&tests);
    let output = weir(here.path(), &["test", "-c", "weir.yaml"], &[]);
    let told = [
        "✓ a: stored",
        "✓ a: trapped",
        "✗ a: wrong key\n    key: expected `k-2`, got `k-1`\n    header ce_type: expected `b`, got `a`\n    data: expected",
        "✗ a: wrong end\n    it would end otherwise: stored in a",
        "✓ a: cloud",
        "✓ b: enveloped",
        "4 passed, 2 failed",
    ];
    expect(&output, 1, &told);
    let json = weir(here.path(), &["test", "-c", "weir.yaml", "-o", "json"], &[]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["passed"], &json["tests"][3]["name"]), (&4.into(), &"wrong end".into()));
    let bad = folder(&tests.replace("dropped: {}", "nothing: {}").replace("name: stored, event", "event"));
    expect(&weir(bad.path(), &["test", "-c", "weir.yaml"], &[]), 64, &["unknown key `nothing`"]);
    let none = folder(&config(NOBODY, "orders"));
    expect(&weir(none.path(), &["test", "-c", "weir.yaml"], &[]), 64, &["no tests"]);
}

#[tokio::test]
async fn kafka_is_reached_over_tls_with_a_login() {
    let kafka = Kafka::start(KafkaOptions { sasl: true, ..KafkaOptions::default() }).await;
    let access = kafka.sasl();
    let section = format!(
        "kafka:\n  tls: {{ca: \"{}\"}}\n  sasl: {{mechanism: {}, username: {}, password: {{env: LOGIN}}}}\n  brokers: [\"{}\"]\n  \
         allow_weak_topics: true\nroutes:",
        access.ca.display(),
        access.mechanism.to_lowercase(),
        access.user,
        access.bootstrap.split(',').next().unwrap()
    );
    let config = config(NOBODY, "orders");
    let (_, routes) = config.split_once("routes:").unwrap();
    let secured = folder(&format!("{section}{routes}"));
    let create = ["topics", "create", "-c", "weir.yaml"];
    expect(&weir(secured.path(), &create, &[("LOGIN", access.password)]), 0, &["✓ topic orders: made"]);
    let wrong = canaries().secret("wrong");
    let refused = weir(secured.path(), &create, &[("LOGIN", &wrong)]);
    expect(&refused, 1, &["Kafka does not answer", "login"]);
    assert!(!said(&refused).contains(&wrong));

    let serve = |login: &str| {
        let head = "listen: {listen}\nadmin: {admin}\nlog: {level: debug}\n";
        let env = vec![("LOGIN".to_owned(), login.to_owned())];
        WeirOptions { env, ..WeirOptions::serve(format!("{head}{section}{routes}")) }
    };
    let weir = Weir::start(serve(access.password)).await;
    let request = reqwest::Client::new().post(weir.url("/v1/events/orders")).body("{}");
    let stored = Answer::to(request.header("content-type", "application/json")).await;
    assert_eq!(stored.status, 201, "{stored:?}");
    let locked_out = Weir::launch(serve(&wrong));
    until("it says what is wrong", Duration::from_secs(30), async || {
        locked_out.process().log().to_lowercase().contains("authentication").then_some(())
    })
    .await;
    for log in [weir.process().log(), locked_out.process().log()] {
        assert!(!log.contains(access.password) && !log.contains(&wrong), "{log}");
    }
}
