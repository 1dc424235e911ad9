//! A hash read whole, for the tables of plugins. It is read step by step, so that no other request of the server
//! waits for it, and all steps at one node: another's cursor would skip fields without a word.

use std::time::Duration;

use fred::types::Value;
use tokio::runtime::Builder;

use super::cluster::Cluster;
use super::node::{Command, send};
use super::{Settings, SettingsError};
use crate::plugin::Rows;
use crate::ports::StoreError;

/// How long it may take in all.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Fields that the server looks at in one step.
const FIELDS_PER_STEP: i64 = 1_000;

/// Why a hash was not read.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No client can be made.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The system gave no thread, or no runtime on it.
    #[error("no thread to read it on: {0}")]
    System(#[from] std::io::Error),
    /// Valkey does not answer, or answers that it cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It took too long.
    #[error("it was not read within {READ_TIMEOUT:?}")]
    Timeout,
    /// Valkey keeps no empty hashes: one without fields is not there.
    #[error("there is no such hash")]
    Absent,
    /// Fields and values come to more than is allowed.
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
}

/// The fields of a hash and their values. A field that is not UTF-8 cannot be asked for, and is left out.
///
/// Blocking. It looks at the cluster anew, and leaves no connection behind.
pub fn read_hash(settings: &Settings, hash: &str, bytes_max: u64) -> Result<Rows, HashError> {
    let read = || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let cluster = Cluster::new(settings, runtime.handle().clone())?;
        runtime.block_on(async {
            let scanned = tokio::time::timeout(READ_TIMEOUT, scan(&cluster, hash, bytes_max)).await;
            scanned.unwrap_or(Err(HashError::Timeout))
        })
    };
    // Whoever calls may stand in a runtime, where another one must not block.
    std::thread::scope(|scope| {
        let reading = std::thread::Builder::new().name("valkey-hash".to_owned()).spawn_scoped(scope, read)?;
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn scan(cluster: &Cluster, hash: &str, bytes_max: u64) -> Result<Rows, HashError> {
    let hash_slot = fred::util::redis_keyslot(hash.as_bytes());
    let node = cluster.owner(hash_slot).await?;
    let (mut rows, mut bytes, mut cursor) = (Rows::new(), 0, Value::from("0"));
    loop {
        let args = vec![hash.into(), cursor, "COUNT".into(), FIELDS_PER_STEP.into()];
        let away = |error: fred::error::Error| StoreError::Away(error.to_string());
        let replies =
            send(&node.client, hash_slot, &[Command { name: "HSCAN", args }], false).await.map_err(away)?;
        let reply = replies.into_iter().next().ok_or_else(unexpected)?.map_err(away)?;
        let (next, found) = step(reply).ok_or_else(unexpected)?;
        for [field, value] in found.as_chunks().0 {
            let (field, value) = (field.as_bytes().ok_or_else(unexpected)?, value.as_bytes());
            let value = value.ok_or_else(unexpected)?;
            bytes += (field.len() + value.len()) as u64;
            if bytes > bytes_max {
                return Err(HashError::TooLarge(bytes_max));
            }
            if let Ok(field) = str::from_utf8(field) {
                rows.insert(field.into(), value.into());
            }
        }
        if next.as_bytes() == Some(b"0") {
            return if rows.is_empty() { Err(HashError::Absent) } else { Ok(rows) };
        }
        cursor = next;
    }
}

/// The next cursor, and fields and values in turn.
fn step(reply: Value) -> Option<(Value, Vec<Value>)> {
    let Value::Array(parts) = reply else { return None };
    let Ok([cursor, Value::Array(found)]) = <[Value; 2]>::try_from(parts) else { return None };
    Some((cursor, found))
}

fn unexpected() -> StoreError {
    StoreError::Unexpected("the answer to HSCAN has another shape".to_owned())
}
