//! What must hold for every text, with serde_json as the second opinion.

use std::collections::HashSet;

use bumpalo::Bump;
use proptest::prelude::*;
use serde_json::Value;

use super::tests::{frame, parse, pointer, tree};
use super::*;
use crate::problem::Code;

/// Trees with distinct keys, so that they are texts we accept.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-c/~\"\\\\ ]{0,3}", any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(text.clone(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Every pointer into a tree, with the value it leads to.
fn places(value: &Value, path: &mut String, found: &mut Vec<(String, Value)>) {
    found.push((path.clone(), value.clone()));
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, child)| (name.clone(), child)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect()
        }
        _ => Vec::new(),
    };
    for (name, child) in children {
        let before = path.len();
        super::pointer::push_escaped(path, &name);
        places(child, path, found);
        path.truncate(before);
    }
}

/// Texts near the edge of JSON: fragments in any order.
fn near_json() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"a\"",
        "\"b\":",
        "\"\\u0061\"",
        "\\ud800",
        "1",
        "-",
        "0",
        ".5",
        "e3",
        "1e400",
        "true",
        "null",
        " ",
        "\n",
        "\t",
        "é",
        "\u{1}",
        "[1,2]",
        "{\"a\":1}",
        "\"x\\\"",
        "99999999999999999999",
    ]);
    prop::collection::vec(fragment, 0..10).prop_map(|fragments| fragments.concat())
}

proptest! {
    #[test]
    fn reads_what_serde_json_wrote(value in values(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        prop_assert_eq!(parse(text.expect("writable")), Ok(value));
    }

    #[test]
    fn accepts_exactly_what_serde_json_accepts(text in near_json()) {
        let ours = parse(&text);
        match serde_json::from_str::<Value>(&text) {
            Err(_) => prop_assert!(ours.is_err(), "{:?}", ours),
            // serde_json makes floats of integers beyond u64 and keeps the last of two equal keys; we refuse both.
            Ok(value) => match ours {
                Ok(ours) => prop_assert_eq!(ours, value),
                Err(refused) => {
                    prop_assert!(matches!(refused.code(), Code::NumberOutOfRange | Code::DuplicateKey), "{}", refused);
                }
            },
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(parse(&bytes).is_ok(), serde_json::from_slice::<Value>(&bytes).is_ok());
    }

    #[test]
    fn locates_every_value(value in values(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("writable");
        let arena = Bump::new();
        let document = Parser::new(Limits::default()).parse(&arena, text.as_bytes()).expect("valid");
        let mut found = Vec::new();
        places(&value, &mut String::new(), &mut found);
        for (path, expected) in found {
            let path = pointer(&path);
            let range = locate(text.as_bytes(), &path).expect("present");
            let source: Value = serde_json::from_slice(&text.as_bytes()[range]).expect("a whole value");
            prop_assert_eq!(&source, &expected);
            prop_assert_eq!(document.root().pointer(&path).map(tree), Some(expected));
        }
    }

    #[test]
    fn framing_and_parsing_agree(text in near_json()) {
        let text = format!("[{text}]");
        let framed = frame(&text).and_then(|elements| elements.into_iter().map(parse).collect::<Result<Vec<_>, _>>());
        prop_assert_eq!(framed.ok().map(Value::from), parse(&text).ok());
    }

    #[test]
    fn duplicates_are_found_wherever_they_are(keys in prop::collection::vec("[ab]{1,4}", 0..40)) {
        let members: Vec<String> = keys.iter().map(|key| format!("\"{key}\":0")).collect();
        let distinct = keys.iter().collect::<HashSet<_>>().len() == keys.len();
        prop_assert_eq!(parse(format!("{{{}}}", members.join(","))).is_ok(), distinct);
    }
}
