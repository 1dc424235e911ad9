//! How do I add what I know from a table? The row under a field's text goes into a header.

use std::sync::LazyLock;

use weir_plugin::metrics::Counter;
use weir_plugin::{Enricher, Event, Known, Patch, Verdict, Wanted, export};

static UNKNOWN: LazyLock<Counter> = LazyLock::new(|| Counter::new("unknown"));

/// Which table to look into, by what, and where the row goes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geo {
    table: String,
    pointer: String,
    header: String,
}

impl Enricher for Geo {
    fn fields(&self) -> Vec<String> {
        vec![format!("data:{}", self.pointer)]
    }

    fn tables(&self) -> Vec<String> {
        vec![self.table.clone()]
    }

    fn wants(&self, event: &Event<'_>, wanted: &mut Wanted<'_>) {
        if let Some(place) = event.entity(0) {
            wanted.row(0, place);
        }
    }

    fn process(&self, event: &Event<'_>, known: &Known<'_>, patch: &mut Patch<'_>) -> Verdict {
        match known.row(0) {
            Some(row) => patch.set_header(&self.header, row),
            None if event.entity(0).is_some() => UNKNOWN.add(1),
            None => {}
        }
        Verdict::Pass
    }
}

export!(Geo, world: enricher);

#[cfg(test)]
mod tests {
    use weir_plugin::testing::{Case, Op, World};

    use super::Geo;

    const CONFIG: &str = r#"{"table": "regions", "pointer": "/country", "header": "x-region"}"#;

    #[test]
    fn the_row_becomes_a_header_and_the_unknown_are_counted() {
        let world = World::new().table("regions", &[("CZ", "eu"), ("US", "na")]);
        let mut cases = ["US", "XX", "CZ"].map(|country| Case::new().text("data:/country", country)).to_vec();
        cases.push(Case::new());
        let endings = world.enrich::<Geo>(CONFIG, &cases);
        let header = |region: &str| vec![Op::SetHeader("x-region".into(), region.into())];
        let ops: Vec<_> = endings.into_iter().map(|ending| ending.ops).collect();
        assert_eq!(ops, [header("na"), vec![], header("eu"), vec![]]);
        assert_eq!((world.lookups(), world.counter("unknown")), (1, 1));
    }

    #[test]
    fn a_table_that_is_not_there_fails_the_start() {
        let error = World::new().start::<Geo>(CONFIG).expect_err("fails");
        assert!(error.message().contains("regions"), "{error}");
    }
}
