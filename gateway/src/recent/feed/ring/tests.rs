//! The ring by itself: order, places, losing them, and entering without a hole or a duplicate.

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage, Timestamp};

use super::*;
use crate::ports::Slot;
use crate::recent::record::Logged;

const ALL: Bound = Bound { events_max: 1000, bytes_max: 1 << 20 };

fn event(partition: i32, offset: i64, data: &'static [u8]) -> Fed {
    let headers = ["ce_id", "ce_source", "ce_type"]
        .into_iter()
        .fold(OwnedHeaders::new(), |all, key| all.insert(Header { key, value: Some("x") }));
    let time = Timestamp::CreateTime(0);
    let record =
        OwnedMessage::new(Some(data.to_vec()), None, "t".to_owned(), time, partition, offset, Some(headers));
    let event = Logged::read(&record).expect("an event");
    assert_eq!(event.body.data, Bytes::from_static(data));
    Fed::new(Slot { topic: "t".into(), partition }, event)
}

fn push(ring: &Ring, partition: i32, offsets: std::ops::Range<i64>) {
    let next = offsets.end;
    ring.push(partition, offsets.map(|offset| event(partition, offset, b"{}")).collect(), next);
}

fn at(text: &str) -> Positions {
    text.parse().expect("positions")
}

/// What is at a place, as `partition:offset`.
fn taken(ring: &Ring, place: u64) -> Result<Vec<(i32, i64)>, Cut> {
    match ring.take(place, ALL, &mut Positions::default()) {
        Taken::Events(events) => {
            Ok(events.iter().map(|event| (event.slot.partition, event.offset())).collect())
        }
        Taken::Nothing => Ok(Vec::new()),
        Taken::Lost(cut) => Err(cut),
    }
}

fn ring(events_max: usize) -> Ring {
    let ring = Ring::new(Bound { events_max, bytes_max: 1 << 20 });
    ring.open(0, 10);
    ring.open(1, 0);
    ring
}

#[test]
fn events_come_in_the_order_they_went_in_and_each_reader_has_its_own_place() {
    let ring = ring(100);
    push(&ring, 0, 10..12);
    push(&ring, 1, 0..1);
    push(&ring, 0, 12..13);
    assert_eq!(taken(&ring, 0), Ok(vec![(0, 10), (0, 11), (1, 0), (0, 12)]));
    assert_eq!(taken(&ring, 3), Ok(vec![(0, 12)]));
    assert_eq!(taken(&ring, 4), Ok(vec![]));
}

#[test]
fn who_has_taken_everything_stands_where_the_reader_stands() {
    let ring = ring(100);
    push(&ring, 0, 10..12);
    ring.pass(1, 7);
    let mut positions = at("0:10");
    assert!(matches!(ring.take(0, ALL, &mut positions), Taken::Events(_)));
    assert_eq!(positions.to_string(), "0:10", "not before it has them");
    assert!(matches!(ring.take(2, ALL, &mut positions), Taken::Nothing));
    assert_eq!(positions.to_string(), "0:12,1:7");
}

#[test]
fn too_many_events_or_bytes_push_the_oldest_out_and_the_slow_with_them() {
    let ring = ring(3);
    push(&ring, 0, 10..15);
    assert_eq!(taken(&ring, 1), Err(Cut::Slow));
    assert_eq!(taken(&ring, 2), Ok(vec![(0, 12), (0, 13), (0, 14)]));

    let small = Ring::new(Bound { events_max: 100, bytes_max: 5000 });
    small.open(0, 0);
    push(&small, 0, 0..20);
    assert_eq!(taken(&small, 15), Err(Cut::Slow));
    assert_eq!(taken(&small, 16).map(|events| events.len()), Ok(4));
}

#[test]
fn a_taking_is_bounded_but_never_empty() {
    let ring = ring(100);
    push(&ring, 0, 10..20);
    let count = |bound| match ring.take(0, bound, &mut Positions::default()) {
        Taken::Events(events) => events.len(),
        _ => 0,
    };
    assert_eq!(count(Bound { events_max: 4, bytes_max: 1 << 20 }), 4);
    assert_eq!(count(Bound { events_max: 4, bytes_max: 1 }), 1);
}

#[test]
fn one_who_is_behind_is_told_what_to_read_first_the_longest_way_first() {
    let ring = ring(2);
    push(&ring, 1, 0..3);
    push(&ring, 0, 10..12);
    // Both of partition 0 are there, none of partition 1.
    assert_eq!(ring.enter(&mut at("0:9,1:0")), Entry::Behind { partition: 1, from: 0, to: 3 });
    assert_eq!(ring.enter(&mut at("0:9,1:3")), Entry::Behind { partition: 0, from: 9, to: 12 });
    assert_eq!(ring.enter(&mut at("0:10,1:3")), Entry::At(3));
}

#[test]
fn one_who_enters_begins_at_what_it_lacks() {
    let ring = ring(100);
    push(&ring, 0, 10..13);
    push(&ring, 1, 0..2);
    push(&ring, 0, 13..14);
    assert_eq!(ring.enter(&mut at("0:12,1:0")), Entry::At(2));
    // The first that it lacks is at place 2; what it has behind that it passes over by offset.
    assert_eq!(ring.enter(&mut at("0:12,1:2")), Entry::At(2));
    assert_eq!(ring.enter(&mut at("0:14,1:2")), Entry::At(6));
    // Beyond what the reader has reached: it waits, and passes over what it has.
    assert_eq!(ring.enter(&mut at("0:20,1:2")), Entry::At(6));
    let mut newcomer = at("0:14");
    assert_eq!(ring.enter(&mut newcomer), Entry::At(3));
    assert_eq!(newcomer.to_string(), "0:14,1:0", "a partition it does not know is newer than it");
}

#[test]
fn a_break_cuts_everyone_even_those_who_had_all() {
    let ring = ring(100);
    push(&ring, 0, 10..12);
    ring.break_off(0, 50);
    assert_eq!([taken(&ring, 0), taken(&ring, 2)], [Err(Cut::Broken), Err(Cut::Broken)]);
    assert_eq!(ring.next_of(0), Some(50));
    assert_eq!(ring.enter(&mut at("0:50,1:0")), Entry::At(3));
    push(&ring, 0, 50..51);
    assert_eq!(taken(&ring, 3), Ok(vec![(0, 50)]));
}

#[tokio::test]
async fn what_comes_wakes_who_waits() {
    let ring = ring(100);
    let mut moved = ring.watch();
    moved.mark_unchanged();
    push(&ring, 0, 10..11);
    moved.changed().await.expect("the ring is there");
}
