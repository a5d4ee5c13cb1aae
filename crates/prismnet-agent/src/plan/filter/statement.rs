//! Short names for the parts of rules.

use photon_host::nft::expr::{
    BinaryOperation, CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadBase,
    PayloadField, PayloadRaw, Range, SetItem,
};
use photon_host::nft::stmt::{Mangle, Match, Operator, Statement, VerdictMap};

use super::target;

type Expr = Expression<'static>;

/// Text as it is: an address, an interface, `@set`.
pub fn text(value: impl Into<String>) -> Expr {
    Expression::String(value.into().into())
}

/// A field of the packet: `payload("ip", "saddr")`.
pub fn payload(protocol: &'static str, field: &'static str) -> Expr {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(
        PayloadField {
            protocol: protocol.into(),
            field: field.into(),
        },
    )))
}

/// Bits of the transport header.
pub fn transport_bits(offset: u32, length: u32) -> Expr {
    Expression::Named(NamedExpression::Payload(Payload::PayloadRaw(PayloadRaw {
        base: PayloadBase::TH,
        offset,
        len: length,
    })))
}

fn meta(key: MetaKey) -> Expr {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

/// The interface that the packet came by.
pub fn iif() -> Expr {
    meta(MetaKey::Iifname)
}

/// The interface that it leaves by.
pub fn oif() -> Expr {
    meta(MetaKey::Oifname)
}

/// The bridge that the packet came by. nft prints this key as `ibrname` and still reads `ibriport`, its older
/// name, which is the one that the crate knows.
pub fn ibridge() -> Expr {
    meta(MetaKey::Ibriport)
}

/// The bridge that it leaves by (`obrname`).
pub fn obridge() -> Expr {
    meta(MetaKey::Obriport)
}

/// The transport protocol.
pub fn l4proto() -> Expr {
    meta(MetaKey::L4proto)
}

/// The destination port of whatever transport.
pub fn destination_port() -> Expr {
    payload("th", "dport")
}

/// Several keys as one.
pub fn concat<const N: usize>(parts: [Expr; N]) -> Expr {
    Expression::Named(NamedExpression::Concat(parts.into()))
}

/// From `low` to `high`, both included.
pub fn range(low: impl Into<String>, high: impl Into<String>) -> Expr {
    let (low, high) = (low.into(), high.into());
    if low == high {
        return text(low);
    }
    Expression::Range(Box::new(Range {
        range: [text(low), text(high)],
    }))
}

/// One of these.
pub fn any_of<const N: usize>(values: [&str; N]) -> Expr {
    Expression::Named(NamedExpression::Set(
        values
            .into_iter()
            .map(|value| SetItem::Element(text(value)))
            .collect(),
    ))
}

/// `left` masked.
pub fn masked(left: Expr, mask: &str) -> Expr {
    Expression::BinaryOperation(Box::new(BinaryOperation::AND(left, text(mask))))
}

fn matches(left: Expr, op: Operator, right: Expr) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

/// `left` equals `right`, or is in the set `right`.
pub fn is(left: Expr, right: Expr) -> Statement<'static> {
    matches(left, Operator::EQ, right)
}

/// The contrary of [`is`].
pub fn is_not(left: Expr, right: Expr) -> Statement<'static> {
    matches(left, Operator::NEQ, right)
}

/// `left` is in the named set.
pub fn within(left: Expr, set: &str) -> Statement<'static> {
    is(left, text(format!("@{set}")))
}

/// `left` is not in the named set.
pub fn not_within(left: Expr, set: &str) -> Statement<'static> {
    is_not(left, text(format!("@{set}")))
}

/// `interface` has a name that begins so.
pub fn begins(interface: Expr, prefix: &str) -> Statement<'static> {
    is(interface, text(format!("{prefix}*")))
}

/// Ethernet type: `ip`, `ip6`, `arp`.
pub fn ether_type(name: &'static str) -> Statement<'static> {
    is(payload("ether", "type"), text(name))
}

/// The connection's state is `state`.
pub fn ct_state(state: &str) -> Statement<'static> {
    matches(ct("state"), Operator::IN, text(state))
}

/// The connection belongs to one that is known.
pub fn ct_known() -> Statement<'static> {
    matches(
        ct("state"),
        Operator::IN,
        Expression::List(vec![text("established"), text("related")]),
    )
}

fn ct(key: &'static str) -> Expr {
    Expression::Named(NamedExpression::CT(CT {
        key: key.into(),
        family: None,
        dir: None,
    }))
}

/// Tracks the packet's connection in a zone of its own.
pub fn set_zone(zone: u16) -> Statement<'static> {
    Statement::Mangle(Mangle {
        key: ct("zone"),
        value: Expression::Number(zone.into()),
    })
}

/// Goes where the named map says for `key`; if it says nothing, the next rule is next.
pub fn lookup(key: Expr, map: &str) -> Statement<'static> {
    Statement::VerdictMap(VerdictMap {
        key,
        data: text(format!("@{map}")),
    })
}

/// Runs a chain and comes back unless it decides.
pub fn jump(chain: &str) -> Statement<'static> {
    Statement::Jump(target(chain))
}

/// Runs a chain instead of the rest of this one.
pub fn goto(chain: &str) -> Statement<'static> {
    Statement::Goto(target(chain))
}

/// Lets the packet through this hook.
pub fn accept() -> Statement<'static> {
    Statement::Accept(None)
}

/// Drops it.
pub fn drop() -> Statement<'static> {
    Statement::Drop(None)
}
