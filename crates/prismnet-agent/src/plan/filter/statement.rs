//! Short names for the parts of rules.

use photon_host::nft::expr::{
    BinaryOperation, CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadBase,
    PayloadField, PayloadRaw, Range, SetItem,
};
use photon_host::nft::stmt::{self, Mangle, Match, Operator, VerdictMap};
use serde::Serialize;
use serde_json::{Value, json};

use super::target;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Statement {
    /// One that the crate can name.
    Known(stmt::Statement<'static>),
    /// One that it can't: a set whose elements have limits of their own.
    Json(Value),
}

impl From<stmt::Statement<'static>> for Statement {
    fn from(statement: stmt::Statement<'static>) -> Self {
        Self::Known(statement)
    }
}

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

fn matches(left: Expr, op: Operator, right: Expr) -> Statement {
    stmt::Statement::Match(Match { left, right, op }).into()
}

/// `left` equals `right`, or is in the set `right`.
pub fn is(left: Expr, right: Expr) -> Statement {
    matches(left, Operator::EQ, right)
}

/// The contrary of [`is`].
pub fn is_not(left: Expr, right: Expr) -> Statement {
    matches(left, Operator::NEQ, right)
}

/// `left` is in the named set.
pub fn within(left: Expr, set: &str) -> Statement {
    is(left, text(format!("@{set}")))
}

/// `left` is not in the named set.
pub fn not_within(left: Expr, set: &str) -> Statement {
    is_not(left, text(format!("@{set}")))
}

/// `interface` has a name that begins so.
pub fn begins(interface: Expr, prefix: &str) -> Statement {
    is(interface, text(format!("{prefix}*")))
}

/// Ethernet type: `ip`, `ip6`, `arp`.
pub fn ether_type(name: &'static str) -> Statement {
    is(payload("ether", "type"), text(name))
}

/// The connection's state is `state`.
pub fn ct_state(state: &str) -> Statement {
    matches(ct("state"), Operator::IN, text(state))
}

/// The connection belongs to one that is known.
pub fn ct_known() -> Statement {
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
pub fn set_zone(zone: u16) -> Statement {
    set(ct("zone"), zone.into())
}

/// Writes a value there.
pub fn set(key: Expr, value: u32) -> Statement {
    let value = Expression::Number(value);
    stmt::Statement::Mangle(Mangle { key, value }).into()
}

/// Goes where the named map says for `key`; if it says nothing, the next rule is next.
pub fn lookup(key: Expr, map: &str) -> Statement {
    let lookup = VerdictMap {
        key,
        data: text(format!("@{map}")),
    };
    stmt::Statement::VerdictMap(lookup).into()
}

/// Runs a chain and comes back unless it decides.
pub fn jump(chain: &str) -> Statement {
    stmt::Statement::Jump(target(chain)).into()
}

/// Runs a chain instead of the rest of this one.
pub fn goto(chain: &str) -> Statement {
    stmt::Statement::Goto(target(chain)).into()
}

/// Leaves the packet out of connection tracking.
pub fn notrack() -> Statement {
    // The crate writes it as a word, which nft does not take.
    Statement::Json(json!({"notrack": null}))
}

/// Lets the packet through this hook.
pub fn accept() -> Statement {
    stmt::Statement::Accept(None).into()
}

/// Drops it.
pub fn drop() -> Statement {
    stmt::Statement::Drop(None).into()
}

/// Counts what gets here, for people: `nft list table bridge photon` shows it.
pub fn counted() -> Statement {
    Statement::Json(json!({"counter": null}))
}

/// So many a second.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    rate: u64,
    burst: u64,
    unit: &'static str,
}

impl Rate {
    /// Packets, a tenth of a second's worth at once. `None` of 0.
    pub fn packets(rate: u64) -> Option<Self> {
        (rate > 0).then_some(Self {
            rate,
            burst: (rate / 10).max(32),
            unit: "packets",
        })
    }

    /// Packets that are questions, two seconds' worth at once: a guest that starts asks for much. `None` of 0.
    pub fn questions(rate: u64) -> Option<Self> {
        (rate > 0).then_some(Self {
            rate,
            burst: rate.saturating_mul(2),
            unit: "packets",
        })
    }

    /// Bytes. What may come at once is, in the kernel, always a second's worth and the burst, which is here the largest
    /// packet of a guest that leaves segmentation to its card. `None` of 0.
    pub fn bytes(rate: u64) -> Option<Self> {
        (rate > 0).then_some(Self {
            rate,
            burst: 65_536,
            unit: "bytes",
        })
    }
}

/// How long the kernel remembers a key that does not come again, in seconds.
const REMEMBERED: u32 = 60;

/// Matches what comes faster than `rate` from this `key`, whose limit is an element of `set` (one of
/// [`meters`](super::Table::meters) that forgets).
pub fn faster(key: Expr, set: &str, rate: Rate) -> Statement {
    let Rate { rate, burst, unit } = rate;
    Statement::Json(json!({"set": {
        "op": "update",
        "elem": {"elem": {"val": key, "timeout": REMEMBERED}},
        "set": format!("@{set}"),
        "stmt": [{"limit": {
            "rate": rate, "rate_unit": unit, "per": "second", "burst": burst, "burst_unit": unit, "inv": true,
        }}],
    }}))
}

/// Matches a connection that is one too many for its list, of `lists` that are elements of `set`.
pub fn connections_over(set: &str, lists: u32, most: u32) -> Statement {
    Statement::Json(json!({"set": {
        "op": "add",
        "elem": {"symhash": {"mod": lists}},
        "set": format!("@{set}"),
        "stmt": [{"ct count": {"val": most, "inv": true}}],
    }}))
}
