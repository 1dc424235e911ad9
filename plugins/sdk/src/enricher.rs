//! What the author of an enricher writes: a plugin that knows more than the event tells.

use serde::de::DeserializeOwned;

use crate::batch::Event;
use crate::error::Error;
use crate::patch::Patch;
use crate::plugin::{Role, Verdict};
use crate::rows::{Known, Wanted};

/// A plugin that may look into the host's tables and at its clock. It is exported with
/// `export!(T, world: enricher)`; all else is as with [`Plugin`](crate::Plugin), which has neither.
///
/// Each event is met twice: [`wants`](Self::wants) says which rows it needs, and
/// [`process`](Self::process) finds them there. In between the host is asked once per table, for the whole
/// batch.
///
/// ```
/// use weir_plugin::{Enricher, Event, Known, Patch, Verdict, Wanted, export};
/// use weir_plugin::testing::{Case, Op, World};
///
/// #[derive(serde::Deserialize)]
/// struct Region {}
///
/// impl Enricher for Region {
///     fn fields(&self) -> Vec<String> {
///         vec!["data:/country".to_owned()]
///     }
///
///     fn tables(&self) -> Vec<String> {
///         vec!["regions".to_owned()]
///     }
///
///     fn wants(&self, event: &Event<'_>, wanted: &mut Wanted<'_>) {
///         if let Some(country) = event.entity(0) {
///             wanted.row(0, country);
///         }
///     }
///
///     fn process(&self, _: &Event<'_>, known: &Known<'_>, patch: &mut Patch<'_>) -> Verdict {
///         if let Some(region) = known.row(0) {
///             patch.set_header("x-region", region);
///         }
///         Verdict::Pass
///     }
/// }
///
/// export!(Region, world: enricher);
///
/// let world = World::new().table("regions", &[("CZ", "eu"), ("US", "na")]);
/// let cases = ["CZ", "XX", "US"].map(|country| Case::new().text("data:/country", country));
/// let endings = world.enrich::<Region>("{}", &cases);
/// assert_eq!(endings[0].ops, [Op::SetHeader("x-region".into(), "eu".into())]);
/// assert_eq!(endings[1].ops, []);
/// assert_eq!(world.lookups(), 1, "one question for the whole batch");
/// ```
///
/// Without `world: enricher` this does not compile: nothing else may look things up.
///
/// ```compile_fail
/// # use weir_plugin::{Enricher, Event, Known, Patch, Verdict, export};
/// # #[derive(serde::Deserialize)]
/// # struct Region {}
/// # impl Enricher for Region {
/// #     fn fields(&self) -> Vec<String> {
/// #         Vec::new()
/// #     }
/// #     fn process(&self, _: &Event<'_>, _: &Known<'_>, _: &mut Patch<'_>) -> Verdict {
/// #         Verdict::Pass
/// #     }
/// # }
/// export!(Region);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no enricher",
    note = "`world: enricher` is for types that implement `Enricher`; a `Plugin` is exported without it"
)]
pub trait Enricher: DeserializeOwned + 'static {
    /// What it may do; the host refuses answers outside of it.
    const ROLES: &[Role] = &[Role::Enrich];

    /// The selectors of the fields it reads, as in [`Plugin::fields`](crate::Plugin::fields).
    fn fields(&self) -> Vec<String>;

    /// The names of the tables it looks into; their places in this list are those of [`Wanted::row`] and
    /// [`Known::row`]. A table that the host does not have fails the start.
    fn tables(&self) -> Vec<String> {
        Vec::new()
    }

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

    /// Says which rows it needs to judge this event.
    fn wants(&self, event: &Event<'_>, wanted: &mut Wanted<'_>) {
        let _ = (event, wanted);
    }

    /// Judges one event, knowing the rows.
    fn process(&self, event: &Event<'_>, known: &Known<'_>, patch: &mut Patch<'_>) -> Verdict;
}
