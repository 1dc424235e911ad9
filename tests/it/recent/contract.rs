//! What every store promises, asked of both: the same cases, word for word.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use weir::memory::Memory;
use weir::ports::{
    Applied, Beginning, Chunk, Digest, Entry, EventId, Floor, Generation, Keep, LookupKey, Query, Reading,
    RecentStore, Ref, Slot, StoreError, Watermark,
};
use weir::valkey;
use weir_tests::world::{Valkey, ValkeyOptions, fresh_name, shared_valkey, until};

use super::{BOTTOM, EXTENT, GENERATION, KEEP, chunk, entry, now_ms, partition_key};

/// The same event, sent again.
fn again(first: &Entry, offset: i64) -> Entry {
    let plain = entry(offset, "k");
    Entry { at: Ref { id_digest: first.at.id_digest, ..plain.at }, ids: first.ids, ..plain }
}

fn alone(entry: &Entry) -> EventId {
    EventId { alone: entry.ids[1], sourced: None }
}

fn sourced(entry: &Entry) -> EventId {
    EventId { sourced: Some(entry.ids[0]), ..alone(entry) }
}

/// A slot nobody else uses.
struct Case {
    store: Arc<dyn RecentStore>,
    slot: Slot,
}

impl Case {
    fn new(store: &Arc<dyn RecentStore>) -> Case {
        let topic = fresh_name("contract").into();
        Case { store: Arc::clone(store), slot: Slot { topic, partition: 0 } }
    }

    async fn opened(store: &Arc<dyn RecentStore>) -> Case {
        let case = Case::new(store);
        case.store.open(&case.slot, None, GENERATION, BOTTOM).await.unwrap();
        case
    }

    async fn apply(&self, chunk: Chunk) -> Applied {
        self.store.apply(&self.slot, &chunk).await.unwrap()
    }

    async fn read(&self, query: Query) -> Reading {
        self.store.read(&self.slot, &query).await.unwrap()
    }

    async fn listed(&self, key: &str) -> Vec<i64> {
        let reading = self.read(Query::all_of(partition_key(key), 99)).await;
        reading.refs.iter().map(|at| at.offset).collect()
    }

    async fn found(&self, id: EventId) -> Vec<i64> {
        let reading = self.read(Query::Id(id)).await;
        assert_eq!(reading.listed, reading.refs.len());
        reading.refs.iter().map(|at| at.offset).collect()
    }

    async fn watermark(&self) -> Watermark {
        self.read(Query::Watermark).await.watermark.unwrap()
    }

    async fn next(&self) -> i64 {
        self.watermark().await.next
    }

    /// A stretch below the floor, which comes down to `from`.
    async fn fill(&self, from: i64, to: i64, entries: Vec<Entry>) -> Applied {
        let floor = Some(Floor { offset: from, time_ms: from + 1 });
        self.store.fill(&self.slot, &Chunk { floor, ..chunk(from, to, entries) }).await.unwrap()
    }

    async fn free(&self, generation: Generation, entries: &[Entry]) -> Applied {
        let watermark = Watermark { generation, ..self.watermark().await };
        self.store.free(&self.slot, &watermark, entries).await.unwrap()
    }

    async fn bodies(&self, generation: Generation, offsets: &[i64]) -> Vec<Option<String>> {
        let bodies = self.store.bodies(&self.slot, generation, offsets).await.unwrap();
        let text = |body: bytes::Bytes| String::from_utf8(body.to_vec()).unwrap();
        bodies.into_iter().map(|body| body.map(text)).collect()
    }
}

async fn a_slot_that_is_not_open_takes_nothing(store: &Arc<dyn RecentStore>) {
    let case = Case::new(store);
    assert_eq!(case.read(Query::Watermark).await.watermark, None);
    assert_eq!(case.read(Query::all_of(partition_key("k"), 8)).await.watermark, None);
    assert_eq!(case.apply(chunk(0, 1, vec![entry(0, "k")])).await, Applied::Elsewhere);
    assert_eq!(case.listed("k").await, Vec::<i64>::new());
}

async fn a_life_is_only_replaced_by_who_saw_it(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    case.apply(chunk(0, 1, vec![entry(0, "k")])).await;
    let floor = Floor { offset: 7, time_ms: 3 };
    let other = Beginning { floor, start: 2, extent: EXTENT };
    let kept = store.open(&case.slot, None, Generation(2), other).await.unwrap();
    assert_eq!((kept.generation, kept.next), (GENERATION, 1));
    let kept = store.open(&case.slot, Some(Generation(1)), Generation(2), other).await.unwrap();
    assert_eq!(kept.generation, GENERATION);
    let new = store.open(&case.slot, Some(GENERATION), Generation(2), other).await.unwrap();
    let expected =
        Watermark { generation: Generation(2), next: 7, fresh_ms: 0, floor, start: 2, extent: EXTENT };
    assert_eq!(new, expected);
    assert_eq!(case.watermark().await, expected);
    assert_eq!(case.listed("k").await, Vec::<i64>::new(), "the old life's lists are unreachable");
    assert_eq!(case.apply(chunk(7, 8, vec![])).await, Applied::Elsewhere, "the old life's projector is out");
    assert_eq!(case.next().await, 7);
}

async fn lists_are_newest_first_and_capped_one_above(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    let entries = (0..3).map(|offset| entry(offset, "k")).collect();
    assert_eq!(case.apply(chunk(0, 3, entries)).await, Applied::Done);
    assert_eq!(case.listed("k").await, [2, 1, 0]);
    // More than one script call holds, and keys between them.
    let entries = (3..103).map(|offset| entry(offset, if offset % 2 == 0 { "other" } else { "k" })).collect();
    assert_eq!(case.apply(chunk(3, 110, entries)).await, Applied::Done);
    // Four are shown, or two if the caller shows but two.
    for per_key in [KEEP.per_key, 9, 2] {
        let few = Query::Key { key: partition_key("k"), count: 3, per_key };
        let reading = case.read(few.clone()).await;
        assert_eq!(reading.refs.iter().map(|at| at.offset).collect::<Vec<_>>(), [101, 99, 97]);
        assert_eq!((reading.listed, reading.watermark.unwrap().next), (KEEP.per_key + 1, 110));
        assert!(reading.cut_ms.is_some());
        let unread = Slot { topic: fresh_name("contract").into(), partition: 1 };
        let each = store.read_each(&[unread, case.slot.clone()], &few).await;
        assert_eq!(each, [Ok(Reading::of(None)), Ok(reading)]);
    }
    assert_eq!(case.listed("other").await, [102, 100, 98, 96, 94]);
}

/// What came late into the log was received before what is shown, or after.
async fn of_what_was_cut_the_newest_time_is_told(store: &Arc<dyn RecentStore>) {
    let case = begins_at_10(store).await;
    let time_ms = now_ms() - 1_000;
    let received = |offset: i64, later_ms: i64| {
        let kept = entry(offset, "k");
        Entry { at: Ref { time_ms: time_ms + later_ms, ..kept.at }, ..kept }
    };
    let cut_ms = async |per_key: usize| {
        let query = Query::Key { key: partition_key("k"), count: 1, per_key };
        case.read(query).await.cut_ms.map(|cut_ms| cut_ms - time_ms)
    };
    case.apply(chunk(
        10,
        14,
        (10..14).map(|offset| received(offset, if offset == 10 { 30 } else { 0 })).collect(),
    ))
    .await;
    assert_eq!((cut_ms(4).await, cut_ms(2).await), (None, Some(30)));
    case.apply(chunk(14, 17, (14..17).map(|offset| received(offset, 9)).collect())).await;
    assert_eq!((cut_ms(4).await, cut_ms(2).await), (Some(30), Some(30)));
    case.fill(5, 10, vec![received(6, 90), received(7, 60)]).await;
    assert_eq!(cut_ms(4).await, Some(90));
    assert_eq!(case.listed("k").await[..4], [16, 15, 14, 13]);
}

async fn what_is_there_is_skipped_and_a_hole_is_refused(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    case.apply(chunk(0, 2, vec![entry(0, "k"), entry(1, "k")])).await;
    assert_eq!(case.apply(chunk(0, 2, vec![entry(0, "k"), entry(1, "k")])).await, Applied::Done);
    assert_eq!(case.apply(chunk(1, 3, vec![entry(1, "k"), entry(2, "k")])).await, Applied::Done);
    assert_eq!((case.listed("k").await, case.next().await), (vec![2, 1, 0], 3));
    assert_eq!(case.apply(chunk(5, 6, vec![entry(5, "k")])).await, Applied::Gap(3));
    assert_eq!((case.listed("k").await, case.next().await), (vec![2, 1, 0], 3));
}

async fn freshness_only_moves_forward(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    for (fresh_ms, expected) in [(Some(50), 50), (Some(40), 50), (None, 50), (Some(60), 60)] {
        case.apply(Chunk { fresh_ms, ..chunk(0, 0, vec![]) }).await;
        assert_eq!(case.read(Query::Watermark).await.watermark.unwrap().fresh_ms, expected);
    }
}

async fn the_first_event_with_an_id_wins(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    case.apply(chunk(0, 2, vec![entry(0, "k"), again(&entry(0, "k"), 1)])).await;
    for id in [alone(&entry(0, "k")), sourced(&entry(0, "k"))] {
        assert_eq!(case.found(id).await, [0]);
    }
    let slots = [Slot { partition: 1, ..case.slot.clone() }, case.slot.clone()];
    let found = store.find(&slots, &alone(&entry(0, "k"))).await.unwrap();
    let at = entry(0, "k").at;
    assert_eq!((&found.slot, found.generation, found.at.offset), (&case.slot, GENERATION, at.offset));
    let nobodys = EventId { alone: [99; 16], sourced: None };
    assert_eq!(store.find(&slots, &nobodys).await, None);
    let absent = case.read(Query::Id(nobodys)).await;
    assert_eq!((absent.refs, absent.watermark.unwrap().next), (vec![], 2));
}

/// As devices do that count their events.
async fn sources_that_share_an_id_each_have_their_first(store: &Arc<dyn RecentStore>) {
    let shared: Digest = [7; 16];
    let time_ms = now_ms();
    let of = |source: i64, offset: i64| {
        let id_digest = entry(100 + source, "k").at.id_digest;
        let plain = entry(offset, "k");
        Entry { at: Ref { id_digest, time_ms, ..plain.at }, ids: [id_digest, shared], ..plain }
    };
    let case = begins_at_10(store).await;
    case.apply(chunk(10, 14, vec![of(1, 10), of(2, 11), of(1, 12), of(2, 13)])).await;
    let firsts = async |case: &Case| {
        let mut found = Vec::new();
        for source in 1..=3 {
            let id = sourced(&of(source, 0));
            let offsets = case.found(id).await;
            let placed = store.find(std::slice::from_ref(&case.slot), &id).await;
            assert_eq!(placed.iter().map(|find| find.at.offset).collect::<Vec<_>>(), offsets);
            found.push(offsets);
        }
        found
    };
    assert_eq!(firsts(&case).await, [vec![10], vec![11], vec![]]);
    assert_eq!(case.found(EventId { alone: shared, sourced: None }).await.len(), 1, "any of them");
    // Older ones of each, and of a source that is new.
    assert_eq!(case.fill(6, 10, vec![of(2, 6), of(3, 7), of(1, 8), of(3, 9)]).await, Applied::Done);
    assert_eq!(firsts(&case).await, [vec![8], vec![6], vec![7]]);
    // To take one out leaves the others.
    case.free(GENERATION, &[of(1, 8)]).await;
    assert_eq!(firsts(&case).await, [vec![], vec![6], vec![7]]);
    case.apply(chunk(14, 16, vec![of(1, 14), of(2, 15)])).await;
    assert_eq!(firsts(&case).await, [vec![14], vec![6], vec![7]]);
}

async fn bodies_belong_to_an_offset_and_a_life(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    case.apply(chunk(0, 3, vec![entry(0, "k"), entry(2, "k")])).await;
    let expected = [Some("body of 2".to_owned()), None, Some("body of 0".to_owned())];
    assert_eq!(case.bodies(GENERATION, &[2, 1, 0]).await, expected);
    assert_eq!(case.bodies(Generation(2), &[0]).await, [None]);
    assert_eq!(case.bodies(GENERATION, &[]).await, Vec::<Option<String>>::new());
}

async fn lookup_keys_have_lists_of_their_own(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    let named = |kind: &str, key: &str| LookupKey { kind: kind.to_owned(), key: key.to_owned() };
    let keys = vec![partition_key("a:b"), named("a", "b"), named("order", "}{\0 ü")];
    case.apply(chunk(0, 1, vec![Entry { keys: keys.clone(), ..entry(0, "") }])).await;
    for key in keys {
        assert_eq!(case.read(Query::all_of(key, 8)).await.refs.len(), 1);
    }
    assert_eq!(case.read(Query::all_of(named("a:b", ""), 8)).await.refs, []);
}

async fn what_left_the_window_is_not_listed(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    let mut old = entry(0, "k");
    old.at.time_ms = now_ms() - KEEP.window_ms - 120_000;
    assert_eq!(case.apply(chunk(0, 1, vec![old])).await, Applied::Done);
    assert_eq!((case.listed("k").await, case.next().await), (vec![], 1));
    assert_eq!(case.bodies(GENERATION, &[0]).await, [None]);
}

async fn the_floor_rises_when_told_and_when_the_budget_is_full(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    let floor = Floor { offset: 5, time_ms: 77 };
    assert_eq!(case.apply(Chunk { floor: Some(floor), ..chunk(0, 5, vec![]) }).await, Applied::Done);
    let lower = Some(Floor { offset: 3, time_ms: 99 });
    case.apply(Chunk { floor: lower, ..chunk(5, 5, vec![]) }).await;
    assert_eq!(case.read(Query::Watermark).await.watermark.unwrap().floor, floor);

    let keep = Keep { bytes_max: 2_000, ..KEEP };
    for offset in 5..15 {
        let applied = case.apply(Chunk { keep, ..chunk(offset, offset + 1, vec![entry(offset, "k")]) }).await;
        assert_eq!(applied, Applied::Done);
    }
    let floor = case.read(Query::Watermark).await.watermark.unwrap().floor;
    assert!(floor.offset > 5 && floor.offset < 15, "{floor:?}");
    assert!(floor.time_ms > 77 && floor.time_ms <= now_ms() + 1);
    assert_eq!(case.bodies(GENERATION, &[floor.offset - 1]).await, [None]);
    assert!(case.bodies(GENERATION, &[floor.offset]).await[0].is_some());
}

async fn what_is_freed_is_in_no_list(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    let named = LookupKey { kind: "order".to_owned(), key: "o-1".to_owned() };
    let both = Entry { keys: vec![partition_key("k"), named.clone()], ..entry(0, "k") };
    case.apply(chunk(0, 2, vec![both.clone(), entry(1, "k")])).await;
    let elsewhere = case.free(Generation(2), std::slice::from_ref(&both)).await;
    assert_eq!((elsewhere, case.listed("k").await), (Applied::Elsewhere, vec![1, 0]));
    for _ in 0..2 {
        let freed = case.free(GENERATION, std::slice::from_ref(&both)).await;
        assert_eq!((freed, case.listed("k").await), (Applied::Done, vec![1]));
    }
    assert_eq!(case.read(Query::all_of(named, 8)).await.refs, []);
    assert_eq!(case.found(sourced(&both)).await, [0; 0]);
    assert_eq!(case.bodies(GENERATION, &[0, 1]).await, [None, Some("body of 1".to_owned())]);
    assert_eq!(case.next().await, 2, "the watermark stands");
    assert_eq!(case.free(GENERATION, &[]).await, Applied::Done);
}

async fn a_list_that_was_cut_does_not_look_whole_when_some_of_it_is_freed(store: &Arc<dyn RecentStore>) {
    let case = Case::opened(store).await;
    case.apply(chunk(0, 7, (0..7).map(|offset| entry(offset, "k")).collect())).await;
    let freed = entry(5, "k");
    let at = case.read(Query::all_of(partition_key("k"), 8)).await.refs[1];
    case.free(GENERATION, &[Entry { at, ..freed }]).await;
    let reading = case.read(Query::all_of(partition_key("k"), 8)).await;
    assert_eq!((reading.listed, reading.refs.len()), (KEEP.per_key + 1, KEEP.per_key + 1));
    let shown: Vec<_> = reading.refs.iter().map(|at| (at.offset, at.is_freed())).collect();
    assert_eq!(shown, [(6, false), (5, true), (4, false), (3, false), (2, false)]);
    assert_eq!(reading.refs[1].time_ms, at.time_ms);
}

async fn begins_at_10(store: &Arc<dyn RecentStore>) -> Case {
    let case = Case::new(store);
    let begin = Beginning { floor: Floor { offset: 10, time_ms: 99 }, start: 2, extent: EXTENT };
    store.open(&case.slot, None, GENERATION, begin).await.unwrap();
    case
}

async fn what_is_filled_in_comes_behind_what_is_listed(store: &Arc<dyn RecentStore>) {
    let case = begins_at_10(store).await;
    case.apply(chunk(10, 12, vec![entry(10, "k"), entry(11, "other")])).await;
    assert_eq!(case.fill(6, 10, vec![entry(6, "k"), entry(8, "k"), entry(9, "older")]).await, Applied::Done);
    assert_eq!((case.listed("k").await, case.listed("older").await), (vec![10, 8, 6], vec![9]));
    let watermark = case.watermark().await;
    assert_eq!((watermark.floor, watermark.next), (Floor { offset: 6, time_ms: 7 }, 12));
    assert_eq!(watermark.to_fill(), 4);
    // Again, with a hole, and from an earlier life: nothing of it.
    for (from, to) in [(6, 10), (2, 5), (2, 7), (0, 6)] {
        assert_eq!(case.fill(from, to, vec![entry(from, "k")]).await, Applied::Elsewhere, "{from}..{to}");
    }
    let earlier = Chunk { generation: Generation(2), ..chunk(5, 6, vec![entry(5, "k")]) };
    assert_eq!(store.fill(&case.slot, &earlier).await.unwrap(), Applied::Elsewhere);
    assert_eq!(case.listed("k").await, [10, 8, 6]);
    assert_eq!(case.watermark().await, watermark);
    // What comes at the other end goes on.
    case.apply(chunk(12, 13, vec![entry(12, "k")])).await;
    assert_eq!(case.listed("k").await, [12, 10, 8, 6]);
    // More than one script call holds, and more than a key lists.
    let case = Case::new(store);
    let begin = Beginning { floor: Floor { offset: 200, time_ms: 99 }, start: 0, extent: EXTENT };
    store.open(&case.slot, None, GENERATION, begin).await.unwrap();
    let filled = (0..200).map(|offset| entry(offset, if offset % 50 == 0 { "k" } else { "often" })).collect();
    assert_eq!(case.fill(0, 200, filled).await, Applied::Done);
    assert_eq!(case.listed("k").await, [150, 100, 50, 0]);
    assert_eq!(case.listed("often").await, [199, 198, 197, 196, 195]);
    assert_eq!(case.watermark().await.to_fill(), 0);
    let oldest = case.bodies(GENERATION, &[0]).await;
    assert_eq!(oldest, [Some("body of 0".to_owned())]);
}

async fn of_two_events_with_an_id_the_one_filled_in_wins(store: &Arc<dyn RecentStore>) {
    let case = begins_at_10(store).await;
    case.apply(chunk(10, 11, vec![entry(10, "k")])).await;
    let again = |offset| again(&entry(10, "k"), offset);
    case.fill(7, 10, vec![again(7), again(9)]).await;
    assert_eq!(case.found(sourced(&entry(10, "k"))).await, [7]);
}

async fn a_floor_that_rose_does_not_come_down_again(store: &Arc<dyn RecentStore>) {
    let case = begins_at_10(store).await;
    case.apply(chunk(10, 12, vec![entry(10, "k"), entry(11, "k")])).await;
    assert_eq!(case.fill(8, 10, vec![entry(8, "k")]).await, Applied::Done);
    let floor = Floor { offset: 10, time_ms: 100 };
    case.apply(Chunk { floor: Some(floor), ..chunk(12, 12, vec![]) }).await;
    assert_eq!((case.watermark().await.floor, case.watermark().await.to_fill()), (floor, 0));
    // One that was on its way for long.
    assert_eq!(case.fill(8, 10, vec![entry(8, "k")]).await, Applied::Elsewhere);
    assert_eq!(case.watermark().await.floor, floor);
}

async fn nothing_is_filled_in_beyond_the_budget(store: &Arc<dyn RecentStore>) {
    let case = begins_at_10(store).await;
    let keep = Keep { bytes_max: 2_000, ..KEEP };
    case.apply(Chunk { keep, ..chunk(10, 12, vec![entry(10, "k"), entry(11, "k")]) }).await;
    let stretch = |from: i64, to| Chunk {
        keep,
        floor: Some(Floor { offset: from, time_ms: 7 }),
        ..chunk(from, to, (from..to).map(|offset| entry(offset, "k")).collect())
    };
    assert_eq!(store.fill(&case.slot, &stretch(9, 10)).await.unwrap(), Applied::Done);
    let floor = case.watermark().await.floor;
    assert_eq!(store.fill(&case.slot, &stretch(3, 9)).await.unwrap(), Applied::Full);
    assert_eq!((case.watermark().await.floor, case.watermark().await.to_fill()), (floor, 0));
    assert_eq!(case.listed("k").await, [11, 10, 9]);
}

async fn keeps_its_promises(store: &Arc<dyn RecentStore>) {
    a_slot_that_is_not_open_takes_nothing(store).await;
    a_life_is_only_replaced_by_who_saw_it(store).await;
    lists_are_newest_first_and_capped_one_above(store).await;
    of_what_was_cut_the_newest_time_is_told(store).await;
    what_is_there_is_skipped_and_a_hole_is_refused(store).await;
    freshness_only_moves_forward(store).await;
    the_first_event_with_an_id_wins(store).await;
    sources_that_share_an_id_each_have_their_first(store).await;
    bodies_belong_to_an_offset_and_a_life(store).await;
    lookup_keys_have_lists_of_their_own(store).await;
    what_left_the_window_is_not_listed(store).await;
    the_floor_rises_when_told_and_when_the_budget_is_full(store).await;
    what_is_freed_is_in_no_list(store).await;
    a_list_that_was_cut_does_not_look_whole_when_some_of_it_is_freed(store).await;
    what_is_filled_in_comes_behind_what_is_listed(store).await;
    of_two_events_with_an_id_the_one_filled_in_wins(store).await;
    a_floor_that_rose_does_not_come_down_again(store).await;
    nothing_is_filled_in_beyond_the_budget(store).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    keeps_its_promises(&(Arc::new(Memory::new()) as Arc<dyn RecentStore>)).await;
}

#[tokio::test]
async fn valkey_keeps_the_contract() {
    let nodes = shared_valkey().await.addresses();
    let settings = valkey::Settings { nodes, ..valkey::Settings::default() };
    let store = valkey::Valkey::connect(&settings, tokio::runtime::Handle::current()).unwrap();
    keeps_its_promises(&(Arc::new(store) as Arc<dyn RecentStore>)).await;
}

/// Three servers, of which one does not answer: only what lies there is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_found_without_the_servers_that_do_not_have_it() {
    // Nobody takes a frozen server's place meanwhile.
    let options = ValkeyOptions { node_timeout_ms: 600_000, ..ValkeyOptions::default() };
    let servers = Valkey::start(options).await;
    let settings = valkey::Settings { nodes: servers.addresses(), ..valkey::Settings::default() };
    let store = valkey::Valkey::connect(&settings, tokio::runtime::Handle::current()).unwrap();
    let store: Arc<dyn RecentStore> = Arc::new(store);
    // So many that each server has some.
    let cases = join_all((0..60).map(|_| Case::opened(&store))).await;
    let slots: Vec<Slot> = cases.iter().map(|case| case.slot.clone()).collect();
    cases[0].apply(chunk(0, 1, vec![entry(0, "k")])).await;
    let (id, nobodys) = (alone(&entry(0, "k")), EventId { alone: [99; 16], sourced: None });
    let shards = servers.shards_seen_by(&servers.nodes()[0]).await.expect("they serve");
    let mut found = 0;
    for shard in &shards {
        until("it is found", Duration::from_secs(30), async || store.find(&slots, &id).await).await;
        shard.primary.process().stop();
        // What nobody has is asked of every server. It is asked first, and so ends first of two that wait for all.
        found += tokio::select! {
            biased;
            _nothing = store.find(&slots, &nobodys) => 0,
            find = store.find(&slots, &id) => usize::from(find.is_some()),
        };
        shard.primary.process().cont();
    }
    assert_eq!((found, shards.len()), (2, 3));
}

/// As after a FLUSHALL, when every slot has much to catch up with. Side by side all of them would be too late.
#[tokio::test(flavor = "multi_thread")]
async fn however_many_chunks_come_at_once_all_are_taken() {
    const SLOTS: usize = 90;
    const RECORDS: i64 = 256;
    const KEYS: usize = 5;
    // Its own: the tests beside this one do not want to wait either.
    let servers = Valkey::start(ValkeyOptions::default()).await;
    let settings = valkey::Settings { nodes: servers.addresses(), ..valkey::Settings::default() };
    let store = valkey::Valkey::connect(&settings, tokio::runtime::Handle::current()).unwrap();
    let store: Arc<dyn RecentStore> = Arc::new(store);
    let entries: Vec<Entry> = (0..RECORDS)
        .map(|offset| {
            let keys = (0..KEYS).map(|key| partition_key(&format!("{offset}-{key}"))).collect();
            Entry { keys, ..entry(offset, "k") }
        })
        .collect();
    let chunk = chunk(0, RECORDS, entries);
    let cases = join_all((0..SLOTS).map(|_| Case::opened(&store))).await;
    let apply = async |case: &Case| store.apply(&case.slot, &chunk).await;
    let taken = |outcome: &Result<Applied, StoreError>| *outcome == Ok(Applied::Done);
    let outcomes = join_all(cases.iter().map(apply)).await;
    let late: Vec<&Case> =
        cases.iter().zip(&outcomes).filter_map(|(case, outcome)| (!taken(outcome)).then_some(case)).collect();
    // Where the machine stands still for a while some are late, but not most of them.
    assert!(late.len() <= SLOTS / 10, "{} of {SLOTS}: {outcomes:?}", late.len());
    let again = join_all(late.into_iter().map(apply)).await;
    assert!(again.iter().all(taken), "what is sent again is taken: {again:?}");
}
