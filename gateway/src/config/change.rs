//! What differs between the config in force and another one, and what of it takes a restart.

use super::Config;
use super::limits::Limits;

/// The keys under which two configs differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Those that a running gateway goes over to.
    pub live: Vec<&'static str>,
    /// Those that it was started with.
    pub restart: Vec<&'static str>,
}

impl Change {
    /// What `new` changes.
    pub fn between(old: &Config, new: &Config) -> Change {
        let Config {
            listen,
            admin,
            tls,
            admin_tls,
            workers,
            log,
            traces,
            schemas,
            plugins,
            tables,
            plugin_cache,
            plugin_limits,
            kafka,
            valkey,
            access,
            limits,
            routes,
        } = new;
        let live = [
            ("schemas", old.schemas != *schemas),
            ("plugins", old.plugins != *plugins),
            ("limits", live(&old.limits) != live(limits)),
            ("routes", old.routes != *routes),
        ];
        let restart = [
            ("listen", old.listen != *listen),
            ("admin", old.admin != *admin),
            ("tls", old.tls != *tls),
            ("admin_tls", old.admin_tls != *admin_tls),
            ("workers", old.workers != *workers),
            ("log", old.log != *log),
            ("traces", old.traces != *traces),
            ("tables", old.tables != *tables),
            ("plugin_cache", old.plugin_cache != *plugin_cache),
            ("plugin_limits", old.plugin_limits != *plugin_limits),
            ("kafka", old.kafka != *kafka),
            ("valkey", old.valkey != *valkey),
            ("access", old.access != *access),
            ("limits.event_bytes_max", old.limits.event_bytes_max != limits.event_bytes_max),
            ("limits.in_flight_bytes_max", old.limits.in_flight_bytes_max != limits.in_flight_bytes_max),
            ("limits.connections_max", old.limits.connections_max != limits.connections_max),
            (
                "limits.connections_per_address_max",
                old.limits.connections_per_address_max != limits.connections_per_address_max,
            ),
        ];
        Change { live: differing(&live), restart: differing(&restart) }
    }
}

fn differing(rows: &[(&'static str, bool)]) -> Vec<&'static str> {
    rows.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}

/// The limits without those that librdkafka, the byte budget and the acceptor were made with.
fn live(limits: &Limits) -> Limits {
    Limits {
        event_bytes_max: 0,
        in_flight_bytes_max: 0,
        connections_max: 0,
        connections_per_address_max: 0,
        ..limits.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_its_keys() {
        let (old, mut new) = (Config::default(), Config::default());
        assert_eq!(Change::between(&old, &new), Change::default());
        new.limits.nodes_max = 7;
        new.schemas = Some("schemas".into());
        assert_eq!(
            Change::between(&old, &new),
            Change { live: vec!["schemas", "limits"], restart: Vec::new() }
        );
        new.limits.event_bytes_max = 7;
        new.workers = 3;
        new.kafka.brokers = vec!["kafka:9092".to_owned()];
        assert_eq!(Change::between(&old, &new).restart, ["workers", "kafka", "limits.event_bytes_max"]);
    }
}
