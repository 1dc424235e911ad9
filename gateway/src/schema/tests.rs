//! The validator on the tape is the validator on values, refused schemas are refused by name, and no event
//! makes a check or an explanation long.

use std::fs;
use std::path::{Path, PathBuf};

use bumpalo::Bump;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::instance::{Budget, Instance, OnTape};
use super::*;
use crate::event::document::{self, Document, Parser};
use crate::problem::Violation;

fn parse<'a>(arena: &'a Bump, text: &str) -> Document<'a> {
    Parser::new(document::Limits::default()).parse(arena, text.as_bytes()).expect(text)
}

/// A registry of these files, in a directory of its own that is gone afterwards.
fn load_with(files: &[(&str, &str)], limits: &Limits) -> Result<Registry, Vec<LoadError>> {
    let directory = std::env::temp_dir().join(format!("weir-schemas-{}", uuid::Uuid::now_v7()));
    for (name, text) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, text).expect("written");
    }
    let loaded = Registry::load(&directory, limits);
    fs::remove_dir_all(&directory).expect("removed");
    loaded.map_err(|errors| errors.into_iter().map(|error| relative(error, &directory)).collect())
}

fn relative(error: LoadError, directory: &Path) -> LoadError {
    LoadError { file: error.file.strip_prefix(directory).map_or(PathBuf::new(), Path::to_owned), ..error }
}

fn schema(text: &str) -> Arc<Schema> {
    let registry = load_with(&[("subject/1.json", text)], &Limits::default()).expect(text);
    Arc::clone(registry.subject("subject").expect("just loaded"))
}

fn refused(text: &str) -> String {
    let errors = load_with(&[("subject/1.json", text)], &Limits::default()).expect_err(text);
    errors[0].reason.to_string()
}

fn accepts(schema: &Schema, event: &str) -> bool {
    schema.check(parse(&Bump::new(), event).root())
}

fn violations(schema: &Schema, event: &str) -> Vec<Violation> {
    schema.explain(parse(&Bump::new(), event).root())
}

#[test]
fn the_tape_conforms_to_the_validators_contract() {
    let arena = Bump::new();
    let text = jsonschema::json::conformance::document().to_string();
    let root = Instance { node: parse(&arena, &text).root(), budget: &Budget::new(u64::MAX) };
    jsonschema::json::conformance::assert_conformance::<OnTape>(&root);
}

#[test]
fn the_example_events_get_the_verdicts_they_name() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let registry = Registry::load(&directory, &Limits::default()).expect("the repository's schemas load");
    let mut seen = 0;
    for schema in registry.schemas() {
        let examples = directory.join(&**schema.subject()).join("examples");
        for entry in fs::read_dir(examples).expect("every subject has examples") {
            let path = entry.expect("readable").path();
            let text = fs::read_to_string(&path).expect("readable");
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("good-")) {
                assert!(accepts(schema, &text), "{}: {:?}", path.display(), violations(schema, &text));
            } else {
                let case: Value = serde_json::from_str(&text).expect("JSON");
                let event = case["event"].to_string();
                assert!(!accepts(schema, &event), "{}", path.display());
                let first = violations(schema, &event).remove(0);
                assert_eq!(
                    (json!(first.pointer), json!(first.keyword)),
                    (case["pointer"].clone(), case["keyword"].clone())
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 9);
}

#[test]
fn the_latest_version_counts() {
    let files =
        [("a.b/1.json", "true"), ("a.b/2.json", "true"), ("a.b/10.json", "false"), ("c/1.json", "{}")];
    let registry = load_with(&files, &Limits::default()).expect("loads");
    assert_eq!(registry.subject("a.b").map(|schema| schema.version()), Some(10));
    assert_eq!(registry.version("a.b", 2).map(|schema| schema.version()), Some(2));
    assert!(registry.subject("a").is_none() && registry.version("a.b", 3).is_none());

    let schemas = Schemas::new(registry);
    let held = schemas.current();
    schemas.publish(Registry::default());
    assert!(schemas.current().subject("a.b").is_none());
    let held = held.subject("a.b").expect("present");
    assert!(!accepts(held, "1"), "a registry in use stays usable");
}

#[test]
fn every_fault_of_a_directory_is_told_at_once() {
    let files = [
        ("good/1.json", "{}"),
        ("bad/v1.json", "{}"),
        ("bad/0.json", "{}"),
        ("bad/01.json", "{}"),
        ("b@d/1.json", "{}"),
        ("twice/1.json", r#"{"type":"string","type":"number"}"#),
        ("draft/1.json", r#"{"$schema":"https://example.com/mine"}"#),
        ("type/1.json", r#"{"type":"strin"}"#),
        ("api/openapi.json", "{}"),
        ("good/examples/good-1.json", "{}"),
    ];
    let errors = load_with(&files, &Limits::default()).expect_err("six faults");
    let told: Vec<String> = errors
        .iter()
        .map(|error| {
            format!(
                "{} {}",
                error.file.display(),
                error.reason.to_string().split(':').next().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "b@d/1.json bad-name",
            "bad/0.json bad-name",
            "bad/01.json bad-name",
            "bad/v1.json bad-name",
            "twice/1.json not-json",
            "draft/1.json unknown-draft",
            "type/1.json not-a-schema",
        ]
    );
    assert!(Registry::load(Path::new("/nowhere/at/all"), &Limits::default()).is_err());
}

#[test]
fn references_stay_within_the_registry() {
    let money = r##"{"$defs":{"amount":{"type":"integer"}},"$ref":"#/$defs/amount"}"##;
    for reference in
        ["../money/1.json", "../money/1.json#/$defs/amount", "weir:///money/1.json", "/money/1.json"]
    {
        let order = format!(r#"{{"properties":{{"total":{{"$ref":"{reference}"}}}}}}"#);
        let registry = load_with(&[("money/1.json", money), ("order/1.json", &order)], &Limits::default());
        let registry = registry.expect(reference);
        let order = registry.subject("order").expect("present");
        assert!(accepts(order, r#"{"total":1}"#) && !accepts(order, r#"{"total":"1"}"#), "{reference}");
    }
    let own = r##"{"$id":"https://example.com/order","properties":{"a":{"$ref":"#/$defs/a"},"b":{"$ref":"https://example.com/order#/$defs/a"}},"$defs":{"a":{"type":"integer"}}}"##;
    assert!(!accepts(&schema(own), r#"{"b":""}"#));
    for reference in [
        "http://example.com/s.json",
        "https://example.com/s",
        "file:///etc/passwd",
        "ftp://x/y",
        "//example.com/s",
    ] {
        let reason = refused(&format!(r#"{{"$ref":"{reference}"}}"#));
        let expected = if reference.starts_with("//") { "unknown-ref" } else { "remote-ref-forbidden" };
        assert!(reason.starts_with(expected), "{reference}: {reason}");
    }
    for reference in ["../money/2.json", "../../../etc/passwd", "#/$defs/none", "weir:///none/1.json"] {
        let reason = refused(&format!(r#"{{"$ref":"{reference}"}}"#));
        assert!(reason.starts_with("unknown-ref"), "{reference}: {reason}");
    }
}

#[test]
fn references_may_go_in_circles() {
    let tree =
        schema(r##"{"type":"object","properties":{"next":{"$ref":"#"}},"additionalProperties":false}"##);
    assert!(accepts(&tree, r#"{"next":{"next":{}}}"#) && !accepts(&tree, r#"{"next":{"next":1}}"#));
    assert!(accepts(&schema(r##"{"$ref":"#"}"##), "1"), "a reference to itself asks for nothing");
    let two = [
        ("a/1.json", r#"{"items":{"$ref":"../b/1.json"}}"#),
        ("b/1.json", r#"{"type":"array","items":{"$ref":"../a/1.json"}}"#),
    ];
    let registry = load_with(&two, &Limits::default()).expect("loads");
    assert!(!accepts(registry.subject("a").expect("present"), "[[[1]]]"));
    let dynamic = r##"{"$dynamicAnchor":"n","properties":{"c":{"$dynamicRef":"#n"}},"required":["v"]}"##;
    assert!(!accepts(&schema(dynamic), r#"{"v":1,"c":{}}"#));
}

#[test]
fn costly_schemas_are_refused() {
    for pattern in ["(?=a)b", "(?!a)b", "(?<=a)b", r"(a)\\1", "(x{1000}){1000}"] {
        let reason = refused(&format!(r#"{{"properties":{{"a":{{"pattern":"{pattern}"}}}}}}"#));
        assert!(reason.starts_with("unsupported-pattern: at /properties/a/pattern"), "{pattern}: {reason}");
    }
    let reason = refused(r#"{"patternProperties":{"(?=a)b":true}}"#);
    assert!(reason.starts_with("unsupported-pattern"), "{reason}");
    let many = format!(r#"{{"anyOf":[{}{{}}]}}"#, "{},".repeat(10_000));
    assert!(refused(&many).starts_with("schema-too-complex"));
    assert!(refused(&format!(r#"{{"title":"{}"}}"#, "x".repeat(2 << 20))).starts_with("schema-too-complex"));
    assert!(refused(&format!("{}true{}", r#"{"not":"#.repeat(200), "}".repeat(200))).starts_with("not-json"));
    let limits = Limits { schemas_max: 1, ..Limits::default() };
    let errors = load_with(&[("a/1.json", "{}"), ("b/1.json", "{}")], &limits).expect_err("two of one");
    assert!(errors[0].reason.to_string().starts_with("too-many-schemas"));
}

#[test]
fn patterns_take_linear_time() {
    let schema = schema(r#"{"pattern":"^(a+)+$"}"#);
    assert!(!accepts(&schema, &format!(r#""{}!""#, "a".repeat(100_000))));
}

#[test]
fn no_event_makes_a_check_or_an_explanation_long() {
    let schema = schema(
        r##"{"$ref":"#/$defs/n","$defs":{"n":{"anyOf":[
        {"type":"array","items":{"$ref":"#/$defs/n"}},{"type":"array","items":{"$ref":"#/$defs/n"}}]}}}"##,
    );
    let deep = format!("{}\"x\"{}", "[".repeat(60), "]".repeat(60));
    let started = std::time::Instant::now();
    assert!(!accepts(&schema, &deep));
    let told = violations(&schema, &deep);
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "2^60 steps were not taken");
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].pointer.as_str(), told[0].keyword.as_str()), ("", "schema"));

    let wide = format!("[{}\"x\"]", "[],".repeat(40_000));
    assert!(!accepts(&schema, &wide));
    assert!(!violations(&schema, &wide).is_empty());

    let limits = Limits { check_steps_max: 10, ..Limits::default() };
    let registry = load_with(&[("s/1.json", r#"{"items":{"type":"integer"}}"#)], &limits).expect("loads");
    let strict = registry.subject("s").expect("present");
    assert!(accepts(strict, "[1,2,3]") && !accepts(strict, "[1,2,3,4,5,6,7,8,9,10,11,12]"));
}

#[test]
fn explanations_name_places_and_rules_but_no_values() {
    let order = schema(
        r#"{"type":"object","required":["id"],"additionalProperties":false,
        "properties":{"id":{"type":"string","format":"uuid"},"n":{"type":"integer","minimum":3},"k":{"enum":["a","b"]}}}"#,
    );
    let told = violations(&order, r#"{"n":1.5,"k":"secret","secret name":{"also":"secret"}}"#);
    let mut pairs: Vec<(&str, &str)> =
        told.iter().map(|v| (v.pointer.as_str(), v.keyword.as_str())).collect();
    pairs.sort_unstable();
    assert_eq!(
        pairs,
        [("", "additionalProperties"), ("", "required"), ("/k", "enum"), ("/n", "minimum"), ("/n", "type")]
    );
    assert!(!format!("{told:?}").contains("secret"));
    assert_eq!(
        told.iter().find(|v| v.keyword == "required").map(|v| v.detail.as_str()),
        Some(r#"the property "id" is required"#)
    );

    let long = format!(r#"{{"{}":{{"n":"x"}}}}"#, "k".repeat(300));
    let nested = schema(r#"{"additionalProperties":{"properties":{"n":{"type":"integer"}}}}"#);
    assert_eq!(violations(&nested, &long)[0].pointer, "");
    assert!(violations(&nested, "{}").is_empty());
}

#[test]
fn explanations_follow_the_closest_alternative() {
    let shapes = schema(
        r#"{"oneOf":[
        {"required":["kind","radius"],"properties":{"kind":{"const":"circle"},"radius":{"type":"number"}}},
        {"required":["kind","side"],"properties":{"kind":{"const":"square"},"side":{"type":"object","required":["length"]}}}]}"#,
    );
    let told = violations(&shapes, r#"{"kind":"square","side":{}}"#);
    let pairs: Vec<(&str, &str)> = told.iter().map(|v| (v.pointer.as_str(), v.keyword.as_str())).collect();
    assert_eq!(pairs, [("", "oneOf"), ("/side", "required")]);
}

#[test]
fn numbers_mean_what_they_say() {
    let exact = schema(r#"{"enum":[9007199254740993]}"#);
    assert!(accepts(&exact, "9007199254740993") && !accepts(&exact, "9007199254740992"));
    let largest = schema(r#"{"maximum":18446744073709551614}"#);
    assert!(accepts(&largest, "18446744073709551614") && !accepts(&largest, "18446744073709551615"));
    let integer = r#"{"type":"integer"}"#;
    assert!(
        accepts(&schema(integer), "1.0")
            && accepts(&schema(integer), "-0")
            && !accepts(&schema(integer), "1.5")
    );
    let draft4 = schema(r#"{"$schema":"http://json-schema.org/draft-04/schema#","type":"integer"}"#);
    assert!(!accepts(&draft4, "1.0") && accepts(&draft4, "1"));
    assert!(accepts(&schema(r#"{"const":1}"#), "1.0") && !accepts(&schema(r#"{"const":1}"#), "true"));
}

#[test]
fn unique_items_are_compared_as_values() {
    let unique = schema(r#"{"uniqueItems":true}"#);
    let padding: Vec<String> = (100..120).map(|n| n.to_string()).collect();
    for (pair, distinct) in [
        ("1,1.0", false),
        ("0,-0.0", false),
        ("9007199254740993,9007199254740992.0", true),
        ("1,true", true),
        (r#"{"a":1,"b":[2]},{"b":[2.0],"a":1}"#, false),
        (r#"{"a":1},{"b":1}"#, true),
        (r#"{"a":1},{"a":1,"b":2}"#, true),
        (r#""1",1"#, true),
        (r#""a","\u0061""#, false),
        ("[],{}", true),
        ("null,false", true),
        ("[1,2],[2,1]", true),
    ] {
        assert_eq!(accepts(&unique, &format!("[{pair}]")), distinct, "{pair}");
        assert_eq!(
            accepts(&unique, &format!("[{},{pair}]", padding.join(","))),
            distinct,
            "{pair} among many"
        );
    }
}

/// Small values over few names, so that they often match.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-3..4_i64).prop_map(Value::from),
        prop::sample::select(vec![0.0, -0.0, 1.0, 1.5, 2.0, 1e20]).prop_map(Value::from),
        prop::sample::select(vec!["", "a", "ab", "é", "2026-01-01"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[abc]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Schemas of the keywords whose answer depends on how values are represented.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"])
            .prop_map(|name| json!({"type": name})),
        values().prop_map(|value| json!({"const": value})),
        prop::collection::vec(values(), 1..4).prop_map(|values| json!({"enum": values})),
        (0..4_u8, 0..4_u8).prop_map(
            |(min, max)| json!({"minLength": min, "maxLength": max, "minItems": min, "maxProperties": max})
        ),
        (-2..3_i64)
            .prop_map(|limit| json!({"minimum": limit, "exclusiveMaximum": limit + 2, "multipleOf": 0.5})),
        Just(json!({"uniqueItems": true})),
        Just(json!({"format": "date"})),
        Just(json!({"pattern": "^.?$"})),
        Just(json!({"required": ["a", "b"]})),
        Just(json!({"propertyNames": {"enum": ["a", "b"]}})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"properties": {"a": a}, "additionalProperties": b})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"prefixItems": [a], "items": b})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"anyOf": [a, b]})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"oneOf": [a, b]})),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"allOf": [a, b], "unevaluatedProperties": false})),
            inner.clone().prop_map(|a| json!({"contains": a})),
            inner.prop_map(|a| json!({"not": a})),
        ]
    })
}

proptest! {
    #[test]
    fn the_tape_and_the_tree_get_the_same_verdict(schema in schemas(), value in values()) {
        let on_values = jsonschema::options().should_validate_formats(true).build(&schema).expect("valid schema");
        let on_tape = jsonschema::options_for::<OnTape>().should_validate_formats(true).build(&schema).expect("valid schema");
        let arena = Bump::new();
        let budget = Budget::new(u64::MAX);
        let instance = Instance { node: parse(&arena, &value.to_string()).root(), budget: &budget };
        prop_assert_eq!(on_tape.is_valid(instance), on_values.is_valid(&value), "{} {}", schema, value);
        let places = |path: String, keyword: &str| format!("{path} {keyword}");
        let mut ours: Vec<String> = on_tape.iter_errors(instance).map(|e| places(e.instance_path().to_string(), e.kind().keyword())).collect();
        let mut theirs: Vec<String> = on_values.iter_errors(&value).map(|e| places(e.instance_path().to_string(), e.kind().keyword())).collect();
        ours.sort();
        theirs.sort();
        prop_assert_eq!(ours, theirs);
    }
}

/// `cargo test --release -p weir --lib speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a check"]
fn speed_of_parse_and_check() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let registry = Registry::load(&directory, &Limits::default()).expect("loads");
    let schema = registry.subject("orders.created").expect("present");
    let event =
        fs::read_to_string(directory.join("orders.created/examples/good-typical.json")).expect("readable");
    let event = serde_json::from_str::<Value>(&event).expect("JSON").to_string();
    let (mut arena, mut parser) = (Bump::new(), Parser::new(document::Limits::default()));
    let mut fastest = [f64::MAX; 2];
    for _ in 0..20 {
        let started = std::time::Instant::now();
        for _ in 0..200 {
            for _ in 0..64 {
                parser.parse(&arena, event.as_bytes()).expect("valid");
            }
            arena.reset();
        }
        let parsed = started.elapsed().as_nanos() as f64 / 12_800.0;
        let root = parser.parse(&arena, event.as_bytes()).expect("valid").root();
        let started = std::time::Instant::now();
        assert!((0..12_800).all(|_| schema.check(std::hint::black_box(root))));
        let checked = started.elapsed().as_nanos() as f64 / 12_800.0;
        fastest = [fastest[0].min(parsed), fastest[1].min(checked)];
    }
    println!("{} bytes: parse {:.0} ns, check {:.0} ns", event.len(), fastest[0], fastest[1]);
}
