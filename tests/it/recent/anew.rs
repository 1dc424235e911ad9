//! Slots that are built anew: their newest events are answered first, and what is not there yet is owned up to.

use std::sync::Arc;

use tokio::sync::watch;
use weir::kafka::partitioner::murmur2_partition;
use weir::ports::{
    Applied, Beginning, Chunk, Entry, EventId, Find, Generation, Later, LaterEach, LaterFound, Query,
    Reading, RecentStore, Slot, Watermark,
};
use weir::problem::{Code, Problem};
use weir::recent::{ByKey, Level, Mode};
use weir_tests::world::{fresh_name, shared_kafka, until};

use super::lookups::{
    Model, PARTITIONS, PATIENCE, Produced, ROUTE, control_topic, id, ids, key, valkey_store,
};

/// More than a slot begins with.
const EVENTS: usize = 6_000;

/// The real store, which fills in nothing before it is let.
struct Held {
    store: Arc<dyn RecentStore>,
    let_go: watch::Receiver<bool>,
}

impl RecentStore for Held {
    fn open<'a>(
        &'a self,
        slot: &'a Slot,
        seen: Option<Generation>,
        new: Generation,
        begin: Beginning,
    ) -> Later<'a, Watermark> {
        self.store.open(slot, seen, new, begin)
    }

    fn apply<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied> {
        self.store.apply(slot, chunk)
    }

    fn fill<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied> {
        let mut let_go = self.let_go.clone();
        Box::pin(async move {
            let_go.wait_for(|let_go| *let_go).await.unwrap();
            self.store.fill(slot, chunk).await
        })
    }

    fn free<'a>(
        &'a self,
        slot: &'a Slot,
        watermark: &'a Watermark,
        entries: &'a [Entry],
    ) -> Later<'a, Applied> {
        self.store.free(slot, watermark, entries)
    }

    fn read<'a>(&'a self, slot: &'a Slot, query: &'a Query) -> Later<'a, Reading> {
        self.store.read(slot, query)
    }

    fn read_each<'a>(&'a self, slots: &'a [Slot], query: &'a Query) -> LaterEach<'a, Reading> {
        self.store.read_each(slots, query)
    }

    fn find<'a>(&'a self, slots: &'a [Slot], id: &'a EventId) -> LaterFound<'a, Find> {
        self.store.find(slots, id)
    }

    fn bodies<'a>(
        &'a self,
        slot: &'a Slot,
        generation: Generation,
        offsets: &'a [i64],
    ) -> Later<'a, Vec<Option<bytes::Bytes>>> {
        self.store.bodies(slot, generation, offsets)
    }
}

/// An answer, if there is one. A busy machine may be behind at any moment; it must say so, and nothing else.
fn or_behind<T>(answer: Result<T, Problem>) -> Option<T> {
    answer.inspect_err(|problem| assert_eq!(problem.code, Code::Behind, "{problem:?}")).ok()
}

/// A key whose partition is 0.
fn in_0(stem: &str) -> String {
    let mut keys = (0..).map(|number| format!("{stem}-{number}"));
    keys.find(|key| murmur2_partition(key.as_bytes(), PARTITIONS) == 0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_events_are_answered_first_and_the_others_owned_up_to() {
    let topic = fresh_name("anew");
    let kafka = shared_kafka().await;
    kafka.create_topic(&topic, PARTITIONS, &[]).await;
    control_topic(kafka).await;
    let (let_go, held) = watch::channel(false);
    let store = Arc::new(Held { store: valkey_store().await, let_go: held });
    let model = Model::begin(&kafka.client_config(), &topic, store, Mode::Group(topic.as_str().into()), 8);
    let (rare, often) = (in_0("rare"), in_0("often"));
    let old = model.produce_to(0, &Produced::new("old", &rare)).await;
    let numbers: Vec<String> = (0..EVENTS).map(|number| format!("e-{number}")).collect();
    let produced = numbers.iter().map(|number| Produced::new(number, &often));
    model.produce_all(0, produced.collect()).await;
    let newest = model.produce_to(0, &Produced::new("newest", &rare)).await;
    until("it begins anew", PATIENCE, async || or_behind(model.recent.rebuild(ROUTE, None).await)).await;

    let ask = async || {
        let asked = ByKey { kind: None, min_position: Some(newest), ..key(&rare) };
        or_behind(model.recent.by_key(ROUTE, &asked).await)
    };
    let page = until("its newest events are there", PATIENCE, ask).await;
    assert_eq!(ids(&page.events), ["newest"]);
    assert!(page.truncated && page.complete_since_ms > page.window_start_ms, "{page:?}");
    // It is not said not to be there: it will be in a moment.
    let by_id = || id("old", Some("/shop"), Some(newest));
    assert_eq!(model.recent.by_id(ROUTE, &by_id()).await.unwrap_err().code, Code::Behind);
    let by_position = async || or_behind(model.recent.by_position(ROUTE, 0, old.offset).await);
    let at = until("its position is answered", PATIENCE, by_position).await;
    assert!(at.from_log, "the log has it all along");
    assert!(!*model.ready.borrow(), "it is not warm");
    let standing = model.recent.status().await;
    assert!(standing.iter().any(|slot| slot.to_fill.is_some_and(|to_fill| to_fill > 1_000)), "{standing:?}");

    let_go.send_replace(true);
    let page = until("all of it is there", PATIENCE, async || {
        let page = ask().await?;
        assert!(page.events.len() == 2 || page.truncated, "{page:?}");
        (!page.truncated).then_some(page)
    })
    .await;
    assert_eq!(ids(&page.events), ["newest", "old"]);
    let found = async || or_behind(model.recent.by_id(ROUTE, &by_id()).await);
    assert_eq!(until("it is found by id", PATIENCE, found).await.offset, old.offset);
    let mut ready = model.ready.clone();
    tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready)).await.unwrap().unwrap();
    let often = until("the other key is answered, too", PATIENCE, async || {
        model.recent.by_key(ROUTE, &ByKey { limit: 3, ..key(&often) }).await.ok()
    })
    .await;
    assert_eq!(ids(&often.events), [&numbers[EVENTS - 1], &numbers[EVENTS - 2], &numbers[EVENTS - 3]]);
    model.recent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_measure_begins_another_life() {
    let topic = fresh_name("measure");
    let kafka = shared_kafka().await;
    kafka.create_topic(&topic, PARTITIONS, &[]).await;
    control_topic(kafka).await;
    let model = async |per_key| {
        let mode = Mode::Group(topic.as_str().into());
        let model = Model::begin(&kafka.client_config(), &topic, valkey_store().await, mode, per_key);
        model.until_ready().await
    };
    let own = in_0("k");
    let few = model(2).await;
    let numbers: Vec<String> = (0..5).map(|number| format!("e-{number}")).collect();
    few.produce_all(0, numbers.iter().map(|number| Produced::new(number, &own)).collect()).await;
    let ask = ByKey { level: Level::Strong, ..key(&own) };
    let page = until("it is answered", PATIENCE, async || few.recent.by_key(ROUTE, &ask).await.ok()).await;
    assert_eq!((page.events.len(), page.truncated), (2, true));
    few.recent.stop().await;
    // A list that was cut at two says nothing of the third.
    let many = model(8).await;
    let page = until("the slot is built anew", PATIENCE, async || {
        let page = many.recent.by_key(ROUTE, &ask).await.ok()?;
        assert!(page.truncated || page.events.len() == 5, "{page:?}");
        (!page.truncated).then_some(page)
    })
    .await;
    assert_eq!(ids(&page.events), ["e-4", "e-3", "e-2", "e-1", "e-0"]);
    many.recent.stop().await;
}
