//! What attackers and their neighbour are given: addresses, tokens, and something to look at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use photon_api::components::{IAM, PLASMAVMC, PRISMNET};
use photon_api::iam::v1::{CreateBindingRequest, CreatePrincipalRequest, PrincipalKind};
use photon_api::prismnet::v1::{
    CreateSecurityGroupRequest, Direction, Protocol, SecurityGroupRule, Subnet,
};
use photon_e2e::{Account, Channels, Session, onboard, random_hex};
use tokio::time::Instant;

use super::attack::Tally;
use crate::native::servers::{Servers, urls};

/// Where strangers come from: other addresses of the loopback, which servers take for this host's own, and addresses
/// that they take for anybody's (of RFC 2544's range, on the namespace's loopback device).
pub const STRANGERS: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4)),
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 3)),
];
/// Where those come from who take all connections that a server has: nine times the most of one address.
pub const CROWD: [IpAddr; 9] = {
    let mut crowd = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); 9];
    let mut number = 0;
    while number < crowd.len() {
        crowd[number] = IpAddr::V4(Ipv4Addr::new(198, 18, 1, number as u8 + 1));
        number += 1;
    }
    crowd
};
/// Where the others come from, each from one address.
pub const VIEWER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 10));
pub const MEMBER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 20));
pub const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 30));

/// Ports that tenant A has, for its viewer to list.
const PORTS: usize = 100;
/// Rules of its security group, near the most that one may have, and how long their descriptions are.
const RULES: u32 = 240;
/// Of these, each within the one before: a filter has about its square of elements for them, and may have 4,000.
const OVERLAPPING: u32 = 60;
const DESCRIPTION: usize = 660;

/// Addresses that the namespace's loopback device must have beside 127.0.0.0/8.
pub fn addresses() -> impl Iterator<Item = IpAddr> {
    let strangers = STRANGERS.into_iter().chain(CROWD);
    let all = strangers.chain([VIEWER, MEMBER, NEIGHBOUR]);
    all.filter(|address| !address.is_loopback())
}

/// A server's address.
pub fn server(component: &str) -> SocketAddr {
    let all = [&IAM, &PRISMNET, &PLASMAVMC];
    let port = all.iter().find(|it| it.name == component);
    let port = port.map_or(0, |component| component.port);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The servers that are attacked, each with a method that wants a token (IAM: one that gives them).
pub const TARGETS: [(&str, &str); 3] = [
    ("iam", "/iam.v1.IamTokenService/IssueToken"),
    ("prismnet", "/prismnet.v1.VpcService/ListVpcs"),
    ("plasmavmc", "/plasmavmc.v1.VmService/ListVms"),
];

/// A principal of a tenant.
#[derive(Clone, Debug)]
pub struct Principal {
    pub id: String,
    pub org: String,
    pub project: String,
    pub token: String,
}

/// What attackers know.
pub struct Arena {
    until: Instant,
    pub viewer: Principal,
    pub member: Principal,
    /// Of the attackers' tenant.
    pub vpc: String,
    pub subnet: String,
    pub port: String,
    /// Its large security group.
    pub group: String,
}

impl Arena {
    /// Whether an attack goes on; counts one more try.
    pub fn goes_on(&self, tally: &Tally) -> bool {
        Instant::now() < self.until && tally.begins()
    }

    pub fn until(&self) -> Instant {
        self.until
    }

    /// The same, until then.
    pub fn ending(mut self, until: Instant) -> Self {
        self.until = until;
        self
    }

    /// Makes the attackers' tenant, with what its viewer can look at, and signs its people in.
    ///
    /// # Errors
    /// When the cloud refuses.
    pub async fn prepare(servers: &Servers) -> Result<Self> {
        let admin = &servers.tenant;
        let viewer = principal(servers, "viewer", "ProjectViewer").await?;
        let member = principal(servers, "member", "ProjectMember").await?;
        let vpc = admin.create_vpc("theirs", "10.0.0.0/8").await?;
        let subnet = admin
            .create_subnet(&vpc, "theirs", "10.1.0.0/16", "10.1.0.1")
            .await?;
        let port = ports(admin, &subnet).await?;
        let group = admin
            .call(CreateSecurityGroupRequest {
                name: "large".into(),
                org_id: admin.org.clone(),
                project_id: admin.project.clone(),
                rules: rules(),
                ..Default::default()
            })
            .await
            .context("cannot create a large security group")?;
        Ok(Arena {
            until: Instant::now(),
            viewer,
            member,
            vpc: vpc.id,
            subnet: subnet.id,
            port,
            group: group.security_group.context("it has the group")?.id,
        })
    }
}

/// As many as make a large group, each as long as may be. The first overlap as often as a filter's bound permits, the others
/// are of the same ports.
pub fn rules() -> Vec<SecurityGroupRule> {
    let rule = |number: u32| SecurityGroupRule {
        direction: Direction::Ingress.into(),
        protocol: Protocol::Tcp.into(),
        port_min: 1 + number.min(OVERLAPPING),
        port_max: 60_000 - number.min(OVERLAPPING),
        remote_cidr: format!("10.{number}.1.1/32"),
        description: "x".repeat(DESCRIPTION),
        ..Default::default()
    };
    (0..RULES).map(rule).collect()
}

async fn ports(admin: &Session, subnet: &Subnet) -> Result<String> {
    let mut last = String::new();
    for number in 0..PORTS {
        let name = format!("p{number}");
        last = admin.create_port(subnet, &name, "").await?.id;
    }
    Ok(last)
}

/// Makes a user with this role in the tenant's project, and signs it in.
async fn principal(servers: &Servers, name: &str, role: &str) -> Result<Principal> {
    // The tenant's own session is for its project alone.
    let (operator, admin) = (&servers.operator, &servers.tenant);
    let password = random_hex::<12>()?;
    let (org, project) = (admin.org.clone(), admin.project.clone());
    let made = operator
        .call(CreatePrincipalRequest {
            org_id: org.clone(),
            name: name.into(),
            kind: PrincipalKind::User.into(),
            password: password.clone(),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot create the user {name}"))?;
    let id = made.principal.context("it has the principal")?.id;
    operator
        .call(CreateBindingRequest {
            principal_id: id.clone(),
            role_id: role.into(),
            scope: format!("org/{org}/project/{project}"),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot bind {role}"))?;
    let channels = Channels::at(urls())?;
    let session = Session::open(&channels, name, &org, &project, &password).await?;
    Ok(Principal {
        id,
        token: session.token().to_owned(),
        org,
        project,
    })
}

/// Makes the tenant that the others must not hinder.
///
/// # Errors
/// When the cloud refuses.
pub async fn neighbour(servers: &Servers) -> Result<(Account, Session)> {
    let account = Account::new("globex")?;
    onboard(&servers.operator, &account).await?;
    let session = account.sign_in(&Channels::at(urls())?).await?;
    Ok((account, session))
}
