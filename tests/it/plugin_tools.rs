//! `weir plugin …` as an author meets it: from an empty folder to a tested plugin, and what is told of bad ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::skip;
use weir_tests::world::inputs;

/// Runs `weir plugin` in a folder. Builds share a target folder that outlives the test, and so are quick.
fn plugin(folder: &Path, args: &[&str]) -> Output {
    plugin_with(folder, args, "")
}

fn plugin_with(folder: &Path, args: &[&str], input: &str) -> Output {
    let given = folder.join("stdin");
    fs::write(&given, input).unwrap();
    Command::new(inputs::weir())
        .arg("plugin")
        .args(args)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", inputs::target().join("plugin-tools"))
        .env("XDG_CACHE_HOME", inputs::target().join("plugin-tools/cache"))
        .stdin(Stdio::from(fs::File::open(given).unwrap()))
        .output()
        .unwrap()
}

#[track_caller]
fn expect(output: &Output, code: i32, texts: &[&str]) -> String {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in texts {
        assert!(said.contains(text), "no `{text}` in:\n{said}");
    }
    said
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

#[test]
fn a_new_plugin_builds_and_passes_untouched_and_every_tool_takes_it() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let made = plugin(here, &["new", "--lang", "rust", "my-keys"]);
    expect(
        &made,
        0,
        &["Made my-keys/", "plugins/sdk", "cd my-keys\n", "weir plugin test\n", "weir plugin build\n"],
    );
    let built = plugin(here, &["build", "my-keys"]);
    expect(&built, 0, &["my-keys/my-keys.wasm", "key-extractor", "weir:plugin/log@0.1.0", "weir-plugin 0.1"]);
    expect(&plugin(here, &["test", "my-keys"]), 0, &["✓ a-device", "✓ a-user", "2 passed, 0 failed"]);

    let own = here.join("my-keys");
    let ran = plugin_with(
        &own,
        &["run", "my-keys.wasm"],
        "{\"user\": {\"id\": \"u-1\"}}\n\n{\"a\": 1, \"a\": 2}\n",
    );
    let lines = expect(&ran, 1, &[r#"{"error":"#]);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["partition_key"], "u-1", "{lines}");

    let costs = json(&plugin(&own, &["bench", "my-keys.wasm", "-o", "json"]));
    let batches: Vec<_> = costs["batches"].as_array().unwrap().iter().map(|cost| &cost["batch"]).collect();
    assert_eq!(batches, [1, 8, 64]);
    assert!(costs["batches"].as_array().unwrap().iter().all(|cost| cost["event_ns"].as_f64().unwrap() > 0.0));

    fs::write(own.join("events.ndjson"), "{\"user\": {\"id\": \"u-1\"}}\n{}\n").unwrap();
    let checked = plugin(&own, &["check", "my-keys.wasm", "--events", "events.ndjson"]);
    expect(&checked, 0, &["2 events, 0 complaints"]);
    expect(&plugin(here, &["new", "my-keys"]), 64, &["exists already"]);

    // The config of the README, from there to a keyed event.
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/README.md")).unwrap();
    let (_, config) = readme.split_once("```yaml\nplugins:\n  my-keys").unwrap();
    let (config, _) = config.split_once("```").unwrap();
    fs::write(own.join("weir.yaml"), format!("plugins:\n  my-keys{config}")).unwrap();
    let tested =
        Command::new(inputs::weir()).args(["test", "-c", "weir.yaml"]).current_dir(&own).output().unwrap();
    expect(&tested, 0, &["✓ clicks: the user is the key", "1 passed, 0 failed"]);
}

#[test]
fn names_that_are_none_and_folders_that_are_none_are_refused() {
    let folder = TempDir::new().unwrap();
    for name in ["../up", "2keys", "fn", "weir-plugin"] {
        expect(&plugin(folder.path(), &["new", name]), 64, &[name]);
    }
    expect(&plugin(folder.path(), &["new", "x", "--lang", "cobol"]), 64, &["rust"]);
    expect(&plugin(folder.path(), &["new", "x", "--sdk", "nowhere"]), 64, &["nowhere"]);
    expect(&plugin(folder.path(), &["build"]), 64, &["Cargo.toml", "weir plugin new"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the test's own file");
}

/// A folder with a built plugin and fixtures for it.
fn with_fixtures(fixtures: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let wasm = folder.path().join("plugin.wasm");
    fs::copy(inputs::plugin("redact"), &wasm).unwrap();
    fs::create_dir(folder.path().join("tests")).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"remove": ["/card"], "mask": ["/email"]}"#).unwrap();
    for (name, text) in fixtures {
        fs::write(folder.path().join("tests").join(name), text).unwrap();
    }
    (folder, wasm)
}

#[test]
fn a_broken_expectation_fails_and_shows_the_difference() {
    let (folder, wasm) = with_fixtures(&[
        ("all.in.json", r#"{"data": {"n": 1.50, "card": {}, "email": "a@b"}}"#),
        ("all.out.json", r#"{"verdict": "pass", "data": {"n": 1.5, "email": "a@b"}, "partition_key": null}"#),
        ("other.in.json", r#"{"data": {"email": "a@b"}, "config": {"mask": []}}"#),
        ("other.out.json", r#"{"data": {"email": "a@b"}, "headers": {}}"#),
        ("typo.in.json", r#"{"data": {}}"#),
        ("typo.out.json", r#"{"partition-key": "u"}"#),
    ]);
    let tested = plugin(folder.path(), &["test", path(&wasm)]);
    expect(
        &tested,
        1,
        &[
            "✗ all\n    data/email\n      expected \"a@b\"\n      got      \"***\"\n✓ other",
            "✗ typo: typo.out.json: there is no `partition-key`",
            "1 passed, 2 failed",
        ],
    );
    let cases = json(&plugin(folder.path(), &["test", path(&wasm), "-o", "json"]));
    assert_eq!(
        (&cases["passed"], &cases["cases"][0]["differences"][0]["at"]),
        (&1.into(), &"data/email".into())
    );

    fs::remove_file(folder.path().join("tests/typo.out.json")).unwrap();
    expect(&plugin(folder.path(), &["test", path(&wasm)]), 1, &["typo.out.json", "--update"]);
    expect(&plugin(folder.path(), &["test", path(&wasm), "--update"]), 0, &["3 written"]);
    expect(&plugin(folder.path(), &["test", path(&wasm)]), 0, &["3 passed, 0 failed"]);
}

#[test]
fn an_enricher_finds_the_tables_beside_its_fixtures_and_those_it_is_given() {
    let (folder, _) = with_fixtures(&[
        ("cz.in.json", r#"{"data": {"country": "CZ"}}"#),
        ("cz.out.json", r#"{"headers": {"x-region": "eu"}}"#),
    ]);
    let geo = inputs::plugin("geo");
    fs::copy(&geo, folder.path().join("geo.wasm")).unwrap();
    let config = r#"{"table": "regions", "pointer": "/country", "header": "x-region"}"#;
    let test = ["test", "geo.wasm", "--config", config];
    expect(&plugin(folder.path(), &test), 64, &["regions"]);
    fs::create_dir(folder.path().join("tests/tables")).unwrap();
    fs::write(folder.path().join("tests/tables/regions.json"), r#"{"CZ": "eu"}"#).unwrap();
    expect(&plugin(folder.path(), &test), 0, &["1 passed, 0 failed"]);
    fs::write(folder.path().join("other.json"), r#"{"CZ": "elsewhere"}"#).unwrap();
    let given = [&test[..], &["--table", "regions=other.json"]].concat();
    expect(&plugin(folder.path(), &given), 1, &["expected \"eu\"\n      got      \"elsewhere\""]);
}

#[test]
fn without_fixtures_it_is_said_how_to_add_one() {
    let (folder, wasm) = with_fixtures(&[]);
    expect(&plugin(folder.path(), &["test", path(&wasm)]), 1, &["no fixtures", "NAME.in.json", "--update"]);
}

#[test]
fn a_file_is_told_of_without_being_run() {
    let (folder, rogue) = (TempDir::new().unwrap(), inputs::plugin("rogue"));
    let told = json(&plugin(folder.path(), &["inspect", path(&rogue), "-o", "json"]));
    assert_eq!((&told["name"], &told["world"]), (&"rogue".into(), &"filter".into()));
    assert!(told["imports"].as_array().unwrap().contains(&"weir:plugin/log@0.1.0".into()), "{told}");
    assert_eq!(told["fields"], Value::Null);

    let asked =
        plugin(folder.path(), &["inspect", path(&rogue), "--config", r#"{"sin": "none"}"#, "-o", "json"]);
    assert_eq!(json(&asked)["fields"][0], "data:/sin");
    let spins = r#"{"sin": "spin", "during": "check"}"#;
    let asked = plugin(folder.path(), &["inspect", path(&rogue), "--config", spins]);
    expect(&asked, 64, &["`describe`: stopped: it ran for more than 1s of CPU time"]);

    // A component with one import, of an instance.
    let name = b"wasi:cli/environment@0.2.0";
    let wasi = [b"\0asm\x0d\0\x01\0\x0a\x1f\x01\0\x1a", &name[..], b"\x05\0"].concat();
    fs::write(folder.path().join("wasi.wasm"), wasi).unwrap();
    let refused = plugin(folder.path(), &["inspect", "wasi.wasm"]);
    expect(&refused, 64, &["wasi.wasm: it wants wasi:cli/environment@0.2.0", "weir:plugin/log"]);
    expect(&plugin(folder.path(), &["inspect", "none.wasm"]), 64, &["none.wasm cannot be read"]);
}

#[test]
fn an_event_that_breaks_a_plugin_down_is_named_and_its_neighbours_are_not() {
    let (folder, rogue) = (TempDir::new().unwrap(), inputs::plugin("rogue"));
    fs::write(folder.path().join("events"), "{}\n{\"sin\": \"yes\"}\n\n{}\n").unwrap();
    for (sin, what) in [("panic", "trap"), ("spin", "deadline")] {
        let config = format!(r#"{{"sin": "{sin}"}}"#);
        let checked = plugin(
            folder.path(),
            &["check", path(&rogue), "--events", "events", "-c", &config, "-o", "json"],
        );
        assert_eq!(checked.status.code(), Some(1));
        let found = json(&checked);
        let complaints = found["complaints"].as_array().unwrap();
        assert_eq!(complaints.len(), 1, "{found}");
        assert_eq!((&complaints[0]["line"], &complaints[0]["what"]), (&2.into(), &what.into()));
    }
}

#[test]
fn events_made_up_from_a_schema_find_what_breaks_a_plugin_and_what_is_not_pure() {
    let (folder, rogue) = (TempDir::new().unwrap(), inputs::plugin("rogue"));
    fs::create_dir_all(folder.path().join("schemas/sins")).unwrap();
    let schema =
        r#"{"type": "object", "properties": {"sin": {"enum": ["yes", "more"]}, "n": {"type": "integer"}}}"#;
    fs::write(folder.path().join("schemas/sins/1.json"), schema).unwrap();
    let check = |sin: &str, more: &[&str]| {
        let config = format!(r#"{{"sin": "{sin}"}}"#);
        let given = ["check", path(&rogue), "--schema", "schemas/sins/1.json", "-c", &config, "-o", "json"];
        plugin(folder.path(), &[&given[..], more].concat())
    };
    let clean = check("none", &[]);
    let found = json(&clean);
    assert_eq!((clean.status.code(), &found["events"]), (Some(0), &1000.into()), "{found}");
    assert!(found["memory_bytes"][0].as_u64().unwrap() > 0, "{found}");

    for (sin, what) in [("panic", "trap"), ("remember", "impure")] {
        let checked = check(sin, &["--count", "40"]);
        assert_eq!(checked.status.code(), Some(1));
        let complaints = json(&checked)["complaints"].as_array().unwrap().clone();
        assert!((1..40).contains(&complaints.len()), "some events sin and some do not: {complaints:?}");
        for complaint in &complaints {
            assert_eq!(complaint["what"], what, "{complaint}");
            assert!(complaint["data"].as_str().unwrap().contains("sin"), "{complaint}");
        }
        let again = json(&check(sin, &["--count", "40"]));
        assert_eq!(again["complaints"].as_array().unwrap().len(), complaints.len(), "the same seed");
    }
    let hoarded = json(&check("hoard", &["--count", "20"]))["memory_bytes"].clone();
    assert!(hoarded[1].as_u64().unwrap() > hoarded[0].as_u64().unwrap() + (4 << 20), "{hoarded}");

    let orders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/orders.created/1.json");
    let keys = inputs::plugin("entity_key");
    let config = r#"{"keys": [{"kind": "user", "pointer": "/customer/user_id"}]}"#;
    let real = plugin(folder.path(), &["check", path(&keys), "--schema", path(&orders), "-c", config]);
    expect(&real, 0, &["1000 events, 0 complaints"]);
    fs::write(folder.path().join("loose.json"), schema).unwrap();
    let loose = plugin(folder.path(), &["check", path(&keys), "--schema", "loose.json", "-c", config]);
    expect(&loose, 64, &["<subject>/<version>.json"]);
    expect(&plugin(folder.path(), &["check", path(&rogue)]), 64, &["--schema <FILE>", "--events <FILE>"]);
}

#[test]
fn the_doctor_finds_what_this_very_suite_was_built_with() {
    let folder = TempDir::new().unwrap();
    expect(&plugin(folder.path(), &["doctor"]), 0, &["✓ cargo: cargo 1.", "✓ wasm32-unknown-unknown"]);
    let found = json(&plugin(folder.path(), &["doctor", "-o", "json"]));
    assert_eq!(found["checks"][0]["what"], "cargo");
}

fn run(program: &str, args: &[&str], folder: &str) -> Option<Output> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(folder);
    Command::new(program).args(args).current_dir(folder).output().ok()
}

#[test]
fn the_javascript_sdk_passes_its_own_tests() {
    let Some(output) = run("node", &["--test"], "sdk-js") else { skip!("there is no node on this machine") };
    expect(&output, 0, &["pass 9", "fail 0"]);
}

#[test]
fn the_python_sdk_passes_its_own_tests() {
    let args = ["-B", "-m", "unittest"];
    let Some(output) = run("python3", &args, "sdk-python") else {
        skip!("there is no python3 on this machine")
    };
    expect(&output, 0, &["Ran 8 tests", "OK"]);
}

#[test]
#[ignore = "fetches jco (340 MB) and componentize-py"]
fn a_new_plugin_in_javascript_or_python_passes_untouched() {
    for language in ["js", "python"] {
        let folder = TempDir::new().unwrap();
        expect(&plugin(folder.path(), &["new", "--lang", language, "my-keys"]), 0, &["Made my-keys/"]);
        expect(&plugin(folder.path(), &["test", "my-keys"]), 0, &["2 passed, 0 failed"]);
        let inspected = plugin(folder.path(), &["inspect", "my-keys/my-keys.wasm"]);
        assert!(!expect(&inspected, 0, &["my-keys"]).contains("wasi"));
    }
}
