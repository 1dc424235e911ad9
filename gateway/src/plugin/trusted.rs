//! The one place where compiled code is taken for what it claims to be. Everything else about plugins is
//! checked by types; this cannot be.

use wasmtime::component::Component;

use super::cache::Authentic;
use super::engine::Engine;

/// Makes a component out of code that we compiled.
#[expect(unsafe_code, reason = "loading compiled code is trusting it; `Authentic` says why we may")]
pub(super) fn load(engine: &Engine, code: &Authentic) -> wasmtime::Result<Component> {
    // SAFETY: `Component::deserialize` requires bytes that came unmodified from this version's compiler. An
    // `Authentic` is minted only by `cache`, from what our own compiler just returned or from a file whose
    // MAC under our private key says that we wrote it for an engine of this make; and the bytes
    // verified are the bytes loaded, in memory, not a file that may change in between.
    unsafe { Component::deserialize(engine.inner(), code.bytes()) }
}
