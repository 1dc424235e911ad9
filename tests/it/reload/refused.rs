//! A config that cannot be used, early or late: all stays as it was, and whoever looks is told.

use std::time::{Duration, SystemTime};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use weir_tests::world::{Answer, Kafka, Weir, WeirOptions, fresh_name, shared_kafka, until};

use super::{PATIENCE, SMALL, USABLE, config, metric, post, ready, reload, start};
use crate::spine::java_partition;

#[tokio::test]
async fn a_config_that_cannot_be_used_changes_nothing_and_is_told() {
    let good = config("", &["orders"]);
    let weir = start(good.clone()).await;
    let mut refused = 0.0;
    let cases = [
        (config("", &["orders", "orders"]), "two routes"),
        (config("limit: {}\n", &["orders"]), "did you mean `limits`?"),
        (config("schemas: nowhere\n", &["orders"]), "nowhere"),
        (
            config("workers: 7\nlimits: {event_bytes_max: 9}\n", &["orders"]),
            "workers, limits.event_bytes_max",
        ),
    ];
    for (text, told) in cases {
        weir.write_config(&text);
        let answer = reload(&weir).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "config-unusable"), "{answer:?}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told), "{told} not in {detail}");
        assert_eq!(post(&weir, "orders").await.status, 201);
        assert_eq!(metric(&weir, USABLE).await, Some(0.0));
        // The change of the file may have been seen beside the order.
        let now = metric(&weir, r#"weir_config_reloads_total{result="refused"}"#).await.unwrap();
        assert!(now > refused, "{now} refused, {refused} before");
        refused = now;
        assert!(weir.process().log().contains("the config stays as it was"));
    }
    weir.write_config(&good);
    assert_eq!(reload(&weir).await.status, 200);
    assert_eq!(metric(&weir, USABLE).await, Some(1.0));
}

/// A config for `weir serve` with these routes.
fn on_kafka(kafka: &Kafka, routes: &[String]) -> String {
    format!(
        "listen: {{listen}}\nadmin: {{admin}}\nkafka: {{brokers: [\"{}\"], allow_weak_topics: true}}\nroutes:\n{}",
        kafka.bootstrap(),
        routes.concat()
    )
}

/// A route to the topic of its name, with this beside it.
fn route(topic: &str, rest: &str) -> String {
    format!("  - {{name: {topic}, topic: {topic}, topic_settings: {SMALL}, recent: false{rest}}}\n")
}

/// Kafka is asked for longer.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// No event is sent to a topic that is not there: the operator is told instead of the clients.
#[tokio::test]
async fn a_topic_that_is_missing_keeps_its_route_out() {
    let kafka = shared_kafka().await;
    let (first, second) = (fresh_name("reload"), fresh_name("reload"));
    kafka.create_topic(&first, 1, &[]).await;
    let both = on_kafka(kafka, &[route(&first, ""), route(&second, "")]);
    let weir = Weir::start(WeirOptions::serve(on_kafka(kafka, &[route(&first, "")]))).await;
    weir.write_config(&both);
    let order = reqwest::Client::new().post(weir.admin_url("/admin/v1/reload")).timeout(IMPATIENCE);
    assert!(order.send().await.unwrap_err().is_timeout());
    let told =
        until("the order is in the audit log, though its client did not wait", 2 * PATIENCE, async || {
            assert_eq!(ready(&weir).await, 200, "a config that is not in force makes nobody unready");
            weir.process().log().lines().find(|line| line.contains(r#""target":"audit""#)).map(str::to_owned)
        })
        .await;
    assert!(told.contains(r#""path":"/admin/v1/reload""#) && told.contains(r#""status":422"#), "{told}");
    let refused = reload(&weir).await;
    assert_eq!(refused.code(), "config-unusable", "{refused:?}");
    assert!(refused.text.contains("weir topics create"), "{refused:?}");
    assert_eq!(post(&weir, &first).await.status, 201);
    assert_eq!(ready(&weir).await, 200);
    kafka.create_topic(&second, 1, &[]).await;
    let taken = reload(&weir).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    assert_eq!(post(&weir, &second).await.status, 201, "at once");
}

/// A secret is looked for last, when Kafka was asked about the new topics already.
#[tokio::test]
async fn a_secret_that_is_missing_leaves_all_as_it_was() {
    let kafka = shared_kafka().await;
    let (first, second) = (fresh_name("reload"), fresh_name("reload"));
    for topic in [&first, &second] {
        kafka.create_topic(topic, 1, &[]).await;
    }
    let weir = Weir::start(WeirOptions::serve(on_kafka(kafka, &[route(&first, ", key: 'data:/key'")]))).await;
    let cases = [
        ("{env: WEIR_SECRET_OF_NOBODY}", "the environment variable WEIR_SECRET_OF_NOBODY is not set"),
        ("{file: nowhere}", "cannot be read"),
    ];
    for (secret, told) in cases {
        let signed = format!(", signature: {{scheme: github, secrets: [{secret}]}}");
        weir.write_config(&on_kafka(kafka, &[route(&second, &signed)]));
        let refused = reload(&weir).await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "config-unusable"), "{refused:?}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("route {second}: ")) && detail.contains(told), "{detail}");
        assert_eq!(post(&weir, &first).await.status, 201);
        assert_eq!(post(&weir, &second).await.code(), "unknown-route");
        assert_eq!((ready(&weir).await, metric(&weir, USABLE).await), (200, Some(0.0)));
    }
    // Kafka is asked about the topic in force as before: a partition that is added is found and used.
    let admin: AdminClient<DefaultClientContext> = kafka.client_config().create().unwrap();
    let more = admin.create_partitions(&[NewPartitions::new(&first, 2)], &AdminOptions::new()).await.unwrap();
    assert!(more.iter().all(Result::is_ok), "{more:?}");
    let key = (0..).map(|number| format!("k-{number}")).find(|key| java_partition(key.as_bytes(), 2) == 1);
    let body = format!(r#"{{"key":"{}"}}"#, key.unwrap());
    until("the new partition is used", PATIENCE, async || {
        let request = reqwest::Client::new().post(weir.url(&format!("/v1/events/{first}")));
        let stored = Answer::to(request.header("content-type", "application/json").body(body.clone())).await;
        assert_eq!(stored.status, 201, "{stored:?}");
        (stored.json()["partition"] == 1).then_some(())
    })
    .await;
}

const SINCE: &str = "weir_config_last_reload_success_timestamp_seconds";

#[tokio::test]
async fn when_the_config_came_into_force_is_told_and_a_refused_one_does_not_change_it() {
    let now_s = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let (good, begun) = (config("", &["orders"]), now_s().floor());
    let weir = start(good.clone()).await;
    let first = metric(&weir, SINCE).await.unwrap();
    assert!((begun..=now_s()).contains(&first), "{first}");
    until("a second is over", PATIENCE, async || (now_s() > first + 1.0).then_some(())).await;

    weir.write_config("routes: nothing\n");
    assert_eq!(reload(&weir).await.status, 422);
    assert_eq!((metric(&weir, SINCE).await, metric(&weir, USABLE).await), (Some(first), Some(0.0)));
    weir.write_config(&good);
    assert_eq!(reload(&weir).await.status, 200);
    let second = metric(&weir, SINCE).await.unwrap();
    assert!(second > first && second <= now_s(), "{first}, then {second}");
    assert_eq!(metric(&weir, USABLE).await, Some(1.0));
}
