//! Waiting for a condition, bounded: the only place of the suite that sleeps, between two looks.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `condition` gives a value; panics with `what` after `timeout`.
pub async fn until<T>(what: &str, timeout: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < timeout, "not within {timeout:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
