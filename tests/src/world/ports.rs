//! Free loopback ports, for services that cannot bind port 0 and tell.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below the kernel's ephemeral range, so that no outgoing connection takes the port of a service that is down
/// only to be started again.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// A TCP port of 127.0.0.1 on which nobody listens, never given twice by one process.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    // Test processes run side by side, so each draws at random rather than counting from the start.
    std::iter::repeat_with(|| uuid::Uuid::now_v7().into_bytes())
        .map(|[.., high, low]| FIRST + u16::from_be_bytes([high, low]) % COUNT)
        .take(10_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok() && given.insert(*port))
        .expect("one of ten thousand ports is free")
}
