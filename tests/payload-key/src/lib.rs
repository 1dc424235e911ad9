//! `field-key` as one would write it over whole payloads: what declared fields spare is what it costs more.

use weir_plugin::{Event, Patch, Plugin, Role, Verdict, export};

/// It has no settings.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadKey {}

#[derive(serde::Deserialize)]
struct Order<'a> {
    order_id: &'a str,
    #[serde(borrow)]
    customer: Customer<'a>,
}

#[derive(serde::Deserialize)]
struct Customer<'a> {
    user_id: Option<&'a str>,
}

impl Plugin for PayloadKey {
    const ROLES: &[Role] = &[Role::Key];

    fn fields(&self) -> Vec<String> {
        Vec::new()
    }

    fn needs_payload(&self) -> bool {
        true
    }

    fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict {
        if let Ok(Order { order_id, customer }) = serde_json::from_slice(event.payload()) {
            patch.partition_key(customer.user_id.unwrap_or(order_id));
        }
        Verdict::Pass
    }
}

export!(PayloadKey);
