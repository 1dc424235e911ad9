//! `weir topics create` and `check`: the routes' topics, made or compared with the config.
//!
//! Never changes a topic that exists.

use std::process::ExitCode;
use std::time::Duration;

use super::checks::{Checks, Verdict};
use super::{Failure, TopicsAction, TopicsArgs, block_on, load};
use crate::config::Config;
use crate::kafka::admin::{Admin, AdminError, Finding, Wanted, Weight, judge};

/// How long Kafka may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `weir topics`.
pub fn run(args: &TopicsArgs) -> Result<ExitCode, Failure> {
    let (flags, create) = match &args.action {
        TopicsAction::Create(flags) => (flags, true),
        TopicsAction::Check(flags) => (flags, false),
    };
    let config = load(&flags.config)?.config;
    let mut checks = Checks::default();
    block_on(look(&config, create, &mut checks))?;
    checks.conclude(flags.output)
}

/// Adds a check for each topic, having made those that are missing if `create`.
pub(super) async fn look(config: &Config, create: bool, checks: &mut Checks) {
    let wanted = config.topics_wanted();
    let kafka = format!("kafka {}", config.kafka.brokers.join(","));
    match ask(config, &wanted).await {
        Ok((admin, found)) => {
            checks.add(kafka, Verdict::Good, "answers");
            for (wanted, findings) in wanted.iter().zip(found) {
                let missing = findings.iter().any(|finding| finding.weight == Weight::Missing);
                if create && missing {
                    make(&admin, wanted, checks).await;
                } else {
                    tell(wanted, &findings, checks);
                }
            }
        }
        Err(error) => checks.add(kafka, verdict(&error), error.to_string()),
    }
}

async fn ask(config: &Config, wanted: &[Wanted]) -> Result<(Admin, Vec<Vec<Finding>>), AdminError> {
    let admin = Admin::new(&config.kafka, TIMEOUT)?;
    let names: Vec<&str> = wanted.iter().map(|wanted| wanted.topic.as_str()).collect();
    let descriptions = admin.describe(&names).await?;
    let weak = config.kafka.allow_weak_topics;
    let findings = descriptions.iter().zip(wanted).map(|(is, wanted)| judge(is, wanted, weak)).collect();
    Ok((admin, findings))
}

async fn make(admin: &Admin, wanted: &Wanted, checks: &mut Checks) {
    let what = format!("topic {}", wanted.topic);
    let size = format!("{} partitions, {} copies", wanted.partitions, wanted.replication_factor);
    match admin.create(wanted).await {
        Ok(true) => checks.add(what, Verdict::Good, format!("made: {size}")),
        Ok(false) => {
            checks.add(what, Verdict::Warning, "was made by somebody else meanwhile; check it again")
        }
        Err(error) => checks.add(what, verdict(&error), error.to_string()),
    }
}

fn tell(wanted: &Wanted, findings: &[Finding], checks: &mut Checks) {
    let what = format!("topic {}", wanted.topic);
    if findings.is_empty() {
        checks.add(what.clone(), Verdict::Good, "as the config says");
    }
    for finding in findings {
        let verdict = match finding.weight {
            // `serve` makes that one itself.
            Weight::Missing if wanted.compacted => Verdict::Warning,
            Weight::Missing | Weight::Weak => Verdict::Wrong,
            Weight::Differs => Verdict::Warning,
        };
        checks.add(what.clone(), verdict, &finding.message);
    }
}

fn verdict(error: &AdminError) -> Verdict {
    match error {
        AdminError::Secret(_) | AdminError::Property(..) | AdminError::Create(..) => Verdict::Wrong,
        AdminError::Kafka { .. } => Verdict::Unavailable,
    }
}
