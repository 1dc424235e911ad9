//! What a plugin made of an event, read from its answer as the host reads it.

use crate::patch::Answer;
use crate::plugin::Verdict;

/// One op of a patch, as the host reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// See [`Patch::partition_key`](crate::Patch::partition_key).
    SetPartitionKey(String),
    /// Kind and key.
    AddLookupKey(String, String),
    /// Name and value.
    SetHeader(String, String),
    /// Name.
    RemoveHeader(String),
    /// JSON pointer and JSON text.
    JsonSet(String, String),
    /// JSON pointer.
    JsonRemove(String),
    /// The whole payload.
    ReplacePayload(Vec<u8>),
    /// The topic's name.
    SetTopic(String),
}

/// What the plugin made of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// The verdict, with its reason.
    pub verdict: Verdict,
    /// The patch, in order; empty unless the verdict is to pass.
    pub ops: Vec<Op>,
}

impl Ending {
    /// The partition key, if the patch sets one.
    pub fn partition_key(&self) -> Option<&str> {
        self.ops
            .iter()
            .rev()
            .find_map(|op| if let Op::SetPartitionKey(key) = op { Some(key.as_str()) } else { None })
    }
}

/// What became of each event of a batch with this arena.
pub(super) fn endings(answer: &Answer, batch_arena: &[u8]) -> Vec<Ending> {
    (0..).zip(&answer.actions).map(|(event, action)| ending(answer, batch_arena, event, *action)).collect()
}

fn ending(answer: &Answer, batch_arena: &[u8], event: u32, action: u8) -> Ending {
    let (mut ops, mut reason) = (Vec::new(), String::new());
    for row in answer.ops.as_chunks::<6>().0.iter().filter(|row| row[0] == event) {
        let values = if row[1] >> 31 == 1 { batch_arena } else { &answer.arena };
        let name = text(slice(&answer.arena, row[2], row[3]));
        let value = slice(values, row[4], row[5]);
        match op(row[1] & !(1 << 31), name, value) {
            Some(op) => ops.push(op),
            None => reason = text(value),
        }
    }
    let verdict = match action {
        0 => Verdict::Pass,
        1 => Verdict::Drop(reason.into()),
        2 => Verdict::Refuse(reason.into()),
        3 => Verdict::DeadLetter(reason.into()),
        _ => Verdict::Fail(reason.into()),
    };
    Ending { verdict, ops }
}

fn op(opcode: u32, name: String, value: &[u8]) -> Option<Op> {
    Some(match opcode {
        1 => Op::SetPartitionKey(text(value)),
        2 => Op::AddLookupKey(name, text(value)),
        3 => Op::SetHeader(name, text(value)),
        4 => Op::RemoveHeader(name),
        5 => Op::JsonSet(name, text(value)),
        6 => Op::JsonRemove(name),
        7 => Op::ReplacePayload(value.to_vec()),
        8 => Op::SetTopic(text(value)),
        _ => return None,
    })
}

fn slice(arena: &[u8], offset: u32, length: u32) -> &[u8] {
    &arena[offset as usize..][..length as usize]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
