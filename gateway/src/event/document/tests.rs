//! Tables of what must be accepted and refused.

use bumpalo::Bump;
use serde_json::Value;

use super::*;
use crate::problem::Code;

/// What a text parses to, as a tree for comparisons.
pub(super) fn parse(text: impl AsRef<[u8]>) -> Result<Value, ParseError> {
    let arena = Bump::new();
    let document = Parser::new(Limits::default()).parse(&arena, text.as_ref())?;
    Ok(tree(document.root()))
}

pub(super) fn tree(node: Node<'_>) -> Value {
    match node.kind() {
        Kind::Null => Value::Null,
        Kind::Boolean => node.as_bool().into(),
        Kind::Integer | Kind::Float => number(node),
        Kind::String => node.as_str().into(),
        Kind::Array => node.elements().map(tree).collect(),
        Kind::Object => node.members().map(|(name, value)| (name.to_owned(), tree(value))).collect(),
    }
}

fn number(node: Node<'_>) -> Value {
    match node.entry() {
        simd_json::Node::Static(simd_json::StaticNode::F64(value)) => (*value).into(),
        _ => serde_json::from_str(node.as_integer_text(&mut itoa::Buffer::new()).expect("integer"))
            .expect("digits"),
    }
}

pub(super) fn pointer(text: &str) -> Pointer {
    text.parse().expect("pointer")
}

#[test]
fn accepts_what_rfc_8259_accepts() {
    // After JSONTestSuite's y_ files.
    for text in [
        "[]",
        " [] ",
        "[\n]",
        "{}",
        "[[]   ]",
        r#"[""]"#,
        "null",
        "true",
        "false",
        "42",
        "-0.1",
        r#""asd""#,
        r#""""#,
        r#" "" "#,
        "[false]",
        "[null, 1, \"1\", {}]",
        "[1\n]",
        " [1]",
        "[1,null,null,null,2]",
        "[2] ",
        "[123e65]",
        "[0e+1]",
        "[0e1]",
        "[ 4]",
        "[-0.000000000000000000000000000000000000000000000000000000001]",
        "[20e1]",
        "[-0]",
        "[-123]",
        "[-1]",
        "[-0]",
        "[1E22]",
        "[1E-2]",
        "[1E+2]",
        "[123e45]",
        "[123.456e78]",
        "[1e-2]",
        "[1e+2]",
        "[123]",
        "[123.456789]",
        r#"{"asd":"sdf"}"#,
        r#"{"a":null, "b":"b"}"#,
        r#"{"":0}"#,
        r#"{"foo\u0000bar": 42}"#,
        r#"{"min": -1.0e+28, "max": 1.0e+28}"#,
        "{\n\"a\": \"b\"\n}",
        r#"["\u0060\u012a\u12AB"]"#,
        r#"["\uD801\udc37"]"#,
        r#"["\ud83d\ude39\ud83d\udc8d"]"#,
        r#"["\"\\\/\b\f\n\r\t"]"#,
        r#"["\\u0000"]"#,
        r#"["\""]"#,
        r#"["a/*b*/c/*d//e"]"#,
        r#"["\\a"]"#,
        r#"["\\n"]"#,
        r#"["\u0012"]"#,
        r#"["\uFFFF"]"#,
        r#"["asd"]"#,
        r#"[ "asd"]"#,
        r#"["\uDBFF\uDFFF"]"#,
        r#"["new\u00A0line"]"#,
        "[\"\u{10ffff}\"]",
        "[\"\u{ffff}\"]",
        r#"["\u0000"]"#,
        r#"["\u002c"]"#,
        "[\"π\"]",
        "[\"\u{1bfff}\"]",
        r#"["asd "]"#,
        r#"["\u0821"]"#,
        "[\"\u{2028}\u{2029}\"]",
        r#"["\u0061\u30af\u30EA\u30b9"]"#,
        r#"["new\u000Aline"]"#,
        "[\"\u{7f}\"]",
        r#"["\uA66D"]"#,
        r#"["\u005C"]"#,
        "[\"⍂㈴⍂\"]",
        r#"["\u200B"]"#,
        r#"["\u2064"]"#,
        r#"["\uFDD0"]"#,
        r#"["\uFFFE"]"#,
        r#"["\u0022"]"#,
        "[\"€𝄞\"]",
        "[\"aa\u{7f}\"]",
        r#"{"a":{"a":1},"b":{"a":1}}"#,
        r#"{"__proto__": 1, "$ref": "x"}"#,
        "\t[\r\n]\t",
    ] {
        let expected: Value = serde_json::from_str(text).expect(text);
        assert_eq!(parse(text).expect(text), expected, "{text}");
    }
}

#[test]
fn refuses_what_rfc_8259_refuses() {
    // After JSONTestSuite's n_ files.
    for text in [
        "",
        " ",
        "[1 true]",
        r#"["": 1]"#,
        r#"[""],"#,
        "[,1]",
        "[1,,2]",
        r#"["x",,]"#,
        r#"["x"]]"#,
        r#"["",]"#,
        r#"["x""#,
        "[x",
        "[3[4]]",
        "[1:2]",
        "[,]",
        "[-]",
        "[   , \"\"]",
        "[\"a\",\n4\n,1,",
        "[1,]",
        "[1,,]",
        "[\"\u{0b}a\"\\f]",
        "[*]",
        r#"[""#,
        "[1,",
        "[1,\n1\n,1",
        "[{}",
        "[fals]",
        "[nul]",
        "[tru]",
        "123\0",
        "[++1234]",
        "[+1]",
        "[+Inf]",
        "[-01]",
        "[-1.0.]",
        "[-2.]",
        "[-NaN]",
        "[.-1]",
        "[.2e-3]",
        "[0.1.2]",
        "[0.3e+]",
        "[0.3e]",
        "[0.e1]",
        "[0E+]",
        "[0E]",
        "[0e+]",
        "[0e]",
        "[1.0e+]",
        "[1.0e-]",
        "[1.0e]",
        "[1 000.0]",
        "[1eE2]",
        "[2.e+3]",
        "[2.e-3]",
        "[2.e3]",
        "[9.e+]",
        "[Inf]",
        "[NaN]",
        "[1+2]",
        "[0x1]",
        "[0x42]",
        "[Infinity]",
        "[0e+-1]",
        "[-123.123foo]",
        "[-Infinity]",
        "[-foo]",
        "[- 1]",
        "[-012]",
        "[-.123]",
        "[-1x]",
        "[1ea]",
        "[1.]",
        "[.123]",
        "[1.2a-3]",
        "[1.8011670033376514H-308]",
        "[012]",
        r#"["x", truth]"#,
        "{[: \"x\"}",
        r#"{"x", null}"#,
        r#"{"x"::"b"}"#,
        r#"{"a":"a" 123}"#,
        "{key: 'value'}",
        r#"{"a" b}"#,
        r#"{:"b"}"#,
        r#"{"a" "b"}"#,
        r#"{"a":"#,
        r#"{"a""#,
        "{1:1}",
        "{9999E9999:1}",
        "{null:null,null:null}",
        r#"{"id":0,,,,,}"#,
        "{'a':0}",
        r#"{"id":0,}"#,
        r#"{"a":"b"}/**/"#,
        r#"{"a":"b"}//"#,
        r#"{"a":"b",,"c":"d"}"#,
        r#"{a: "b"}"#,
        r#"{"a":"a"#,
        r#"{ "foo" : "bar", "a" }"#,
        r#"{"a":"b"}#"#,
        r#"["\uD800\"]"#,
        r#"["\uD800\u"]"#,
        r#"["\uD800\u1"]"#,
        r#"["\uD800\u1x"]"#,
        "[é]",
        r#"["\x00"]"#,
        r#"["\\\"]"#,
        r#"["\	"]"#,
        r#"["\🌀"]"#,
        r#"["\"]"#,
        r#"["\u00A"]"#,
        r#"["\uD834\uDd"]"#,
        r#"["\uD800\uD800\x"]"#,
        r#"["\a"]"#,
        r#"["\uqqqq"]"#,
        "[\\u0020\"asd\"]",
        "[\\n]",
        "\"",
        "['single quote']",
        "abc",
        "[\"\\",
        "[\"a\0a\"]",
        "[\"new\nline\"]",
        "[\"\t\"]",
        r#""\UA66D""#,
        r#""x"x"#,
        "<.>",
        "[<null>]",
        "[1]x",
        "[1]]",
        r#"["asd]"#,
        "aå",
        "[True]",
        "1]",
        r#"{"x": true,"#,
        "[][]",
        "]",
        "{]",
        "}",
        "{\"\":",
        "{",
        "[",
        "{\"a\":",
        "[\"a",
        "{'a'",
        "[1}",
        "{\"a\":1]",
        "2@",
        "{}}",
        "{\"a\":/*comment*/\"b\"}",
        "{\"a\": true} \"x\"",
        "['",
        "[,",
        "{,",
        "{[",
        "{\"a",
        "*",
        "[1\u{c}]",
        "\u{2060}",
        "[\u{feff}]",
        "1 2",
        "{}{}",
        "nulll",
        "truefalse",
        "\u{a0}1",
    ] {
        let refused = parse(text).expect_err(text);
        assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        assert!(matches!(refused.code(), Code::InvalidJson | Code::InvalidUtf8), "{text}: {refused:?}");
    }
}

#[test]
fn says_at_which_byte() {
    for (text, offset) in [("", 0), ("[1,]", 3), ("{\"a\":tru}", 8), ("[1 2]", 3), ("{}\n{}", 3)] {
        assert_eq!(parse(text), Err(ParseError::InvalidJson { offset }), "{text}");
    }
}

#[test]
fn refuses_by_name() {
    let overlong: &[u8] = b"[\"\xc0\xaf\"]";
    let half = |offset| ParseError::LoneSurrogate { offset };
    let range = |offset| ParseError::NumberOutOfRange { offset };
    for (text, expected) in [
        (overlong, ParseError::InvalidUtf8 { offset: 2 }),
        (b"[\"\xed\xa0\x80\"]", ParseError::InvalidUtf8 { offset: 2 }),
        (b"\xef\xbb\xbf{}", ParseError::InvalidUtf8 { offset: 0 }),
        (b"\xff\xfe[\0]\0", ParseError::InvalidUtf8 { offset: 0 }),
        (br#"["\ud800"]"#, half(2)),
        (br#"["a\udc00"]"#, half(3)),
        (br#"["\ud800\ud800"]"#, half(2)),
        (br#"["a long enough string to be read in blocks of bytes \ud800 and on"]"#, half(53)),
        (b"[1e999]", range(1)),
        (b"{\"a\":-1e999}", range(5)),
        (b"18446744073709551616", range(0)),
        (b"[1,-9223372036854775809]", range(3)),
        (b"[99999999999999999999999999]", range(1)),
    ] {
        assert_eq!(parse(text), Err(expected), "{}", String::from_utf8_lossy(text));
    }
    assert_eq!(parse("9".repeat(10_000)), Err(range(0)));
}

#[test]
fn keeps_integers_exact() {
    for text in ["18446744073709551615", "-9223372036854775808", "9007199254740993", "-0", "0", "-1"] {
        let arena = Bump::new();
        let document = Parser::new(Limits::default()).parse(&arena, text.as_bytes()).expect(text);
        assert_eq!(document.root().as_integer_text(&mut itoa::Buffer::new()), Some(text));
    }
    for text in ["1.0", "1e2", "-0.0"] {
        let arena = Bump::new();
        let document = Parser::new(Limits::default()).parse(&arena, text.as_bytes()).expect(text);
        assert_eq!(document.root().as_integer_text(&mut itoa::Buffer::new()), None);
    }
}

#[test]
fn refuses_duplicate_keys_however_escaped() {
    let many = |extra: &str| {
        let members: Vec<String> = (0..1000).map(|key| format!(r#""k{key}":0"#)).collect();
        format!(r#"{{"a":[0,{{{}{extra}}}]}}"#, members.join(","))
    };
    for (text, pointer) in [
        (r#"{"a":1,"a":2}"#.to_owned(), "/a"),
        (r#"{"a":1,"\u0061":2}"#.to_owned(), "/a"),
        (r#"{"x":[[],{"b/~":1,"c":{},"b/~":2}]}"#.to_owned(), "/x/1/b~1~0"),
        (r#"{"x":{"y":1},"z":{"y":{"":1,"":2}}}"#.to_owned(), "/z/y/"),
        (many(r#","\u006b7":1"#), "/a/1/k7"),
    ] {
        assert_eq!(parse(text), Err(ParseError::DuplicateKey { pointer: pointer.to_owned() }));
    }
    assert!(parse(many("")).is_ok());
    let long = format!(r#"{{"a":{{"{0}":1,"{0}":2}}}}"#, "k".repeat(1000));
    assert_eq!(parse(long), Err(ParseError::DuplicateKey { pointer: "/a".to_owned() }));
}

#[test]
fn bounds_depth_and_nodes() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(64)).is_ok());
    assert_eq!(parse(nested(65)), Err(ParseError::TooDeep));
    assert_eq!(parse("[".repeat(100_000)), Err(ParseError::TooDeep));
    assert_eq!(parse("[".repeat(10_000_000)), Err(ParseError::TooDeep));
    assert_eq!(parse("{\"a\":".repeat(100_000)), Err(ParseError::TooDeep));

    let ones = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    assert!(parse(ones(49_999)).is_ok());
    assert_eq!(parse(ones(50_000)), Err(ParseError::TooManyNodes));
    for hostile in [ones(5_000_000), ",".repeat(10_000_000), "1 ".repeat(5_000_000)] {
        let arena = Bump::new();
        let mut parser = Parser::new(Limits::default());
        assert_eq!(parser.parse(&arena, hostile.as_bytes()).err(), Some(ParseError::TooManyNodes));
        assert_eq!(
            (parser.tape.0.capacity(), arena.allocated_bytes()),
            (0, 0),
            "refused before anything is reserved"
        );
    }
    let long = format!("[\"{}\"]", "[,{:".repeat(100_000));
    assert!(parse(long).is_ok(), "characters inside strings are not counted");
}

#[test]
fn large_texts_leave_nothing_large_behind() {
    let arena = Bump::new();
    let mut parser = Parser::new(Limits::default());
    let large = format!("[{}1]", "1,".repeat(40_000));
    parser.parse(&arena, large.as_bytes()).expect("within limits");
    assert!(parser.tape.0.capacity() <= RETAINED_NODES_MAX);
    parser.parse(&arena, b"[1,2,3]").expect("still usable");
}

#[test]
fn one_arena_holds_many_documents() {
    let mut arena = Bump::new();
    let mut parser = Parser::new(Limits::default());
    for round in 0..3 {
        let documents: Vec<Document<'_>> = (0..64)
            .map(|n| parser.parse(&arena, format!(r#"{{"n":"{round}-{n}"}}"#).as_bytes()).expect("valid"))
            .collect();
        for (n, document) in documents.iter().enumerate() {
            let text = document.root().get("n").and_then(|node| node.as_str());
            assert_eq!(text, Some(format!("{round}-{n}").as_str()));
        }
        arena.reset();
    }
}

#[test]
fn follows_pointers_as_rfc_6901_does() {
    let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"\u00e9":9}"#;
    let arena = Bump::new();
    let document = Parser::new(Limits::default()).parse(&arena, text.as_bytes()).expect("valid");
    for (path, source) in [
        ("", Some(text)),
        ("/foo", Some(r#"["bar","baz"]"#)),
        ("/foo/0", Some(r#""bar""#)),
        ("/foo/1", Some(r#""baz""#)),
        ("/foo/2", None),
        ("/foo/01", None),
        ("/foo/-", None),
        ("/", Some("0")),
        ("/a~1b", Some("1")),
        ("/c%d", Some("2")),
        ("/e^f", Some("3")),
        ("/g|h", Some("4")),
        ("/i\\j", Some("5")),
        ("/k\"l", Some("6")),
        ("/ ", Some("7")),
        ("/m~0n", Some("8")),
        ("/é", Some("9")),
        ("/foo/0/x", None),
        ("/none", None),
    ] {
        let path = pointer(path);
        let range = locate(text.as_bytes(), &path);
        assert_eq!(range.map(|range| &text.as_bytes()[range]), source.map(str::as_bytes), "{path}");
        assert_eq!(document.root().pointer(&path).is_some(), source.is_some(), "{path}");
    }
    for bad in ["a", "/~", "/~2", "/a~", "/~~1"] {
        assert!(bad.parse::<Pointer>().is_err(), "{bad}");
    }
    assert_eq!(pointer("/~01").tokens()[0].name, "~1");
}

pub(super) fn frame(text: &str) -> Result<Vec<&str>, ParseError> {
    elements(text.as_bytes(), 64)
        .map(|range| Ok(std::str::from_utf8(&text.as_bytes()[range?]).expect("cut at ASCII")))
        .collect()
}

#[test]
fn frames_arrays() {
    for (text, expected) in [
        ("[]", vec![]),
        (" [ ] ", vec![]),
        (
            r#"[{"a":"]"} , [1,[2]],"x\"],",-1.5e3 ,null ]"#,
            vec![r#"{"a":"]"}"#, "[1,[2]]", r#""x\"],""#, "-1.5e3", "null"],
        ),
        ("[{a},nope,1]", vec!["{a}", "nope", "1"]),
    ] {
        assert_eq!(frame(text), Ok(expected), "{text}");
    }
    for (text, offset) in [
        ("", 0),
        ("{}", 0),
        ("[", 1),
        ("[1", 2),
        ("[1,", 3),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[1,,2]", 3),
        ("[1 2]", 3),
        ("[{}{}]", 3),
        ("[1]x", 3),
        ("[1][2]", 3),
        ("[1}", 2),
        ("[\"a]", 4),
        ("[{\"a\":1]", 8),
        ("[1:2]", 2),
        ("[]]", 2),
    ] {
        assert_eq!(frame(text), Err(ParseError::InvalidJson { offset }), "{text}");
    }
    assert_eq!(frame(&"[".repeat(100_000)), Err(ParseError::TooDeep));
}
