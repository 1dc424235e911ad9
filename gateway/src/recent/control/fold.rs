//! All facts in force, and the one question asked of them: is this event hidden? Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::fact::{Fact, Partitions, What, key_digest, names_plugin, names_schema};
use crate::ports::Digest;
use crate::recent::body::Body;
use crate::recent::record::{id_digest, listed_keys, truncated};

/// The facts in force.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    facts: BTreeMap<Arc<str>, Arc<Fact>>,
    topics: HashMap<Arc<str>, Hidden>,
    partitions: HashMap<Arc<str>, Partitions>,
    /// The topics' ids, as far as they are known.
    ids: HashMap<Arc<str>, Arc<str>>,
}

/// What is hidden of one topic.
#[derive(Debug, Default)]
struct Hidden {
    keys: HashMap<Digest, Vec<Arc<Fact>>>,
    ids: HashMap<Digest, Vec<Arc<Fact>>>,
    /// Events known to be hidden by something else than their id.
    known: HashMap<Digest, Vec<Arc<Fact>>>,
    others: Vec<Arc<Fact>>,
    /// Of each partition the offset below which some key or id is hidden: what came later need not be looked into.
    below: HashMap<i32, i64>,
    /// Another one whenever the facts are others.
    version: u64,
}

impl Fold {
    /// A fact is in force from now on. Safe to repeat.
    pub(crate) fn note(&mut self, id: &str, fact: Fact) {
        if self.facts.get(id).is_some_and(|known| **known == fact) {
            return;
        }
        self.forget(id);
        let fact = Arc::new(fact);
        self.facts.insert(id.into(), Arc::clone(&fact));
        if self.is_of_topic(&fact) {
            self.topics.entry(Arc::clone(&fact.topic)).or_default().add(id, &fact);
        }
    }

    /// Learns the topics' ids: facts of topics that are gone hide nothing of those that have their names.
    pub(crate) fn learn_ids(&mut self, ids: &HashMap<Arc<str>, Arc<str>>) {
        let changed: Vec<_> = ids.iter().filter(|(topic, id)| self.ids.get(*topic) != Some(id)).collect();
        for (topic, id) in changed {
            self.ids.insert(Arc::clone(topic), Arc::clone(id));
            self.hide_anew(topic);
        }
    }

    /// The topic's id, if it is known.
    pub(crate) fn id(&self, topic: &str) -> Option<Arc<str>> {
        self.ids.get(topic).cloned()
    }

    fn is_of_topic(&self, fact: &Fact) -> bool {
        let known = self.ids.get(&fact.topic);
        fact.topic_id.as_ref().is_none_or(|id| known.is_none_or(|known| known == id))
    }

    /// How many partitions a topic has.
    pub(crate) fn note_partitions(&mut self, partitions: Partitions) {
        self.partitions.insert(Arc::clone(&partitions.topic), partitions);
    }

    pub(crate) fn partitions(&self, topic: &str) -> Option<&Partitions> {
        self.partitions.get(topic)
    }

    /// A fact is in force no longer.
    pub(crate) fn forget(&mut self, id: &str) {
        if let Some(gone) = self.facts.remove(id) {
            self.hide_anew(&gone.topic);
        }
    }

    fn hide_anew(&mut self, topic: &Arc<str>) {
        let mut hidden = Hidden::default();
        let of_topic = |fact: &Fact| fact.topic == *topic && self.is_of_topic(fact);
        self.facts.iter().filter(|(_, fact)| of_topic(fact)).for_each(|(id, fact)| hidden.add(id, fact));
        self.topics.insert(Arc::clone(topic), hidden);
    }

    /// Whether the event at this place is hidden.
    pub(crate) fn hides(&self, topic: &str, partition: i32, offset: i64, body: &Body) -> bool {
        self.topics.get(topic).is_some_and(|hidden| hidden.hides(partition, offset, body))
    }

    /// Whether whatever is at this place is hidden.
    pub(crate) fn hides_all(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let of_all = |fact: &Arc<Fact>| fact.what == What::All && fact.spans(partition, offset);
        self.topics.get(topic).is_some_and(|hidden| hidden.others.iter().any(of_all))
    }

    /// Whether an event with this id is known to have been erased.
    pub(crate) fn erased(&self, topic: &str, id: &Digest) -> bool {
        self.topics
            .get(topic)
            .is_some_and(|hidden| hidden.ids.contains_key(id) || hidden.known.contains_key(id))
    }

    /// Another number whenever the topic's facts are others; 0 without any. The same in every gateway.
    pub(crate) fn version(&self, topic: &str) -> u64 {
        self.topics.get(topic).map_or(0, |hidden| hidden.version)
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Fact>)> {
        self.facts.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.facts.len()
    }
}

impl Hidden {
    fn add(&mut self, id: &str, fact: &Arc<Fact>) {
        self.version ^= u64::from_be_bytes(truncated(&Sha256::digest(id)));
        match &fact.what {
            What::Key(key) => self.keys.entry(key.0).or_default().push(Arc::clone(fact)),
            What::Id(id) => self.ids.entry(id.0).or_default().push(Arc::clone(fact)),
            What::Plugin(_) | What::Schema(_) | What::All => self.others.push(Arc::clone(fact)),
        }
        if matches!(fact.what, What::Key(_) | What::Id(_)) {
            for (partition, (_, below)) in &fact.spans {
                let highest = self.below.entry(*partition).or_default();
                *highest = (*highest).max(*below);
            }
        }
        for id in &fact.ids {
            self.known.entry(id.0).or_default().push(Arc::clone(fact));
        }
    }

    fn hides(&self, partition: i32, offset: i64, body: &Body) -> bool {
        let spanned = |facts: Option<&Vec<Arc<Fact>>>| {
            facts.is_some_and(|facts| facts.iter().any(|it| it.spans(partition, offset)))
        };
        if self.others.iter().any(|fact| fact.spans(partition, offset) && is_of(&fact.what, body)) {
            return true;
        }
        if self.below.get(&partition).is_none_or(|below| offset >= *below) {
            return false;
        }
        (!self.ids.is_empty()
            && [Some(body.source.as_str()), None]
                .iter()
                .any(|source| spanned(self.ids.get(&id_digest(*source, &body.id)))))
            || (!self.keys.is_empty()
                && listed_keys(body.partition_key.as_deref(), body.lookup_keys.as_deref())
                    .iter()
                    .any(|key| spanned(self.keys.get(&key_digest(key)))))
    }
}

fn is_of(what: &What, body: &Body) -> bool {
    match what {
        What::All => true,
        What::Plugin(named) => body.plugins.as_deref().is_some_and(|header| names_plugin(header, named)),
        What::Schema(named) => body.schema.as_deref().is_some_and(|schema| names_schema(schema, named)),
        What::Key(_) | What::Id(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::fact::Hex;
    use super::*;
    use crate::ports::LookupKey;

    fn body(id: &str, key: &str) -> Body {
        Body {
            time_ms: 0,
            id: id.to_owned(),
            source: "/s".to_owned(),
            type_: "t".to_owned(),
            time: None,
            partition_key: Some(key.to_owned()),
            content_type: None,
            schema: Some("order/2".to_owned()),
            lookup_keys: Some(r#"[["order","o-1"]]"#.to_owned()),
            plugins: Some("geo@1.0.0+sha256:ab".to_owned()),
            data: Bytes::new(),
            json: std::sync::OnceLock::new(),
        }
    }

    fn fact(what: What) -> Fact {
        let spans = BTreeMap::from([(0, (10, 20))]);
        Fact {
            topic: "t".into(),
            topic_id: Some("one".into()),
            what,
            spans,
            ids: Vec::new(),
            at_ms: 0,
            why: String::new(),
        }
    }

    fn key(kind: &str, key: &str) -> What {
        What::Key(Hex(key_digest(&LookupKey { kind: kind.to_owned(), key: key.to_owned() })))
    }

    #[test]
    fn each_kind_of_fact_hides_what_it_names_within_its_span() {
        for what in [
            key("", "k"),
            key("order", "o-1"),
            What::Id(Hex(id_digest(None, "e"))),
            What::Id(Hex(id_digest(Some("/s"), "e"))),
            What::Plugin("geo".to_owned()),
            What::Schema("order/2".to_owned()),
            What::All,
        ] {
            let mut fold = Fold::default();
            fold.note("f", fact(what.clone()));
            let hides = |topic, partition, offset| fold.hides(topic, partition, offset, &body("e", "k"));
            assert!(hides("t", 0, 10) && hides("t", 0, 19), "{what:?}");
            assert!(
                !hides("t", 0, 9) && !hides("t", 0, 20) && !hides("t", 1, 10) && !hides("u", 0, 10),
                "{what:?}"
            );
        }
    }

    #[test]
    fn what_it_does_not_name_is_shown() {
        let mut fold = Fold::default();
        for (id, what) in [
            ("1", key("", "other")),
            ("2", key("order", "k")),
            ("3", What::Id(Hex(id_digest(Some("/other"), "e")))),
            ("4", What::Plugin("ge".to_owned())),
            ("5", What::Schema("order/3".to_owned())),
        ] {
            fold.note(id, fact(what));
        }
        assert!(!fold.hides("t", 0, 10, &body("e", "k")));
    }

    #[test]
    fn a_topic_made_anew_is_not_touched_by_facts_of_the_one_before() {
        let mut fold = Fold::default();
        fold.note("1", fact(key("", "k")));
        let known = |id: &str| HashMap::from([(Arc::from("t"), Arc::from(id))]);
        fold.learn_ids(&known("one"));
        assert!(fold.hides("t", 0, 10, &body("e", "k")));
        fold.learn_ids(&known("two"));
        assert!(!fold.hides("t", 0, 10, &body("e", "k")));
        fold.note("2", fact(key("", "k")));
        assert!(!fold.hides("t", 0, 10, &body("e", "k")), "nor by those that are read late");
    }

    #[test]
    fn a_fact_that_ended_hides_nothing_and_leaves_the_others() {
        let mut fold = Fold::default();
        fold.note("1", fact(key("", "k")));
        let version = fold.version("t");
        fold.note("2", Fact { ids: vec![Hex([1; 16])], ..fact(key("", "l")) });
        fold.note("2", Fact { ids: vec![Hex([1; 16])], ..fact(key("", "l")) });
        assert!(fold.erased("t", &[1; 16]) && fold.version("t") != version && fold.len() == 2);
        fold.forget("2");
        assert!(!fold.hides("t", 0, 10, &body("e", "l")) && !fold.erased("t", &[1; 16]));
        assert!(fold.hides("t", 0, 10, &body("e", "k")));
        assert_eq!(fold.version("t"), version);
    }
}
