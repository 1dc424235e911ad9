//! The hash slot of a partition moves to another primary: the atomic way of Valkey 9, and the classic one, key by key,
//! with ASK and TRYAGAIN in between.

use std::time::Duration;

use super::chance::Chance;
use super::faults::{Done, must, owner};
use super::stage::{PARTITIONS, Stage, hash_slot, partitions};
use crate::world::{Node, Reply, Resp, Shard, until};

const PATIENCE: Duration = Duration::from_secs(60);
const KEYS_AT_ONCE: &str = "100";
const MIGRATE_TIMEOUT_MS: &str = "1500";

/// Draws a partition and where it goes, and moves it. No primary is left with nothing, if there is a choice.
pub(super) async fn migrate(stage: &Stage, shards: &[Shard<'_>], chance: &mut Chance) -> Done {
    let rich: Vec<i32> = (0..PARTITIONS)
        .filter(|partition| partitions(Stage::kept_by(owner(shards, *partition))).len() > 1)
        .collect();
    let partition = *chance.of(&rich);
    let from = owner(shards, partition).primary;
    let others: Vec<&Shard<'_>> =
        shards.iter().filter(|shard| shard.primary.address() != from.address()).collect();
    let to = chance.of(&others).primary;
    let slot = hash_slot(partition).to_string();
    let classic = chance.percent(50);
    if classic {
        key_by_key(shards, &slot, from, to).await;
    } else {
        at_once(&slot, from, to).await;
    }
    stage.replaced(from, partition).await;
    let way = if classic { "key by key" } else { "at once" };
    let note = format!("partition {partition} moved {way} from {} to {}", from.address(), to.address());
    Done { note, partitions: 1 << partition }
}

async fn id_of(node: &Node) -> String {
    node.call(&["CLUSTER", "MYID"]).await.expect("a cluster in order").text()
}

async fn at_once(slot: &str, from: &Node, to: &Node) {
    let command = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", &id_of(to).await];
    must(from, &command).await;
}

async fn key_by_key(shards: &[Shard<'_>], slot: &str, from: &Node, to: &Node) {
    let (from_id, to_id) = (id_of(from).await, id_of(to).await);
    must(to, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &from_id]).await;
    must(from, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &to_id]).await;
    let mut connection = Resp::connect(from.address(), None).await.expect("a cluster in order");
    let (_, port) = to.address().split_once(':').expect("host:port");
    until("all keys of the slot have moved", PATIENCE, async || {
        let list = [b"CLUSTER".as_slice(), b"GETKEYSINSLOT", slot.as_bytes(), KEYS_AT_ONCE.as_bytes()];
        // Without a pause until there are none left.
        loop {
            let reply = connection.call(&list).await.ok()?;
            let keys: Vec<&[u8]> = reply
                .items()
                .iter()
                .filter_map(|item| if let Reply::Bytes(key) = item { Some(key.as_slice()) } else { None })
                .collect();
            if keys.is_empty() {
                return Some(());
            }
            let head = ["MIGRATE", "127.0.0.1", port, "", "0", MIGRATE_TIMEOUT_MS, "KEYS"];
            let command: Vec<&[u8]> = head.iter().map(|word| word.as_bytes()).chain(keys).collect();
            if let Reply::Error(why) = connection.call(&command).await.ok()? {
                eprintln!("MIGRATE from {}: {why}", from.address());
                return None;
            }
        }
    })
    .await;
    // First where it goes: if it comes to that, better two owners than none.
    must(to, &["CLUSTER", "SETSLOT", slot, "NODE", &to_id]).await;
    must(from, &["CLUSTER", "SETSLOT", slot, "NODE", &to_id]).await;
    for shard in shards {
        must(shard.primary, &["CLUSTER", "SETSLOT", slot, "NODE", &to_id]).await;
    }
}
