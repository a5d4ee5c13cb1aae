//! Authorize: how fast IAM decides, over gRPC as every server asks it, and in its own process.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use photon_api::iam::v1::AuthorizeRequest;
use tokio::task::JoinSet;

use super::figures::{Figure, Times};
use crate::native::servers::{Servers, urls};
use photon_e2e::{Channels, Session};

const OVER_GRPC: &str = "Authorize over gRPC (loopback)";
const IN_PROCESS: &str = "Authorize in process";
const ACTION: &str = "compute:instances:create";
const CLIENTS: usize = 16;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);

fn resource(tenant: &Session) -> String {
    format!(
        "org/{}/project/{}/instances/bench",
        tenant.org, tenant.project
    )
}

pub async fn over_grpc(tenant: &Session) -> Result<Vec<Figure>> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(tenant.over(&Channels::at(urls())?));
    }
    round(&clients, WARM_UP).await?;
    let mut figures = Vec::new();
    for (what, clients) in [("one client", &clients[..1]), ("16 clients", &clients[..])] {
        let (mut rates, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let mut times = round(clients, ROUND).await?;
            rates.push(times.count() as f64 / begun.elapsed().as_secs_f64());
            p50.push(times.quantile_ms(0.5));
            p99.push(times.quantile_ms(0.99));
        }
        let figure =
            |what: String, unit, samples: &[f64]| Figure::of(OVER_GRPC, what, unit, samples);
        figures.push(figure(what.to_owned(), "per second", &rates));
        figures.push(figure(format!("{what}, p50"), "ms", &p50));
        let tail = figure(format!("{what}, p99"), "ms", &p99);
        // With more clients than processors what is measured is their waiting for each other.
        figures.push(match clients.len() {
            1 => tail.below(1.0),
            _ => tail,
        });
    }
    Ok(figures)
}

/// Every client asks, one question after the other, until time is up.
async fn round(clients: &[Session], limit: Duration) -> Result<Times> {
    let mut work = JoinSet::new();
    for client in clients {
        let request = AuthorizeRequest {
            token: client.token(),
            action: ACTION.to_owned(),
            resource: resource(client),
            attributes: [("source_ip".to_owned(), "127.0.0.1".to_owned())].into(),
        };
        let mut authz = client.authz();
        work.spawn(async move {
            let mut times = Times::default();
            let begun = Instant::now();
            while begun.elapsed() < limit {
                let asked = Instant::now();
                let answer = authz.authorize(request.clone()).await?.into_inner();
                times.push(asked.elapsed());
                ensure!(answer.allowed, "IAM refused: {}", answer.reason);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Times::default();
    while let Some(done) = work.join_next().await {
        times.extend(done??);
    }
    Ok(times)
}

/// Ends the server: its store has one process at a time. `program` is IAM's example `authorize_rate`.
pub async fn in_process(servers: &Servers, program: &Path) -> Result<Vec<Figure>> {
    servers.iam.stop().await?;
    let (mut rates, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let answer = decide(servers, program)?;
        let number = |name: &str| -> Result<f64> {
            let number = answer[name].as_f64();
            number.with_context(|| format!("authorize_rate did not tell {name}: {answer}"))
        };
        rates.push(number("per_second")?);
        p50.push(number("p50_us")?);
        p99.push(number("p99_us")?);
    }
    Ok(vec![
        Figure::of(IN_PROCESS, "one thread", "per second", &rates),
        Figure::of(IN_PROCESS, "p50", "µs", &p50),
        Figure::of(IN_PROCESS, "p99", "µs", &p99),
    ])
}

fn decide(servers: &Servers, program: &Path) -> Result<serde_json::Value> {
    let mut child = servers
        .namespace
        .command(program)
        .arg(&servers.iam_state)
        .arg(ACTION)
        .arg(resource(&servers.tenant))
        .arg(ROUND.as_secs_f64().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut stdin = child.stdin.take().context("its input is a pipe")?;
    stdin.write_all(servers.tenant.token().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{} failed ({})", program.display(), output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
