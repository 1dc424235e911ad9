//! Who is let in, how much, and what is written of it: each holds from a reload on, and what it does not change goes on.

use serde_json::{Value, json};
use weir_tests::world::{Answer, canaries};

use super::{SMALL, config, metric, post, reload, rewrite, start};
use crate::access::signed::sign;

const BODY: &str = r#"{"a":1}"#;

#[tokio::test]
async fn a_signed_route_goes_over_to_another_secret() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let [old, new, next] = ["old", "new", "next"].map(|name| canaries().secret(name));
    std::fs::write(place("old"), &old).unwrap();
    std::fs::write(place("new"), &new).unwrap();
    let signed = |secret: &str| {
        let signature = format!("{{scheme: github, secrets: [{{file: \"{}\"}}]}}", place(secret).display());
        let hooks = format!("{{name: hooks, topic: hooks, signature: {signature}, topic_settings: {SMALL}}}");
        format!("{}  - {hooks}\n", config("workers: 2\n", &["orders"]))
    };
    let weir = start(signed("old")).await;
    // Each keeps a connection, and each worker has one of the two.
    let clients = [reqwest::Client::new(), reqwest::Client::new()];
    let ask = async |http: &reqwest::Client, route: &str, signature: Option<String>| {
        let request = http.post(weir.url(&format!("/v1/events/{route}"))).body(BODY);
        let request = request.header("content-type", "application/json");
        let name = "x-hub-signature-256";
        let answer =
            Answer::to(signature.into_iter().fold(request, |it, value| it.header(name, value))).await;
        (answer.status, answer.code())
    };
    let (taken, refused) = ((201, String::new()), (401, "bad-signature".to_owned()));
    let only = async |good: &str| {
        for http in &clients {
            for secret in [&old, &new, &next] {
                let told = ask(http, "hooks", Some(format!("sha256={}", sign(secret, BODY)))).await;
                assert_eq!(told, if secret == good { taken.clone() } else { refused.clone() });
            }
            assert_eq!(ask(http, "hooks", None).await, refused);
            assert_eq!(ask(http, "orders", None).await, taken, "it is not signed");
        }
    };
    only(&old).await;
    assert_eq!(rewrite(&weir, &signed("new")).await, ["routes"]);
    only(&new).await;
    // The config says the same, but the place of its secret does not.
    std::fs::write(place("new"), &next).unwrap();
    assert_eq!(reload(&weir).await.json(), json!({"changed": []}));
    only(&next).await;
}

#[tokio::test]
async fn a_quota_that_is_spent_stays_spent_until_it_is_another() {
    let limits = |events_per_s: u32, rest: &str| {
        format!("limits: {{tenants: {{default: {{events_per_s: {events_per_s}, burst_s: 60}}}}{rest}}}\n")
    };
    let weir = start(config(&limits(1, ""), &["orders"])).await;
    let send = async |route: &str, events: usize| {
        let request = reqwest::Client::new().post(weir.url(&format!("/v1/events/{route}")));
        let request = request.body(format!("[{}]", vec![BODY; events].join(",")));
        let answer = Answer::to(request.header("content-type", "application/json")).await;
        (answer.status, answer.code())
    };
    let spent = (429, "rate-limited".to_owned());
    assert_eq!(send("orders", 60).await, (200, String::new()));
    assert_eq!(send("orders", 30).await, spent, "it takes half a minute to come back");

    assert_eq!(
        rewrite(&weir, &config(&limits(1, ", nodes_max: 999"), &["orders", "visits"])).await,
        ["limits", "routes"]
    );
    for route in ["orders", "visits"] {
        assert_eq!(send(route, 30).await, spent, "{route}");
    }
    let refused = r#"weir_throttled_total{tenant="default",unit="events"}"#;
    assert_eq!(metric(&weir, refused).await, Some(3.0));

    assert_eq!(
        rewrite(&weir, &config(&limits(2, ", nodes_max: 999"), &["orders", "visits"])).await,
        ["limits"]
    );
    assert_eq!(send("visits", 120).await, (200, String::new()));
    assert_eq!(metric(&weir, refused).await, Some(3.0));
}

#[tokio::test]
async fn the_access_log_is_left_away_as_the_level_says_and_nothing_else_is() {
    let level = |level: &str| config(&format!("log: {{format: json, level: \"{level}\"}}\n"), &["orders"]);
    let weir = start(level("info,access=off")).await;
    let ask = async || {
        assert_eq!(post(&weir, "orders").await.status, 201);
        assert_eq!(post(&weir, "nowhere").await.code(), "unknown-route");
    };
    let lines = || {
        let log = weir.process().log();
        log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>()
    };
    let count = |field: &str, value: &str| lines().iter().filter(|line| line[field] == value).count();
    ask().await;
    weir.write_config(&level("info"));
    let refused = reload(&weir).await;
    assert_eq!(refused.code(), "config-unusable", "{refused:?}");
    assert!(refused.text.contains("log: that takes a restart"), "{refused:?}");
    ask().await;
    assert_eq!(count("target", "access"), 0);
    assert_eq!((count("message", "serving"), count("target", "audit")), (1, 1));
    assert!(count("message", "the config stays as it was") > 0);

    weir.process().restart();
    weir.ready().await;
    ask().await;
    assert_eq!(count("target", "access"), 2);
}
