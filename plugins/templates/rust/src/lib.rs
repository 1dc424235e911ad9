//! Keys: the user if the event has one, else the device. Lookups find it by both.

weir_plugin::key_extractor! {
    fields: ["data:/user/id", "data:/device/id"],
    key: |event| event.entity(0).or(event.entity(1)),
    lookup: [("user", |event| event.entity(0)), ("device", |event| event.entity(1))],
}
