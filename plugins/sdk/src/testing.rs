//! Runs a plugin natively, over the same columns and rows as in the gateway, so that `cargo test` needs no
//! WebAssembly. What the host would refuse is not checked here; `weir plugin test` does that.

use crate::batch::{ABSENT, Columns};
use crate::plugin::{Plugin, Verdict, configured, judge};

/// One event to be judged.
#[derive(Clone, Debug, Default)]
pub struct Case {
    fields: Vec<(String, u8, Vec<u8>)>,
    payload: Vec<u8>,
    time_ns: u64,
}

/// One op of a patch, as the host reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl Case {
    /// An event without anything.
    pub fn new() -> Self {
        Case::default()
    }

    /// A string under a selector, e.g. `data:/user/id`.
    pub fn text(self, selector: &str, text: &str) -> Self {
        self.field(selector, 1, text)
    }

    /// Any JSON value under a selector; numbers keep their text.
    pub fn json(self, selector: &str, json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => {
                let text: String = serde_json::from_str(json).expect("the test gives a JSON string");
                self.field(selector, 1, &text)
            }
            Some(b't' | b'f') => self.field(selector, 4, json),
            Some(b'n') => self.field(selector, 5, json),
            Some(b'[') => self.field(selector, 6, json),
            Some(b'{') => self.field(selector, 7, json),
            _ if json.contains(['.', 'e', 'E']) => self.field(selector, 3, json),
            _ => self.field(selector, 2, json),
        }
    }

    /// The whole payload.
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        bytes.clone_into(&mut self.payload);
        self
    }

    /// The receive time.
    pub fn time_ns(mut self, time_ns: u64) -> Self {
        self.time_ns = time_ns;
        self
    }

    /// Lets a plugin with this config (JSON) judge the event.
    ///
    /// # Panics
    /// If the plugin refuses the config.
    #[expect(clippy::panic, reason = "tests call this; it says so above")]
    pub fn run<P: Plugin>(&self, config_json: &str) -> Ending {
        let plugin: P =
            configured(config_json).unwrap_or_else(|error| panic!("bad config: {}", error.message()));
        let (arena, spans, kinds) = self.columns(&plugin);
        let times = [self.time_ns];
        let columns =
            Columns { arena: &arena, spans: &spans, kinds: &kinds, stride: kinds.len(), times: &times };
        let answer = judge(&plugin, columns.events());
        let mut reason = String::new();
        let mut ops = Vec::new();
        for row in answer.ops.as_chunks::<6>().0 {
            let values = if row[1] >> 31 == 1 { &arena } else { &answer.arena };
            let name = text(&answer.arena, row[2], row[3]);
            let value = slice(values, row[4], row[5]);
            match op(row[1] & !(1 << 31), name, value) {
                Some(op) => ops.push(op),
                None => reason = String::from_utf8_lossy(value).into_owned(),
            }
        }
        let verdict = match answer.actions[0] {
            0 => Verdict::Pass,
            1 => Verdict::Drop(reason.into()),
            2 => Verdict::Refuse(reason.into()),
            3 => Verdict::DeadLetter(reason.into()),
            _ => Verdict::Fail(reason.into()),
        };
        Ending { verdict, ops }
    }

    fn field(mut self, selector: &str, kind: u8, bytes: &str) -> Self {
        self.fields.push((selector.to_owned(), kind, bytes.as_bytes().to_vec()));
        self
    }

    fn columns<P: Plugin>(&self, plugin: &P) -> (Vec<u8>, Vec<u32>, Vec<u8>) {
        let (mut arena, mut spans, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        let mut put = |found: Option<(u8, &[u8])>| {
            let (kind, bytes) = found.unwrap_or((0, &[]));
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a test's event is small");
            let offset = if found.is_some() { length(&arena) } else { ABSENT };
            spans.extend([offset, length(bytes)]);
            kinds.push(kind);
            arena.extend_from_slice(bytes);
        };
        put(plugin.needs_payload().then_some((8, self.payload.as_slice())));
        for selector in plugin.fields() {
            let field = self.fields.iter().find(|(known, ..)| *known == selector);
            put(field.map(|(_, kind, bytes)| (*kind, bytes.as_slice())));
        }
        (arena, spans, kinds)
    }
}

/// The config as the plugin would get it, for tests of what it refuses.
pub fn check_config<P: Plugin>(config_json: &str) -> Result<(), crate::Error> {
    configured::<P>(config_json).map(drop)
}

fn op(opcode: u32, name: String, value: &[u8]) -> Option<Op> {
    let text = || String::from_utf8_lossy(value).into_owned();
    Some(match opcode {
        1 => Op::SetPartitionKey(text()),
        2 => Op::AddLookupKey(name, text()),
        3 => Op::SetHeader(name, text()),
        4 => Op::RemoveHeader(name),
        5 => Op::JsonSet(name, text()),
        6 => Op::JsonRemove(name),
        7 => Op::ReplacePayload(value.to_vec()),
        8 => Op::SetTopic(text()),
        _ => return None,
    })
}

fn slice(arena: &[u8], offset: u32, length: u32) -> &[u8] {
    &arena[offset as usize..][..length as usize]
}

fn text(arena: &[u8], offset: u32, length: u32) -> String {
    String::from_utf8_lossy(slice(arena, offset, length)).into_owned()
}
