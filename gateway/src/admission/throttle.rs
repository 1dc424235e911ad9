//! What each tenant may send: events and bytes a second. Each worker takes from the same buckets; a tenant without a
//! limit costs a look into a small table, and none if no tenant has one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;

use super::bucket::{Bucket, Refusal};
use crate::access::Tenant;
use crate::problem::{Code, Problem};

/// What a tenant may send. What is absent is without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantLimits {
    /// Events a second.
    pub events_per_s: Option<u64>,
    /// Bytes of bodies a second, as they are sent.
    pub bytes_per_s: Option<u64>,
    /// How many seconds' worth may come at once.
    pub burst_s: u64,
}

impl Default for TenantLimits {
    fn default() -> Self {
        TenantLimits { events_per_s: None, bytes_per_s: None, burst_s: 1 }
    }
}

/// The quotas of all tenants that have one.
#[derive(Debug, Default)]
pub struct Throttle(HashMap<Tenant, Arc<Quota>>);

/// What one tenant may send, and what of it is left.
#[derive(Debug)]
pub struct Quota {
    limits: TenantLimits,
    started: Instant,
    parts: Vec<Part>,
    policy: String,
}

#[derive(Debug)]
struct Part {
    unit: Unit,
    bucket: Bucket,
    burst_s: u64,
    refused: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Events,
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Events => "events",
            Unit::Bytes => "bytes",
        }
    }

    /// The draft's word for it, where it has one (draft-ietf-httpapi-ratelimit-headers, "Quota Unit").
    fn quota_unit(self) -> &'static str {
        match self {
            Unit::Events => "events",
            Unit::Bytes => "content-bytes",
        }
    }

    /// What is too large for the bucket will not fit after any wait.
    fn too_large(self) -> Code {
        match self {
            Unit::Events => Code::BatchTooLarge,
            Unit::Bytes => Code::BodyTooLarge,
        }
    }
}

impl Throttle {
    /// The quotas of these tenants: their own limits, or else those of all others. What was left of an earlier quota with
    /// the same limits is what is left now.
    pub fn new(
        own: &BTreeMap<String, TenantLimits>,
        others: Option<TenantLimits>,
        tenants: impl IntoIterator<Item = Tenant>,
        earlier: Option<&Throttle>,
    ) -> Self {
        let quota = |tenant: Tenant| {
            let limits = own.get(tenant.name()).copied().or(others)?;
            let earlier = earlier.and_then(|throttle| throttle.0.get(&tenant));
            let quota = match earlier {
                Some(quota) if quota.limits == limits => Arc::clone(quota),
                _ => Arc::new(Quota::new(limits, earlier.map(Arc::as_ref))),
            };
            (!quota.parts.is_empty()).then_some((tenant, quota))
        };
        Throttle(tenants.into_iter().filter_map(quota).collect())
    }

    /// A tenant's quota, if it has one.
    pub fn of(&self, tenant: &Tenant) -> Option<&Arc<Quota>> {
        if self.0.is_empty() { None } else { self.0.get(tenant) }
    }

    /// How many requests were refused, by tenant and unit.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        self.0.iter().flat_map(|(tenant, quota)| {
            let count = |part: &Part| part.refused.load(Ordering::Relaxed);
            quota.parts.iter().map(move |part| (tenant.name(), part.unit.name(), count(part)))
        })
    }
}

impl Quota {
    /// A full one, which goes on counting what an earlier one has refused.
    fn new(limits: TenantLimits, earlier: Option<&Quota>) -> Self {
        let refused = |unit| {
            let part = earlier.and_then(|quota| quota.parts.iter().find(|part| part.unit == unit));
            AtomicU64::new(part.map_or(0, |part| part.refused.load(Ordering::Relaxed)))
        };
        let parts = [(Unit::Events, limits.events_per_s), (Unit::Bytes, limits.bytes_per_s)];
        let part = |(unit, per_s): (Unit, Option<u64>)| {
            let bucket = Bucket::new(per_s?, limits.burst_s);
            Some(Part { unit, bucket, burst_s: limits.burst_s, refused: refused(unit) })
        };
        let parts: Vec<_> = parts.into_iter().filter_map(part).collect();
        let policy = list(&parts, |out, part| {
            let (quota, unit) = (part.bucket.capacity(), part.unit.quota_unit());
            write!(out, ";q={quota};qu=\"{unit}\";w={}", part.burst_s)
        });
        Quota { limits, started: Instant::now(), parts, policy }
    }

    /// Takes so many events of it, or says why not; then none is taken.
    pub fn events(&self, events: usize) -> Result<(), Problem> {
        self.take(Unit::Events, events)
    }

    /// Takes so many bytes of it, or says why not; then none is taken.
    pub fn bytes(&self, bytes: usize) -> Result<(), Problem> {
        self.take(Unit::Bytes, bytes)
    }

    /// Takes what a stream has brought already; the time that it has to wait before it goes on.
    pub fn reserve(&self, events: usize, bytes: usize) -> Duration {
        let now_ns = self.now_ns();
        let wait = |part: &Part| part.bucket.reserve(now_ns, part.units(events, bytes));
        self.parts.iter().map(wait).max().unwrap_or_default()
    }

    /// The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): the burst, and how long it takes to come
    /// back.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The value of `RateLimit`: what is left now, and the seconds until all of it is there again.
    pub fn left(&self) -> String {
        let now_ns = self.now_ns();
        list(&self.parts, |out, part| {
            let (units, full_in) = part.bucket.level(now_ns);
            write!(out, ";r={units};t={}", whole_seconds(full_in))
        })
    }

    fn take(&self, unit: Unit, units: usize) -> Result<(), Problem> {
        let Some(part) = self.parts.iter().find(|part| part.unit == unit) else { return Ok(()) };
        let units = u64::try_from(units).unwrap_or(u64::MAX);
        part.bucket.take(self.now_ns(), units).map_err(|refusal| {
            part.refused.fetch_add(1, Ordering::Relaxed);
            part.problem(refusal)
        })
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Part {
    fn units(&self, events: usize, bytes: usize) -> u64 {
        u64::try_from(if self.unit == Unit::Events { events } else { bytes }).unwrap_or(u64::MAX)
    }

    fn problem(&self, refusal: Refusal) -> Problem {
        let unit = self.unit.name();
        match refusal {
            Refusal::Wait(wait) => {
                let detail = format!("this tenant has sent its share of {unit}; wait as `Retry-After` says");
                Problem::new(Code::RateLimited, detail).with_retry_after(whole_seconds(wait).max(1))
            }
            Refusal::Never => {
                let most = self.bucket.capacity();
                let detail = format!("this tenant may send at most {most} {unit} at once");
                Problem::new(self.unit.too_large(), detail)
            }
        }
    }
}

/// A list of structured fields (RFC 9651 §3.1): each part's name, and what `parameters` adds to it.
fn list(parts: &[Part], parameters: impl Fn(&mut String, &Part) -> std::fmt::Result) -> String {
    let mut out = String::new();
    for part in parts {
        let before = if out.is_empty() { "" } else { ", " };
        let written =
            write!(out, "{before}\"{}\"", part.unit.name()).and_then(|()| parameters(&mut out, part));
        written.expect("a String takes every write");
    }
    out
}

/// Rounded up, so that nobody comes too early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(events_per_s: Option<u64>, bytes_per_s: Option<u64>) -> TenantLimits {
        TenantLimits { events_per_s, bytes_per_s, burst_s: 2 }
    }

    #[test]
    fn a_tenant_has_its_own_limits_or_those_of_all_others() {
        let own = BTreeMap::from([
            ("shop".to_owned(), limits(Some(5), None)),
            ("free".to_owned(), limits(None, None)),
        ]);
        let tenants = ["shop", "free", "other"].map(Tenant::new);
        let throttle = Throttle::new(&own, Some(limits(Some(1), None)), tenants.clone(), None);
        let capacity = |tenant| Some(throttle.of(tenant)?.parts[0].bucket.capacity());
        assert_eq!(tenants.each_ref().map(capacity), [Some(10), None, Some(2)]);
        let throttle = Throttle::new(&own, None, tenants.clone(), None);
        assert!(throttle.of(&tenants[2]).is_none());
    }

    #[test]
    fn the_same_limits_go_on_where_they_were_and_counts_always_do() {
        let tenant = Tenant::new("shop");
        let with = |events_per_s, earlier: Option<&Throttle>| {
            let own = BTreeMap::from([("shop".to_owned(), limits(Some(events_per_s), None))]);
            Throttle::new(&own, None, [tenant.clone()], earlier)
        };
        let first = with(5, None);
        first.of(&tenant).unwrap().events(10).expect("the whole burst");
        first.of(&tenant).unwrap().events(1).expect_err("nothing is left");
        let same = with(5, Some(&first));
        same.of(&tenant).unwrap().events(1).expect_err("nothing is left here either");
        let other = with(6, Some(&same));
        assert_eq!(other.refused().next(), Some(("shop", "events", 2)));
        other.of(&tenant).unwrap().events(12).expect("a new burst");
    }

    #[test]
    fn the_fields_say_what_may_be_sent_and_what_is_left() {
        let quota = Quota::new(limits(Some(100), Some(1_000_000)), None);
        assert_eq!(
            quota.policy(),
            r#""events";q=200;qu="events";w=2, "bytes";q=2000000;qu="content-bytes";w=2"#
        );
        assert_eq!(quota.left(), r#""events";r=200;t=0, "bytes";r=2000000;t=0"#);
        let refused = quota.events(201).expect_err("more than ever");
        assert_eq!((refused.code, refused.retry_after_s), (Code::BatchTooLarge, None));
        quota.events(200).expect("the whole burst");
        let refused = quota.events(100).expect_err("half of it takes a second to come back");
        assert_eq!((refused.code, refused.retry_after_s), (Code::RateLimited, Some(1)));
        assert_eq!(quota.bytes(2_000_001).expect_err("more than ever").code, Code::BodyTooLarge);
        assert_eq!(quota.bytes(10), Ok(()));
        assert_eq!(quota.reserve(0, 0), Duration::ZERO);
    }
}
