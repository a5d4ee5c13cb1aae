//! What the contracts find wrong.

use std::collections::BTreeMap;

/// What a contract found wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Of which contract.
    pub contract: &'static str,
    /// With which RPC: `package.Service/Method`.
    pub method: String,
    /// What it was.
    pub what: String,
}

/// How many problems of an RPC are shown: the others are often the same in another spelling.
const SHOWN: usize = 5;

/// Panics, with what is wrong by contract and RPC, unless nothing is.
#[track_caller]
pub fn expect_none(found: &[Problem]) {
    let mut by_method: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for it in found {
        let of_it = by_method.entry((it.contract, &it.method)).or_default();
        of_it.push(&it.what);
    }
    let mut wrong = Vec::new();
    for ((contract, method), all) in by_method {
        wrong.push(format!("{contract}, {method}, {} times:", all.len()));
        wrong.extend(all.iter().take(SHOWN).map(|what| format!("    {what}")));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
