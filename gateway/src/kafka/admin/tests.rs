//! What is weak, what only differs: the table.

use super::*;

fn wanted() -> Wanted {
    Wanted {
        topic: "orders".to_owned(),
        partitions: 6,
        replication_factor: 3,
        retention_ms: 604_800_000,
        window_ms: 3_600_000,
        min_insync_replicas: 2,
        max_message_bytes: 1_114_112,
        compacted: false,
    }
}

/// The topic as wanted, but for one thing.
fn but(change: impl Fn(&mut Description)) -> Description {
    let mut description = wanted().description();
    change(&mut description);
    description
}

fn with(name: &str, value: &str) -> Description {
    but(|it| {
        it.settings.insert(name.to_owned(), value.to_owned());
    })
}

#[test]
fn as_wanted_is_no_finding() {
    assert_eq!(judge(&wanted().description(), &wanted(), false), []);
    assert_eq!(judge(&with("retention.ms", "-1"), &wanted(), false), [], "kept for ever");
    assert_eq!(judge(&with("max.message.bytes", "9000000"), &wanted(), false), []);
}

#[test]
fn every_weakness_is_named() {
    use Weight::{Differs, Missing, Weak};
    // The topic, its weight, its weight where weak topics are allowed, and what is said.
    let table = [
        (Description::default(), Missing, Missing, "does not exist"),
        (but(|it| it.replication_factor = 2), Weak, Differs, "has 2 copies"),
        (with("min.insync.replicas", "1"), Weak, Differs, "min.insync.replicas is 1"),
        (with("min.insync.replicas", "4"), Weak, Weak, "nothing is acked"),
        (with("unclean.leader.election.enable", "true"), Weak, Differs, "a stale broker may become leader"),
        (with("cleanup.policy", "compact,delete"), Weak, Weak, "removes all but the last event"),
        (with("max.message.bytes", "1048588"), Weak, Weak, "the largest event needs 1114112"),
        (with("retention.ms", "60000"), Weak, Weak, "shorter than the lookup window"),
        (with("retention.ms", "86400000"), Differs, Differs, "the config says 604800000"),
        (but(|it| it.partitions = 3), Differs, Differs, "has 3 partitions, the config says 6"),
    ];
    for (is, weight, weight_allowed, message) in table {
        for (allow_weak, weight) in [(false, weight), (true, weight_allowed)] {
            let findings = judge(&is, &wanted(), allow_weak);
            assert_eq!(findings.len(), 1, "{message}: {findings:?}");
            assert_eq!(findings[0].weight, weight, "{message}");
            assert!(findings[0].message.contains(message), "{findings:?}");
        }
    }
}

#[test]
fn a_topic_of_many_copies_may_have_fewer_than_the_config_says() {
    let wanted = Wanted { replication_factor: 5, ..wanted() };
    let is = Description { replication_factor: 3, ..wanted.description() };
    let findings = judge(&is, &wanted, false);
    assert_eq!(findings.iter().map(|it| it.weight).collect::<Vec<_>>(), [Weight::Differs]);
}
