//! `weir plugin test`: the fixtures of a plugin, in the real engine and under the limits of production.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bumpalo::Bump;
use serde_json::Value;

use super::answer::{self, Answer};
use super::fixture::{self, Difference, Fixture};
use super::stand::Stand;
use super::{Failure, Given, Output, print};
use crate::plugin::Instance;

const AFTER_HELP: &str = "\
Example: tests/a-user.in.json and tests/a-user.out.json
  { \"data\": { \"user\": { \"id\": \"u-1\" } } }
  { \"verdict\": \"pass\", \"partition_key\": \"u-1\" }

An event has `data` and, if you like, `headers`, `attributes` and `config`. Expected may be `verdict` (pass, drop,
refuse, dead-letter, fail), `reason`, `partition_key`, `lookup_keys` ([[kind, key], ...]), `headers` ({name: value,
or null if removed}), `data` (after the edits) and `topic`; only what is there is compared.
Exit codes: 0 all passed; 1 some failed or there are none; 64 the plugin or the command line is wrong.";

/// Flags of `weir plugin test`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct TestArgs {
    #[command(flatten)]
    pub given: Given,
    /// Where the fixtures are, if not in `tests` beside the plugin.
    #[arg(long, value_name = "FOLDER")]
    pub fixtures: Option<PathBuf>,
    /// Write what the plugin answers into the `.out.json` files, instead of comparing.
    #[arg(long)]
    pub update: bool,
    /// How to print the outcome.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// How one fixture went.
#[derive(Debug, serde::Serialize)]
struct Case {
    name: String,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    differences: Vec<Difference>,
}

/// `weir plugin test`.
pub(super) fn run(args: &TestArgs) -> Result<ExitCode, Failure> {
    let stand = Stand::new(&args.given, "info")?;
    let folder = args.fixtures.clone().unwrap_or_else(|| stand.folder.join("tests"));
    let fixtures = fixture::all(&folder)?;
    if fixtures.is_empty() {
        let how = r#"put an event into NAME.in.json, as {"data": ...}, and run again with --update"#;
        return Err(Failure::Other(format!("there are no fixtures in {}: {how}", folder.display())));
    }
    stand.load()?;
    let cases: Vec<Case> = fixtures
        .iter()
        .map(|fixture| {
            let outcome = case(&stand, fixture, args.update);
            let (differences, error) =
                outcome.map_or_else(|error| (Vec::new(), Some(error)), |found| (found, None));
            let passed = error.is_none() && differences.is_empty();
            Case { name: fixture.name.clone(), passed, error, differences }
        })
        .collect();
    let failed = cases.iter().filter(|case| !case.passed).count();
    let passed = cases.len() - failed;
    print(&match args.output {
        Output::Text if args.update => format!("{}{passed} written, {failed} failed\n", text(&cases)),
        Output::Text => format!("{}{passed} passed, {failed} failed\n", text(&cases)),
        Output::Json => {
            format!("{:#}\n", serde_json::json!({"passed": passed, "failed": failed, "cases": cases}))
        }
    })?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn case(stand: &Stand, fixture: &Fixture, update: bool) -> Result<Vec<Difference>, String> {
    let given = fixture.given()?;
    let expected = if update { None } else { Some(fixture.expected()?) };
    let topic = expected.as_ref().and_then(|expected| expected.get("topic")).and_then(Value::as_str);
    let plugin = stand.load_with(given.config_json.as_deref(), topic).map_err(|error| error.to_string())?;
    let arena = Bump::new();
    let event = given.event.read(&arena).map_err(|why| format!("{}.in.json: {why}", fixture.name))?;
    let answers = answer::judge(&mut Instance::new(plugin), &[event]);
    answers.iter().try_fold(Vec::new(), |mut found, answer: &Answer| {
        match &expected {
            Some(expected) => found.extend(fixture::differences(expected, answer)),
            None => fixture.expect(answer)?,
        }
        Ok(found)
    })
}

fn text(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        let mark = if case.passed { '✓' } else { '✗' };
        let error = case.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        writeln!(text, "{mark} {}{error}", case.name).expect("a String takes everything");
        for Difference { at, expected, got } in &case.differences {
            let (expected, got) = (shown(expected.as_ref()), shown(got.as_ref()));
            writeln!(text, "    {at}\n      expected {expected}\n      got      {got}")
                .expect("a String takes everything");
        }
    }
    text
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}
