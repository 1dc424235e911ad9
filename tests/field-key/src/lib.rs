//! The key extractor whose calls `make bench-plugins` measures: the user, or else the order.

weir_plugin::key_extractor! {
    fields: ["data:/customer/user_id", "data:/order_id"],
    key: |event| event.entity(0).or(event.entity(1)),
}
