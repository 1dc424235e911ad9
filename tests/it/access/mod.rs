//! Who may do what, over the gateway's own listeners, on the mock cluster of `weir dev`.

mod keys;
mod lines;
mod matrix;
mod metrics;
pub(crate) mod signed;
mod starting;
mod tokens;
mod traces;

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tonic::Code;
use weir::access::{Minted, mint};
use weir_tests::world::{Answer, Weir, WeirOptions, canaries};

use crate::grpc::{self, PUBLISH};

/// A gateway with a route for each of three tenants.
struct Stage {
    weir: Weir,
    http: reqwest::Client,
}

const ROUTES: &str = r#"
log: {format: json, level: debug, access_lines_per_s_max: 10000}
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

    /// Publishes an event to `orders` over gRPC: the status and its reason, nothing if it was stored.
    async fn publish(&self, key: Option<&str>) -> Option<(Code, String)> {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        grpc::publish(&grpc::by_hand(), self.weir.url(PUBLISH), &headers, "orders").await
    }

    async fn get(&self, url: String, key: Option<&str>) -> Answer {
        self.ask(Method::GET, url, key, "").await
    }

    /// The lines of the log that are of this target.
    fn logged(&self, target: &str) -> Vec<Value> {
        let log = self.weir.process().log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == target).collect()
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
    canaries().note(secret(&key));
    (key, format!("- {{id: {id}, sha256: {sha256}, tenant: {tenant}, {rest}}}\n"))
}

/// The random part of a key.
fn secret(key: &str) -> &str {
    key.rsplit('_').next().unwrap()
}
