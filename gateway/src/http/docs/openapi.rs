//! The OpenAPI 3.1 document of the public listener; a test fails for a door that it does not describe.

use serde_json::{Map, Value, json};

use crate::event::parse::ATTRIBUTE_BYTES_MAX;
use crate::http::doors::{Door, Listener};
use crate::problem::Code;
use crate::route::KEY_BYTES_MAX;

/// No control characters, and not empty.
const ATTRIBUTE: &str = r"^[^\u0000-\u001f\u007f-\u009f]{1,256}$";
/// An offset, or time, partition and offset.
const CURSOR: &str = r"^[0-9]{1,15}(\.[0-9]{1,9}\.[0-9]{1,15})?$";
const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// The whole document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for door in Door::ALL.iter().filter(|door| door.listener() == Listener::Public) {
        let path = paths.entry(door.path()).or_insert_with(|| json!({}));
        path[door.method().as_str().to_ascii_lowercase()] = operation(*door);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weir",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "An event gateway: events in, checked, worked on by plugins, written to Kafka; recent ones \
                looked up. An answer to an event comes after Kafka's acknowledgement.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "security": [{"bearer": []}, {"apiKey": []}, {}],
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key. Where no access is configured, nobody is asked."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": schemas(),
            "responses": {"Problem": {
                "description": "What went wrong (RFC 9457). `code` is stable, `outcome` says what became of the event.",
                "content": {"application/problem+json": {"schema": reference("Problem")}},
            }},
        },
    })
}

fn operation(door: Door) -> Value {
    match door {
        Door::PostEvents => ingest(
            "Events of one route",
            json!([route()]),
            json!({
                "application/json": {"schema": reference("Json"), "example": {"order_id": "o-1"}},
                "application/x-ndjson": {"schema": {"type": "string", "description": "One event a line."}},
                "application/cloudevents+json": {"schema": reference("CloudEvent")},
                "application/cloudevents-batch+json": {"schema": {"type": "array", "items": reference("CloudEvent")}},
            }),
        ),
        Door::PostCloudEvent => ingest(
            "CloudEvents, each to the route that matches it",
            json!([]),
            json!({
                "application/cloudevents+json": {"schema": reference("CloudEvent")},
                "application/cloudevents-batch+json": {"schema": {"type": "array", "items": reference("CloudEvent")}},
            }),
        ),
        Door::GetEvents => {
            let mut asked = vec![route()];
            asked.extend([
                required(query(
                    "key",
                    "The key; with `kind`, a lookup key of that kind. A live tail needs none.",
                    text(KEY_BYTES_MAX),
                )),
                query("kind", "The kind of the lookup key, as a plugin named it.", text(KEY_BYTES_MAX)),
                query(
                    "limit",
                    "How many events at most.",
                    json!({"type": "integer", "minimum": 1, "maximum": u32::MAX, "default": 20}),
                ),
                query("type", "Only events of this type.", text(ATTRIBUTE_BYTES_MAX)),
                query(
                    "since",
                    "Only events received since then: RFC 3339, or milliseconds since 1970.",
                    time(),
                ),
                query("until", "Only events received until then.", time()),
                query(
                    "cursor",
                    "The `cursor` of the page before this one.",
                    json!({"type": "string", "pattern": CURSOR}),
                ),
                level(),
                min_position(),
            ]);
            lookup(
                "The latest events of a key, newest first. With `Accept: text/event-stream` those to come: then `from` says from \
                 where, and only `key`, `kind` and `type` go with it",
                asked,
                json!({
                    "application/json": {"schema": reference("Page")},
                    "text/event-stream": {"schema": {"type": "string"}},
                }),
            )
        }
        Door::GetEventById => {
            let source =
                query("source", "Its source, if ids are not unique without it.", text(ATTRIBUTE_BYTES_MAX));
            let asked = vec![route(), path("id", text(ATTRIBUTE_BYTES_MAX)), source, level(), min_position()];
            lookup("One event by its id", asked, json!({"application/json": {"schema": reference("Event")}}))
        }
        Door::GetEventAt => {
            let number = |max: i64| json!({"type": "integer", "minimum": 0, "maximum": max});
            let asked = vec![
                route(),
                path("partition", number(i32::MAX.into())),
                path("offset", number((1 << 53) - 1)),
            ];
            lookup(
                "One event by its position",
                asked,
                json!({"application/json": {"schema": reference("Event")}}),
            )
        }
        Door::AskEvents | Door::AskCloudEvent => json!({
            "summary": "What may be sent here; the handshake of CloudEvents webhooks",
            "security": [],
            "parameters": if door.names_a_route() { json!([route()]) } else { json!([]) },
            "responses": {
                "200": {"description": "This sender of webhooks may send"},
                "204": {"description": "`Allow` and `Accept-Post` say what may be sent"},
            },
        }),
        Door::OpenApi => plain("This document", "application/json"),
        Door::Docs => plain("The page that shows it", "text/html"),
        Door::DocsViewer => plain("What the page is drawn with", "text/javascript"),
        // Not of this listener.
        _ => json!({}),
    }
}

fn ingest(summary: &str, mut parameters: Value, bodies: Value) -> Value {
    let asked = [
        query(
            "dry_run",
            "Show the record that would be produced, and produce nothing.",
            json!({"type": "boolean"}),
        ),
        header(
            "prefer",
            "`return=minimal`: no receipts if all is well. `handling=strict`: all events or none.",
        ),
    ];
    if let Some(parameters) = parameters.as_array_mut() {
        parameters.extend(asked);
    }
    json!({
        "summary": summary,
        "description": "In CloudEvents' binary mode the attributes are `ce-` headers and the body is any data.",
        "parameters": parameters,
        "requestBody": {"required": true, "content": bodies},
        "responses": {
            "200": answer("A batch that ended well, one event that a plugin dropped or put aside, or a dry run", "Answer"),
            "201": answer("One event is stored", "Receipt"),
            "204": {"description": "All is well, and no receipts were wanted"},
            "207": answer("A batch of which some ended well", "Answer"),
            "422": {"description": "No event was stored", "content": {
                "application/json": {"schema": reference("Answer")},
                "application/problem+json": {"schema": reference("Problem")},
            }},
            "default": {"description": "No event was stored, or it is not known (504)", "content": {
                "application/json": {"schema": reference("Answer")},
                "application/problem+json": {"schema": reference("Problem")},
            }},
        },
    })
}

fn lookup(summary: &str, parameters: Vec<Value>, content: Value) -> Value {
    json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Found", "content": content},
            "304": {"description": "Nothing newer than what `If-None-Match` names"},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    })
}

fn plain(summary: &str, media_type: &str) -> Value {
    let mut content = Map::new();
    content.insert(media_type.to_owned(), json!({}));
    json!({"summary": summary, "security": [], "responses": {"200": {"description": summary, "content": content}}})
}

fn answer(description: &str, schema: &str) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": reference(schema)}}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn text(bytes_max: usize) -> Value {
    json!({"type": "string", "maxLength": bytes_max})
}

fn time() -> Value {
    json!({"type": "string", "anyOf": [{"format": "date-time"}, {"pattern": "^[0-9]{1,15}$"}]})
}

fn route() -> Value {
    path("route", json!({"type": "string"}))
}

fn path(name: &str, schema: Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

fn required(mut parameter: Value) -> Value {
    parameter["required"] = true.into();
    parameter
}

fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "description": description, "schema": {"type": "string"}})
}

fn level() -> Value {
    let levels = json!({"type": "string", "enum": ["bounded", "strong"], "default": "bounded"});
    query(
        "level",
        "`bounded`: at most a second old. `strong`: everything acknowledged before the request.",
        levels,
    )
}

fn min_position() -> Value {
    let position = json!({"type": "string", "pattern": "^[0-9]{1,9}:[0-9]{1,15}$"});
    query("min_position", "A receipt's `<partition>:<offset>`: the answer includes it, or is 503.", position)
}

/// An object with these properties, all of them there.
fn object(properties: Value) -> Value {
    let required: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).cloned().collect();
    json!({"type": "object", "properties": properties, "required": required})
}

fn schemas() -> Value {
    let (string, nullable) = (json!({"type": "string"}), json!({"type": ["string", "null"]}));
    let integer = json!({"type": "integer"});
    let integer_64 = json!({"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX});
    let attribute = json!({"type": "string", "pattern": ATTRIBUTE});
    let optional = json!({"type": ["string", "null"], "pattern": ATTRIBUTE});
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    let titles: Vec<_> =
        Code::ALL.iter().map(|code| format!("- `{}`: {}", code.name(), code.title())).collect();
    let schema = json!({"type": ["object", "null"], "properties": {"subject": string, "version": integer}});
    json!({
        "Json": {
            "description": "Any JSON: nested 64 deep at most, no key twice in an object, integers of 64 bits.",
        },
        "CloudEvent": {
            "type": "object", "required": ["specversion", "id", "source", "type"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": attribute, "source": attribute, "type": attribute, "subject": optional,
                "time": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date-time"}]},
                "dataschema": optional, "datacontenttype": optional,
                "data": reference("Json"), "data_base64": {"type": ["string", "null"], "contentEncoding": "base64", "pattern": BASE64},
            },
            "if": {"required": ["data_base64"], "properties": {"data_base64": {"type": "string"}}},
            // Without a type, or with a JSON type, the data has to be JSON.
            "then": {
                "required": ["datacontenttype"],
                "properties": {"data": false, "datacontenttype": {"type": "string", "not": {"pattern": "[/+][jJ][sS][oO][nN]"}}},
            },
            "propertyNames": {"pattern": "^([a-z0-9]{1,20}|data_base64)$"},
            "additionalProperties": {"anyOf": [optional, integer_64, {"type": "boolean"}]},
        },
        "Receipt": object(json!({
            "id": string, "source": string, "type": string, "route": string, "topic": string,
            "partition": integer, "offset": {"type": ["integer", "null"]}, "key": nullable, "schema": schema,
            "plugins": {"type": "array", "items": object(json!({"name": string, "version": string, "digest": string}))},
            "outcome": {"const": "stored"}, "duplicate": {"type": "boolean"},
        })),
        "Answer": {"description": "Of a batch `results`, in order; of one event its ending.", "type": "object"},
        "Problem": {
            "type": "object", "required": ["type", "title", "status", "code", "outcome"],
            "properties": {
                "type": string, "title": string, "status": integer, "detail": string,
                "code": {"enum": codes, "description": titles.join("\n")},
                "outcome": {"enum": ["refused", "not-stored", "unknown"]},
                "errors": {"type": "array", "items": object(json!({"pointer": string, "keyword": string, "detail": string}))},
                "window_start": string,
            },
        },
        "Event": {
            "type": "object",
            "required": ["id", "source", "type", "time", "topic", "partition", "offset", "key", "content_type", "schema"],
            "properties": {
                "id": string, "source": string, "type": string, "time": nullable, "topic": string,
                "partition": integer, "offset": integer, "key": nullable, "content_type": nullable, "schema": nullable,
                "data": {}, "data_base64": string,
            },
        },
        "Page": {
            "type": "object", "required": ["events", "as_of", "window_start", "truncated"],
            "properties": {
                "events": {"type": "array", "items": reference("Event")},
                "as_of": {"description": "The answer is complete up to and including this position."},
                "window_start": string, "truncated": {"type": "boolean"}, "complete_since": nullable, "cursor": nullable,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_of_the_listener_is_described() {
        let document = document();
        for door in Door::ALL.iter().filter(|door| door.listener() == Listener::Public) {
            let operation = &document["paths"][door.path()][door.method().as_str().to_ascii_lowercase()];
            assert!(operation["summary"].is_string() && operation["responses"].is_object(), "{door:?}");
            for named in door.path().split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let parameters = operation["parameters"].as_array().expect("it has parameters");
                assert!(parameters.iter().any(|parameter| parameter["name"] == named), "{door:?} {named}");
            }
        }
    }
}
