//! CreatePort: what a durable change costs from end to end: token, decision by IAM over gRPC, address and MAC,
//! one transaction in SQLite (`synchronous=FULL`) with its event, the answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use photon_api::prismnet::v1::Subnet;
use tokio::task::JoinSet;

use super::figures::{Figure, Times};
use crate::native::servers::urls;
use photon_e2e::{Channels, Session};

const PART: &str =
    "CreatePort, durable (release programs as processes, gRPC over loopback, SQLite on disk)";
const CLIENTS: usize = 32;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);
/// Calls of each client in a round, at most: what a subnet of a round can hold.
const CALLS: usize = 4000;
const WARM_UP: usize = 50;

/// What one round gave.
struct Round {
    per_second: f64,
    times: Times,
}

pub async fn measure(tenant: &Session) -> Result<Vec<Figure>> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(tenant.over(&Channels::at(urls())?));
    }
    let vpc = tenant.create_vpc("bench", "10.0.0.0/8").await?;
    let mut subnets = Vec::new();
    for number in 0..(2 + 2 * ROUNDS + CLIENTS) {
        let name = format!("s{number}");
        let (cidr, gateway) = (format!("10.{number}.0.0/16"), format!("10.{number}.0.1"));
        subnets.push(tenant.create_subnet(&vpc, &name, &cidr, &gateway).await?);
    }
    let warm = Load {
        subnets: subnets[..1].to_vec(),
        limit: ROUND,
        calls: WARM_UP,
    };
    warm.run("warm", &clients[..4]).await?;

    let mut figures = Vec::new();
    let shared = &subnets[1..1 + 2 * ROUNDS];
    let own = &subnets[1 + 2 * ROUNDS..];
    for (what, clients, subnets) in [
        ("one client", &clients[..1], &shared[..ROUNDS]),
        ("32 clients, one subnet", &clients[..], &shared[ROUNDS..]),
        ("32 clients, a subnet each", &clients[..], &own[..CLIENTS]),
    ] {
        let mut rates = Vec::new();
        let mut times = Times::default();
        for round in 0..ROUNDS {
            let subnets = match subnets.len() {
                CLIENTS => subnets.to_vec(),
                _ => vec![subnets[round].clone()],
            };
            let load = Load {
                subnets,
                limit: ROUND,
                calls: CALLS,
            };
            let name = format!("{}-{round}", what.replace([' ', ','], ""));
            let done = load.run(&name, clients).await?;
            rates.push(done.per_second);
            times.extend(done.times);
        }
        let (p50, p99) = (times.quantile_ms(0.5), times.quantile_ms(0.99));
        let note = format!("{} calls: p50 {p50:.2} ms, p99 {p99:.2} ms", times.count());
        figures.push(Figure::of(PART, what, "per second", &rates).note(note));
    }
    Ok(figures)
}

struct Load {
    subnets: Vec<Subnet>,
    limit: Duration,
    calls: usize,
}

impl Load {
    /// Every client makes ports, one after the other, until time or number is up.
    async fn run(&self, name: &str, clients: &[Session]) -> Result<Round> {
        let mut work = JoinSet::new();
        let begun = Instant::now();
        for (number, client) in clients.iter().enumerate() {
            let client = client.clone();
            let subnet = self.subnets[number % self.subnets.len()].clone();
            let (limit, calls, name) = (self.limit, self.calls, name.to_owned());
            work.spawn(async move {
                let mut times = Times::default();
                while begun.elapsed() < limit && times.count() < calls {
                    let asked = Instant::now();
                    let port = format!("{name}-{number}-{}", times.count());
                    client
                        .create_port(&subnet, &port, "")
                        .await
                        .with_context(|| format!("client {number}"))?;
                    times.push(asked.elapsed());
                }
                anyhow::Ok(times)
            });
        }
        let mut times = Times::default();
        while let Some(done) = work.join_next().await {
            times.extend(done??);
        }
        Ok(Round {
            per_second: times.count() as f64 / begun.elapsed().as_secs_f64(),
            times,
        })
    }
}
