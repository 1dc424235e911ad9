//! A Valkey cluster of three primaries and three replicas, formed over the wire and without persistence.
//! Starts, kills and freezes nodes; the gateway's own client is not used here.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::folder::Folder;
use super::{Launch, Process, Reply, Resp, free_port, inputs, until};

const PRIMARIES: usize = 3;
const NODES: usize = 6;
const SLOTS: usize = 16_384;
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct ValkeyOptions {
    /// Another `valkey-server` than the one that was set up.
    pub server: Option<PathBuf>,
    /// How long a node may be silent before the others take its place.
    pub node_timeout_ms: u32,
    /// The default user's password.
    pub password: Option<String>,
    /// Server settings on top of ours, e.g. `("user", "reader on >secret ~* +@read")`.
    pub settings: Vec<(String, String)>,
}

impl Default for ValkeyOptions {
    fn default() -> Self {
        Self { server: None, node_timeout_ms: 1_000, password: None, settings: Vec::new() }
    }
}

/// One member of the cluster.
#[derive(Debug)]
pub struct Node {
    address: String,
    password: Option<String>,
    process: Option<Process>,
}

impl Node {
    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process: kill, stop, cont, restart it. It keeps its place in the cluster but none of its data.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a node of ours")
    }

    /// One command on a connection of its own. An `Err` is the connection's; the server's own is [`Reply::Error`].
    pub async fn call<A: AsRef<[u8]>>(&self, command: &[A]) -> std::io::Result<Reply> {
        Resp::connect(&self.address, self.password.as_deref()).await?.call(command).await
    }

    fn runs(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.exited().is_none())
    }

    async fn must(&self, command: &[&str]) -> Reply {
        match self.call(command).await {
            Ok(Reply::Error(why)) => panic!("{command:?} on {}: {why}", self.address),
            Ok(reply) => reply,
            Err(why) => panic!("{command:?} on {}: {why}", self.address),
        }
    }

    /// It serves all slots, and is a primary or a replica in step with its own.
    async fn in_service(&self) -> bool {
        let replication = ["INFO", "replication"];
        self.says(&["CLUSTER", "INFO"], "cluster_state:ok").await
            && self.says(&["CLUSTER", "INFO"], "cluster_slots_ok:16384").await
            && (self.says(&replication, "role:master").await
                || self.says(&replication, "master_link_status:up").await)
    }

    /// The `name:value` lines of INFO or CLUSTER INFO have `line` among them.
    async fn says(&self, command: &[&str], line: &str) -> bool {
        self.call(command).await.is_ok_and(|reply| reply.text().lines().any(|said| said == line))
    }
}

/// A primary, the hash slots it serves, and its replicas.
#[derive(Debug)]
pub struct Shard<'a> {
    pub primary: &'a Node,
    pub replicas: Vec<&'a Node>,
    pub slots: Vec<RangeInclusive<i64>>,
}

impl Shard<'_> {
    /// Whether it serves this hash slot.
    pub fn serves(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&i64::from(slot)))
    }
}

/// A Valkey cluster: ours, or somebody else's of which only addresses are known.
#[derive(Debug)]
pub struct Valkey {
    nodes: Vec<Node>,
    _folder: Option<Folder>,
}

impl Valkey {
    /// Starts six nodes, forms the cluster, and waits until it serves and every replica is in step.
    pub async fn start(options: ValkeyOptions) -> Self {
        let folder = Folder::new("valkey");
        let nodes: Vec<Node> = (0..NODES).map(|index| start_node(index, &options, &folder)).collect();
        let valkey = Self { nodes, _folder: Some(folder) };
        valkey.form().await;
        valkey.ready().await;
        valkey
    }

    /// A cluster that runs already, `host:port` comma-separated; it cannot be killed from here.
    pub fn at(addresses: &str) -> Self {
        let node = |address: &str| Node { address: address.to_owned(), password: None, process: None };
        Self { nodes: addresses.split(',').map(node).collect(), _folder: None }
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// `host:port` of every node.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// Kills every node at once.
    pub fn stop_all(&self) {
        self.nodes.iter().for_each(|node| node.process().kill());
    }

    /// Starts every node again, empty, and waits until the cluster serves.
    pub async fn start_all(&self) {
        self.nodes.iter().for_each(|node| node.process().restart());
        self.ready().await;
    }

    /// The node that serves `key` in the eyes of the first node that runs, if that one knows.
    pub async fn primary_of(&self, key: &str) -> Option<&Node> {
        let asked = self.nodes.iter().find(|node| node.runs())?;
        let Reply::Integer(slot) = asked.call(&["CLUSTER", "KEYSLOT", key]).await.ok()? else { return None };
        let shards = self.shards_seen_by(asked).await?;
        shards
            .into_iter()
            .find_map(|shard| shard.slots.iter().any(|range| range.contains(&slot)).then_some(shard.primary))
    }

    /// The shards as one node sees them, by their lowest hash slot; `None` if it does not answer or sees a stranger.
    pub async fn shards_seen_by(&self, witness: &Node) -> Option<Vec<Shard<'_>>> {
        let ranges = witness.call(&["CLUSTER", "SLOTS"]).await.ok()?;
        let mut shards: Vec<Shard<'_>> = Vec::new();
        for range in ranges.items() {
            let [Reply::Integer(first), Reply::Integer(last), primary, replicas @ ..] = range.items() else {
                return None;
            };
            let primary = self.node_at(primary)?;
            if let Some(known) = shards.iter_mut().find(|shard| shard.primary.address == primary.address) {
                known.slots.push(*first..=*last);
            } else {
                let replicas = replicas.iter().map(|node| self.node_at(node)).collect::<Option<_>>()?;
                shards.push(Shard { primary, replicas, slots: std::iter::once(*first..=*last).collect() });
            }
        }
        shards.sort_by_key(|shard| shard.slots.iter().map(|range| *range.start()).min());
        Some(shards)
    }

    /// The shards, once every node runs, all see the same, each primary has a replica and all are in step; `None`
    /// before.
    pub async fn settled(&self) -> Option<Vec<Shard<'_>>> {
        let mut seen: Option<Vec<Shard<'_>>> = None;
        for node in &self.nodes {
            if !node.runs() || !node.in_service().await {
                return None;
            }
            let shards = self.shards_seen_by(node).await?;
            let same = |before: &Vec<Shard<'_>>| {
                let place = |shard: &Shard<'_>| (shard.primary.address.clone(), shard.slots.clone());
                before.iter().map(place).eq(shards.iter().map(place))
            };
            if shards.iter().any(|shard| shard.replicas.is_empty()) || !seen.as_ref().is_none_or(same) {
                return None;
            }
            seen = Some(shards);
        }
        seen
    }

    /// The node of a row of CLUSTER SLOTS: host, port, and more.
    fn node_at(&self, row: &Reply) -> Option<&Node> {
        let [host, Reply::Integer(port), ..] = row.items() else { return None };
        let address = format!("{}:{port}", host.text());
        self.nodes.iter().find(|node| node.address == address)
    }

    /// Waits until every node that runs serves all slots and every replica of them is in step.
    pub async fn ready(&self) {
        for node in &self.nodes {
            until(&format!("{} serves", node.address), START_TIMEOUT, async || {
                if !node.runs() {
                    return Some(());
                }
                node.in_service().await.then_some(())
            })
            .await;
        }
    }

    async fn form(&self) {
        for node in &self.nodes {
            until(&format!("{} answers", node.address), START_TIMEOUT, async || {
                node.process().assert_running();
                node.call(&["PING"]).await.ok().filter(|reply| reply.text() == "PONG")
            })
            .await;
        }
        let (primaries, replicas) = self.nodes.split_at(PRIMARIES);
        for (index, node) in primaries.iter().enumerate() {
            let first = index * SLOTS / PRIMARIES;
            let last = (index + 1) * SLOTS / PRIMARIES - 1;
            node.must(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
            // Each its own epoch, so that no two primaries have to settle a tie.
            node.must(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
        }
        self.meet().await;
        for (primary, replica) in primaries.iter().zip(replicas) {
            let id = primary.must(&["CLUSTER", "MYID"]).await.text();
            replica.must(&["CLUSTER", "REPLICATE", &id]).await;
        }
        for node in primaries {
            until("the replica is online", START_TIMEOUT, async || {
                let info = node.call(&["INFO", "replication"]).await.ok()?.text();
                info.contains("state=online").then_some(())
            })
            .await;
        }
    }

    async fn meet(&self) {
        let Some((first, others)) = self.nodes.split_first() else { return };
        for node in others {
            let (host, port) = node.address.split_once(':').expect("host:port");
            let bus = node.must(&["CONFIG", "GET", "cluster-port"]).await;
            let bus = bus.items().last().expect("name and value").text();
            first.must(&["CLUSTER", "MEET", host, port, &bus]).await;
        }
        let known = format!("cluster_known_nodes:{NODES}");
        for node in &self.nodes {
            until("all nodes have met", START_TIMEOUT, async || {
                node.says(&["CLUSTER", "INFO"], &known).await.then_some(())
            })
            .await;
        }
    }
}

fn start_node(index: usize, options: &ValkeyOptions, folder: &Folder) -> Node {
    let port = free_port();
    let own = folder.path().join(format!("node-{index}"));
    std::fs::create_dir(&own).unwrap();
    let timeout = options.node_timeout_ms.to_string();
    let (port_text, bus_text) = (port.to_string(), free_port().to_string());
    let mut settings = vec![
        ("bind", "127.0.0.1"),
        ("port", &port_text),
        ("cluster-port", &bus_text),
        ("cluster-enabled", "yes"),
        ("cluster-node-timeout", &timeout),
        // A replica takes over however far behind it is: harsher than production, and what we want to survive.
        ("cluster-replica-validity-factor", "0"),
        ("cluster-allow-replica-migration", "no"),
        // A shard without a primary is no reason for the others to refuse.
        ("cluster-require-full-coverage", "no"),
        ("repl-diskless-sync-delay", "0"),
        ("repl-ping-replica-period", "1"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
        ("appendonly", "no"),
    ];
    if let Some(password) = &options.password {
        settings.extend([("requirepass", password.as_str()), ("primaryauth", password.as_str())]);
    }
    settings.extend(options.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let quote = |value: &str| if value.is_empty() { "\"\"".to_owned() } else { value.to_owned() };
    let text: String = settings.iter().map(|(key, value)| format!("{key} {}\n", quote(value))).collect();
    let file = own.join("valkey.conf");
    std::fs::write(&file, text).unwrap();
    let launch = Launch {
        name: format!("valkey-{index}"),
        program: options.server.clone().unwrap_or_else(inputs::valkey_server),
        args: vec![OsString::from(file)],
        env: Vec::new(),
        folder: own,
    };
    Node {
        address: format!("127.0.0.1:{port}"),
        password: options.password.clone(),
        process: Some(Process::start(launch)),
    }
}
