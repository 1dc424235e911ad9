//! `weir keys`: makes API keys. Nothing is kept: the key is for whoever will use it, the stanza for the config.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Failure, Output, print};
use crate::access::mint;

/// Flags of `weir keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: KeysAction,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysAction {
    /// Make a key: the key itself, shown this once, and the stanza for `access.keys` or the file of keys.
    ///
    /// To rotate one, add a second key of the same tenant, move the client over, and take the first away.
    New(NewArgs),
}

/// What the key is for.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// What the key is called, in the config and in metrics of its use; no secret.
    #[arg(long)]
    pub id: String,
    /// Whose it is.
    #[arg(long, default_value = "default")]
    pub tenant: String,
    /// What it may be used for; more than once for more.
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = ["write", "read", "admin", "metrics"])]
    pub roles: Vec<String>,
    /// A route it is for, by name; more than once for more, absent for all of the tenant's.
    #[arg(long = "route", value_name = "ROUTE")]
    pub routes: Vec<String>,
    /// When it ends (RFC 3339); absent: never.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<jiff::Timestamp>,
    /// How to print the key.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `weir keys`.
pub fn run(args: &KeysArgs) -> Result<ExitCode, Failure> {
    let KeysAction::New(args) = &args.action;
    let minted = mint(&args.id).map_err(Failure::Config)?;
    let mut stanza = vec![
        ("id", json!(args.id)),
        ("sha256", json!(minted.sha256)),
        ("tenant", json!(args.tenant)),
        ("roles", json!(args.roles)),
    ];
    stanza.extend((!args.routes.is_empty()).then(|| ("routes", json!(args.routes))));
    stanza.extend(args.expires.map(|expires| ("expires", json!(expires.to_string()))));
    match args.output {
        Output::Json => {
            let stanza: serde_json::Map<_, _> =
                stanza.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            print(&format!("{:#}\n", json!({"key": minted.key, "stanza": stanza})))?;
        }
        Output::Text => print(&text(&minted.key, &stanza))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(key: &str, stanza: &[(&str, Value)]) -> String {
    let mut text = format!(
        "The key, shown this once; it is sent as `Authorization: Bearer …`:\n\n{key}\n\nUnder `access.keys`, or in the \
         file that `access.keys_file` names:\n\n"
    );
    let mut lead = "- ";
    for (name, value) in stanza {
        _ = writeln!(text, "{lead}{name}: {value}");
        lead = "  ";
    }
    text
}
