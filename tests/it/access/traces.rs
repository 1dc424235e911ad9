//! What the gateway tells of its clients: orders in the audit log, and no secret or payload anywhere.

use reqwest::Method;

use super::{Answer, Stage, key, secret};

#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_in_the_audit_log_with_who_from_where_and_what_came_of_it() {
    let (admin, stanza) = key("night-shift", "default", "roles: [admin, read]");
    let stage = Stage::start(&format!("access:\n  keys:\n  {stanza}")).await;
    let url = stage.weir.admin_url("/admin/v1/recent/parcels/rebuild?canary=query");
    let given = stage.ask(Method::POST, url.clone(), Some(&admin), "").await;
    assert_ne!(given.status, 401, "{given:?}");
    assert_eq!(stage.ask(Method::POST, url, None, "").await.status, 401);
    assert_eq!(stage.get(stage.weir.admin_url("/admin/v1/plugins"), Some(&admin)).await.status, 200);
    let orders = stage.logged("audit");
    assert_eq!(orders.len(), 2, "a look is no order: {orders:?}");
    for (order, (who, status)) in orders.iter().zip([("night-shift", given.status), ("nobody known", 401)]) {
        assert_eq!((&order["who"], &order["status"]), (&who.into(), &status.into()), "{order}");
        assert_eq!(
            (&order["action"], &order["path"]),
            (&"Rebuild".into(), &"/admin/v1/recent/parcels/rebuild".into())
        );
        assert!(order["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_payload_is_in_a_log_a_metric_or_an_answer_to_others() {
    let (writer, first) = key("writer", "shop", "roles: [write, read]");
    let (admin, second) = key("admin", "default", "roles: [admin, metrics]");
    let stage = Stage::start(&format!("access:\n  keys:\n  {first}  {second}")).await;
    let canaries = ["canary-payload-71c3", "canary-header-9d02", "canary-query-44aa", "canary-id-0b6e"];
    let [payload, header, query, id] = canaries;
    let mut told = Vec::new();
    let bodies = [
        format!(r#"{{"key":"k","card":"{payload}"}}"#),
        format!(r#"{{"key":"k","card":"{payload}""#),
        format!(r#"{{"key":"k","key":"{payload}"}}"#),
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"none.such","data":"{payload}"}}"#),
        format!("[{}]", vec![format!(r#"{{"card":"{payload}"}}"#); 3].join(",")),
    ];
    for path in ["/v1/events/orders", "/v1/events", "/v1/events/nowhere", "/v1/events/orders?canary=1"] {
        for content_type in
            ["application/json", "application/cloudevents+json", "application/x-ndjson", "text/plain"]
        {
            for body in &bodies {
                let url = stage.weir.url(&path.replace("canary=1", query));
                let request =
                    stage.http.post(url).header("content-type", content_type).header("x-canary", header);
                told.push(Answer::to(request.bearer_auth(&writer).body(body.clone())).await);
            }
        }
    }
    for bad in [format!("{writer}x"), "weir_writer_canary".to_owned(), format!("Bearer {header}")] {
        told.push(stage.post("/v1/events/orders", Some(&bad)).await);
    }
    told.push(
        stage
            .get(stage.weir.url(&format!("/v1/events/orders?key={query}&limit={header}")), Some(&writer))
            .await,
    );
    told.push(stage.get(stage.weir.admin_url("/metrics"), Some(&admin)).await);
    assert!(told.iter().any(|answer| answer.status < 300) && told.iter().all(|answer| answer.status < 500));
    for answer in &told {
        // An event's own id is its sender's to see.
        for canary in [payload, header, secret(&writer), secret(&admin)] {
            assert!(!answer.text.contains(canary), "{canary} in {answer:?}");
        }
    }
    let lines = stage.logged("access");
    assert_eq!(lines.len(), told.len() - 1, "each request has a line, but not that of the admin listener");
    assert!(lines.iter().any(|line| line["code"] == "unauthorized"), "{lines:?}");
    stage.never_logged(&[payload, header, query, id, secret(&writer), secret(&admin)]);
}
