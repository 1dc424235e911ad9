//! What the settings mean together: every contradiction at once, as pure functions of the config.
//!
//! Touches neither files nor network; `weir validate` and the start of `serve` do that.

mod access;
mod kafka;
mod routes;

use super::Config;
use super::report::Finding;

/// Everything that is wrong or probably not meant.
pub fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    listeners(config, &mut findings);
    access::check(config, &mut findings);
    log(config, &mut findings);
    limits(config, &mut findings);
    plugins(config, &mut findings);
    tables(config, &mut findings);
    kafka::check(config, &mut findings);
    valkey(config, &mut findings);
    routes::check(config, &mut findings);
    findings
}

/// Names that become metric labels and parts of paths.
fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    first && name.len() <= 63 && name.bytes().all(rest)
}

/// What [`is_name`] asks for.
const NAME_RULE: &str = "lower-case letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first";

/// `host:port`, as brokers and nodes are written.
fn is_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains([' ', ',', '/']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn listeners(config: &Config, findings: &mut Vec<Finding>) {
    if config.listen == config.admin && config.listen.port() != 0 {
        findings.push(
            Finding::error("admin", format!("`listen` and `admin` are both {}", config.admin))
                .help("give the admin listener a port of its own, e.g. 127.0.0.1:9090"),
        );
    }
}

fn log(config: &Config, findings: &mut Vec<Finding>) {
    if let Err(error) = config.log.filter() {
        findings.push(
            Finding::error("log/level", error.to_string()).help("write e.g. `info` or `info,weir=debug`"),
        );
    }
    if let Some(fault) = config.traces.as_ref().and_then(|traces| traces.fault()) {
        findings.push(Finding::error("traces", fault));
    }
}

fn limits(config: &Config, findings: &mut Vec<Finding>) {
    let limits = &config.limits;
    let sizes = [
        ("event_bytes_max", limits.event_bytes_max),
        ("batch_bytes_max", limits.batch_bytes_max),
        ("batch_events_max", limits.batch_events_max),
        ("depth_max", limits.depth_max),
        ("nodes_max", limits.nodes_max),
        ("connections_max", limits.connections_max),
        ("connections_per_address_max", limits.connections_per_address_max),
    ];
    let times = [
        ("ack_target_ms", limits.ack_target_ms),
        ("header_timeout_ms", limits.header_timeout_ms),
        ("body_timeout_ms", limits.body_timeout_ms),
        ("idle_timeout_ms", limits.idle_timeout_ms),
        ("connection_age_max_ms", limits.connection_age_max_ms),
        ("answer_timeout_ms", limits.answer_timeout_ms),
        ("shutdown_timeout_ms", limits.shutdown_timeout_ms),
    ];
    let sizes = sizes.into_iter().filter(|(_, size)| *size == 0).map(|(name, _)| name);
    for name in sizes.chain(times.into_iter().filter(|(_, time)| *time == 0).map(|(name, _)| name)) {
        findings.push(Finding::error(
            format!("limits/{name}"),
            format!("`{name}` is 0: nothing could get through"),
        ));
    }
    if limits.event_bytes_max > limits.batch_bytes_max {
        let message = "`event_bytes_max` is above `batch_bytes_max`: such an event could not be sent";
        findings.push(Finding::error("limits/event_bytes_max", message));
    }
    let cost = limits.request_cost_bytes_max();
    if cost > limits.in_flight_bytes_max {
        findings.push(
            Finding::error("limits/in_flight_bytes_max", "the largest request would always be shed")
                .help(format!("it takes twice its bytes and 512 for each event: at least {cost}")),
        );
    }
    tenants(config, findings);
    if limits.depth_max > DEPTH_MAX {
        findings.push(Finding::error("limits/depth_max", format!("`depth_max` is above {DEPTH_MAX}")));
    }
    if limits.shutdown_timeout_ms > SHUTDOWN_TIMEOUT_MS_MAX {
        findings.push(
            Finding::warning(
                "limits/shutdown_timeout_ms",
                "an orchestrator may kill the process before that",
            )
            .help("Kubernetes waits 30 s unless `terminationGracePeriodSeconds` says otherwise"),
        );
    }
    if limits.answer_timeout_ms > limits.shutdown_timeout_ms {
        findings.push(Finding::warning(
            "limits/answer_timeout_ms",
            "a request may wait for its answer longer than `shutdown_timeout_ms`",
        ));
    }
}

fn tenants(config: &Config, findings: &mut Vec<Finding>) {
    let limits = &config.limits;
    let named = limits.tenants.iter().map(|(name, own)| (format!("limits/tenants/{name}"), own));
    let others = limits.other_tenants.iter().map(|others| ("limits/other_tenants".to_owned(), others));
    for (path, limits) in named.chain(others) {
        let rates = [("events_per_s", limits.events_per_s), ("bytes_per_s", limits.bytes_per_s)];
        let none = rates.into_iter().chain([("burst_s", Some(limits.burst_s))]);
        for (name, _) in none.filter(|(_, value)| *value == Some(0)) {
            let message = format!("`{name}` is 0: nothing could get through");
            findings.push(Finding::error(format!("{path}/{name}"), message));
        }
    }
    for name in limits.tenants.keys() {
        if !config.routes.iter().any(|route| route.tenant.name() == name) {
            let message = format!("the tenant `{name}` has no route: nothing of it gets in");
            findings.push(Finding::warning(format!("limits/tenants/{name}"), message));
        }
    }
}

/// Beyond this, recursion in schema validation is not proven harmless.
const DEPTH_MAX: usize = 128;

/// Leaves some seconds of Kubernetes' thirty for closing and exit.
const SHUTDOWN_TIMEOUT_MS_MAX: u64 = 25_000;

fn plugins(config: &Config, findings: &mut Vec<Finding>) {
    let limits = &config.plugin_limits;
    let none = [
        ("deadline_ms", limits.deadline_ms == 0),
        ("start_deadline_ms", limits.start_deadline_ms == 0),
        ("memory_bytes_max", limits.memory_bytes_max == 0),
        ("artifact_bytes_max", limits.artifact_bytes_max == 0),
        ("batch_events_max", limits.batch_events_max == 0),
        ("compile_cpu_s_max", limits.compile_cpu_s_max == 0),
    ];
    for (name, _) in none.iter().filter(|(_, none)| *none) {
        let message = format!("`{name}` is 0: no plugin could work");
        findings.push(Finding::error(format!("plugin_limits/{name}"), message));
    }
    for name in config.plugins.keys() {
        let path = format!("plugins/{name}");
        if !is_name(name) {
            findings.push(Finding::error(path, format!("`{name}` cannot name a plugin")).help(NAME_RULE));
        } else if !config.routes.iter().flat_map(|route| &route.plugins).any(|used| used.plugin == *name) {
            findings.push(Finding::warning(path, format!("no route uses the plugin `{name}`")));
        }
    }
}

fn tables(config: &Config, findings: &mut Vec<Finding>) {
    for (name, table) in &config.tables {
        let path = format!("tables/{name}");
        if !is_name(name) {
            findings
                .push(Finding::error(path.as_str(), format!("`{name}` cannot name a table")).help(NAME_RULE));
        }
        if table.path.is_some() == table.valkey_hash.is_some() {
            findings.push(
                Finding::error(path, format!("the table `{name}` has to be a file or a Valkey hash"))
                    .help("write either `path: FILE` or `valkey_hash: KEY`"),
            );
        } else if table.valkey_hash.is_some() && config.valkey.is_none() {
            findings.push(
                Finding::error(path, format!("the table `{name}` is a hash, and no Valkey is configured"))
                    .help("add a section `valkey` with its `nodes`"),
            );
        }
    }
}

fn valkey(config: &Config, findings: &mut Vec<Finding>) {
    let Some(valkey) = &config.valkey else { return };
    if valkey.nodes.is_empty() {
        findings.push(
            Finding::error("valkey", "`valkey.nodes` is empty").help(
                "name some nodes of the cluster as `host:port`, or leave `valkey` out: no lookups then",
            ),
        );
    }
    addresses("valkey/nodes", &valkey.nodes, findings);
    if valkey.username.is_some() && valkey.password.is_none() {
        findings.push(Finding::error("valkey/username", "a `username` needs a `password`"));
    }
}

fn addresses(path: &str, addresses: &[String], findings: &mut Vec<Finding>) {
    for (index, address) in addresses.iter().enumerate().filter(|(_, address)| !is_address(address)) {
        let message = format!("`{address}` is not an address");
        findings.push(Finding::error(format!("{path}/{index}"), message).help("write `host:port`"));
    }
}
