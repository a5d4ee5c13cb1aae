//! That nobody altered the record of what was done.

use anyhow::{Context, Result, ensure};
use photon_api::chainfire::v1::VerifyChainRequest;
use photon_api::components::{IAM, PLASMAVMC, PRISMNET};
use photon_client::{COMPONENTS, Component};
use serde::Serialize;

use crate::Session;

/// The chain that every server keeps for the system itself.
pub const SYSTEM: &str = "system";

/// One organization's chain of events in one server's store.
#[derive(Clone, Debug, Serialize)]
pub struct Chain {
    pub org: String,
    pub service: &'static str,
    pub events: u64,
    pub intact: bool,
    /// What is wrong with it; empty if nothing is.
    pub problem: String,
}

/// Verifies the chains of this organization in all servers' stores.
///
/// # Errors
/// When a server cannot say. That a chain is not intact is not an error here.
pub async fn verify(operator: &Session, org: &str) -> Result<Vec<Chain>> {
    let mut chains = Vec::new();
    // Those whose servers every control plane runs.
    let of_all = |it: &&Component| it.programs[0].role == Some("controlPlane");
    for component in COMPONENTS.into_iter().filter(of_all) {
        let service = component.name;
        let request = VerifyChainRequest {
            org_id: org.into(),
            ..Default::default()
        };
        let answer = operator
            .call_at(service, request)
            .await
            .with_context(|| format!("{service} cannot verify the events of {org}"))?;
        chains.push(Chain {
            org: org.into(),
            service,
            events: answer.events,
            intact: answer.intact,
            problem: answer.problem,
        });
    }
    Ok(chains)
}

/// Where the tenants of the scenario do something. Names come to them by themselves.
const USED: [&Component; 3] = [&IAM, &PRISMNET, &PLASMAVMC];

/// Every chain must be intact; a tenant has events where it did something.
pub fn judge(chains: &[Chain]) -> Result<()> {
    for chain in chains {
        let Chain { org, service, .. } = chain;
        ensure!(
            chain.intact,
            "the events of {org} in {service} are not as they were written: {}",
            chain.problem
        );
        let used = USED.iter().any(|component| component.name == *service);
        ensure!(
            chain.events > 0 || org == SYSTEM || !used,
            "{service} has no event of {org}, which did something there"
        );
    }
    Ok(())
}
