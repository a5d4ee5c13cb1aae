//! Emptying a project: everything in it is removed, in the order in which nothing refers to what is gone already.
//!
//! It may be interrupted and begun anew at any moment: each time it looks at what is there.

use std::fmt;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use photon_api::flashdns::v1::{
    DeleteRecordSetRequest, DeleteZoneRequest, ListRecordSetsRequest, ListZonesRequest,
};
use photon_api::plasmavmc::v1::{
    DeleteImageRequest, DeleteSshKeyRequest, DeleteVmRequest, Image, ListImagesRequest,
    ListSshKeysRequest, ListVmsRequest, Vm,
};
use photon_api::prismnet::v1::{
    DeleteFloatingIpRequest, DeleteNatGatewayRequest, DeletePeeringRequest, DeletePortRequest,
    DeleteRouteRequest, DeleteSecurityGroupRequest, DeleteSubnetRequest, DeleteVpcRequest,
    DisassociateFloatingIpRequest, FloatingIp, ListFloatingIpsRequest, ListNatGatewaysRequest,
    ListPeeringsRequest, ListPortsRequest, ListRoutesRequest, ListSecurityGroupsRequest,
    ListSubnetsRequest, ListVpcsRequest, RemoveRuleRequest, SecurityGroup,
};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::call::{List, Of};
use crate::{Error, Session};

/// Deletions under way at a time.
const AT_ONCE: usize = 16;
/// Between looks at what is on its way out.
const LOOK: Duration = Duration::from_millis(500);

/// What is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This is being removed.
    Removing {
        /// What it is: `VM`.
        noun: &'static str,
        /// What it is called; its id if it has no name.
        name: String,
    },
    /// These VMs have been told to end, and their hosts have not removed them yet.
    Waiting {
        /// What they are called, and what is known of them.
        vms: Vec<String>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Removing { noun, name } => write!(f, "removing {noun} {name}"),
            Step::Waiting { vms } => write!(f, "waiting for {}", vms.join(", ")),
        }
    }
}

/// Why something is still there.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    /// What there is can't be asked for.
    #[error("what is in the project can't be told")]
    Unknown(#[from] Error),
    /// It can't be removed.
    #[error("{noun} {name} can't be removed")]
    Kept {
        /// What it is.
        noun: &'static str,
        /// What it is called.
        name: String,
        /// Why.
        #[source]
        error: Error,
    },
    /// VMs that hosts had not removed in time.
    #[error("still there after {} s: {}", .limit.as_secs(), .vms.join(", "))]
    Late {
        /// Which, and what is known of them.
        vms: Vec<String>,
        /// How long they had.
        limit: Duration,
    },
}

/// Something to remove.
struct Doomed {
    id: String,
    name: String,
}

macro_rules! doomed {
    ($items:expr) => {
        $items.into_iter().map(|it| Doomed {
            name: if it.name.is_empty() {
                it.id.clone()
            } else {
                it.name
            },
            id: it.id,
        })
    };
}

impl Session {
    /// Removes everything in the session's project, which then can be deleted itself; `told` hears of each step. VMs are
    /// shut down, and their hosts have `limit` to remove them.
    ///
    /// # Errors
    /// When something can't be removed. What is gone by then stays gone.
    pub async fn empty_project(
        &self,
        limit: Duration,
        mut told: impl FnMut(Step),
    ) -> Result<(), Stuck> {
        let told = &mut told;
        // They hold the ports that go with VMs.
        let floating = self.newer::<ListFloatingIpsRequest>().await?;
        self.take_from_ports(&floating).await?;
        self.remove::<DeleteFloatingIpRequest>("floating IP", doomed!(floating), told)
            .await?;

        // They hold the ports and gateways that they lead to.
        let routes = self.newer::<ListRoutesRequest>().await?;
        self.remove::<DeleteRouteRequest>("route", doomed!(routes), told)
            .await?;

        let peerings = self.newer::<ListPeeringsRequest>().await?;
        self.remove::<DeletePeeringRequest>("peering", doomed!(peerings), told)
            .await?;

        let vms = self.there::<ListVmsRequest>().await?;
        self.remove::<DeleteVmRequest>("VM", doomed!(vms), told)
            .await?;
        self.until_vms_are_gone(limit, told).await?;

        let images = self.there::<ListImagesRequest>().await?;
        let own = images.into_iter().filter(|image| self.is_own(image));
        self.remove::<DeleteImageRequest>("image", doomed!(own), told)
            .await?;

        let keys = self.newer::<ListSshKeysRequest>().await?;
        self.remove::<DeleteSshKeyRequest>("SSH key", doomed!(keys), told)
            .await?;

        let sets = self.if_served::<ListRecordSetsRequest>().await?;
        self.remove::<DeleteRecordSetRequest>("record set", doomed!(sets), told)
            .await?;
        let zones = self.if_served::<ListZonesRequest>().await?;
        self.remove::<DeleteZoneRequest>("zone", doomed!(zones), told)
            .await?;

        let ports = self.there::<ListPortsRequest>().await?;
        self.remove::<DeletePortRequest>("port", doomed!(ports), told)
            .await?;

        let groups = self.there::<ListSecurityGroupsRequest>().await?;
        self.untie(&groups).await?;
        // The project's default group can't be deleted by anybody, and goes with the project.
        let made = groups.into_iter().filter(|group| !group.is_default);
        self.remove::<DeleteSecurityGroupRequest>("security group", doomed!(made), told)
            .await?;

        let gateways = self.newer::<ListNatGatewaysRequest>().await?;
        self.remove::<DeleteNatGatewayRequest>("NAT gateway", doomed!(gateways), told)
            .await?;
        let subnets = self.there::<ListSubnetsRequest>().await?;
        self.remove::<DeleteSubnetRequest>("subnet", doomed!(subnets), told)
            .await?;
        let vpcs = self.there::<ListVpcsRequest>().await?;
        self.remove::<DeleteVpcRequest>("VPC", doomed!(vpcs), told)
            .await
    }

    /// How many things are in the session's project, by what they are called, without those of which there are none.
    ///
    /// # Errors
    /// When what there is can't be asked for.
    pub async fn project_contents(&self) -> Result<Vec<(&'static str, usize)>, Error> {
        let images = self.there::<ListImagesRequest>().await?;
        let groups = self.there::<ListSecurityGroupsRequest>().await?;
        let mut contents = vec![
            ("VM", self.there::<ListVmsRequest>().await?.len()),
            ("image", images.iter().filter(|it| self.is_own(it)).count()),
            ("SSH key", self.newer::<ListSshKeysRequest>().await?.len()),
            (
                "floating IP",
                self.newer::<ListFloatingIpsRequest>().await?.len(),
            ),
            (
                "record set",
                self.if_served::<ListRecordSetsRequest>().await?.len(),
            ),
            ("zone", self.if_served::<ListZonesRequest>().await?.len()),
            ("port", self.there::<ListPortsRequest>().await?.len()),
            (
                "security group",
                groups.iter().filter(|group| !group.is_default).count(),
            ),
            ("peering", self.newer::<ListPeeringsRequest>().await?.len()),
            ("route", self.newer::<ListRoutesRequest>().await?.len()),
            (
                "NAT gateway",
                self.newer::<ListNatGatewaysRequest>().await?.len(),
            ),
            ("subnet", self.there::<ListSubnetsRequest>().await?.len()),
            ("VPC", self.there::<ListVpcsRequest>().await?.len()),
        ];
        contents.retain(|(_, count)| *count > 0);
        Ok(contents)
    }

    /// What a server of the release before has none of.
    async fn newer<R: List>(&self) -> Result<Vec<R::Item>, Error> {
        match self.there::<R>().await {
            Err(error) if error.code() == Some(Code::Unimplemented) => Ok(Vec::new()),
            found => found,
        }
    }

    /// A cloud of the release before has no names. Where their server is only away, the project is not deleted: IAM asks it.
    async fn if_served<R: List>(&self) -> Result<Vec<R::Item>, Error> {
        match self.newer::<R>().await {
            Err(Error::Unreachable { .. }) => Ok(Vec::new()),
            found => found,
        }
    }

    /// Images of others that are public are listed too.
    fn is_own(&self, image: &Image) -> bool {
        image.org_id == self.org && image.project_id == self.project
    }

    async fn there<R: List>(&self) -> Result<Vec<R::Item>, Error> {
        self.all(R::default().within(&self.org, &self.project))
            .await
    }

    /// Removes each, several at a time; what is gone already is as good.
    async fn remove<R: Of>(
        &self,
        noun: &'static str,
        doomed: impl Iterator<Item = Doomed>,
        told: &mut impl FnMut(Step),
    ) -> Result<(), Stuck> {
        let removing = doomed.map(|Doomed { id, name }| {
            told(Step::Removing {
                noun,
                name: name.clone(),
            });
            async move {
                match self.call(R::of(id).within(&self.org, &self.project)).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.code() == Some(Code::NotFound) => Ok(()),
                    Err(error) => Err(Stuck::Kept { noun, name, error }),
                }
            }
        });
        stream::iter(removing)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Takes floating IPs from the ports that have them: as long as one has it, neither goes.
    async fn take_from_ports(&self, floating: &[FloatingIp]) -> Result<(), Stuck> {
        for it in floating.iter().filter(|it| !it.port_id.is_empty()) {
            let request = DisassociateFloatingIpRequest::of(&it.id);
            match self.call(request).await {
                Ok(_) => {}
                Err(error) if error.code() == Some(Code::NotFound) => {}
                Err(error) => {
                    return Err(Stuck::Kept {
                        noun: "floating IP",
                        name: it.name.clone(),
                        error,
                    });
                }
            }
        }
        Ok(())
    }

    /// Removes the rules by which one group refers to another: two that refer to each other would hold each other.
    async fn untie(&self, groups: &[SecurityGroup]) -> Result<(), Stuck> {
        for group in groups {
            let others = group.rules.iter().filter(|rule| {
                !rule.remote_group_id.is_empty() && rule.remote_group_id != group.id
            });
            for rule in others {
                let request = RemoveRuleRequest {
                    security_group_id: group.id.clone(),
                    rule_id: rule.id.clone(),
                    ..Default::default()
                };
                match self.call(request).await {
                    Ok(_) => {}
                    Err(error) if error.code() == Some(Code::NotFound) => {}
                    Err(error) => {
                        return Err(Stuck::Kept {
                            noun: "rule of the security group",
                            name: group.name.clone(),
                            error,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// A deleted VM is listed until its host has removed it.
    async fn until_vms_are_gone(
        &self,
        limit: Duration,
        told: &mut impl FnMut(Step),
    ) -> Result<(), Stuck> {
        let deadline = Instant::now() + limit;
        let mut before = Vec::new();
        loop {
            let vms = self.there::<ListVmsRequest>().await?;
            if vms.is_empty() {
                return Ok(());
            }
            let vms: Vec<String> = vms.iter().map(seen).collect();
            if Instant::now() >= deadline {
                return Err(Stuck::Late { vms, limit });
            }
            if vms != before {
                told(Step::Waiting { vms: vms.clone() });
                before = vms;
            }
            sleep(LOOK).await;
        }
    }
}

/// `web on node02: stopping`.
fn seen(vm: &Vm) -> String {
    let mut seen = vm.name.clone();
    if !vm.node.is_empty() {
        seen = format!("{seen} on {}", vm.node);
    }
    let phase = vm.phase().as_str_name();
    let phase = phase.strip_prefix("VM_PHASE_").unwrap_or(phase);
    seen = format!("{seen}: {}", phase.to_lowercase());
    if !vm.status_message.is_empty() {
        seen = format!("{seen} ({})", vm.status_message);
    }
    seen
}
