//! Both sorts of plugin, run as a plugin's author would.

use std::sync::LazyLock;

use crate::log::{self, Level};
use crate::metrics::{Counter, Histogram};
use crate::testing::{Case, Ending, Op, World};
use crate::{Enricher, Event, Known, Patch, Plugin, Role, Verdict, Wanted};

static FLIGHTS: LazyLock<Counter> = LazyLock::new(|| Counter::new("flights"));

/// Looks into one table twice and into another once.
#[derive(serde::Deserialize)]
struct Flight {}

impl Enricher for Flight {
    fn fields(&self) -> Vec<String> {
        ["data:/from", "data:/to", "data:/line"].map(String::from).to_vec()
    }

    fn tables(&self) -> Vec<String> {
        ["airports", "airports", "airlines"].map(String::from).to_vec()
    }

    fn wants(&self, event: &Event<'_>, wanted: &mut Wanted<'_>) {
        for place in 0..3 {
            if let Some(key) = event.field(place) {
                wanted.row(place, key);
            }
        }
    }

    fn process(&self, _: &Event<'_>, known: &Known<'_>, patch: &mut Patch<'_>) -> Verdict {
        FLIGHTS.add(1);
        for (place, name) in ["from", "to", "line"].into_iter().enumerate() {
            if let Some(row) = known.row(place) {
                patch.set_header(name, row);
            }
        }
        Verdict::Pass
    }
}

fn headers(ending: &Ending) -> Vec<(&str, &str)> {
    let mut headers = Vec::new();
    for op in &ending.ops {
        if let Op::SetHeader(name, value) = op {
            headers.push((name.as_str(), value.as_str()));
        }
    }
    headers
}

fn flights() -> World {
    World::new()
        .table("airports", &[("PRG", "cz"), ("SFO", "us"), ("XXX", "")])
        .table("airlines", &[("OK", "csa")])
}

#[test]
fn each_event_finds_its_own_rows_and_each_table_is_asked_once() {
    let world = flights();
    let flight = |from: &str, to: &str| Case::new().text("data:/from", from).text("data:/to", to);
    let cases = [
        flight("PRG", "SFO"),
        Case::new().text("data:/line", "OK"),
        flight("nowhere", "PRG").text("data:/line", "KO"),
        flight("XXX", "nowhere"),
    ];
    let endings = world.enrich::<Flight>("{}", &cases);
    assert_eq!(headers(&endings[0]), [("from", "cz"), ("to", "us")]);
    assert_eq!(headers(&endings[1]), [("line", "csa")]);
    assert_eq!(headers(&endings[2]), [("to", "cz")]);
    assert_eq!(headers(&endings[3]), [("from", "")], "an empty row is a row");
    assert_eq!(world.lookups(), 3);
    world.enrich::<Flight>("{}", &[Case::new()]);
    assert_eq!(world.lookups(), 3, "nothing wanted, nothing asked");
}

#[test]
fn worlds_hear_only_their_own_plugins() {
    let (one, other) = (flights(), flights());
    one.enrich::<Flight>("{}", &[Case::new(), Case::new()]);
    other.enrich::<Flight>("{}", &[Case::new()]);
    assert_eq!((one.counter("flights"), other.counter("flights"), one.counter("trains")), (2, 1, 0));
    let missing = World::new().start::<Flight>("{}").expect_err("lacks its tables");
    assert!(missing.message().contains("airports"), "{missing}");
}

#[derive(serde::Deserialize)]
struct Careless {}

impl Enricher for Careless {
    fn fields(&self) -> Vec<String> {
        Vec::new()
    }

    fn wants(&self, _: &Event<'_>, wanted: &mut Wanted<'_>) {
        wanted.row(0, "key");
    }

    fn process(&self, _: &Event<'_>, _: &Known<'_>, _: &mut Patch<'_>) -> Verdict {
        Verdict::Pass
    }
}

#[test]
#[should_panic(expected = "`tables` lists every table")]
fn a_row_of_a_table_that_is_not_listed_is_a_panic() {
    World::new().enrich::<Careless>("{}", &[Case::new()]);
}

/// Measures by the host's clock.
#[derive(serde::Deserialize)]
struct Late {}

impl Enricher for Late {
    fn fields(&self) -> Vec<String> {
        Vec::new()
    }

    fn process(&self, event: &Event<'_>, known: &Known<'_>, _: &mut Patch<'_>) -> Verdict {
        Histogram::new("lateness_ns").observe((known.now_ns() - event.time_ns()) as f64);
        log::write(Level::Trace, "late");
        Verdict::Pass
    }
}

#[test]
fn the_clock_stands_still_and_words_and_numbers_are_kept() {
    let world = World::new().now_ns(10);
    world.enrich::<Late>("{}", &[Case::new().time_ns(3), Case::new().time_ns(10)]);
    assert_eq!(world.observations("lateness_ns"), [7.0, 0.0]);
    assert_eq!(world.lines(), vec![(Level::Trace, "late".to_owned()); 2]);
}

/// Patches every event and then drops what has a field.
#[derive(serde::Deserialize)]
struct Undecided {}

impl Plugin for Undecided {
    const ROLES: &[Role] = &[Role::Filter, Role::Enrich];

    fn fields(&self) -> Vec<String> {
        vec!["data:/drop".to_owned()]
    }

    fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict {
        patch.set_header("x-seen", "yes");
        if event.field(0).is_some() { Verdict::Drop("as told".into()) } else { Verdict::Pass }
    }
}

#[test]
fn an_event_that_does_not_pass_keeps_its_reason_and_loses_its_patch() {
    let cases = [Case::new(), Case::new().json("data:/drop", "null"), Case::new()];
    let endings = World::new().run::<Undecided>("{}", &cases);
    assert_eq!(endings[1].verdict, Verdict::Drop("as told".into()));
    assert_eq!(endings[1].ops, []);
    for passed in [&endings[0], &endings[2]] {
        assert_eq!((&passed.verdict, headers(passed)), (&Verdict::Pass, vec![("x-seen", "yes")]));
    }
}
