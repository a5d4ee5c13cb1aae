//! Waiting until a VM is as it was told to be.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use photon_api::plasmavmc::v1::{Vm, VmPhase, WatchVmRequest, WatchVmResponse};
use photon_client::{Followed, News};
use tonic::Code;

use super::super::size::parse_seconds;
use super::Vms;
use crate::error::Failure;
use crate::noun::{Desk, Noun};
use crate::output::Progress;

/// Whether to wait until it is done.
#[derive(Args)]
pub struct Wait {
    /// Return only when it is done, showing progress.
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait, in seconds or with a unit: 5m.
    #[arg(long, value_parser = parse_seconds, default_value = "300", value_name = "TIME", requires = "wait")]
    timeout: u32,
}

impl Wait {
    pub(super) fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

/// What a waiting command waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Running,
    Stopped,
    Gone,
}

/// Prints the VM, after waiting if that was asked for.
pub(super) async fn finish(
    desk: &Desk<'_>,
    vm: Vm,
    wait: &Wait,
    until: Until,
) -> Result<(), Failure> {
    let vm = match wait.wait {
        true => wait_for(desk, &vm, wait.limit(), until)
            .await?
            .unwrap_or(vm),
        false => vm,
    };
    Vms::print(desk, &vm).await
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Gone => "gone",
        })
    }
}

pub(super) fn phase_name(vm: &Vm) -> String {
    vm.phase()
        .as_str_name()
        .trim_start_matches("VM_PHASE_")
        .to_lowercase()
}

/// Whether a change ends the wait, and how; `None` when the VM is gone.
fn judge(change: WatchVmResponse, name: &str, until: Until) -> Judgment {
    if change.deleted {
        return ControlFlow::Break(match until {
            Until::Gone => Ok(None),
            _ => Err(Failure::Local(format!("VM {name} was removed meanwhile"))),
        });
    }
    let Some(now) = change.vm else {
        return ControlFlow::Continue(());
    };
    match (now.phase(), until) {
        (VmPhase::Running, Until::Running) | (VmPhase::Stopped, Until::Stopped) => {
            ControlFlow::Break(Ok(Some(now)))
        }
        (VmPhase::Failed, Until::Running | Until::Stopped) => {
            let text = format!("VM {} failed: {}", now.name, now.status_message);
            ControlFlow::Break(Err(Failure::Local(text)))
        }
        _ => ControlFlow::Continue(()),
    }
}

type Judgment = ControlFlow<Result<Option<Vm>, Failure>>;

/// Follows the VM until it is as wanted; `None` when it is gone.
pub(super) async fn wait_for(
    desk: &Desk<'_>,
    vm: &Vm,
    limit: Duration,
    until: Until,
) -> Result<Option<Vm>, Failure> {
    let progress = Progress::waiting();
    let mut last = String::new();
    let request = WatchVmRequest {
        id: vm.id.clone(),
        ..Default::default()
    };
    let followed = desk.session.follow(request, Some(limit), |news| {
        let News::Change(change) = news else {
            return ControlFlow::Continue(());
        };
        if let Some(now) = &change.vm {
            let (phase, message) = (phase_name(now), &now.status_message);
            progress.show(&format!("VM {}: {phase} {message}", now.name));
            last = phase;
        }
        judge(change, &vm.name, until)
    });
    let followed = followed.await;
    progress.finish();
    match followed {
        Ok(Followed::Reached(result)) => result,
        Ok(Followed::Late) => Err(Failure::TimedOut(format!(
            "VM {} is not {until} after {} s, but {}; it goes on by itself: `photon vm get {}` shows how far it is",
            vm.name,
            limit.as_secs(),
            if last.is_empty() { "unheard of" } else { &last },
            vm.name
        ))),
        Err(error) if error.code() == Some(Code::NotFound) && until == Until::Gone => Ok(None),
        Err(error) => Err(error.into()),
    }
}
