//! What our registry accepts against what an independent validator accepts: GitHub's payloads by GitHub's
//! schemas, and formats by hand.

use std::collections::BTreeSet;

use bumpalo::Bump;
use weir::event::document::{self, Parser};
use weir::schema::{Limits, Registry};
use weir_tests::github::{self, Place};

#[test]
fn github_payloads_get_the_reference_verdicts() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(github::write_schemas(directory.path()).expect("written"), 66);
    let registry = Registry::load(directory.path(), &Limits::default()).expect("GitHub's schemas load");
    let verdicts = github::reference_verdicts().expect("the reference validator");
    let examples = github::examples().expect("readable");
    assert_eq!((examples.len(), verdicts.len()), (329, 329));

    let (mut arena, mut parser) = (Bump::new(), Parser::new(document::Limits::default()));
    for (example, verdict) in examples.iter().zip(&verdicts) {
        assert_eq!((&example.event, example.index), (&verdict.event, verdict.index));
        let name = format!("{} {}", example.event, example.index);
        let schema =
            registry.subject(&format!("github.{}", example.event)).expect("every event has a subject");
        let root = parser.parse(&arena, example.payload.as_bytes()).expect("a payload is JSON").root();
        let reference: BTreeSet<Place> = verdict.errors.iter().cloned().collect();
        assert_eq!(schema.check(root), verdict.valid, "{name}: the reference finds {reference:?}");
        let told = schema.explain(root);
        assert_eq!(told.is_empty(), verdict.valid, "{name}: {told:?}");
        for violation in told {
            let place = Place { pointer: violation.pointer, keyword: violation.keyword };
            assert!(reference.contains(&place), "{name}: only we find {place:?}");
        }
        arena.reset();
    }
    assert_eq!(
        verdicts.iter().filter(|verdict| !verdict.valid).count(),
        53,
        "some published examples do not match"
    );
}

/// Texts on which both validators agree, beside those of the table in `tests/README.md` on which they do not.
const AGREED: [(&str, &[&str]); 18] = [
    (
        "date-time",
        &[
            "2026-11-24T08:30:00Z",
            "2026-11-24t08:30:00z",
            "2026-11-24 08:30:00Z",
            "2026-11-24T08:30:00",
            "2026-11-24T08:30:00+01:00",
            "2026-11-24T08:30:00+0100",
            "2026-11-24T08:30:00+24:00",
            "2026-11-24T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2024-02-29T00:00:00Z",
            "1998-12-31T23:58:60Z",
            "1998-12-31T22:59:60Z",
            "2026-11-24T08:30:60Z",
            "2026-11-24T08:30:00.1234567890123Z",
            "2026-11-24T08:30:00.Z",
            "10000-01-01T00:00:00Z",
            "2026-11-24T08:30:00-00:00",
            "2026-11-24T08:30Z",
            "२०२६-11-24T08:30:00Z",
        ],
    ),
    ("date", &["2026-11-24", "2026-2-1", "2026-02-30", "20261124", "2026-W48-2", "2026-328"]),
    ("time", &["08:30:00Z", "08:30:00", "08:30:60Z", "08:30:00.5+02:00", "24:00:00Z", "08:30Z"]),
    ("duration", &["P1Y2M3DT4H5M6S", "PT0S", "P", "P1W", "P1Y2W", "PT1D", "p1d"]),
    ("email", &["a@b", "a@b.c", r#""a b"@c.d"#, "a@[127.0.0.1]", "a@[IPv6:::1]", "a", "a+b@c.d"]),
    ("idn-email", &["실례@실례.테스트", "a@b"]),
    (
        "hostname",
        &[
            "example.com",
            "a",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a..b",
            "1.2.3.4",
            "EXAMPLE.com",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.com",
            "é.com",
            "",
        ],
    ),
    ("ipv4", &["127.0.0.1", "127.0.0.01", "256.0.0.1", "1.2.3", "0x7f.0.0.1", "1.2.3.4/8", "१.2.3.4"]),
    ("ipv6", &["::1", "::", "1::1%eth0", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8:9", "[::1]", "g::", " ::1"]),
    (
        "uri",
        &[
            "http://example.com/a?b#c",
            "urn:isbn:1",
            "//example.com",
            "/a",
            "a",
            "",
            "http://",
            "http:",
            "mailto:a@b",
            "http://a b",
            "http://é.com",
            "http://a/%zz",
            "http://a/%20",
            "http://[::1]/",
            "http://[::1/",
            "http://a:port/",
            "http://a:99999/",
            "HTTP://A",
            "http://a/{b}",
            r#"http://a/\b"#,
            "1http://a",
            "http://a/b|c",
            "http://a/^",
            "http://a/[b]",
            "http://user@a@b/",
        ],
    ),
    ("uri-reference", &["/a", "a", "", "//a", "#b", "a b", r#"\x"#, "http://é.com", "{a}", "%zz", "a:b"]),
    ("iri", &["http://é.com/ü", "http://a", "/é", "http://a b"]),
    ("iri-reference", &["/é", "", r#"\x"#]),
    (
        "uri-template",
        &[
            "http://a/{b}",
            "http://a/{b",
            "http://a/b}",
            "http://a/{}",
            "http://a/{+b,c*}",
            "{a:3}",
            "{a:0}",
            "{a:10000}",
            "http://a/{b c}",
            "http://a/{?b,c}",
            "http://é/{b}",
            "{a{b}}",
            "{a.b}",
            "",
        ],
    ),
    ("json-pointer", &["", "/a", "a", "/~", "/~0~1", "/~2", "#/a"]),
    ("relative-json-pointer", &["0", "1/a", "01", "0#", "0##", "-1/a", "/a"]),
    ("regex", &["a+", "(", "(?=a)", "a{2,1}", "["]),
    (
        "uuid",
        &[
            "2eb8aa08-aa98-11ea-b4aa-73b441d16380",
            "2EB8AA08-AA98-11EA-B4AA-73B441D16380",
            "2eb8aa08aa9811eab4aa73b441d16380",
            "2eb8aa08-aa98-11ea-b4aa-73b441d1638",
            "{2eb8aa08-aa98-11ea-b4aa-73b441d16380}",
            "00000000-0000-0000-0000-000000000000",
            "2eb8-aa08-aa98-11ea-b4aa73b44-1d16380",
        ],
    ),
];

#[test]
fn formats_differ_from_the_reference_as_documented() {
    let mut cases: Vec<(String, String)> = Vec::new();
    for (format, texts) in AGREED {
        cases.extend(texts.iter().map(|text| (format.to_owned(), (*text).to_owned())));
    }
    let documented = documented_differences();
    cases.extend(documented.iter().cloned());
    let reference = github::reference_formats(&cases).expect("the reference validator");

    let directory = tempfile::tempdir().expect("a directory");
    for (format, _) in AGREED {
        let subject = directory.path().join(format);
        std::fs::create_dir(&subject).expect("created");
        std::fs::write(subject.join("1.json"), format!(r#"{{"format":"{format}"}}"#)).expect("written");
    }
    let registry = Registry::load(directory.path(), &Limits::default()).expect("loads");
    let mut differences = Vec::new();
    for (case, reference) in cases.iter().zip(reference) {
        let arena = Bump::new();
        let text = serde_json::to_vec(&case.1).expect("a string");
        let document = Parser::new(document::Limits::default()).parse(&arena, &text).expect("a string");
        if registry.subject(&case.0).expect("loaded").check(document.root()) != reference {
            differences.push(case.clone());
        }
    }
    assert_eq!(differences, documented);
}

/// The rows of the table in `tests/README.md`: format and text, each in back quotes.
fn documented_differences() -> Vec<(String, String)> {
    let text = include_str!("../README.md");
    let (_, section) = text.split_once("## Formats").expect("the section is there");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
    rows.map(|(format, rest)| {
        let (text, _) = rest.split_once("` |").expect("a text in back quotes");
        (format.to_owned(), text.to_owned())
    })
    .collect()
}
