//! How do I key events by whatever entity they carry? The first of the configured fields that is present
//! becomes the partition key; every one that is present becomes a lookup key of its kind.
//!
//! The partition key is a lookup key too: an event without a user is keyed by its order, so a lookup by
//! `kind=order` would miss just those if the first one were left out.

use weir_plugin::{Error, Event, Patch, Plugin, Role, Verdict, export};

/// Which entities to look for, the most important first.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityKey {
    keys: Vec<Key>,
}

/// Where an entity's name is, and what to call it in lookups.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    kind: String,
    pointer: String,
}

impl Plugin for EntityKey {
    const ROLES: &[Role] = &[Role::Key];

    fn fields(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("data:{}", key.pointer)).collect()
    }

    fn check(&self) -> Result<(), Error> {
        if self.keys.is_empty() { Err(Error::new("`keys` is empty")) } else { Ok(()) }
    }

    fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict {
        let fields = event.fields().zip(&self.keys);
        let present = fields.filter_map(|(field, key)| Some((field.filter(|field| field.names_entity())?, key)));
        for (index, (field, key)) in present.enumerate() {
            if index == 0 {
                patch.partition_key(field);
            }
            patch.lookup_key(&key.kind, field);
        }
        Verdict::Pass
    }
}

export!(EntityKey);

#[cfg(test)]
mod tests {
    use weir_plugin::testing::{Case, Op, check_config};

    use super::EntityKey;

    const CONFIG: &str = r#"{"keys": [{"kind": "user", "pointer": "/user/id"}, {"kind": "order", "pointer": "/order"}]}"#;

    #[test]
    fn the_first_present_is_the_partition_key_and_all_are_lookup_keys() {
        let both = Case::new().text("data:/user/id", "u-1").json("data:/order", "17").run::<EntityKey>(CONFIG);
        let lookup = |kind: &str, key: &str| Op::AddLookupKey(kind.into(), key.into());
        assert_eq!(both.ops, [Op::SetPartitionKey("u-1".into()), lookup("user", "u-1"), lookup("order", "17")]);
        let order = Case::new().json("data:/user/id", "null").json("data:/order", "17").run::<EntityKey>(CONFIG);
        assert_eq!(order.ops, [Op::SetPartitionKey("17".into()), lookup("order", "17")]);
        assert_eq!(Case::new().run::<EntityKey>(CONFIG).ops, []);
    }

    #[test]
    fn a_config_without_keys_is_refused() {
        assert!(check_config::<EntityKey>(r#"{"keys": []}"#).is_err());
        assert!(check_config::<EntityKey>("{}").is_err());
    }
}
