//! How many connections each address has open, so that none of them takes all there are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The open connections of a listener, by where they come from.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One connection's place among those of its address; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Arc<Addresses>,
    owner: IpAddr,
}

impl Addresses {
    /// A place for a connection of this peer, whose address may have `max` of them.
    pub(super) fn place(self: &Arc<Self>, peer: IpAddr, max: usize) -> Option<Place> {
        let owner = owner(peer);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&owner).copied().unwrap_or_default();
        if count >= max {
            return None;
        }
        open.insert(owner, count + 1);
        Some(Place { addresses: Arc::clone(self), owner })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.owner) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.owner)),
        }
    }
}

/// Who is counted as one: an IPv4 address, or an IPv6 network of 64 bits, all of which one host may use (RFC 4291 §2.5.4).
fn owner(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_gets_as_many_as_it_may_and_again_when_one_has_ended() {
        let addresses = Arc::new(Addresses::default());
        let take = |text| addresses.place(ip(text), 2);
        let (first, second) = (take("192.0.2.1"), take("192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(take("192.0.2.1").is_none() && take("192.0.2.1").is_none(), "who is refused is not counted");
        let other = take("192.0.2.2");
        assert!(other.is_some());
        drop(first);
        let third = take("192.0.2.1");
        assert!(third.is_some() && take("192.0.2.1").is_none());
        drop((second, third, other));
        assert!(addresses.0.lock().expect("nobody panicked").is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn a_network_of_64_bits_is_one_and_an_ipv4_address_has_one_name() {
        assert_eq!(owner(ip("2001:db8::1")), owner(ip("2001:db8::ffff:1:2:3")));
        assert_ne!(owner(ip("2001:db8::1")), owner(ip("2001:db8:0:1::1")));
        assert_eq!(owner(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_ne!(owner(ip("192.0.2.1")), owner(ip("192.0.2.2")));
    }
}
