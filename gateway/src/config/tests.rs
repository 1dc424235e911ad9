//! What a person is shown: the texts are the contract, so they are written out.

use std::path::Path;

use super::*;

/// The smallest config that can be used.
const GOOD: &str = "\
kafka:
  brokers: [127.0.0.1:9092]
routes:
  - name: orders
    topic: orders
";

fn read(text: &str) -> Result<Loaded, Refused> {
    parse("weir.yaml", text, Path::new("/etc/weir"), [])
}

fn read_with(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Refused> {
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    parse("weir.yaml", text, Path::new("/etc/weir"), environment)
}

fn refusal(text: &str) -> String {
    read(text).map(|loaded| loaded.config.routes.len()).unwrap_err().to_string()
}

#[track_caller]
fn shows(text: &str, lines: &[&str]) {
    let shown = refusal(text);
    for line in lines {
        assert!(shown.contains(line), "no `{line}` in:\n{shown}");
    }
}

#[test]
fn the_smallest_config_can_be_used() {
    let loaded = read(GOOD).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(loaded.config.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(loaded.config.plugin_cache, Path::new("/etc/weir/.weir-cache"));
}

#[test]
fn the_example_in_deploy_can_be_used() {
    let text = include_str!("../../../deploy/weir.yaml");
    let loaded = read(text).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(loaded.config.schemas.as_deref(), Some(Path::new("/etc/weir/./schemas")));
}

#[test]
fn an_unknown_key_is_shown_with_what_was_meant() {
    let text = GOOD.replace("topic: orders\n", "topic: orders\n    topic_settings: {retention: 5}\n");
    assert_eq!(
        refusal(&text),
        "  × unknown key `retention`
   ╭─[weir.yaml:6:22]
 6 │     topic_settings: {retention: 5}
   ·                      ────┬────
   ·                          ╰── here
   ╰────
  help: did you mean `retention_ms`?"
    );
}

#[test]
fn a_wrong_type_is_shown_without_its_text() {
    shows(
        &GOOD.replace("kafka:", "workers: many\nkafka:"),
        &["× expected a whole number, not negative, found text", "╭─[weir.yaml:1:10]", "1 │ workers: many"],
    );
    shows(
        &GOOD.replace("topic: orders", "topic: 5"),
        &["× expected text, found the number 5", "╭─[weir.yaml:5:12]", "help: put the value in quotes"],
    );
    shows(&GOOD.replace("    topic: orders\n", ""), &["× `topic` is missing here", "weir.yaml:4:5"]);
    shows(
        &GOOD.replace("kafka:", "log: {format: xml}\nkafka:"),
        &["unknown word `xml`", "known here: json, text"],
    );
}

#[test]
fn a_table_is_a_file_or_a_hash_in_the_valkey_that_is_there() {
    let tables = |tables: &str| GOOD.replace("routes:", &format!("tables: {{t: {tables}}}\nroutes:"));
    for neither_or_both in ["{}", "{path: t.json, valkey_hash: t}"] {
        shows(&tables(neither_or_both), &["the table `t` has to be a file or a Valkey hash", "weir.yaml:"]);
    }
    shows(&tables("{valkey_hash: t}"), &["no Valkey is configured", "help: add a section `valkey`"]);
    shows(&tables("{valkey_hsh: t}"), &["did you mean `valkey_hash`?"]);
    let with_valkey = tables("{valkey_hash: t}").replace("routes:", "valkey: {nodes: ['a:1']}\nroutes:");
    assert!(read_with(&with_valkey, &[]).is_ok());
}

#[test]
fn a_literal_secret_is_refused_and_never_repeated() {
    for text in [
        GOOD.replace("routes:", "  sasl: {mechanism: plain, username: u, password: hunter2}\nroutes:"),
        GOOD.replace("routes:", "  sasl:\n    mechanism: plain\n    password: |\n      hunter2\nroutes:"),
        GOOD.replace("routes:", "  tls:\n    key: hunter2\nroutes:"),
        GOOD.replace("routes:", "  properties: {sasl.password: hunter2}\nroutes:"),
        GOOD.replace("routes:", "valkey: {nodes: ['a:1'], password: hunter2}\nroutes:"),
    ] {
        let shown = refusal(&text);
        assert!(shown.contains("{env: NAME}") && shown.contains("{file: path}"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let shown = refusal(&GOOD.replace("routes:", "  sasl: {mechanism: plain, pass: [hunter2\nroutes:"));
    assert!(!shown.contains("hunter2"), "{shown}");
    let shown =
        read_with(GOOD, &[("WEIR__KAFKA__SASL", "{mechanism: plain, password: hunter2}")]).unwrap_err();
    assert!(shown.to_string().starts_with("  × WEIR__KAFKA__SASL: expected `{env: NAME}`"), "{shown}");
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
}

#[test]
fn what_is_no_yaml_is_shown_where_it_stops() {
    shows("kafka:\n  brokers: [a:9092\nroutes: []\n", &["weir.yaml:"]);
    shows("kafka: {}\nkafka: {}\n", &["weir.yaml:2:1", "kafka"]);
    shows("", &["`kafka.brokers` is empty", "there is no route"]);
    shows("- a\n", &["expected a map of settings, found a list"]);
}

#[test]
fn variables_set_single_keys() {
    let loaded = read_with(
        GOOD,
        &[
            ("WEIR__KAFKA__BROKERS", r#"["a:9092", "b:9092"]"#),
            ("WEIR__ROUTES__0__TOPIC", "orders-eu"),
            ("WEIR__LIMITS__EVENT_BYTES_MAX", "4096"),
            ("WEIR__ROUTES__0__RECENT", "false"),
            ("WEIRD__KAFKA", "not ours"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(loaded.config.kafka.brokers, ["a:9092", "b:9092"]);
    assert_eq!(loaded.config.routes[0].topic, "orders-eu");
    assert_eq!(loaded.config.limits.event_bytes_max, 4096);
    assert!(loaded.config.routes[0].recent.0.is_none());
}

#[test]
fn a_variable_that_cannot_be_used_is_named() {
    for (name, value, message) in [
        (
            "WEIR__KAFKA__BROKER",
            "[a:1]",
            "× WEIR__KAFKA__BROKER: unknown key `broker`\n  help: did you mean `brokers`?",
        ),
        ("WEIR__WORKERS", "many", "× WEIR__WORKERS: expected a whole number"),
        ("WEIR__ROUTES__7__TOPIC", "x", "WEIR__ROUTES__7__TOPIC: `7` is not an index of a list of 1"),
        ("WEIR__KAFKA__", "x", "WEIR__KAFKA__: write it as WEIR__KEY or WEIR__SECTION__KEY"),
        ("WEIR__WORKERS", "[", "WEIR__WORKERS: the value is not valid YAML"),
        ("WEIR__ADMIN", "127.0.0.1:8080", "× WEIR__ADMIN: `listen` and `admin` are both 127.0.0.1:8080"),
    ] {
        let shown = read_with(GOOD, &[(name, value)]).unwrap_err().to_string();
        assert!(shown.contains(message), "no `{message}` in:\n{shown}");
    }
}

#[test]
fn contradictions_are_shown_all_at_once() {
    let text = "\
listen: 127.0.0.1:9090
kafka:
  brokers: [localhost]
  properties: {acks: 1, linger.mss: 2, message.timeout.ms: 5000}
plugins:
  entity-key: {path: a.wasm}
routes:
  - name: orders
    topic: orders
    plugins: [{plugin: entity-kee}]
  - name: Orders
    topic: orders
    match: {path: orders}
    topic_settings: {replication_factor: 1, retention_ms: 1000}
    subject: orders
  - name: third
    topic: _weir_control
";
    shows(
        text,
        &[
            "`listen` and `admin` are both 127.0.0.1:9090",
            "`localhost` is not an address",
            "`acks` is not yours to set",
            "help: `stored` means written by every in-sync replica",
            "librdkafka refuses `linger.mss`",
            "help: did you mean `linger.ms`?",
            "`answer_timeout_ms` is 10000, not below librdkafka's message.timeout.ms of 5000",
            "there is no plugin `entity-kee` under `plugins`",
            "help: did you mean `entity-key`?",
            "the topic `orders` belongs to the route `orders` already",
            "`POST /v1/events/orders` belongs to the route `orders` already",
            "`Orders` cannot name a route",
            "a topic with fewer than 3 copies",
            "shorter than the lookup window of 3600000 ms",
            "there are no schemas",
            "`_weir_control` cannot be a route's topic: that name is internal",
            "weir.yaml:12:12",
        ],
    );
}

#[test]
fn overlapping_routes_are_warned_about() {
    let text = "\
kafka: {brokers: ['a:1']}
routes:
  - {name: a, topic: a, match: {type: com.github.*}}
  - {name: b, topic: b, match: {type: '*.push'}}
";
    let loaded = read(text).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(
        loaded.warnings[0].contains("an event may match both this route and `a`"),
        "{}",
        loaded.warnings[0]
    );
}

#[test]
fn selectors_are_refused_with_their_right_spelling() {
    for (written, message) in [("data:id", "write `data:/id`"), ("body:/id", "is not a selector")] {
        let text = GOOD.replace("topic: orders\n", &format!("topic: orders\n    key: {written}\n"));
        shows(&text, &[message, "weir.yaml:6:10"]);
    }
    shows(
        &GOOD.replace("topic: orders\n", "topic: orders\n    subject: a.{Type\n"),
        &["`a.{Type` is not a subject"],
    );
}

#[test]
fn the_schema_for_editors_knows_every_section() {
    let schema = json_schema();
    for key in ["listen", "kafka", "valkey", "limits", "routes", "plugins"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
