//! `weir recent`: what a running gateway's read model holds, and orders to it, over its admin listener.
//!
//! Decides nothing: it asks, and prints the answer.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Failure;
use super::admin::AdminArgs;

/// Flags of `weir recent`.
#[derive(Debug, Args)]
pub struct RecentArgs {
    /// Which gateway; any of those that share the Kafka.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: RecentAction,
}

/// What to ask or order.
#[derive(Debug, Subcommand)]
pub enum RecentAction {
    /// Where each partition stands, and how far from the log's end.
    Status,
    /// Hide events in every answer from now on: what is in the log now, not what comes later.
    ///
    /// It holds once this returns, survives whatever Valkey loses, and cannot be taken back. The events stay in Kafka
    /// until their retention ends.
    Invalidate(InvalidateArgs),
    /// What is hidden of a route by order, since when and why.
    Invalidations {
        /// The route.
        route: String,
    },
    /// Read a route's window from Kafka into Valkey again. Lookups stay right meanwhile, and are slower.
    Rebuild {
        /// The route.
        route: String,
        /// Only this partition.
        #[arg(long)]
        partition: Option<i32>,
    },
}

/// Which events, exactly one of `--key`, `--id`, `--partition`, `--plugin` and `--schema`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true)
    .args(["key", "id", "partition", "plugin", "schema"])))]
pub struct InvalidateArgs {
    /// The route.
    pub route: String,
    /// The events of this key.
    #[arg(long)]
    pub key: Option<String>,
    /// The key's kind, if it is not the partition key.
    #[arg(long, requires = "key")]
    pub kind: Option<String>,
    /// The event with this id.
    #[arg(long)]
    pub id: Option<String>,
    /// The event's source, if ids are not unique without it.
    #[arg(long, requires = "id")]
    pub source: Option<String>,
    /// All events of this partition.
    #[arg(long)]
    pub partition: Option<i32>,
    /// What this plugin saw: `name`, `name@version`, or `name@version+digest`.
    #[arg(long)]
    pub plugin: Option<String>,
    /// What was checked against this schema: `subject` or `subject/version`.
    #[arg(long)]
    pub schema: Option<String>,
    /// Only from these positions on, `<partition>:<offset>,…`; with --partition, --plugin or --schema.
    #[arg(long, value_name = "POSITIONS", conflicts_with_all = ["key", "id"])]
    pub from: Option<String>,
    /// Why, for the record. Do not name whom it is about.
    #[arg(long)]
    pub why: String,
}

/// `weir recent`.
pub fn run(args: &RecentArgs) -> Result<ExitCode, Failure> {
    let gateway = args.admin.gateway()?;
    let url = |rest: &[&str]| {
        let path: Vec<_> = rest.iter().map(|part| escaped(part)).collect();
        gateway.url(&path.iter().fold("/recent".to_owned(), |all, part| all + "/" + part))
    };
    let agent = &gateway.agent;
    let answer = match &args.action {
        RecentAction::Status => agent.get(url(&[])).call(),
        RecentAction::Invalidations { route } => agent.get(url(&[route])).call(),
        RecentAction::Invalidate(order) => {
            agent.delete(url(&[&order.route])).query_pairs(order.parameters()).call()
        }
        RecentAction::Rebuild { route, partition } => {
            let partition = partition.map(|partition| ("partition", partition.to_string()));
            agent.post(url(&[route, "rebuild"])).query_pairs(partition).send_empty()
        }
    };
    gateway.tell(answer, |json| text(&args.action, json))
}

impl InvalidateArgs {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("key", &self.key),
            ("kind", &self.kind),
            ("id", &self.id),
            ("source", &self.source),
            ("plugin", &self.plugin),
            ("schema", &self.schema),
            ("from", &self.from),
        ];
        let mut all: Vec<_> =
            texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        all.extend(self.partition.map(|partition| ("partition", partition.to_string())));
        all.push(("why", self.why.clone()));
        all
    }
}

/// One part of a path (RFC 3986 §2.1).
fn escaped(part: &str) -> String {
    part.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => all.push(char::from(byte)),
            _ => _ = write!(all, "%{byte:02X}"),
        }
        all
    })
}

fn text(action: &RecentAction, json: &Value) -> String {
    match action {
        RecentAction::Status => standings(&json["partitions"]),
        RecentAction::Invalidations { .. } => facts(&json["invalidations"]),
        RecentAction::Invalidate(_) => format!(
            "hidden from now on (fact {}); {}\n",
            shown(&json["id"]),
            match json["freed"].as_u64() {
                Some(freed) => format!("Valkey let go of {freed} events"),
                None => "Valkey does not answer: it keeps them until they expire, and shows them to nobody"
                    .to_owned(),
            }
        ),
        RecentAction::Rebuild { .. } => {
            format!(
                "{} partitions begin anew; `weir recent status` shows how far they are\n",
                json["partitions"]
            )
        }
    }
}

fn standings(partitions: &Value) -> String {
    let mut lines = String::from(
        "route                 partition       next        end   behind  to fill  complete since\n",
    );
    for standing in partitions.as_array().into_iter().flatten() {
        let field = |name: &str| shown(&standing[name]);
        _ = writeln!(
            lines,
            "{:<22}{:>9} {:>10} {:>10} {:>8} {:>8}  {}",
            field("route"),
            field("partition"),
            field("next"),
            field("end"),
            field("lag_events"),
            field("to_fill"),
            match &standing["complete_since"] {
                Value::Null => "the window's start".to_owned(),
                since => shown(since),
            }
        );
    }
    lines
}

fn facts(facts: &Value) -> String {
    let mut lines = String::new();
    for entry in facts.as_array().into_iter().flatten() {
        let fact = &entry["fact"];
        let at = fact["at_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let at = at.map(|at| at.to_string()).unwrap_or_default();
        _ = writeln!(
            lines,
            "{at}  {}  {}  {}",
            shown(&entry["id"]),
            shown(&fact["what"]),
            shown(&fact["why"])
        );
    }
    if lines.is_empty() { "nothing is hidden\n".to_owned() } else { lines }
}

/// A value without the quotes of a string; what is not known as `-`.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_one_part_of_a_path() {
        assert_eq!(escaped("orders-1"), "orders-1");
        assert_eq!(escaped("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
