//! Which node owns which hash slot, and the one client per primary that follows from it. One client for a
//! whole cluster would stall every shard for seconds whenever one of them dies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::Value;
use fred::types::config::Server;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;

use super::breaker::Breaker;
use super::node::{Advice, Command, Factory, advice, parse_address, send};
use super::{Settings, SettingsError, scripts};
use crate::ports::StoreError;

/// A look at the cluster serves everyone who wants one within this time.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often one request is sent on.
const REDIRECTIONS_MAX: usize = 3;
/// More commands than these in one go take turns, one being sent while another is carried out: all side by side they would
/// wait for each other until each of them is too late, and be sent again.
const SHORT_MAX: usize = 32;
const LONG_AT_ONCE_MAX: usize = 2;

/// The cluster, or a single server without cluster mode.
pub(super) struct Cluster(Arc<Inner>);

struct Inner {
    factory: Factory,
    seeds: Vec<Server>,
    map: ArcSwap<Map>,
    /// When the map was last looked at.
    looked: Mutex<Option<Instant>>,
    runtime: Handle,
}

/// Consecutive hash slots and the primary that owns them.
struct Range {
    first: u16,
    last: u16,
    primary: Server,
}

/// Who owns what.
#[derive(Default)]
struct Map {
    /// `None`: one server owns all.
    ranges: Option<Vec<Range>>,
    clients: HashMap<Server, Node>,
}

/// One node as we reach it.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) client: Client,
    breaker: Arc<Breaker>,
    /// For what is long.
    turns: Arc<Semaphore>,
    _loading: Arc<Loading>,
}

impl Node {
    fn new(client: Client, runtime: &Handle) -> Node {
        let loading = Arc::new(Loading(runtime.spawn(load_scripts(client.clone()))));
        let turns = Arc::new(Semaphore::new(LONG_AT_ONCE_MAX));
        Node { client, breaker: Arc::default(), turns, _loading: loading }
    }

    /// Sends the commands, unless the node has not answered for a while.
    async fn send(
        &self,
        hash_slot: u16,
        commands: &[Command],
        asking: bool,
    ) -> Result<Vec<Result<Value, Error>>, Error> {
        if !self.breaker.admits(Instant::now()) {
            return Err(Error::new(ErrorKind::Canceled, "the node has not answered for a while"));
        }
        let replies = send(&self.client, hash_slot, commands, asking).await;
        let silent =
            |error: &Error| matches!(error.kind(), ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled);
        let answered = match &replies {
            Err(error) => !silent(error),
            Ok(replies) => !replies.iter().any(|reply| reply.as_ref().is_err_and(silent)),
        };
        self.breaker.note(answered);
        replies
    }
}

/// Gives a node the scripts for as long as the node is known.
struct Loading(JoinHandle<()>);

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Loads the scripts now and whenever the connection is made anew: what calls a script that is not known there has to send
/// its source.
async fn load_scripts(client: Client) {
    let mut made_anew = client.reconnect_rx();
    loop {
        for source in scripts::sources() {
            let load = Command { name: "SCRIPT", args: vec!["LOAD".into(), Value::from_static_str(source)] };
            if let Err(error) = send(&client, 0, &[load], false).await {
                tracing::debug!(%error, "a script was not loaded; its first call brings it along");
            }
        }
        if matches!(made_anew.recv().await, Err(RecvError::Closed)) {
            return;
        }
    }
}

impl Map {
    fn node(&self, hash_slot: u16) -> Option<&Node> {
        match &self.ranges {
            Some(ranges) => {
                let range = ranges.iter().find(|range| (range.first..=range.last).contains(&hash_slot))?;
                self.clients.get(&range.primary)
            }
            None => self.clients.values().next(),
        }
    }
}

impl Cluster {
    pub(super) fn new(settings: &Settings, runtime: Handle) -> Result<Cluster, SettingsError> {
        let seed = |node: &String| {
            let (host, port) = parse_address(node).ok_or_else(|| SettingsError::Node(node.clone()))?;
            Ok(server(settings, host, port))
        };
        let seeds: Vec<Server> = settings.nodes.iter().map(seed).collect::<Result<_, SettingsError>>()?;
        if seeds.is_empty() {
            return Err(SettingsError::Node(String::new()));
        }
        Ok(Cluster(Arc::new(Inner {
            factory: Factory::new(settings, runtime.clone())?,
            seeds,
            map: ArcSwap::default(),
            looked: Mutex::default(),
            runtime,
        })))
    }

    /// The same cluster over connections of another runtime; it begins to look at once.
    pub(super) fn on(&self, runtime: Handle) -> Cluster {
        let (factory, seeds) = (self.0.factory.for_lookups(runtime.clone()), self.0.seeds.clone());
        let (map, looked) = (ArcSwap::default(), Mutex::default());
        let cluster = Cluster(Arc::new(Inner { factory, seeds, map, looked, runtime }));
        cluster.refresh_soon();
        cluster
    }

    /// Sends the commands to the slot's owner in one go and in order, following redirections: they must all be
    /// safe to repeat. The replies in the same order; an error among them is that command's own.
    pub(super) async fn run(
        &self,
        hash_slot: u16,
        commands: &[Command],
    ) -> Result<Vec<Result<Value, Error>>, StoreError> {
        let mut node = self.owner(hash_slot).await?;
        let mut asking = false;
        let mut temporary = None;
        let _turn = if commands.len() > SHORT_MAX {
            let turn = Arc::clone(&node.turns).acquire_owned().await.ok();
            // Those before us may have found out that the slot is another's now.
            node = self.owner(hash_slot).await?;
            turn
        } else {
            None
        };
        for _ in 0..REDIRECTIONS_MAX {
            let replies = node.send(hash_slot, commands, asking).await;
            if let Some(guest) = temporary.take() {
                self.0.factory.disconnect(guest);
            }
            let worst = match &replies {
                Err(error) => Some(advice(error)),
                Ok(replies) => replies
                    .iter()
                    .filter_map(|reply| reply.as_ref().err())
                    .map(advice)
                    .find(|advice| matches!(advice, Advice::Moved | Advice::Ask(..) | Advice::Look)),
            };
            match worst {
                Some(Advice::Moved) => {
                    self.refresh(Some(&node.client)).await?;
                    node = self.owner(hash_slot).await?;
                    asking = false;
                }
                Some(Advice::Ask(host, port)) => {
                    node = self.guest(host, port, &mut temporary)?;
                    asking = true;
                }
                Some(Advice::Look) => {
                    self.refresh_soon();
                    return replies.map_err(away);
                }
                _ => return replies.map_err(away),
            }
        }
        Err(StoreError::Away("too many redirections".to_owned()))
    }

    /// Sends each command to its slot's owner, all of one node in one go. `None` is what was not answered: by error, by
    /// redirection, or because nobody is known to own the slot.
    pub(super) async fn run_each(&self, commands: Vec<(u16, Command)>) -> Vec<Option<Value>> {
        let mut replies: Vec<Option<Value>> = commands.iter().map(|_| None).collect();
        let mut rounds: Vec<(Node, Vec<usize>, Vec<Command>)> = Vec::new();
        let map = self.0.map.load();
        for (place, (hash_slot, command)) in commands.into_iter().enumerate() {
            let Some(node) = map.node(hash_slot) else { continue };
            let known = rounds.iter().position(|(other, ..)| other.client.id() == node.client.id());
            let known = known.unwrap_or_else(|| {
                rounds.push((node.clone(), Vec::new(), Vec::new()));
                rounds.len() - 1
            });
            let (_, places, of_node) = &mut rounds[known];
            places.push(place);
            of_node.push(command);
        }
        drop(map);
        let sent = rounds.iter().map(async |(node, _, commands)| node.send(0, commands, false).await);
        for ((_, places, _), answered) in rounds.iter().zip(join_all(sent).await) {
            for (place, reply) in places.iter().zip(answered.into_iter().flatten()) {
                replies[*place] = reply.ok();
            }
        }
        replies
    }

    /// The node that owns a slot, as far as is known.
    pub(super) async fn owner(&self, hash_slot: u16) -> Result<Node, StoreError> {
        if let Some(node) = self.0.map.load().node(hash_slot) {
            return Ok(node.clone());
        }
        self.refresh(None).await?;
        let map = self.0.map.load();
        map.node(hash_slot).cloned().ok_or_else(|| StoreError::Away("no node serves this slot".to_owned()))
    }

    /// The node that a slot is moving to; with a new client, left in `temporary`, if it is not in the map.
    fn guest(&self, host: String, port: u16, temporary: &mut Option<Client>) -> Result<Node, StoreError> {
        let map = self.0.map.load();
        let known = map.clients.iter().find(|(server, _)| server.port == port && *server.host == *host);
        if let Some((_, node)) = known {
            return Ok(node.clone());
        }
        let client = self.0.factory.connect(Server::new(host, port))?;
        *temporary = Some(client.clone());
        Ok(Node::new(client, &self.0.runtime))
    }

    /// Every primary that is known: `host:port`, and its client.
    pub(super) fn primaries(&self) -> Vec<(String, Client)> {
        let map = self.0.map.load();
        let named = |(server, node): (&Server, &Node)| {
            (format!("{}:{}", server.host, server.port), node.client.clone())
        };
        map.clients.iter().map(named).collect()
    }

    /// Looks at the cluster anew, first through `witness`, which is known to know better.
    pub(super) async fn refresh(&self, witness: Option<&Client>) -> Result<(), StoreError> {
        self.0.refresh(witness).await
    }

    fn refresh_soon(&self) {
        let inner = Arc::clone(&self.0);
        self.0.runtime.spawn(async move {
            if let Err(error) = inner.refresh(None).await {
                tracing::debug!(%error, "no look at the valkey cluster");
            }
        });
    }
}

impl Inner {
    async fn refresh(&self, witness: Option<&Client>) -> Result<(), StoreError> {
        let asked = Instant::now();
        let mut looked = self.looked.lock().await;
        // Somebody else looked while we waited, or just before.
        if looked.is_some_and(|at| at + LOOK_INTERVAL > asked) && !self.map.load().clients.is_empty() {
            return Ok(());
        }
        let mut last = StoreError::Away("no node answers".to_owned());
        let known: Vec<Client> = self.map.load().clients.values().map(|node| node.client.clone()).collect();
        for client in witness.into_iter().chain(&known) {
            match self.look_through(client).await {
                Ok(()) => {
                    *looked = Some(Instant::now());
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        for seed in &self.seeds {
            let client = self.factory.connect(seed.clone())?;
            let seen = self.look_through(&client).await;
            let kept = self.map.load().clients.values().any(|kept| kept.client.id() == client.id());
            if !kept {
                self.factory.disconnect(client);
            }
            match seen {
                Ok(()) => {
                    *looked = Some(Instant::now());
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn look_through(&self, client: &Client) -> Result<(), StoreError> {
        let command = Command { name: "CLUSTER", args: vec![Value::from_static_str("SLOTS")] };
        let mut replies = send(client, 0, &[command], false).await.map_err(away)?;
        let own = client.client_config().server.hosts().first().map(|server| (*server).clone());
        let own = own.ok_or_else(|| StoreError::Unexpected("a client without a server".to_owned()))?;
        match replies.pop() {
            Some(Ok(slots)) => {
                let ranges = read_ranges(&slots, &own);
                self.install(ranges.ok_or_else(|| StoreError::Unexpected("no slot map".to_owned()))?)
            }
            Some(Err(error)) if error.details().contains("cluster support disabled") => {
                let clients = HashMap::from([(own, Node::new(client.clone(), &self.runtime))]);
                self.map.store(Arc::new(Map { ranges: None, clients }));
                Ok(())
            }
            Some(Err(error)) => Err(away(error)),
            None => Err(StoreError::Unexpected("no reply".to_owned())),
        }
    }

    /// Puts the new map in force; clients of nodes that stay are kept.
    fn install(&self, ranges: Vec<Range>) -> Result<(), StoreError> {
        let before = self.map.load_full();
        let mut clients = HashMap::new();
        for Range { primary, .. } in &ranges {
            if clients.contains_key(primary) {
                continue;
            }
            let node = match before.clients.get(primary) {
                Some(node) => node.clone(),
                None => Node::new(self.factory.connect(primary.clone())?, &self.runtime),
            };
            clients.insert(primary.clone(), node);
        }
        for (server, node) in &before.clients {
            if !clients.contains_key(server) {
                self.factory.disconnect(node.client.clone());
            }
        }
        self.map.store(Arc::new(Map { ranges: Some(ranges), clients }));
        Ok(())
    }
}

/// Reads `CLUSTER SLOTS`: arrays of first, last, primary, replicas; a node is host, port, and more. A host
/// that the node does not know is the one we reached it by.
fn read_ranges(slots: &Value, asked: &Server) -> Option<Vec<Range>> {
    let Value::Array(rows) = slots else { return None };
    let read = |row: &Value| {
        let Value::Array(row) = row else { return None };
        let [first, last, Value::Array(primary), ..] = &row[..] else { return None };
        let number = |value: &Value| u16::try_from(value.as_i64()?).ok();
        let host = primary.first()?.as_str().filter(|host| !host.is_empty() && host != "?");
        let host = host.map_or_else(|| asked.host.to_string(), |host| host.into_owned());
        let mut primary = Server::new(host, number(primary.get(1)?)?);
        primary.tls_server_name = asked.tls_server_name.as_ref().map(|_| primary.host.clone());
        Some(Range { first: number(first)?, last: number(last)?, primary })
    };
    rows.iter().map(read).collect()
}

pub(super) fn away(error: Error) -> StoreError {
    StoreError::Away(error.to_string())
}

fn server(settings: &Settings, host: String, port: u16) -> Server {
    match settings.tls {
        Some(_) => Server::new_with_tls(host.clone(), port, Some(host)),
        None => Server::new(host, port),
    }
}
