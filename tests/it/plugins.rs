//! Plugins from a file to a verdict, with the gateway's own binary as the compiler.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir::metrics::Metrics;
use weir::plugin::{CompileError, Compiler, Counters, Host, LoadError, Plugin, Settings, Use};
use weir_tests::world::inputs;

const CONFIG: &str = r#"{"keys": [{"kind": "user", "pointer": "/user/id"}]}"#;

fn load(settings: Settings, compiler: PathBuf) -> Result<Arc<Plugin>, LoadError> {
    let metrics = Metrics::new().expect("registers");
    let counters = Counters::new(metrics.registry()).expect("registers");
    let host = Host::new(settings, Compiler::Child(compiler), counters).expect("starts");
    let usage = Use { name: "keys", config_json: CONFIG, topics_allowed: &[] };
    host.load(&inputs::plugin("entity_key"), &usage)
}

fn within(cache: &Path) -> Settings {
    Settings { cache: cache.to_owned(), ..Settings::default() }
}

#[test]
fn a_plugin_is_compiled_once_in_a_process_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = load(within(folder.path()), inputs::weir()).expect("is compiled");
    assert_eq!((&*plugin.name, &*plugin.version), ("entity-key", "0.1.0"));
    // Nobody is there to compile it: it comes from the cache.
    load(within(folder.path()), folder.path().join("nobody")).expect("is in the cache");
}

#[test]
fn a_compiler_that_wants_too_much_is_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let tight = Settings { compile_memory_bytes_max: 8 << 20, ..within(folder.path()) };
    let refused = load(tight, inputs::weir()).expect_err("is stopped");
    assert!(matches!(refused, LoadError::Compile(CompileError::Failed { .. })), "{refused}");
    let kept = std::fs::read_dir(folder.path()).expect("lists").filter(|entry| {
        entry.as_ref().expect("is there").path().extension().is_some_and(|ending| ending == "cwasm")
    });
    assert_eq!(kept.count(), 0, "nothing half-made is kept");
}
