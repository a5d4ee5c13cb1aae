//! What is broken and known to be: a list that only shrinks.

use std::collections::BTreeSet;

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

/// Panics unless what was found is what is known: `(contract, RPC)`. What is new must be mended, and what is mended must
/// leave the list.
pub fn expect(found: &[Problem], known: &[(&str, &str)]) {
    let known: BTreeSet<(&str, &str)> = known.iter().copied().collect();
    let broken: BTreeSet<(&str, &str)> = found
        .iter()
        .map(|it| (it.contract, it.method.as_str()))
        .collect();
    let mut wrong = Vec::new();
    for (contract, method) in broken.difference(&known) {
        let all = found
            .iter()
            .filter(|it| it.contract == *contract && it.method == *method);
        let all: Vec<&str> = all.map(|it| it.what.as_str()).collect();
        wrong.push(format!("({contract:?}, {method:?}), {} times:", all.len()));
        wrong.extend(all.iter().take(SHOWN).map(|what| format!("    {what}")));
    }
    wrong.extend(known.difference(&broken).map(|(contract, method)| {
        format!("({contract:?}, {method:?}) holds now: take it from the list of what is broken")
    }));
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
