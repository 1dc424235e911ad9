//! The shipped Lua scripts. Nodes are given them on connect and each is called by its digest; a node that does not know it
//! after all gets the source with the call.

use std::sync::LazyLock;

use fred::types::Value;

use super::node::Command;

/// One script: its source and the digest Valkey knows it by.
pub(super) struct Script {
    source: &'static str,
    digest: String,
}

impl Script {
    fn new(source: &'static str) -> Script {
        Script { source, digest: fred::util::sha1_hash(source) }
    }

    /// A call by digest, or with the source for a node that does not have it.
    pub(super) fn call(&self, with_source: bool, keys: Vec<Value>, args: Vec<Value>) -> Command {
        let (name, script) = match with_source {
            true => ("EVAL", Value::from_static_str(self.source)),
            false => ("EVALSHA", Value::from(self.digest.clone())),
        };
        let count = i64::try_from(keys.len()).expect("a call has few keys");
        let mut all = Vec::with_capacity(2 + keys.len() + args.len());
        all.push(script);
        all.push(Value::Integer(count));
        all.extend(keys);
        all.extend(args);
        Command { name, args: all }
    }
}

/// An argument.
pub(super) fn text(value: impl ToString) -> Value {
    Value::from(value.to_string())
}

pub(super) static OPEN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/open.lua")));
pub(super) static APPLY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/apply.lua")));
pub(super) static FILL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/fill.lua")));
pub(super) static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/read.lua")));
pub(super) static FREE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/free.lua")));
pub(super) static FLOOR: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/floor.lua")));

/// The sources of all of them.
pub(super) fn sources() -> [&'static str; 6] {
    [&OPEN, &APPLY, &FILL, &READ, &FREE, &FLOOR].map(|script| script.source)
}
