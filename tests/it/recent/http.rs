//! Lookups as HTTP clients meet them: levels, tags, waiting, and where an answer came from.

use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use weir_tests::world::{Resp, Valkey, ValkeyOptions, canaries, until};

use crate::spine::{Client, Route, orders};

pub(super) fn order(number: u32, user: &str) -> String {
    format!(
        r#"{{"order_id":"o-{number}","customer":{{"user_id":"{user}"}},"items":[{{"sku":"BK-30411","quantity":1,"price":12.5}}],"total":12.5,"currency":"EUR","placed_at":"2026-11-23T09:26:53Z"}}"#
    )
}

/// A lookup with these headers.
async fn get(client: &Client, rest: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = client.http.get(client.weir.url(&format!("/v1/events/{}{rest}", client.route)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn body(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_the_newest_event_is_told_so_and_may_wait_for_the_next() {
    let client = orders().await.start().await;
    let stored = client.event(order(1, "u-1")).await.body;
    let place = format!("{}:{}", stored["partition"], stored["offset"]);
    // Every lookup asks for what it knows of: without, it may be shown what was there a second ago.
    let own = format!("?key=u-1&min_position={place}");
    let first = get(&client, &own, &[]).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(header(&first, "cache-control"), "private, no-cache");
    let etag = header(&first, "etag");
    assert!(etag.starts_with("W/\""), "{etag}");

    let again = get(&client, &own, &[("if-none-match", &etag)]).await;
    assert_eq!((again.status(), header(&again, "etag")), (StatusCode::NOT_MODIFIED, etag.clone()));
    assert!(again.bytes().await.unwrap().is_empty());
    let other = get(&client, "?key=u-2", &[("if-none-match", &etag)]).await;
    assert_eq!(other.status(), StatusCode::OK, "another key's tag says nothing");

    // Nothing comes for this key: it waits its time out, whatever comes for others.
    let waits = [("if-none-match", etag.as_str()), ("prefer", "wait=1")];
    let begun = Instant::now();
    let (waited, _) = tokio::join!(get(&client, &own, &waits), client.event(order(2, "u-9")));
    assert_eq!(
        (waited.status(), header(&waited, "preference-applied")),
        (StatusCode::NOT_MODIFIED, "wait=1".to_owned())
    );
    assert!(begun.elapsed() >= Duration::from_secs(1));

    // The next one ends the wait.
    let waits = [("if-none-match", etag.as_str()), ("prefer", "wait=25")];
    let begun = Instant::now();
    let (waited, sent) = tokio::join!(get(&client, &own, &waits), client.event(order(3, "u-1")));
    assert_eq!((waited.status(), sent.status), (StatusCode::OK, 201));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_ne!(header(&waited, "etag"), etag);
    assert_eq!(body(waited).await["events"][0]["data"]["order_id"], "o-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_how_it_came_and_what_is_not_there_since_when() {
    let client = orders().await.start().await;
    let stored = client.event(order(1, "u-1")).await.body;
    let strong = get(&client, "?key=u-1&level=strong", &[]).await;
    assert_eq!(body(strong).await["events"][0]["id"], stored["id"]);
    let id = stored["id"].as_str().unwrap();
    // Until the store has it, it is read from the log.
    let one = until("the store has it", Duration::from_secs(30), async || {
        let one = get(&client, &format!("/{id}?level=strong"), &[]).await;
        assert_eq!(one.status(), StatusCode::OK);
        (header(&one, "cache-status") == "weir; hit").then_some(one)
    })
    .await;
    let known = [("if-none-match", header(&one, "etag"))].map(|(name, tag)| (name, tag));
    let known: Vec<_> = known.iter().map(|(name, tag)| (*name, tag.as_str())).collect();
    let at = format!("/at/{}/{}", stored["partition"], stored["offset"]);
    for path in [format!("/{id}"), at] {
        assert_eq!(get(&client, &path, &known).await.status(), StatusCode::NOT_MODIFIED, "{path}");
    }
    assert!(client.metric("weir_recent_total", "what=\"hit\"").await >= 3.0);

    let absent = get(&client, "/nobody", &[]).await;
    assert_eq!(absent.status(), StatusCode::NOT_FOUND);
    let problem = body(absent).await;
    assert_eq!(problem["code"], "not-in-window");
    assert!(problem["window_start"].as_str().unwrap().ends_with('Z'), "{problem}");
    let unknown = get(&client, "?key=u-1&level=eventual", &[]).await;
    assert_eq!(
        (unknown.status(), body(unknown).await["code"].as_str()),
        (StatusCode::BAD_REQUEST, Some("bad-query"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_where_each_partition_stands() {
    let client = orders().await.start().await;
    for number in 0..20 {
        assert_eq!(client.event(order(number, &format!("u-{number}"))).await.status, 201);
    }
    let asked = async || {
        let response = client.http.get(client.weir.admin_url("/admin/v1/recent")).send().await.unwrap();
        body(response).await["partitions"].as_array().unwrap().clone()
    };
    let partitions = until("all is read", Duration::from_secs(30), async || {
        let partitions = asked().await;
        let sum =
            |member: &str| partitions.iter().filter_map(|partition| partition[member].as_i64()).sum::<i64>();
        (sum("end") == 20 && sum("next") == 20 && sum("lag_events") == 0).then_some(partitions)
    })
    .await;
    assert_eq!(partitions.len(), 3);
    for (number, partition) in partitions.iter().enumerate() {
        assert_eq!((partition["partition"].as_u64(), &partition["floor"]), (Some(number as u64), &json!(0)));
        assert_eq!((&partition["route"], &partition["topic"]), (&json!(client.route), &json!(client.route)));
        assert!(partition["fresh_at"].as_str().unwrap().ends_with('Z'), "{partition}");
        assert_eq!(partition["generation"].as_str().unwrap().len(), 16);
    }
    assert_eq!(client.metric("weir_recent_lag_events", &client.route).await, 0.0);
    let stale_s = client.metric("weir_recent_stale_seconds", &client.route).await;
    assert!((0.0..30.0).contains(&stale_s), "{stale_s}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_is_read_anew() {
    let route = orders().await;
    let [one, two] = ["one", "two"].map(|password| canaries().secret(password));
    let valkey =
        Valkey::start(ValkeyOptions { password: Some(one.clone()), ..ValkeyOptions::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    std::fs::write(&secret, format!("{one}\n")).unwrap();
    let (head, rest) = route.config.split_once("valkey:\n").unwrap();
    let (_, routes) = rest.split_once("routes:").unwrap();
    let (nodes, secret_path) = (valkey.addresses().join("\", \""), secret.display());
    let config = format!(
        "{head}valkey:\n  nodes: [\"{nodes}\"]\n  password: {{file: \"{secret_path}\"}}\nroutes:{routes}"
    );
    let client = Route { config, ..route }.start().await;
    let first = client.event(order(1, "u-1")).await.body;
    let look = async |receipt: &Value| {
        let place = format!("{}:{}", receipt["partition"], receipt["offset"]);
        client.look(&format!("?key=u-1&min_position={place}")).await
    };
    assert_eq!(look(&first).await.status, 200);

    std::fs::write(&secret, format!("{two}\n")).unwrap();
    for node in valkey.nodes() {
        let mut connection = Resp::connect(node.address(), Some(&one)).await.unwrap();
        for setting in ["primaryauth", "requirepass"] {
            let done = connection.call(&["CONFIG", "SET", setting, &two]).await.unwrap();
            assert_eq!(done.text(), "OK");
        }
        connection.call(&["SCRIPT", "FLUSH"]).await.unwrap();
        connection.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
    }
    let second = client.event(order(2, "u-1")).await.body;
    let page = until("lookups are answered again", Duration::from_secs(30), async || {
        Some(look(&second).await).filter(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(page.body["events"].as_array().map(Vec::len), Some(2));
    // A connection that is made anew brings all scripts along, also those that nobody has called.
    for node in valkey.nodes() {
        let mut connection = Resp::connect(node.address(), Some(&two)).await.unwrap();
        if !connection.call(&["INFO", "replication"]).await.unwrap().text().contains("role:master") {
            continue;
        }
        until("the primary has the scripts", Duration::from_secs(30), async || {
            let info = connection.call(&["INFO", "memory"]).await.unwrap().text();
            info.contains("number_of_cached_scripts:6\r\n").then_some(())
        })
        .await;
    }
}
