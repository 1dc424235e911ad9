//! Tables of edits byte for byte, and properties against the same edit on a tree.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn pointer(text: &str) -> Pointer {
    text.parse().expect("pointer")
}

fn text(bytes: Result<Vec<u8>, SpliceError>) -> Result<String, SpliceError> {
    bytes.map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
}

#[test]
fn sets_one_place() {
    for (before, path, value, after) in [
        (r#"{"a" : 1.0, "b":2}"#, "/a", "[]", r#"{"a" : [], "b":2}"#),
        (r#"{"a":1}"#, "/b", "\"x\"", r#"{"a":1,"b":"x"}"#),
        (r#"{ }"#, "/b", "1", r#"{ "b":1}"#),
        (r#"{"a":{"b":[1 , 2]}}"#, "/a/b/1", "3", r#"{"a":{"b":[1 , 3]}}"#),
        ("[1]", "/-", "2", "[1,2]"),
        ("[1]", "/1", "2", "[1,2]"),
        ("[]", "/-", "2", "[2]"),
        (" 7 ", "", "8", " 8 "),
        (r#"{"a":1}"#, "/q\"~1", "1", r#"{"a":1,"q\"/":1}"#),
        (r#"{"\u0061":1}"#, "/a", "2", r#"{"\u0061":2}"#),
    ] {
        assert_eq!(text(json_set(before.as_bytes(), &pointer(path), value.as_bytes())).as_deref(), Ok(after));
    }
    for (before, path) in
        [(r#"{"a":1}"#, "/a/b"), (r#"{"a":1}"#, "/b/c"), ("[1]", "/2"), ("[1]", "/x"), ("1", "/a")]
    {
        assert!(json_set(before.as_bytes(), &pointer(path), b"0").is_err(), "{before} {path}");
    }
}

#[test]
fn removes_one_place() {
    for (before, path, after) in [
        (r#"{"a":1 , "b": 2}"#, "/a", r#"{"b": 2}"#),
        (r#"{"a":1 , "b": 2 }"#, "/b", r#"{"a":1  }"#),
        (r#"{"a":1}"#, "/a", "{}"),
        ("[1, 2, 3]", "/1", "[1, 3]"),
        ("[1, 2, 3]", "/2", "[1, 2]"),
        ("[[ 1 ]]", "/0/0", "[[  ]]"),
    ] {
        assert_eq!(text(json_remove(before.as_bytes(), &pointer(path))).as_deref(), Ok(after));
    }
    for (before, path) in [("{}", "/a"), ("[1]", "/1"), ("[1]", "/-"), ("1", ""), (r#"{"a":1}"#, "/a/b")] {
        let absent = SpliceError::Absent { pointer: path.to_owned() };
        assert_eq!(json_remove(before.as_bytes(), &pointer(path)), Err(absent));
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<u8>().prop_map(Value::from),
        "[a\",{\\[]{0,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-c/~\"]{0,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A path that may or may not lead somewhere: the numbered child of each level.
fn path_into(value: &Value, choices: &[prop::sample::Index]) -> String {
    let (mut path, mut node) = (String::new(), value);
    for choice in choices {
        let (name, next) = match node {
            Value::Object(members) if !members.is_empty() => {
                let (name, next) = members.iter().nth(choice.index(members.len())).expect("within");
                (name.replace('~', "~0").replace('/', "~1"), next)
            }
            Value::Array(items) if !items.is_empty() => {
                let index = choice.index(items.len());
                (index.to_string(), &items[index])
            }
            _ => break,
        };
        path.push('/');
        path.push_str(&name);
        node = next;
    }
    path
}

proptest! {
    #[test]
    fn set_is_the_edit_on_the_tree(
        mut value in values(), new in values(), choices in prop::collection::vec(any::<prop::sample::Index>(), 0..4), pretty: bool,
    ) {
        let before = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("writable");
        let path = path_into(&value, &choices);
        let range = locate(&before, &pointer(&path)).expect("present");
        let after = json_set(&before, &pointer(&path), &serde_json::to_vec(&new).expect("writable")).expect("present");
        prop_assert!(after.starts_with(&before[..range.start]) && after.ends_with(&before[range.end..]));
        *value.pointer_mut(&path).expect("present") = new;
        prop_assert_eq!(serde_json::from_slice::<Value>(&after).expect("still JSON"), value);
    }

    #[test]
    fn adding_is_the_edit_on_the_tree(
        mut value in values(), choices in prop::collection::vec(any::<prop::sample::Index>(), 0..4), pretty: bool,
    ) {
        let before = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("writable");
        let path = path_into(&value, &choices);
        let (step, added) = match value.pointer_mut(&path).expect("present") {
            Value::Object(members) => ("new", members.insert("new".to_owned(), json!(1)).is_none()),
            Value::Array(items) => { items.push(json!(1)); ("-", true) }
            _ => ("new", false),
        };
        let after = json_set(&before, &pointer(&format!("{path}/{step}")), b"1");
        prop_assert_eq!(after.is_ok(), added);
        if let Ok(after) = after {
            prop_assert_eq!(serde_json::from_slice::<Value>(&after).expect("still JSON"), value);
        }
    }

    #[test]
    fn remove_is_the_edit_on_the_tree(
        mut value in values(), choices in prop::collection::vec(any::<prop::sample::Index>(), 1..4), pretty: bool,
    ) {
        let before = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("writable");
        let path = path_into(&value, &choices);
        let Some((parent, step)) = path.rsplit_once('/') else { return Ok(()) };
        match value.pointer_mut(parent).expect("present") {
            Value::Object(members) => drop(members.remove(&step.replace("~1", "/").replace("~0", "~"))),
            Value::Array(items) => drop(items.remove(step.parse().expect("index"))),
            _ => {}
        }
        let after = json_remove(&before, &pointer(&path)).expect("present");
        prop_assert_eq!(serde_json::from_slice::<Value>(&after).expect("still JSON"), value);
    }
}
