//! The partition of a partition key, as Java's default partitioner chooses it. It is not librdkafka's own
//! (`consistent_random`), under which the same key would land elsewhere.

/// The partition of `partition_key` among `partitions` (at least 1): `toPositive(murmur2(key)) % partitions`.
pub fn murmur2_partition(partition_key: &[u8], partitions: i32) -> i32 {
    let positive = murmur2(partition_key) & 0x7fff_ffff;
    i32::try_from(positive).expect("31 bits fit") % partitions.max(1)
}

/// Kafka's murmur2 (seed 0x9747b28c), which reads little-endian words.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(bytes.len() & 0xffff_ffff).expect("32 bits fit");
    let (words, tail) = bytes.as_chunks::<4>();
    let mut hash = 0x9747_b28c ^ length;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn agrees_with_java() {
        let vectors: [(&str, i32); 7] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (text, expected) in vectors {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn a_negative_hash_is_made_positive_by_its_mask() {
        // Java: (-973932308 & 0x7fffffff) % 10
        assert_eq!(murmur2_partition(b"21", 10), (-973_932_308_i32 & 0x7fff_ffff) % 10);
    }
}
