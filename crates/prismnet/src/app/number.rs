//! Numbers that must be unique: drawn at random, so that two who draw at the same time seldom meet, and so
//! that a tenant's numbers tell nothing about how many others there are. The store refuses the second of two.

use std::ops::RangeInclusive;

use flaredb::Transaction;
use photon_resource::{Error, Mac};
use uuid::Uuid;

use crate::store::{table_holder, vni_holder};

/// VXLAN network identifiers (RFC 7348: 24 bits; 0 is left to the operator).
const VNIS: RangeInclusive<u32> = 1..=0x00ff_ffff;
/// Routing tables of VPCs: above those that Linux (253 to 255) and operators use.
const TABLES: RangeInclusive<u32> = 1000..=0x00ff_ffff;
/// As often as one is drawn. With half of a range taken, the chance that none is free is 2^-64.
const DRAWS: usize = 64;

fn draw(range: &RangeInclusive<u32>) -> u32 {
    let [.., a, b, c, d] = Uuid::new_v4().into_bytes();
    range.start() + u32::from_be_bytes([a, b, c, d]) % (range.end() - range.start() + 1)
}

/// A MAC for a port; whether it is free is for the caller to ask.
pub(super) fn draw_mac() -> Mac {
    Mac::generated(draw(&(0..=0x00ff_ffff)))
}

/// A routing table that no VPC has. Errors: `ResourceExhausted`.
pub(super) async fn free_table(tx: &mut Transaction) -> Result<u32, Error> {
    for _ in 0..DRAWS {
        let table = draw(&TABLES);
        if table_holder(tx, table).await?.is_none() {
            return Ok(table);
        }
    }
    Err(exhausted("routing tables"))
}

/// A VXLAN network identifier that no subnet has. Errors: `ResourceExhausted`.
pub(super) async fn free_vni(tx: &mut Transaction) -> Result<u32, Error> {
    for _ in 0..DRAWS {
        let vni = draw(&VNIS);
        if vni_holder(tx, vni).await?.is_none() {
            return Ok(vni);
        }
    }
    Err(exhausted("VXLAN network identifiers"))
}

fn exhausted(what: &str) -> Error {
    Error::ResourceExhausted(format!("the cloud has no {what} left: tell its operator"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_number_lies_in_its_range() {
        for _ in 0..1000 {
            assert!(VNIS.contains(&draw(&VNIS)));
            assert!(TABLES.contains(&draw(&TABLES)));
            assert!((5..=6).contains(&draw(&(5..=6))));
        }
    }
}
