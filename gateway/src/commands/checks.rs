//! A list of checks as `validate` and `topics` print it: a line each, or one JSON object.
//!
//! Knows no check itself; only their order, their worst verdict and how they are shown.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::{Failure, Output, print};

/// How a check went, from good to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Probably not meant, but it works.
    Warning,
    /// What was asked does not answer; exit code 1.
    Unavailable,
    /// The config, or what it points to, must be changed; exit code 64.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, e.g. `topic orders`.
    pub what: String,
    /// How it went.
    pub verdict: Verdict,
    /// What was found and, unless it is good, what to do.
    pub detail: String,
}

/// Checks in the order they were made.
#[derive(Debug, Default, Serialize)]
pub struct Checks {
    checks: Vec<Check>,
}

impl Checks {
    /// Adds one.
    pub fn add(&mut self, what: impl Into<String>, verdict: Verdict, detail: impl Into<String>) {
        self.checks.push(Check { what: what.into(), verdict, detail: detail.into() });
    }

    /// The worst verdict; good if nothing was checked.
    pub fn worst(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Good)
    }

    /// Prints them and says how to exit.
    pub fn conclude(&self, output: Output) -> Result<ExitCode, Failure> {
        match output {
            Output::Text => print(&self.text())?,
            Output::Json => {
                let all = serde_json::json!({"verdict": self.worst(), "checks": self.checks});
                print(&format!("{all:#}\n"))?;
            }
        }
        Ok(match self.worst() {
            Verdict::Good | Verdict::Warning => ExitCode::SUCCESS,
            Verdict::Unavailable => ExitCode::FAILURE,
            Verdict::Wrong => ExitCode::from(Failure::CONFIG),
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let mark = match check.verdict {
                Verdict::Good => '✓',
                Verdict::Warning => '!',
                Verdict::Unavailable | Verdict::Wrong => '✗',
            };
            // A detail of several lines (a place in the config) goes below, as it is.
            let glue = if check.detail.contains('\n') { ":\n" } else { ": " };
            writeln!(text, "{mark} {}{glue}{}", check.what, check.detail.trim_end())
                .expect("writing to a String cannot fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_each_and_the_worst_verdict() {
        let mut checks = Checks::default();
        checks.add("config weir.yaml", Verdict::Good, "2 routes");
        checks.add("topic orders", Verdict::Wrong, "has 1 copies");
        checks.add("valkey", Verdict::Unavailable, "no answer");
        assert_eq!(
            checks.text(),
            "✓ config weir.yaml: 2 routes\n✗ topic orders: has 1 copies\n✗ valkey: no answer\n"
        );
        assert_eq!(checks.worst(), Verdict::Wrong);
    }
}
