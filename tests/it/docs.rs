//! What the gateway says of itself: the OpenAPI document, and the page that shows it without asking anybody outside.

use weir_tests::world::{Weir, WeirOptions};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_document_come_from_the_gateway_alone() {
    let weir = Weir::start(WeirOptions::dev()).await;
    let get = async |path: &str| reqwest::get(weir.url(path)).await.unwrap();
    let document: serde_json::Value = get("/openapi.json").await.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/events/{route}"]["post"]["requestBody"].is_object());

    let page = get("/docs").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; connect-src 'self'"), "{policy}");
    let text = page.text().await.unwrap();
    assert!(text.contains("openapi.json") && !text.contains("http:") && !text.contains("https:"), "{text}");

    let viewer = get("/docs/rapidoc-min.js").await;
    assert_eq!(
        (viewer.status(), &viewer.headers()["content-encoding"]),
        (reqwest::StatusCode::OK, &"gzip".parse().unwrap())
    );
}
