//! Fixtures: pairs of files, an event and what is expected of a plugin's answer to it. Only what is expected
//! is compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::Failure;
use super::answer::{Answer, MEMBERS};
use super::event::Written;
use crate::event::document::locate;

const IN: &str = ".in.json";

/// One pair.
#[derive(Debug)]
pub(super) struct Fixture {
    /// What its files are called before `.in.json` and `.out.json`.
    pub(super) name: String,
    folder: PathBuf,
}

/// What is in the first file.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) event: Written,
    pub(super) config_json: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct In {
    #[serde(rename = "data")]
    _data: IgnoredAny,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    attributes: Map<String, Value>,
    config: Option<Map<String, Value>>,
}

/// One thing that is not as expected; `None` is for what is not there at all.
#[derive(Debug, PartialEq, serde::Serialize)]
pub(super) struct Difference {
    pub(super) at: String,
    pub(super) expected: Option<Value>,
    pub(super) got: Option<Value>,
}

/// All fixtures of a folder, by name.
pub(super) fn all(folder: &Path) -> Result<Vec<Fixture>, Failure> {
    let mut fixtures = Vec::new();
    if folder.is_dir() {
        let failed = |error| Failure::Other(format!("{} cannot be read: {error}", folder.display()));
        for entry in fs::read_dir(folder).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(IN));
            fixtures.extend(name.map(|name| Fixture { name: name.to_owned(), folder: folder.to_owned() }));
        }
    }
    fixtures.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(fixtures)
}

impl Fixture {
    /// Reads the event.
    pub(super) fn given(&self) -> Result<Input, String> {
        let file = format!("{}{IN}", self.name);
        let bytes = fs::read(self.folder.join(&file)).map_err(|error| format!("{file}: {error}"))?;
        given(&bytes).map_err(|why| format!("{file}: {why}"))
    }

    /// Reads what is expected.
    pub(super) fn expected(&self) -> Result<Map<String, Value>, String> {
        let file = self.out();
        let bytes = fs::read(self.folder.join(&file))
            .map_err(|error| format!("{file}: {error}; `--update` writes it"))?;
        let expected: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| format!("{file}: {error}"))?;
        match expected.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            Some(name) => {
                Err(format!("{file}: there is no `{name}` in an answer; there are {}", MEMBERS.join(", ")))
            }
            None => Ok(expected),
        }
    }

    /// Writes what is expected from now on.
    pub(super) fn expect(&self, answer: &Answer) -> Result<(), String> {
        let file = self.out();
        let text = format!("{:#}\n", Value::from(answer.to_json()));
        fs::write(self.folder.join(&file), text).map_err(|error| format!("{file}: {error}"))
    }

    fn out(&self) -> String {
        format!("{}.out.json", self.name)
    }
}

fn given(bytes: &[u8]) -> Result<Input, String> {
    let said: In = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let place = "/data".parse().ok().and_then(|data| locate(bytes, &data)).ok_or("it has no `data`")?;
    let headers = said.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let event = Written::new(&bytes[place], said.attributes, headers)?;
    Ok(Input { event, config_json: said.config.map(|config| Value::from(config).to_string()) })
}

/// Where an answer is not as expected.
pub(super) fn differences(expected: &Map<String, Value>, answer: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, wanted) in expected {
        compare(name, Some(wanted), Some(&answer.member(name)), &mut found);
    }
    found
}

fn compare(at: &str, expected: Option<&Value>, got: Option<&Value>, found: &mut Vec<Difference>) {
    match (expected, got) {
        (Some(Value::Object(wanted)), Some(Value::Object(is))) => {
            let extra = is.keys().filter(|name| !wanted.contains_key(*name));
            for name in wanted.keys().chain(extra) {
                compare(&format!("{at}/{name}"), wanted.get(name), is.get(name), found);
            }
        }
        _ if expected == got => {}
        _ => found.push(Difference { at: at.to_owned(), expected: expected.cloned(), got: got.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_where_they_are() {
        let expected = json!({"user": {"id": 1, "name": "n"}, "list": [1]});
        let got = json!({"user": {"id": 2}, "list": [1], "more": null});
        let mut found = Vec::new();
        compare("data", Some(&expected), Some(&got), &mut found);
        let found: Vec<_> = found.into_iter().map(|it| (it.at, it.expected, it.got)).collect();
        let expected = [
            ("data/user/id".to_owned(), Some(json!(1)), Some(json!(2))),
            ("data/user/name".to_owned(), Some(json!("n")), None),
            ("data/more".to_owned(), None, Some(json!(null))),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_misspelt_or_missing_member_is_named() {
        assert!(given(br#"{"datta": 1}"#).expect_err("is refused").contains("`datta`"));
        assert!(given(b"{}").expect_err("is refused").contains("`data`"));
        let given = given(br#"{"data": [1.0], "config": {"a": 1}}"#).expect("is read");
        assert_eq!(given.config_json.as_deref(), Some(r#"{"a":1}"#));
    }
}
