//! What an author writes: one type that is the config, says what it reads, and judges one event at a time.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::batch::Event;
use crate::error::Error;
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
///         if let Some(tenant) = event.entity(0) {
///             patch.partition_key(tenant);
///         }
///         Verdict::Pass
///     }
/// }
///
/// let ending = Case::new().text("header:x-tenant", "t-1").run::<ByTenant>(r#"{"header": "x-tenant"}"#);
/// assert_eq!(ending.partition_key(), Some("t-1"));
/// ```
///
/// It knows nothing but the event. What looks into tables or at a clock is an
/// [`Enricher`](crate::Enricher).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `Plugin`",
    note = "an `Enricher` is exported with `export!(T, world: enricher)`; only it may look things up"
)]
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
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// A self-test, run before this version takes traffic.
    ///
    /// # Errors
    /// Why it must not.
    fn health(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Judges one event.
    fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict;
}

/// What a plugin may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
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
