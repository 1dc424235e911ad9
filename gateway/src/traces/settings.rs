//! What the config says of traces.

use std::collections::BTreeMap;
use std::path::Path;

use http::{HeaderName, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::Secret;

/// Where spans of requests go, and of how many.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A collector that takes OTLP over HTTP, e.g. `http://127.0.0.1:4318`; spans are posted to `/v1/traces` below it.
    pub otlp_endpoint: String,
    /// Of the requests that bring no trace along, the share that begins one: 0 to 1. Others are traced as theirs says.
    #[serde(default = "one_in_a_hundred")]
    pub sample_ratio: f64,
    /// Headers of each post, such as a collector's key.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// The name of this service in traces.
    #[serde(default = "weir")]
    pub service_name: String,
}

fn one_in_a_hundred() -> f64 {
    0.01
}

fn weir() -> String {
    "weir".to_owned()
}

impl Settings {
    /// What cannot be meant, or `None`.
    pub fn fault(&self) -> Option<&'static str> {
        let endpoint = self.otlp_endpoint.parse::<Uri>().ok();
        let usable = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.query().is_none()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        if !endpoint.is_some_and(|uri| usable(&uri)) {
            Some(
                "`otlp_endpoint` is the collector's address, e.g. `http://127.0.0.1:4318`, without query or login",
            )
        } else if !(0.0..=1.0).contains(&self.sample_ratio) {
            Some("`sample_ratio` is a share, 0 to 1")
        } else if !self.headers.keys().all(|name| name.parse::<HeaderName>().is_ok()) {
            Some("a name under `headers` is not one that a header can have")
        } else {
            None
        }
    }

    /// Where spans are posted (OTLP/HTTP, "Request").
    pub(super) fn url(&self) -> String {
        format!("{}/v1/traces", self.otlp_endpoint.trim_end_matches('/'))
    }

    /// Makes relative paths relative to `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        self.headers.values_mut().for_each(|secret| secret.anchor(folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_meant_are_told() {
        let settings = |otlp_endpoint: &str, sample_ratio| Settings {
            otlp_endpoint: otlp_endpoint.to_owned(),
            sample_ratio,
            headers: BTreeMap::new(),
            service_name: weir(),
        };
        let good = settings("https://collector.example:4318/otlp/", 1.0);
        assert_eq!(
            (good.fault(), good.url()),
            (None, "https://collector.example:4318/otlp/v1/traces".to_owned())
        );
        for endpoint in
            ["", "collector:4318", "grpc://collector:4317", "http://a:b@collector", "http://collector?key=1"]
        {
            assert!(settings(endpoint, 0.5).fault().is_some(), "{endpoint}");
        }
        assert!([-0.1, 1.1, f64::NAN].iter().all(|ratio| settings("http://c", *ratio).fault().is_some()));
        let headers = BTreeMap::from([("a b".to_owned(), Secret::Env("X".to_owned()))]);
        assert!(Settings { headers, ..good }.fault().is_some());
    }
}
