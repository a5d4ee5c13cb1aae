//! How fast IAM decides in process: the benchmark's view of the engine without gRPC around it.
//!
//! ```text
//! authorize_rate STATE_DIR ACTION RESOURCE SECONDS < token
//! ```
//! STATE_DIR is that of an iam-server that is not running; the token is one that it issued. Prints a JSON object:
//! decisions, seconds, per_second, p50_us, p99_us. The time is that of the token's check (signature and times are
//! remembered, as in the server), the tenancy wall and the policy.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use photon_resource::{Action, Authorizer, Caller, ResourceName, TokenVerifier};
use tokio_util::sync::CancellationToken;

/// Decisions before those that count.
const WARM_UP: usize = 1000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [state_dir, action, resource, seconds] = given.as_slice() else {
        anyhow::bail!("usage: authorize_rate STATE_DIR ACTION RESOURCE SECONDS < token");
    };
    let action: Action = action.parse()?;
    let resource: ResourceName = resource.parse()?;
    let limit = Duration::from_secs_f64(seconds.parse().context("SECONDS is not a number")?);
    let mut token = String::new();
    std::io::stdin().read_to_string(&mut token)?;
    let token = token.trim().to_owned();

    let mut settings = photon_program::Settings::<iam::Settings>::new(iam::COMPONENT);
    settings.server.state_dir = state_dir.into();
    let shutdown = CancellationToken::new();
    let core = iam::open(&settings, &shutdown).await?;
    let caller = Caller {
        claims: core.verify(&token).await?,
        token,
        source: "127.0.0.1".to_owned(),
        request_id: "benchmark".to_owned(),
    };
    let attributes = BTreeMap::from([("source_ip".to_owned(), caller.source.clone())]);

    for _ in 0..WARM_UP {
        let decision = core
            .authorize(&caller, &action, &resource, &attributes)
            .await?;
        ensure!(decision.allowed, "refused: {}", decision.reason);
    }
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < limit {
        let asked = Instant::now();
        core.authorize(&caller, &action, &resource, &attributes)
            .await?;
        times.push(asked.elapsed());
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "{}",
        serde_json::json!({
            "decisions": times.len(),
            "seconds": seconds,
            "per_second": times.len() as f64 / seconds,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
        })
    );
    shutdown.cancel();
    Ok(())
}
