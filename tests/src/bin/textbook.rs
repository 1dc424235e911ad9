//! The textbook gateway: axum, `serde_json::Value`, a validator, `FutureProducer`, `join_all`.
//! The fair baseline of the bench: per-event receipts after the ack and Kafka settings like ours, but nothing clever.

use std::{error::Error, sync::Arc};

use axum::body::Bytes;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::{Router, extract::State, response::IntoResponse, routing::post};
use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, util::Timeout};
use serde_json::{Value, json};

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
    let producer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "2")
        .create()?;
    let gateway = Arc::new(Gateway { validator, producer });
    let app = Router::new().route("/v1/events/orders", post(ingest)).with_state(gateway);
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
        let attributes = [
            ("ce_specversion", "1.0"),
            ("ce_id", id),
            ("ce_source", "/v1/events/orders"),
            ("ce_type", "orders.created"),
            ("content-type", "application/json"),
        ];
        let headers = attributes.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let payload = event.to_string();
        let record = FutureRecord::to("orders").key(key).payload(&payload).headers(headers);
        match self.producer.send(record, Timeout::Never).await {
            Ok(at) => {
                let (partition, offset) = (at.partition, at.offset);
                (
                    StatusCode::CREATED,
                    json!({ "id": id, "topic": "orders", "partition": partition, "offset": offset, "key": key, "outcome": "stored" }),
                )
            }
            Err((e, _)) => (StatusCode::SERVICE_UNAVAILABLE, json!({ "problem": e.to_string() })),
        }
    }
}
