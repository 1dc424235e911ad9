//! The chaos run, in short: some faults that each lose or move something, and no answer that is not as the log says.
//! `make chaos-recent` has all of them, for ten minutes.

use weir_tests::recent::chaos::{Effort, Kind, Level, look};

const KINDS: [Kind; 6] = [
    Kind::ForcedLag,
    Kind::ScriptFlush,
    Kind::FlushAll,
    Kind::Failover,
    Kind::SlotMigration,
    Kind::SecondGateway,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_wrong_whatever_happens_to_the_services() {
    let effort = Effort {
        minutes: 20.0 / 60.0,
        seed: 4,
        faults_min: KINDS.len(),
        kinds: Vec::new(),
        lookups_per_s: 400,
        events_per_s: 300,
        keys: 1_000,
    };
    let report = look(&effort, &KINDS).await.expect("the log can be read");
    report.print();
    assert_eq!(report.faults.len(), KINDS.len());
    assert!(report.faults.iter().all(|fault| fault.recovered));
    for (level, figures) in &report.levels {
        assert!(figures.right(), "{level:?}: {:?}", report.offenders);
    }
    assert!(report.answered(&[Level::Bounded]) > 300);
    assert!(report.answered(&[Level::Token]) > 1_000);
    assert!(report.answered(&[Level::Strong]) > 1_000);
    assert_eq!((report.lost, report.refused_but_stored, report.stored_twice), (0, 0, 0));
    // In so short a run it need not be caught.
    assert!(report.control.reads > 100, "{:?}", report.control);
}
