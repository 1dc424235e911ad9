//! GitHub's payloads against GitHub's schemas, as our registry reads them and as an independent validator does.

use std::collections::BTreeSet;

use bumpalo::Bump;
use weir::event::document::{self, Parser};
use weir::schema::{Limits, Registry};
use weir_tests::github::{Packages, Place};

/// Where we and the reference differ on purpose; explained in `tests/README.md`, "Formats".
const EXPLAINED: [(&str, &str); 0] = [];

#[test]
fn github_payloads_get_the_reference_validators_verdicts() {
    let packages = Packages::fetch().expect("GitHub's packages");
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(packages.write_schemas(directory.path()).expect("written"), 66);
    let started = std::time::Instant::now();
    let registry = Registry::load(directory.path(), &Limits::default()).expect("GitHub's schemas load");
    println!("66 subjects loaded in {} ms", started.elapsed().as_millis());

    let verdicts = packages.reference_verdicts().expect("the reference validator");
    let examples = packages.examples().expect("readable");
    assert_eq!((examples.len(), verdicts.len()), (329, 329));
    let (mut arena, mut parser) = (Bump::new(), Parser::new(document::Limits::default()));
    let mut differences = Vec::new();
    for (example, verdict) in examples.iter().zip(&verdicts) {
        assert_eq!((&example.event, example.index), (&verdict.event, verdict.index));
        let schema = registry.subject(&format!("github.{}", example.event)).expect("every event has a subject");
        let root = parser.parse(&arena, example.payload.as_bytes()).expect("a payload is JSON").root();
        let violations = schema.explain(root);
        let name = format!("{} {}", example.event, example.index);
        assert_eq!(schema.check(root), violations.is_empty(), "{name}: the explanation fits the verdict");
        let reference: BTreeSet<Place> = verdict.errors.iter().cloned().collect();
        for violation in violations {
            let place = Place { pointer: violation.pointer, keyword: violation.keyword };
            assert!(!verdict.valid && reference.contains(&place) || is_explained(&place), "{name}: only we find {place:?}");
        }
        if schema.check(root) != verdict.valid {
            differences.extend(reference.into_iter().map(|place| format!("{name}: {} {}", place.pointer, place.keyword)));
        }
        arena.reset();
    }
    assert!(differences.is_empty(), "differences not explained in tests/README.md:\n{}", differences.join("\n"));
}

fn is_explained(place: &Place) -> bool {
    EXPLAINED.contains(&(place.pointer.as_str(), place.keyword.as_str()))
}
