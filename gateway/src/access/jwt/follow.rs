//! Where the issuer's keys come from: a file that is looked at, or an address that is asked, both beside the requests.
//! What was last good stays in force while neither can be had, but not for ever.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::{JwtSettings, KeySet, Tokens};
use crate::access::counters::{Counters, Source};
use crate::access::file;

/// How often the file is looked at, and whether the address is to be asked.
const LOOK: Duration = Duration::from_secs(1);
/// After a failure the address is asked again this soon.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A token that names an unknown key has the address asked no more often than this.
const MISSED_PAUSE: Duration = Duration::from_secs(60);
/// Keys that could not be confirmed for so long are not believed any more: one of them may have been given up.
const STALE_MAX: Duration = Duration::from_secs(3600);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const BYTES_MAX: u64 = 1 << 20;

impl Tokens {
    /// Tokens as the settings say. None is believed before there are keys: a file's are read now, an address is asked
    /// later.
    pub(in crate::access) fn start(settings: JwtSettings, counters: Counters) -> Result<Arc<Self>, String> {
        let tokens = Arc::new(Tokens::new(settings));
        if let Some(path) = &tokens.settings.jwks_file {
            tokens.put(read(path)?);
        }
        tokens.follow(counters).map_err(|error| error.to_string())?;
        Ok(tokens)
    }

    /// Follows the issuer's keys until the last owner is gone.
    fn follow(self: &Arc<Self>, counters: Counters) -> io::Result<()> {
        let (tokens, settings) = (Arc::downgrade(self), self.settings.clone());
        let following = move || match (&settings.jwks_file, &settings.jwks_url) {
            (Some(path), _) => follow_file(&tokens, path, &counters),
            (None, Some(url)) => follow_url(&tokens, url, &settings, &counters),
            (None, None) => {}
        };
        thread::Builder::new().name("access-jwks".to_owned()).spawn(following).map(drop)
    }

    /// Puts keys in force, if they are others than those that are.
    fn take(&self, keys: KeySet) {
        if self.in_force.load().keys != keys {
            tracing::info!(keys = keys.count(), "the issuer's keys have changed");
            self.put(keys);
        }
    }
}

fn follow_file(tokens: &Weak<Tokens>, path: &Path, counters: &Counters) {
    let mut told = None;
    while let Some(tokens) = tokens.upgrade() {
        let taken = read(path).map(|keys| tokens.take(keys));
        tell(taken.err(), &mut told, counters);
        drop(tokens);
        thread::sleep(LOOK);
    }
}

fn follow_url(weak: &Weak<Tokens>, url: &str, settings: &JwtSettings, counters: &Counters) {
    let refresh = Duration::from_secs(settings.jwks_refresh_s.into());
    let (mut told, mut confirmed) = (None, Instant::now());
    while let Some(tokens) = weak.upgrade() {
        tokens.missed.store(false, Ordering::Relaxed);
        let taken = fetch(url).map(|keys| tokens.take(keys));
        let well = taken.is_ok();
        tell(taken.err(), &mut told, counters);
        if well {
            confirmed = Instant::now();
        } else if confirmed.elapsed() > STALE_MAX && tokens.in_force.load().keys != KeySet::default() {
            tracing::error!("the issuer's keys could not be confirmed for an hour: its tokens are refused");
            tokens.put(KeySet::default());
        }
        drop(tokens);
        pause(weak, if well { refresh } else { refresh.min(RETRY_MAX) });
    }
}

/// Waits until the address is to be asked again, which is sooner if a token named a key that is not there.
fn pause(tokens: &Weak<Tokens>, due: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < due {
        thread::sleep(LOOK.min(due));
        let missed = tokens.upgrade().is_none_or(|tokens| tokens.missed.load(Ordering::Relaxed));
        if missed && begun.elapsed() >= MISSED_PAUSE {
            return;
        }
    }
}

fn tell(failed: Option<String>, told: &mut Option<String>, counters: &Counters) {
    if let Some(why) = &failed {
        counters.read_failed(Source::Jwks);
        if *told != failed {
            tracing::error!(%why, "the issuer's keys stay as they were");
        }
    }
    *told = failed;
}

fn read(path: &Path) -> Result<KeySet, String> {
    let why = |why| format!("{}: {why}", path.display());
    file::read(path, BYTES_MAX).and_then(|text| KeySet::parse(&text).map_err(why))
}

/// How many keys a file holds, or what is wrong with it.
pub(in crate::access) fn count(path: &Path) -> Result<usize, String> {
    read(path).map(|keys| keys.count())
}

/// Asks once, follows nobody elsewhere, and reads no more than a set of keys may be.
fn fetch(url: &str) -> Result<KeySet, String> {
    let config =
        ureq::Agent::config_builder().timeout_global(Some(FETCH_TIMEOUT)).max_redirects(0).proxy(None);
    let agent = ureq::Agent::from(config.build());
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    if response.status() != http::StatusCode::OK {
        return Err(format!("the issuer answered {}", response.status().as_u16()));
    }
    let text = response.body_mut().with_config().limit(BYTES_MAX).read_to_string();
    Ok(KeySet::parse(&text.map_err(|error| error.to_string())?)?)
}
