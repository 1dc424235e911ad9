//! What a scraper is shown: all of it who owns the gateway, and nobody else more than what is theirs.

use std::collections::BTreeSet;

use super::{Answer, Stage, key};

/// The metrics and their labels, but for the values.
fn series(answer: &Answer) -> BTreeSet<&str> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let samples = answer.text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_shown_its_own_series_and_never_anothers() {
    let limits = "limits:\n  tenants:\n    shop: {events_per_s: 1000, burst_s: 1}\n    other: {events_per_s: 1000, burst_s: 1}\n";
    let (mut keys, mut stanzas) = (Vec::new(), format!("{limits}access:\n  keys:\n"));
    for (id, tenant, rest) in [
        ("writer-shop", "shop", "roles: [write]"),
        ("writer-other", "other", "roles: [write]"),
        ("shop", "shop", "roles: [metrics]"),
        ("shop-nothing", "shop", "roles: [metrics], routes: [none]"),
        ("other", "other", "roles: [admin]"),
        ("operator", "default", "roles: [metrics]"),
        ("parcels", "default", "roles: [metrics], routes: [parcels]"),
    ] {
        let (key, stanza) = key(id, tenant, rest);
        stanzas += &format!("  {stanza}");
        keys.push(key);
    }
    let stage = Stage::start(&stanzas).await;
    let [writer_shop, writer_other, shop, shop_nothing, other, operator, parcels] = keys.try_into().unwrap();
    let scrape = async |key: &str| stage.get(stage.weir.admin_url("/metrics"), Some(key)).await;
    assert_eq!(stage.post("/v1/events/orders", Some(&writer_shop)).await.status, 201);
    assert_eq!(stage.post("/v1/events/visits", Some(&writer_other)).await.status, 201);
    assert_eq!(stage.post("/v1/events/visits", Some(&writer_shop)).await.status, 404);

    let (all, own, others) = (scrape(&operator).await, scrape(&shop).await, scrape(&other).await);
    let (all, own, others) = (series(&all), series(&own), series(&others));
    let owned_by = |names: [&str; 3]| {
        let [route, tenant, topic] = names;
        let labels =
            [format!("route=\"{route}\""), format!("tenant=\"{tenant}\""), format!("topic=\"{topic}\"")];
        all.iter()
            .copied()
            .filter(|series| labels.iter().any(|label| series.contains(label.as_str())))
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(own, owned_by(["orders", "shop", "orders"]));
    assert_eq!(others, owned_by(["visits", "other", "visits"]));
    for name in [
        "weir_events_in_total",
        "weir_request_seconds_count",
        "weir_throttled_total",
        "weir_recent_lag_events",
    ] {
        assert!(own.iter().any(|series| series.starts_with(name)), "{name} in {own:?}");
    }
    for shown in &own {
        for foreign in ["visits", "other", "parcels", "default", "none"] {
            assert!(!shown.contains(&format!("\"{foreign}\"")), "{shown}");
        }
    }
    for gateways in ["weir_connections", "weir_access_keys", "weir_http_answers_total{status=\"201\"}"] {
        assert!(all.contains(gateways) && !own.contains(gateways), "{gateways}");
    }
    let routes = |series: &BTreeSet<&str>, label: &str| {
        series
            .iter()
            .filter_map(|series| Some(series.split_once(label)?.1.split_once('"')?.0.to_owned()))
            .collect()
    };
    let (nothing, narrow) = (scrape(&shop_nothing).await, scrape(&parcels).await);
    let none: BTreeSet<String> = routes(&series(&nothing), "route=\"");
    assert!(none.is_empty(), "{none:?}");
    let narrow: BTreeSet<String> = routes(&series(&narrow), "route=\"");
    assert_eq!(narrow, BTreeSet::from(["parcels".to_owned()]));
}
