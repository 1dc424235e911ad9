//! The host over real guests: the two first plugins for what works, the rogue for what must not.
//! `make plugins` builds them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::SLOW_TICK;
use super::guest::{Overrun, thread_cpu_time};
use super::*;
use crate::event::document::Kind;

/// Events as lists of what selectors find in them.
struct Events(Vec<Vec<(&'static str, &'static str)>>);

impl Source for Events {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn select(&self, event: usize, selector: &Selector) -> Option<Selected<'_>> {
        let selector = selector.to_string();
        let (_, value) = self.0[event].iter().find(|(known, _)| *known == selector)?;
        Some(match value.as_bytes() {
            [b'0'..=b'9', ..] => Selected::Number(value.as_bytes()),
            [b'{', ..] => Selected::Other(Kind::Object, value.as_bytes()),
            _ => Selected::Text(value),
        })
    }

    fn payload(&self, _: usize) -> &[u8] {
        b"{}"
    }

    fn time_ns(&self, _: usize) -> u64 {
        1
    }
}

fn wasm(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/wasm32-unknown-unknown/plugin");
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; `make plugins` builds it", path.display()))
}

struct TestHost {
    host: Host,
    registry: prometheus::Registry,
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn host() -> TestHost {
    host_with(5)
}

fn host_with(deadline_ms: u64) -> TestHost {
    let folder = Folder(std::env::temp_dir().join(format!("weir-plugins-{}", uuid::Uuid::now_v7())));
    let settings = Settings { cache: folder.0.clone(), deadline_ms, ..Settings::default() };
    let registry = prometheus::Registry::new();
    let counters = Counters::new(&registry).expect("registers");
    TestHost {
        host: Host::new(settings, Compiler::Here, counters, Arc::default()).expect("starts"),
        registry,
        _folder: folder,
    }
}

impl TestHost {
    fn load(&self, name: &str, config_json: &str) -> Result<Arc<Plugin>, LoadError> {
        let topics = [Arc::from("allowed")];
        self.host.load_bytes(&wasm(name), &Use { name, config_json, topics_allowed: &topics })
    }

    fn instance(&self, name: &str, config_json: &str) -> Instance {
        Instance::new(self.load(name, config_json).expect("loads"))
    }

    /// The value of a metric, found by its name and all of `labels` in its line.
    fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).expect("encodes");
        let mut lines =
            text.lines().filter(|line| line.starts_with(name) && labels.iter().all(|l| line.contains(l)));
        let value = lines.next().and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_default()
    }
}

const KEYS: &str =
    r#"{"keys": [{"kind": "user", "pointer": "/user/id"}, {"kind": "order", "pointer": "/order"}]}"#;

fn users_and_orders() -> Events {
    Events(vec![
        vec![("data:/user/id", "u-1"), ("data:/order", "17")],
        vec![("data:/order", "18")],
        vec![("data:/order", "1.5")],
        vec![],
    ])
}

#[test]
fn keys_come_back_without_a_copy_and_in_order() {
    let host = host();
    let mut instance = host.instance("entity_key", KEYS);
    assert_eq!(&*instance.plugin().name, "entity-key");
    let verdicts = instance.call(&users_and_orders()).expect("is judged");
    let lookup = |kind, key| Op::AddLookupKey { kind, key };
    let judged: Vec<_> = verdicts.iter().collect();
    assert_eq!(
        judged,
        [
            (Verdict::Pass, &[Op::SetPartitionKey("u-1"), lookup("user", "u-1"), lookup("order", "17")][..]),
            (Verdict::Pass, &[Op::SetPartitionKey("18"), lookup("order", "18")][..]),
            (Verdict::Pass, &[][..]),
            (Verdict::Pass, &[][..]),
        ]
    );
    assert_eq!(host.metric("weir_plugin_events_total", &["entity_key"]), 4);
}

#[test]
fn an_event_is_judged_as_if_it_were_alone() {
    let host = host();
    let mut instance = host.instance("entity_key", KEYS);
    let Events(all) = users_and_orders();
    let second = Events(vec![all[1].clone()]);
    let verdicts = instance.call(&second).expect("is judged");
    let ops: Vec<_> = verdicts.iter().map(|(_, ops)| ops.first().cloned()).collect();
    assert_eq!(ops, [Some(Op::SetPartitionKey("18"))]);
    assert_eq!(instance.batches(130).collect::<Vec<_>>(), [0..64, 64..128, 128..130]);
    assert_eq!(instance.batches(0).count(), 0);
}

#[test]
fn redacts_what_is_there() {
    let host = host();
    let config = r#"{"remove": ["/card"], "mask": ["/email"]}"#;
    let mut instance = host.instance("redact", config);
    let events = Events(vec![vec![("data:/card", "{}"), ("data:/email", "a@b")]]);
    let verdicts = instance.call(&events).expect("is judged");
    let (verdict, ops) = verdicts.iter().next().expect("is there");
    let pointer = |text: &str| Box::new(text.parse().expect("is a pointer"));
    assert_eq!(verdict, Verdict::Pass);
    let masked = Op::JsonSet { pointer: pointer("/email"), value: b"\"***\"" };
    assert_eq!(ops, [masked, Op::JsonRemove { pointer: pointer("/card") }]);
}

#[test]
fn the_file_says_what_it_is_without_being_run() {
    let artifact = Artifact::open(&wasm("entity_key"), 1 << 20).expect("opens");
    let said = artifact.description.expect("is described");
    assert_eq!((said.name.as_str(), said.contract.as_str()), ("entity-key", "0.1.0"));
    assert_eq!(artifact.digest.len(), 64);
}

#[test]
fn the_chain_names_its_plugins() {
    let host = host();
    let plugin = host.load("entity_key", KEYS).expect("loads");
    let chains = Chains::new([("orders".into(), vec![Arc::clone(&plugin)]), ("plain".into(), vec![])]);
    let mut worker = WorkerChains::new(Arc::new(chains), None);
    assert!(worker.chain("orders").is_some() && worker.chain("plain").is_none());
    assert_eq!(worker.chain("orders").map_or(0, |chain| chain.parts().0.len()), 1);
    assert_eq!(*worker.seen_by("orders").header, *format!("entity-key@0.1.0+sha256:{}", plugin.digest));
    assert_eq!(&*worker.seen_by("plain").receipt, "[]");
}

/// Calls the rogue with one sinful event among good ones, and afterwards with good ones only.
fn sin(host: &TestHost, sin: &str) -> Result<(), CallError> {
    let mut rogue = host.instance("rogue", &format!(r#"{{"sin": "{sin}"}}"#));
    let outcome = rogue.call(&Events(vec![vec![("data:/sin", "yes")], vec![]])).map(drop);
    let good = rogue.call(&Events(vec![vec![], vec![]])).expect("a new instance is well");
    assert_eq!(good.iter().filter(|(_, ops)| ops.len() == 1).count(), 2, "after {sin}");
    outcome
}

#[test]
fn a_guest_that_breaks_down_takes_only_its_call_along() {
    // Long enough to fill the memory on a busy machine.
    let host = host_with(200);
    for (name, problem) in [
        ("spin", "stopped: it ran for more than 200ms of CPU time"),
        ("bloat", "stopped: it wanted more than `memory_bytes_max`"),
        ("recurse", "stopped: it ran out of stack"),
        ("panic", "trapped: wasm trap: wasm `unreachable` instruction executed"),
    ] {
        assert_eq!(sin(&host, name).expect_err(name).to_string(), problem);
    }
    for ending in ["deadline", "memory", "stack", "trap"] {
        assert_eq!(host.metric("weir_plugin_calls_total", &["rogue", ending]), 1, "{ending}");
    }
}

#[test]
fn an_answer_that_is_wrong_anywhere_is_not_used() {
    // Long enough to write a megabyte on a busy machine.
    let host = host_with(200);
    for (name, problem) in [
        ("span-outside", "op 0: the key is outside its arena"),
        ("span-wraps", "op 0: the key is outside its arena"),
        ("span-in-batch", "op 0: the key is outside its arena"),
        ("bad-utf8", "op 0: the key is not UTF-8"),
        ("op-flood", "event 0 has more than 64 ops"),
        ("op-for-nobody", "op 0 is for event 7, out of order or out of the batch"),
        ("op-unknown", "opcode 77 is not known to this host"),
        ("output-flood", "its answer has 1048583 bytes; 65548 are allowed for this batch"),
        ("gateway-header", "op 0: the header name belongs to the gateway"),
        ("foreign-topic", "op 0: the topic is not in the route's `topics_allowed`"),
        ("bad-pointer", "op 0: the pointer is not a JSON pointer"),
        ("empty-key", "op 0: the key is empty"),
        ("long-key", "op 0: the key is too long"),
    ] {
        let error = sin(&host, name).expect_err(name).to_string();
        assert_eq!(error, format!("bad answer: {problem}"), "{name}");
    }
    assert_eq!(host.metric("weir_plugin_own_total", &["unheard"]), 0, "nor is what was counted for it");
}

#[test]
fn a_guest_that_spins_after_a_quiet_spell_is_stopped_as_soon_as_any() {
    let host = host();
    let spin = || {
        let mut rogue = host.instance("rogue", r#"{"sin": "spin"}"#);
        rogue.warm().expect("starts");
        // From the moment that the clock slows down, its next tick is a whole slow one away.
        let patience = Instant::now();
        for slow in [false, true] {
            while host.host.engine().is_slow() != slow {
                assert!(patience.elapsed() < Duration::from_secs(10), "the clock keeps its pace");
                std::thread::yield_now();
            }
        }
        let before = thread_cpu_time();
        let outcome = rogue.call(&Events(vec![vec![("data:/sin", "yes")]])).map(drop);
        assert!(matches!(outcome, Err(CallError::Overrun(Overrun::Deadline(_)))), "{outcome:?}");
        thread_cpu_time() - before
    };
    // A busy machine may hold the ticking thread up; a clock that stays slow comes too late every time.
    let cpu_time = (0..5).map(|_| spin()).min().expect("five");
    assert!(cpu_time < SLOW_TICK / 2, "{cpu_time:?}");
}

#[test]
fn floods_of_words_are_cut_and_counted() {
    let host = host();
    sin(&host, "log-flood").expect("passes");
    assert_eq!(host.metric("weir_plugin_discarded_total", &["log-line"]), 1000 - 16);
    sin(&host, "metric-flood").expect("passes");
    assert_eq!(host.metric("weir_plugin_discarded_total", &["metric-name"]), 1000 - 32);
    assert_eq!(host.metric("weir_plugin_own_total", &["name_31"]), 1);
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let host = host();
    let mut rogue = host.instance("rogue", r#"{"sin": "long-reason"}"#);
    let verdicts = rogue.call(&Events(vec![vec![("data:/sin", "yes")]])).expect("is judged");
    let (verdict, _) = verdicts.iter().next().expect("is there");
    assert_eq!(verdict, Verdict::Drop(&"ä".repeat(128)));
}

#[test]
fn what_breaks_down_at_start_is_never_used() {
    let host = host();
    for sin in ["spin", "bloat", "recurse", "panic"] {
        let config = format!(r#"{{"sin": "{sin}", "during": "check"}}"#);
        let refused = host.load("rogue", &config).expect_err(sin);
        assert!(
            matches!(refused, LoadError::Start(StartError::Broken { call: "describe", .. })),
            "{refused}"
        );
    }
    let unknown = host.load("entity_key", r#"{"keyz": []}"#).expect_err("is refused").to_string();
    assert!(unknown.contains("keyz") && unknown.contains("describe"), "{unknown}");
    let field = host.load("rogue", r#"{"sin": "none", "fields": ["payload:/a"]}"#).expect_err("is refused");
    assert!(matches!(field, LoadError::Field(_)), "{field}");
}

#[test]
fn what_is_no_plugin_is_refused_by_name() {
    let open = |bytes: &[u8]| Artifact::open(bytes, 1 << 20).expect_err("is refused");
    assert!(matches!(open(b"#!/bin/sh"), ArtifactError::NotWasm));
    assert!(matches!(open(b"\0asm\x01\0\0\0"), ArtifactError::NoComponentType));
    assert!(matches!(open(b"\0asm\x0d\0\x01\0"), ArtifactError::Export { .. }));
    assert!(matches!(open(&vec![0; (1 << 20) + 1]), ArtifactError::TooLarge { .. }));
    // A component with one import, of an instance.
    let name = b"wasi:cli/environment@0.2.0";
    let wasi = [b"\0asm\x0d\0\x01\0\x0a\x1f\x01\0\x1a", &name[..], b"\x05\0"].concat();
    let refused = open(&wasi).to_string();
    assert!(
        refused
            .starts_with("it wants wasi:cli/environment@0.2.0, which this host does not have: it has weir:"),
        "{refused}"
    );
}

#[test]
fn code_for_another_machine_is_compiled_anew() {
    let folder = Folder(std::env::temp_dir().join(format!("weir-plugins-{}", uuid::Uuid::now_v7())));
    let engine = engine::Engine::quiet().expect("is made");
    let cache = cache::Cache::open(&folder.0).expect("opens");
    let bytes = wasm("entity_key");
    let artifact = artifact::Artifact::open(&bytes, bytes.len()).expect("is a plugin");
    // Sealed by us, and yet nothing this engine takes: as from a processor with other features.
    let mut elsewhere = cache::Authentic::just_compiled(b"not for this engine");
    cache.put(&artifact.digest, engine.compatibility(), &mut elsewhere).expect("is kept");
    let component = || Compiler::Here.component(&engine, &cache, &artifact, &Settings::default());
    drop(component().expect("is compiled"));
    let kept = cache.get(&artifact.digest, engine.compatibility()).expect("is kept");
    assert!(kept.bytes().len() > 1000, "and the new code takes the place of the old");
}

#[test]
fn compiled_code_that_someone_else_wrote_is_not_loaded() {
    let first = host();
    first.load("redact", r#"{"mask": []}"#).expect("loads");
    let folder = &first._folder.0;
    let compiled = |folder: &PathBuf| {
        let mut files =
            std::fs::read_dir(folder).expect("lists").map(|entry| entry.expect("is there").path());
        files.find(|path| path.extension().is_some_and(|ending| ending == "cwasm")).expect("is kept")
    };
    let original = std::fs::read(compiled(folder)).expect("reads");
    let mut forged = original.clone();
    forged.truncate(original.len() / 2);
    std::fs::write(compiled(folder), &forged).expect("writes");
    let settings = Settings { cache: folder.clone(), ..Settings::default() };
    let counters = Counters::new(&prometheus::Registry::new()).expect("registers");
    let second = Host::new(settings, Compiler::Here, counters, Arc::default()).expect("starts");
    let usage = Use { name: "redact", config_json: r#"{"mask": []}"#, topics_allowed: &[] };
    second.load_bytes(&wasm("redact"), &usage).expect("loads all the same");
    assert_eq!(std::fs::read(compiled(folder)).expect("reads").len(), original.len(), "was compiled anew");
}
