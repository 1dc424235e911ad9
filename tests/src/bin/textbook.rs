//! The textbook gateway: axum, `serde_json::Value`, a validator, `FutureProducer`, `join_all`.
//! The bench's fair baseline: a receipt per event after the ack, Kafka settings as ours, and nothing clever.
#![allow(clippy::disallowed_methods, reason = "`FutureProducer::send` is what the textbook says")]

use std::{error::Error, sync::Arc};

use axum::body::Bytes;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::{Router, extract::State, response::IntoResponse, routing::post};
use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, util::Timeout};
use serde_json::{Value, json};

const SOURCE: &str = "/v1/events/orders";

struct Gateway {
    validator: jsonschema::Validator,
    producer: FutureProducer,
}

/// `textbook <listen address> <bootstrap servers> <schema file>`
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, listen, bootstrap, schema] = &args[..] else { return Err("three arguments".into()) };
    let validator = jsonschema::validator_for(&serde_json::from_slice(&std::fs::read(schema)?)?)?;
    let settings = [("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "2")];
    let settings =
        settings.into_iter().chain([("bootstrap.servers", &**bootstrap), ("partitioner", "murmur2_random")]);
    let producer =
        settings.map(|(key, value)| (key.into(), value.into())).collect::<ClientConfig>().create()?;
    let app = Router::new().route(SOURCE, post(ingest)).with_state(Arc::new(Gateway { validator, producer }));
    Ok(axum::serve(tokio::net::TcpListener::bind(listen).await?, app).await?)
}

async fn ingest(State(gateway): State<Arc<Gateway>>, body: Bytes) -> impl IntoResponse {
    let (status, answer) = match serde_json::from_slice(&body) {
        Ok(Value::Array(events)) => {
            let results = join_all(events.iter().map(|event| gateway.store(event))).await;
            let well = results.iter().all(|(status, _)| *status == StatusCode::CREATED);
            let results: Vec<Value> = results.into_iter().map(|(_, answer)| answer).collect();
            (if well { StatusCode::OK } else { StatusCode::MULTI_STATUS }, json!({ "results": results }))
        }
        Ok(event) => gateway.store(&event).await,
        Err(e) => (StatusCode::BAD_REQUEST, json!({ "problem": e.to_string() })),
    };
    (status, [(CONTENT_TYPE, "application/json")], answer.to_string())
}

impl Gateway {
    async fn store(&self, event: &Value) -> (StatusCode, Value) {
        if let Err(e) = self.validator.validate(event) {
            return (StatusCode::UNPROCESSABLE_ENTITY, json!({ "problem": e.to_string() }));
        }
        let id = event["order_id"].as_str().unwrap_or_default();
        let key = event["customer"]["user_id"].as_str().unwrap_or_default();
        let header = |key, value| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new()
            .insert(header("ce_specversion", "1.0"))
            .insert(header("ce_id", id))
            .insert(header("ce_source", SOURCE))
            .insert(header("ce_type", "orders.created"));
        let payload = event.to_string();
        let record = FutureRecord::to("orders").key(key).payload(&payload).headers(headers);
        let at = match self.producer.send(record, Timeout::Never).await {
            Ok(at) => at,
            Err((e, _)) => return (StatusCode::SERVICE_UNAVAILABLE, json!({ "problem": e.to_string() })),
        };
        let receipt = json!({ "id": id, "source": SOURCE, "topic": "orders", "partition": at.partition,
            "offset": at.offset, "key": key, "outcome": "stored" });
        (StatusCode::CREATED, receipt)
    }
}
