//! What the filter of a bridge does to a guest's DHCP.

use photon_host::nft::expr::Expression;

use super::filter::Statements;
use super::filter::statement::{Statement, accept, is, payload, set, transport_bits};

/// From a client to a server.
fn ports() -> [Statement; 2] {
    let port = |field, number| is(payload("udp", field), Expression::Number(number));
    [port("sport", 68), port("dport", 67)]
}

/// A client may ask at this destination.
pub(super) fn asks(destination: Statement) -> Statements {
    let [from, to] = ports();
    vec![destination, from, to, accept()]
}

/// A DHCP client is known by its MAC: the identifier that it says it has is made an option that nobody knows (224, for
/// private use by RFC 3942), before networkd reads it. networkd (257) finds a lease by the identifier alone, and two guests of
/// one image may have the same, or one guest two, one after the other.
///
/// Options begin 248 bytes behind the UDP header's start (RFC 2131 section 2, RFC 2132 section 2). The kernel looks at no more
/// than 255 (`nft_payload`), where the second option begins if the first is the message's type: so networkd's own client
/// writes them, and whoever else makes identifiers of a machine's. One that comes later is left, and counts.
pub(super) fn nameless_client() -> Statements {
    let code = || transport_bits(8 * 251, 8);
    let [from, to] = ports();
    vec![
        from,
        to,
        // 53, of one byte.
        is(transport_bits(8 * 248, 16), Expression::Number(0x3501)),
        is(code(), Expression::Number(61)),
        set(code(), 224),
        // Not worked out anew, but left out (RFC 768): the packet goes no further than to this host.
        set(payload("udp", "checksum"), 0),
    ]
}
