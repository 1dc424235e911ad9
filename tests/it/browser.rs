//! Pages in browsers: what they are told before they send, what they may read, and what they send in passing.

use reqwest::Method;
use reqwest::header::HeaderMap;
use weir_tests::world::shared_kafka;

use crate::spine::{Client, route};

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
const SHOP: &str = "https://shop.example";

async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> (u16, HeaderMap) {
    let url = client.weir.url(&format!("/v1/events/{}{path}", client.route));
    let mut request = client.http.request(method, url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_origins_named_may_send_and_read_and_no_others() {
    let client =
        route(1, SCHEMAS.as_ref(), "    browser: {origins: ['https://shop.example']}").await.start().await;
    let asks =
        [("access-control-request-method", "POST"), ("access-control-request-headers", "content-type")];
    for (origin, allowed) in [(SHOP, true), ("https://shop.example.evil", false), ("null", false)] {
        let asked = [("origin", origin), asks[0], asks[1]];
        let (status, headers) = ask(&client, Method::OPTIONS, "", &asked, "").await;
        assert_eq!(status, 204, "{origin}");
        assert_eq!(
            headers.get("access-control-allow-origin").map(|value| value == origin),
            allowed.then_some(true)
        );
        let sent = [("origin", origin), ("content-type", "application/json")];
        let (status, headers) = ask(&client, Method::POST, "", &sent, "{}").await;
        assert_eq!(status, 201, "a browser keeps a page from reading, not from sending");
        assert_eq!(
            headers.get("access-control-allow-origin").map(|value| value == origin),
            allowed.then_some(true)
        );
        let (_, headers) = ask(&client, Method::GET, "/at/0/0", &[("origin", origin)], "").await;
        assert_eq!(headers.contains_key("access-control-allow-origin"), allowed);
        assert_eq!(headers.get_all("vary").iter().any(|value| value == "origin"), allowed);
    }
    let (status, headers) =
        ask(&client, Method::POST, "", &[("origin", SHOP), ("content-type", "text/plain")], "{}").await;
    assert_eq!(
        (status, &headers["access-control-allow-origin"]),
        (415, &SHOP.parse().unwrap()),
        "errors are read, too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn beacons_are_taken_where_a_route_says_so() {
    let client = route(1, SCHEMAS.as_ref(), "    browser: {beacon: true}").await.start().await;
    let beacon = [("origin", SHOP), ("content-type", "text/plain;charset=UTF-8")];
    let (status, headers) = ask(&client, Method::POST, "", &beacon, r#"{"page":"/cart"}"#).await;
    assert_eq!((status, headers.contains_key("access-control-allow-origin")), (201, false));
    let (status, _) = ask(&client, Method::POST, "", &beacon, "no json").await;
    assert_eq!(status, 400);
    let records = shared_kafka().await.records(&client.route).await;
    assert_eq!(records.len(), 1);
    let headers = rdkafka::message::Message::headers(&records[0]).unwrap();
    let content_type = rdkafka::message::Headers::iter(headers).find(|header| header.key == "content-type");
    assert_eq!(content_type.unwrap().value, Some(&b"application/json"[..]));
}
