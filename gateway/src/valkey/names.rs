//! The names of a slot's keys. They share one hash tag, so a slot of ours is never split over hash slots; the
//! tag begins with the layout's version, so gateways of two layouts never meet.

use fred::types::Value;

use crate::ports::{Digest, Generation, LookupKey, Slot};

/// The hash tag of one slot. Texts from outside are preceded by their length: no two names can collide.
pub(super) struct Names {
    tag: String,
}

impl Names {
    pub(super) fn of(slot: &Slot) -> Names {
        Names { tag: format!("{{w3:{}:{}:{}}}", slot.topic.len(), slot.topic, slot.partition) }
    }

    /// Valkey's hash slot of all of these names.
    pub(super) fn hash_slot(&self) -> u16 {
        fred::util::redis_keyslot(self.tag.as_bytes())
    }

    /// HASH: generation `g`, next offset `o`, fresh `f`, floor `b` and its time `bt`, start `s`, extent `k`.
    /// Never expires.
    pub(super) fn watermark(&self) -> Value {
        format!("{}:w", self.tag).into()
    }

    /// LIST of refs, newest first.
    pub(super) fn list(&self, generation: Generation, key: &LookupKey) -> Value {
        format!("{}:l:{generation}:{}:{}:{}", self.tag, key.kind.len(), key.kind, key.key).into()
    }

    /// STRING: the ref of the first record with this digest, of an id alone or, where that is taken by another source's
    /// record, of a (source, id).
    pub(super) fn id(&self, generation: Generation, digest: &Digest) -> Value {
        let mut name = format!("{}:i:{generation}:", self.tag).into_bytes();
        name.extend_from_slice(digest);
        Value::Bytes(name.into())
    }

    /// STRING: the body of the record at this offset.
    pub(super) fn body(&self, generation: Generation, offset: i64) -> Value {
        format!("{}:b:{generation}:{offset}", self.tag).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hash_slot_for_all_and_no_collisions() {
        let slot = Slot { topic: "orders".into(), partition: 3 };
        let names = Names::of(&slot);
        let key = |kind: &str, key: &str| LookupKey { kind: kind.to_owned(), key: key.to_owned() };
        let generation = Generation(1);
        let all = [
            names.watermark(),
            names.list(generation, &key("", "a:b")),
            names.list(generation, &key("a", "b")),
            names.list(generation, &key("a:b", "")),
            names.id(generation, &[b'}'; 16]),
            names.body(generation, 7),
        ];
        for (i, name) in all.iter().enumerate() {
            let bytes = name.as_bytes().expect("a string");
            assert_eq!(fred::util::redis_keyslot(bytes), names.hash_slot());
            assert!(!all[..i].contains(name));
        }
    }
}
