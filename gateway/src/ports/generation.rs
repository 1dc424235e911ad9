//! The lives of a slot: what tells one from another, and from those of another topic of the same name.

/// A life of a slot's contents. It is part of every name, so that what an earlier life left behind is
/// unreachable rather than wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(pub u64);

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Generation {
    /// One that never was before, for the topic with this id, if it is known.
    pub fn new(topic_id: Option<&str>) -> Generation {
        // The end of a UUIDv7 is random.
        let (_, random) = uuid::Uuid::now_v7().as_u64_pair();
        Generation(u64::from(mark(topic_id)) << 32 | random & u64::from(u32::MAX))
    }

    /// Whether it can be of the topic with this id: that of another one of the same name is of no use.
    pub fn is_of(self, topic_id: Option<&str>) -> bool {
        let (own, asked) = (self.0 >> 32, u64::from(mark(topic_id)));
        own == 0 || asked == 0 || own == asked
    }

    /// Reads the 16 hex digits that [`Display`](std::fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Generation> {
        u64::from_str_radix(text, 16).ok().map(Generation)
    }
}

/// What stands for a topic's id in its generations; 0 for none.
fn mark(topic_id: Option<&str>) -> u32 {
    topic_id.map_or(0, |id| crc32c::crc32c(id.as_bytes()).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_of_one_topic_unless_its_id_is_not_known() {
        let generation = Generation::new(Some("a"));
        assert!(generation.is_of(Some("a")) && !generation.is_of(Some("b")) && generation.is_of(None));
        assert!(Generation::new(None).is_of(Some("a")));
        assert_ne!(generation, Generation::new(Some("a")));
        assert_eq!(Generation::parse(&generation.to_string()), Some(generation));
    }
}
