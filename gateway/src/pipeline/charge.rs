//! What a request's tenant has to pay of its quota. It is paid whole or not at all, before anything is produced.

use super::{Request, Worker};
use crate::access::Tenant;
use crate::problem::Problem;

/// What of a request is paid for before its events are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paid {
    /// Nothing: whose it is was not known.
    Nothing,
    /// Its bytes, before they were read.
    Bytes,
    /// Its bytes and its events.
    All,
}

impl Worker {
    /// Has its sender's tenant pay for a request of so many events; `owner`'s, where nobody was asked who they are.
    pub(super) fn charge(
        &self,
        request: &Request,
        owner: Option<&Tenant>,
        events: usize,
    ) -> Result<(), Problem> {
        let tenant = request.sender.tenant().or(owner);
        let Some(quota) = tenant.and_then(|tenant| self.shared.throttle.of(tenant)) else { return Ok(()) };
        match request.paid {
            Paid::All => Ok(()),
            Paid::Bytes => quota.events(events),
            Paid::Nothing => quota.bytes(request.body.len()).and_then(|()| quota.events(events)),
        }
    }
}
