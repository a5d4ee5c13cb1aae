mod egress;
mod routing;

use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::security_group_service_client::SecurityGroupServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_api::prismnet::v1::*;
use photon_testcloud::{NODE, TestCloud};
use photon_testkit::walk::{Case, walk};
use tonic::Code;

use crate::{HIDDEN, NAMED, Scene, bearers};

/// Makes things of a tenant in its project.
pub struct Things<'a>(pub &'a Scene<'a>);

impl Things<'_> {
    pub async fn vpc(&self, name: &str) -> String {
        let mut client = VpcServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self.0.tenant.admin.request(self.0.vpc(name));
        client
            .create_vpc(request)
            .await
            .unwrap()
            .into_inner()
            .vpc
            .unwrap()
            .id
    }

    pub async fn subnet(&self, vpc_id: &str, name: &str, cidr: &str) -> String {
        let mut client = SubnetServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self
            .0
            .tenant
            .admin
            .request(self.0.subnet(vpc_id, name, cidr));
        client
            .create_subnet(request)
            .await
            .unwrap()
            .into_inner()
            .subnet
            .unwrap()
            .id
    }

    pub async fn port(&self, subnet_id: &str, name: &str) -> String {
        let mut client = PortServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self.0.tenant.admin.request(self.0.port(subnet_id, name));
        client
            .create_port(request)
            .await
            .unwrap()
            .into_inner()
            .port
            .unwrap()
            .id
    }

    pub async fn group(&self, name: &str) -> String {
        let mut client = SecurityGroupServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self.0.tenant.admin.request(self.0.group(name));
        let made = client.create_security_group(request).await.unwrap();
        made.into_inner().security_group.unwrap().id
    }

    async fn rule(&self, id: &str) -> String {
        let mut client = SecurityGroupServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self.0.tenant.admin.request(AddRuleRequest {
            security_group_id: id.into(),
            rule: Some(rule(22)),
            ..Default::default()
        });
        let group = client
            .add_rule(request)
            .await
            .unwrap()
            .into_inner()
            .security_group
            .unwrap();
        let added = group.rules.iter().find(|rule| rule.port_min == 22);
        added.expect("the rule that was added").id.clone()
    }
}

impl Scene<'_> {
    fn vpc(&self, name: &str) -> CreateVpcRequest {
        CreateVpcRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            name: name.into(),
            cidr: "10.0.0.0/16".into(),
            ..Default::default()
        }
    }

    fn subnet(&self, vpc_id: &str, name: &str, cidr: &str) -> CreateSubnetRequest {
        CreateSubnetRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            vpc_id: vpc_id.into(),
            name: name.into(),
            cidr: cidr.into(),
            dhcp_enabled: Some(true),
            ..Default::default()
        }
    }

    fn port(&self, subnet_id: &str, name: &str) -> CreatePortRequest {
        CreatePortRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            subnet_id: subnet_id.into(),
            name: name.into(),
            ..Default::default()
        }
    }

    fn group(&self, name: &str) -> CreateSecurityGroupRequest {
        CreateSecurityGroupRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            name: name.into(),
            ..Default::default()
        }
    }
}

fn rule(port: u32) -> SecurityGroupRule {
    SecurityGroupRule {
        direction: Direction::Ingress.into(),
        protocol: Protocol::Tcp.into(),
        port_min: port,
        port_max: port,
        remote_cidr: "0.0.0.0/0".into(),
        ..Default::default()
    }
}

pub async fn cases(scene: &Scene<'_>) -> Vec<Case> {
    let cloud = scene.cloud;
    let things = Things(scene);
    let (net, old_net) = (things.vpc("net").await, things.vpc("old").await);
    let front = things.subnet(&net, "front", "10.0.1.0/24").await;
    let old_subnet = things.subnet(&net, "old", "10.0.2.0/24").await;
    let (eth, old_port) = (
        things.port(&front, "eth").await,
        things.port(&front, "old").await,
    );
    let (attached, detached) = (
        things.port(&front, "to-attach").await,
        things.port(&front, "to-detach").await,
    );
    let (ssh, old_group) = (things.group("ssh").await, things.group("old").await);
    let old_rule = things.rule(&ssh).await;
    let attach = |port_id: &str| AttachPortRequest {
        id: port_id.into(),
        device_id: "7b1d3c0e-54f0-4bb9-9c6f-1f1c2b3a4d5e".into(),
        device_type: DeviceType::Vm.into(),
        node: NODE.into(),
        ..Default::default()
    };
    let mut ports = PortServiceClient::new(cloud.channel("prismnet"));
    ports
        .attach_port(cloud.operator.request(attach(&detached)))
        .await
        .unwrap();

    let org_id = || scene.tenant.org.clone();
    let project_id = || scene.tenant.project.clone();
    let changed = || Some("changed".to_owned());
    let agent = cloud.program("prismnet-agent").await;
    let mut cases: Vec<Case> = scene.events().into();
    cases.extend(scene.tenancy());
    cases.extend(egress::cases(scene, &net, &front).await);
    cases.extend(routing::cases(scene, &net).await);
    cases.extend(routing::peerings(scene).await);
    cases.extend(scene.quotas("vpcs"));
    cases.extend([
        scene.changes("prismnet.v1.VpcService/CreateVpc", NAMED, scene.vpc("new")),
        scene.reads(
            "prismnet.v1.VpcService/GetVpc",
            HIDDEN,
            GetVpcRequest {
                id: net.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.VpcService/ListVpcs",
            NAMED,
            ListVpcsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.VpcService/WatchVpcs",
            NAMED,
            WatchVpcsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.VpcService/UpdateVpc",
            HIDDEN,
            UpdateVpcRequest {
                id: net.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.VpcService/DeleteVpc",
            HIDDEN,
            DeleteVpcRequest {
                id: old_net,
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SubnetService/CreateSubnet",
            NAMED,
            scene.subnet(&net, "new", "10.0.3.0/24"),
        ),
        scene.reads(
            "prismnet.v1.SubnetService/GetSubnet",
            HIDDEN,
            GetSubnetRequest {
                id: front.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.SubnetService/ListSubnets",
            NAMED,
            ListSubnetsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.SubnetService/WatchSubnets",
            NAMED,
            WatchSubnetsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SubnetService/UpdateSubnet",
            HIDDEN,
            UpdateSubnetRequest {
                id: front.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SubnetService/DeleteSubnet",
            HIDDEN,
            DeleteSubnetRequest {
                id: old_subnet,
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SubnetService/EnsureDefaultSubnet",
            NAMED,
            EnsureDefaultSubnetRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.NetworkSettingsService/GetNetworkSettings",
            NAMED,
            GetNetworkSettingsRequest { org_id: org_id() },
        ),
        scene.changes(
            "prismnet.v1.NetworkSettingsService/UpdateNetworkSettings",
            NAMED,
            UpdateNetworkSettingsRequest {
                org_id: org_id(),
                default_networks: Some(false),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.PortService/CreatePort",
            NAMED,
            scene.port(&front, "new"),
        ),
        scene.reads(
            "prismnet.v1.PortService/GetPort",
            HIDDEN,
            GetPortRequest {
                id: eth.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.PortService/ListPorts",
            NAMED,
            ListPortsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.PortService/WatchPorts",
            NAMED,
            WatchPortsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.TraceService/Trace",
            HIDDEN,
            TraceRequest {
                id: eth.clone(),
                address: "10.0.1.1".into(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.PortService/UpdatePort",
            HIDDEN,
            UpdatePortRequest {
                id: eth,
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.PortService/DeletePort",
            HIDDEN,
            DeletePortRequest {
                id: old_port,
                ..Default::default()
            },
        ),
        scene.system(
            "prismnet.v1.PortService/AttachPort",
            &cloud.operator,
            attach(&attached),
        ),
        scene.system(
            "prismnet.v1.PortService/DetachPort",
            &cloud.operator,
            DetachPortRequest {
                id: detached,
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SecurityGroupService/CreateSecurityGroup",
            NAMED,
            scene.group("new"),
        ),
        scene.reads(
            "prismnet.v1.SecurityGroupService/GetSecurityGroup",
            HIDDEN,
            GetSecurityGroupRequest {
                id: ssh.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.SecurityGroupService/ListSecurityGroups",
            NAMED,
            ListSecurityGroupsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.SecurityGroupService/WatchSecurityGroups",
            NAMED,
            WatchSecurityGroupsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SecurityGroupService/UpdateSecurityGroup",
            HIDDEN,
            UpdateSecurityGroupRequest {
                id: ssh.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SecurityGroupService/DeleteSecurityGroup",
            HIDDEN,
            DeleteSecurityGroupRequest {
                id: old_group,
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SecurityGroupService/AddRule",
            HIDDEN,
            AddRuleRequest {
                security_group_id: ssh.clone(),
                rule: Some(rule(443)),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.SecurityGroupService/RemoveRule",
            HIDDEN,
            RemoveRuleRequest {
                security_group_id: ssh,
                rule_id: old_rule,
                ..Default::default()
            },
        ),
        scene.system(
            "prismnet.v1.NodeService/WatchDesired",
            &agent,
            WatchDesiredRequest {
                node: NODE.into(),
                ..Default::default()
            },
        ),
        scene.system(
            "prismnet.v1.NodeService/ReportStatus",
            &agent,
            ReportStatusRequest {
                node: NODE.into(),
                ..Default::default()
            },
        ),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_of_prismnet_has_its_walls() {
    let cloud = TestCloud::start().await;
    let bearers = bearers(&cloud, &["prismnet-agent"]).await;
    let cases = cases(&Scene::acme(&cloud)).await;
    let count = cases.len();
    let calls = walk(&cloud.channel("prismnet"), &cases, &bearers, &[]).await;
    println!("{calls} calls of {count} RPCs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_speaks_for_its_own_host_only() {
    let cloud = TestCloud::start().await;
    let agent = cloud.program("prismnet-agent").await;
    let mut client = NodeServiceClient::new(cloud.channel("prismnet"));
    // Nor does an operator, who may do all else, speak for a host.
    for (session, node) in [(&agent, "another"), (&cloud.operator, NODE)] {
        let request = session.request(WatchDesiredRequest {
            node: node.into(),
            ..Default::default()
        });
        let status = client.watch_desired(request).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        let request = session.request(ReportStatusRequest {
            node: node.into(),
            ..Default::default()
        });
        let status = client.report_status(request).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
}
