//! What an author writes: one type that is the config, says what it reads, and judges one event at a time.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::batch::Event;
use crate::patch::Patch;

/// A plugin. The type is its own config: the host's JSON object is deserialized into it once per instance.
///
/// It must be pure per event: the same event and config give the same verdict and patch, for the host may
/// run an event twice.
///
/// ```
/// use weir_plugin::{Event, Patch, Plugin, Role, Verdict, testing::Case};
///
/// #[derive(serde::Deserialize)]
/// struct ByTenant {
///     header: String,
/// }
///
/// impl Plugin for ByTenant {
///     const ROLES: &[Role] = &[Role::Key];
///
///     fn fields(&self) -> Vec<String> {
///         vec![format!("header:{}", self.header)]
///     }
///
///     fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict {
///         event.field(0).map_or((), |tenant| patch.partition_key(tenant));
///         Verdict::Pass
///     }
/// }
///
/// let ending = Case::new().text("header:x-tenant", "t-1").run::<ByTenant>(r#"{"header": "x-tenant"}"#);
/// assert_eq!(ending.partition_key(), Some("t-1"));
/// ```
pub trait Plugin: DeserializeOwned + 'static {
    /// What it may do; the host refuses answers outside of it.
    const ROLES: &[Role];

    /// The selectors of the fields it reads: `data:/json/pointer`, `attr:type`, `header:x-name`. Their
    /// places in this list are the indices of [`Event::field`].
    fn fields(&self) -> Vec<String>;

    /// Whether it needs whole payloads; far dearer than fields.
    fn needs_payload(&self) -> bool {
        false
    }

    /// The most events of one batch; 0 leaves it to the host.
    fn max_batch(&self) -> u32 {
        0
    }

    /// Whether the config makes sense beyond its shape.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// A self-test, run before this version takes traffic.
    fn health(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Judges one event.
    fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict;
}

/// What a plugin may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Drop, refuse, dead-letter.
    Filter,
    /// Partition key and lookup keys.
    Key,
    /// Headers, data, topic.
    Enrich,
}

impl Role {
    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "told to the host only"))]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Filter => "filter",
            Role::Key => "key",
            Role::Enrich => "enrich",
        }
    }
}

/// What becomes of an event. Reasons are public and hold no values of the event; 256 bytes of them are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, patched or not.
    Pass,
    /// It is not stored, and that is fine.
    Drop(Cow<'static, str>),
    /// It is not stored, by the client's fault.
    Refuse(Cow<'static, str>),
    /// It is kept aside.
    DeadLetter(Cow<'static, str>),
    /// The plugin cannot judge it; the route says what happens then.
    Fail(Cow<'static, str>),
}

/// Why a config cannot be used, or a plugin is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Error {
    pub(crate) const BAD_CONFIG: u32 = 1;
    #[cfg(target_arch = "wasm32")]
    pub(crate) const NOT_BOUND: u32 = 2;
    const OTHER: u32 = 4;

    /// An error with what to do about it.
    pub fn new(message: impl Into<String>) -> Self {
        Error { code: Self::OTHER, message: message.into() }
    }

    /// The operator's text.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The plugin of a config, checked.
pub(crate) fn configured<P: Plugin>(config_json: &str) -> Result<P, Error> {
    let bad = |message| Error { code: Error::BAD_CONFIG, message };
    let plugin: P = serde_json::from_str(config_json).map_err(|error| bad(error.to_string()))?;
    plugin.check().map_err(|error| bad(error.message))?;
    Ok(plugin)
}

/// Runs a plugin over a batch.
pub(crate) fn judge<'a, P: Plugin>(plugin: &P, events: impl Iterator<Item = Event<'a>>) -> crate::patch::Answer {
    let mut answer = crate::patch::Answer::default();
    for (index, event) in (0..).zip(events) {
        let kept = answer.ops.len();
        let mut patch = Patch { event: index, answer: &mut answer };
        let (action, reason) = match plugin.process(&event, &mut patch) {
            Verdict::Pass => (0, None),
            Verdict::Drop(reason) => (1, Some(reason)),
            Verdict::Refuse(reason) => (2, Some(reason)),
            Verdict::DeadLetter(reason) => (3, Some(reason)),
            Verdict::Fail(reason) => (4, Some(reason)),
        };
        if let Some(reason) = reason {
            patch.answer.ops.truncate(kept);
            patch.reason(&reason);
        }
        answer.actions.push(action);
    }
    answer
}
