//! `weir plugin inspect`: what a file is and says of itself. It is run only if there is a config to ask it with.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::stand::Stand;
use super::{Failure, Given, Output, build, print};

const AFTER_HELP: &str = "\
Example:
  weir plugin inspect my-keys.wasm                 its world, imports, size and SDK; it is not run
  weir plugin inspect my-keys.wasm --config '{}'   also what it reads and may do, by its own word";

/// Flags of `weir plugin inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct InspectArgs {
    #[command(flatten)]
    pub given: Given,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `weir plugin inspect`.
pub(super) fn run(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let file = build::wasm(&args.given.plugin)?;
    let asked = Given { plugin: file.clone(), ..args.given.clone() };
    tell(&file, asked.config.is_some().then_some(&asked), args.output)
}

/// Prints what a file is; also what it says of itself, if it is to be asked.
pub(super) fn tell(file: &Path, asked: Option<&Given>, output: Output) -> Result<ExitCode, Failure> {
    let mut facts = facts(file)?;
    if let Some(given) = asked {
        facts.extend(said(given)?);
    }
    print(&match output {
        Output::Text => facts.iter().map(|(name, value)| format!("{name:<12}{}\n", shown(value))).collect(),
        Output::Json => format!("{:#}\n", Value::from(facts.into_iter().collect::<Map<_, _>>())),
    })?;
    Ok(ExitCode::SUCCESS)
}

type Facts = Vec<(String, Value)>;

fn facts(file: &Path) -> Result<Facts, Failure> {
    let bytes = build::read(file)?;
    let artifact = build::open(file, &bytes)?;
    let mut facts = vec![
        ("file".to_owned(), json!(file.display().to_string())),
        ("bytes".to_owned(), json!(bytes.len())),
        ("digest".to_owned(), json!(format!("sha256:{}", artifact.digest))),
    ];
    match artifact.description {
        Some(said) => {
            let said = [
                ("name", said.name),
                ("version", said.version),
                ("world", said.world),
                ("contract", said.contract),
                ("sdk", said.sdk),
            ];
            facts.extend(said.map(|(name, value)| (name.to_owned(), json!(value))));
        }
        None => facts.push(("name".to_owned(), json!("it does not say: it has no section `weir:plugin`"))),
    }
    facts.push(("imports".to_owned(), json!(artifact.imports)));
    Ok(facts)
}

/// What it says of itself with this config, in a sandbox.
fn said(given: &Given) -> Result<Facts, Failure> {
    let plugin = Stand::new(given, "warn")?.load()?;
    let fields: Vec<_> = plugin.fields().iter().map(ToString::to_string).collect();
    Ok(vec![
        ("roles".to_owned(), json!(plugin.roles())),
        ("fields".to_owned(), json!(fields)),
        ("payload".to_owned(), json!(plugin.needs_payload())),
        ("batch".to_owned(), json!(plugin.batch_events_max())),
    ])
}

/// A fact on one line; control characters of an unknown file do not reach the terminal.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().filter(|character| !character.is_control()).collect()
}
