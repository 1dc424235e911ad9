//! Who may do what, over the gateway's own listeners, on the mock cluster of `weir dev`.

mod keys;
mod matrix;
mod signed;
mod starting;
mod tokens;
mod traces;

use std::time::Duration;

use reqwest::Method;
use weir::access::{Minted, mint};
use weir_tests::world::{Answer, Weir, WeirOptions};

/// A gateway with a route for each of three tenants.
struct Stage {
    weir: Weir,
    http: reqwest::Client,
}

const ROUTES: &str = r#"
log: {format: json, level: debug}
routes:
  - name: orders
    tenant: shop
    match: {type: "orders.*"}
    key: data:/key
    topic: orders
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
  - name: visits
    tenant: other
    match: {type: "visits.*"}
    topic: visits
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
  - name: parcels
    topic: parcels
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
"#;

/// A gateway whose config says this of access, beside [`ROUTES`].
fn options(access: &str) -> WeirOptions {
    let args = ["dev", "--config", "{config}", "--listen", "{listen}", "--admin", "{admin}"];
    WeirOptions {
        args: args.map(str::to_owned).to_vec(),
        config: format!("{access}{ROUTES}"),
        env: Vec::new(),
        ready_timeout: Duration::from_secs(60),
    }
}

impl Stage {
    async fn start(access: &str) -> Self {
        Stage { weir: Weir::start(options(access)).await, http: reqwest::Client::new() }
    }

    /// Asks `url` with this key.
    async fn ask(&self, method: Method, url: String, key: Option<&str>, body: &str) -> Answer {
        let request = self.http.request(method, url).header("content-type", "application/json");
        let request = key.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        Answer::to(request.body(body.to_owned())).await
    }

    /// Posts an event to a path of the public listener.
    async fn post(&self, path: &str, key: Option<&str>) -> Answer {
        self.ask(Method::POST, self.weir.url(path), key, r#"{"key":"k"}"#).await
    }

    async fn get(&self, url: String, key: Option<&str>) -> Answer {
        self.ask(Method::GET, url, key, "").await
    }

    /// Whether no log line holds any of these.
    fn never_logged(&self, secrets: &[&str]) {
        let log = self.weir.process().log();
        for secret in secrets {
            assert!(!log.contains(secret), "{secret} in the log:\n{log}");
        }
    }
}

/// A key and its stanza, as one line of a list.
fn key(id: &str, tenant: &str, rest: &str) -> (String, String) {
    let Minted { key, sha256 } = mint(id).unwrap();
    (key, format!("- {{id: {id}, sha256: {sha256}, tenant: {tenant}, {rest}}}\n"))
}

/// The random part of a key.
fn secret(key: &str) -> &str {
    key.rsplit('_').next().unwrap()
}
