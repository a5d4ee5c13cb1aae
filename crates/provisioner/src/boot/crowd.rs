//! How many connections one source has open.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections by their source. Clones are the same.
#[derive(Clone)]
pub struct Crowd {
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection that is counted, until this is dropped.
pub struct Place {
    crowd: Crowd,
    source: IpAddr,
}

impl Crowd {
    /// At most so many of each source.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            open: Arc::default(),
        }
    }

    /// A place for one more of this address; `None`: its source has enough.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let source = source(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place {
            crowd: self.clone(),
            source,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = &self.crowd.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

/// Who an address is of: a host may have a whole /64 of IPv6 to itself (RFC 4291, 2.5.4), but for the one that every
/// link has.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_unicast_link_local() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_places_and_gives_them_back() {
        let crowd = Crowd::new(2);
        let enter = |text: &str| crowd.enter(text.parse().unwrap());
        let held = [enter("192.0.2.1"), enter("::ffff:192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(enter("192.0.2.1").is_none());
        let other = [
            enter("192.0.2.2"),
            enter("2001:db8::1"),
            enter("2001:db8::2"),
        ];
        assert!(other.iter().all(Option::is_some));
        assert!(enter("2001:db8::3").is_none(), "of the same /64");
        let link: Vec<_> = (1..5).map(|n| enter(&format!("fe80::{n}"))).collect();
        assert!(link.iter().all(Option::is_some), "of four machines");
        drop(link);
        drop(held);
        assert!(enter("192.0.2.1").is_some());
        drop(other);
        assert!(crowd.open.lock().unwrap().is_empty());
    }
}
