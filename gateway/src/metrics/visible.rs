//! What of all metrics belongs to somebody: a pure choice by labels.

use std::collections::HashSet;

use prometheus::proto::{LabelPair, MetricFamily};

/// Whose series are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible<'a> {
    /// By the label `tenant`.
    pub tenant: Option<&'a str>,
    /// By the label `route`.
    pub routes: HashSet<&'a str>,
    /// By the label `topic`.
    pub topics: HashSet<&'a str>,
}

impl Visible<'_> {
    /// The series that are theirs. One that names no owner is the gateway's, and nobody's here.
    pub fn of(&self, mut families: Vec<MetricFamily>) -> Vec<MetricFamily> {
        for family in &mut families {
            family.mut_metric().retain(|series| {
                let mut owners = series.get_label().iter().filter_map(|label| self.owns(label)).peekable();
                owners.peek().is_some() && owners.all(|own| own)
            });
        }
        families.retain(|family| !family.get_metric().is_empty());
        families
    }

    /// Whether a label names one of theirs; `None` if it names no owner.
    fn owns(&self, label: &LabelPair) -> Option<bool> {
        match label.name() {
            "tenant" => Some(self.tenant == Some(label.value())),
            "route" => Some(self.routes.contains(label.value())),
            "topic" => Some(self.topics.contains(label.value())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

    use super::*;

    fn counters(registry: &Registry, name: &str, labels: &[&str], series: &[&[&str]]) {
        let counters = IntCounterVec::new(Opts::new(name, "help"), labels).expect("a metric");
        series.iter().for_each(|values| counters.with_label_values(values).inc());
        registry.register(Box::new(counters)).expect("once");
    }

    #[test]
    fn only_series_whose_every_owner_is_theirs_are_shown() {
        let registry = Registry::new();
        counters(&registry, "by_route", &["route", "code"], &[&["orders", "a"], &["visits", "a"]]);
        counters(&registry, "by_tenant", &["tenant"], &[&["shop"], &["other"]]);
        counters(&registry, "by_topic", &["topic"], &[&["orders-eu"], &["visits-eu"]]);
        counters(&registry, "by_both", &["route", "tenant"], &[&["orders", "other"], &["orders", "shop"]]);
        counters(&registry, "of_others", &["route"], &[&["visits"], &["none"]]);
        counters(&registry, "by_plugin", &["plugin"], &[&["orders"]]);
        registry.register(Box::new(IntCounter::new("of_the_gateway", "help").expect("one"))).expect("once");

        let shown = |visible: &Visible<'_>| {
            let series = |family: &MetricFamily| {
                let values = |labels: &[LabelPair]| {
                    labels.iter().map(|label| label.value().to_owned()).collect::<Vec<_>>().join(",")
                };
                let name = family.name().to_owned();
                let all = family.get_metric().iter().map(|series| values(series.get_label()));
                all.map(|values| format!("{name} {values}")).collect::<Vec<_>>()
            };
            visible.of(registry.gather()).iter().flat_map(series).collect::<Vec<_>>()
        };
        let shop = Visible {
            tenant: Some("shop"),
            routes: HashSet::from(["orders"]),
            topics: HashSet::from(["orders-eu"]),
        };
        let theirs = ["by_both orders,shop", "by_route a,orders", "by_tenant shop", "by_topic orders-eu"];
        assert_eq!(shown(&shop), theirs);
        assert!(shown(&Visible::default()).is_empty());
    }
}
