//! Pages and filters.

use photon_api::prismnet::v1 as pb;
use tonic::Code;

use photon_testcloud::prismnet::{Client, Cloud, new_port};
use photon_testkit::{expect_error, new_id};

async fn names(tenant: &mut Client, request: pb::ListPortsRequest) -> Vec<String> {
    let mut request = request;
    let mut names = Vec::new();
    loop {
        let page = tenant.ports.list_ports(request.clone()).await.unwrap();
        let page = page.into_inner();
        let size = if request.page_size == 0 {
            100
        } else {
            request.page_size
        };
        assert!(page.ports.len() <= size as usize);
        names.extend(page.ports.into_iter().map(|port| port.name));
        if page.next_page_token.is_empty() {
            return names;
        }
        request.page_token = page.next_page_token;
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn every_port_is_on_one_page_and_filters_choose() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let front = tenant.subnet(&vpc, "front", "10.0.1.0/24").await;
    let back = tenant.subnet(&vpc, "back", "10.0.2.0/24").await;
    for number in 0..25 {
        let subnet = if number % 5 == 0 { &back } else { &front };
        let mut request = new_port(subnet, &format!("p{number:02}"));
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        request.labels.insert("parity".into(), parity.into());
        request.labels.insert("all".into(), "yes".into());
        tenant.ports.create_port(request).await.unwrap();
    }
    let all: Vec<_> = (0..25).map(|number| format!("p{number:02}")).collect();
    for page_size in [0, 1, 7, 25, 1000] {
        let request = pb::ListPortsRequest {
            page_size,
            ..Default::default()
        };
        assert_eq!(
            sorted(names(&mut tenant, request).await),
            all,
            "{page_size}"
        );
    }

    let of_back = pb::ListPortsRequest {
        subnet_id: back.id.clone(),
        page_size: 2,
        ..Default::default()
    };
    let of_back = sorted(names(&mut tenant, of_back).await);
    assert_eq!(of_back, ["p00", "p05", "p10", "p15", "p20"]);
    let labels = [("parity", "odd"), ("all", "yes")];
    let odd_of_back = pb::ListPortsRequest {
        subnet_id: back.id.clone(),
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        page_size: 1,
        ..Default::default()
    };
    let odd_of_back = sorted(names(&mut tenant, odd_of_back).await);
    assert_eq!(odd_of_back, ["p05", "p15"]);

    let device = new_id();
    let port = tenant.read_port("p03").await;
    tenant.attach(&port, &device, "n1").await.unwrap();
    let filters = [
        pb::ListPortsRequest {
            device_id: device,
            ..Default::default()
        },
        pb::ListPortsRequest {
            name: "p03".into(),
            ..Default::default()
        },
        pb::ListPortsRequest {
            name: "p03".into(),
            subnet_id: front.id.clone(),
            ..Default::default()
        },
        pb::ListPortsRequest {
            name: "p03".into(),
            org_id: "acme".into(),
            project_id: "web".into(),
            vpc_id: vpc.id.clone(),
            ..Default::default()
        },
    ];
    for filter in filters {
        assert_eq!(
            names(&mut tenant, filter.clone()).await,
            ["p03"],
            "{filter:?}"
        );
    }
    let nothing = pb::ListPortsRequest {
        name: "p03".into(),
        subnet_id: back.id.clone(),
        ..Default::default()
    };
    assert_eq!(names(&mut tenant, nothing).await, [""; 0]);

    // A token is one of the same list alone.
    let first = pb::ListPortsRequest {
        page_size: 1,
        ..Default::default()
    };
    let first = tenant.ports.list_ports(first).await.unwrap().into_inner();
    let other = tenant
        .vpcs
        .list_vpcs(pb::ListVpcsRequest {
            page_token: first.next_page_token,
            ..Default::default()
        })
        .await;
    expect_error(other, Code::InvalidArgument, "page of the same list");
}

#[tokio::test]
async fn an_organization_lists_all_of_its_projects() {
    let cloud = Cloud::start().await;
    for (org, project) in [("acme", "web"), ("acme", "data"), ("globex", "web")] {
        let mut member = cloud.member(org, project).await;
        member.vpc(&format!("{org}-{project}"), "10.0.0.0/16").await;
    }
    let list = async |mut client: Client, org_id: &str, project_id: &str| {
        let request = pb::ListVpcsRequest {
            org_id: org_id.into(),
            project_id: project_id.into(),
            ..Default::default()
        };
        let page = client.vpcs.list_vpcs(request).await.unwrap().into_inner();
        sorted(page.vpcs.into_iter().map(|vpc| vpc.name).collect())
    };
    let admin = cloud.org_admin("acme").await;
    assert_eq!(list(admin.clone(), "", "").await, ["acme-data", "acme-web"]);
    assert_eq!(
        list(admin.clone(), "acme", "").await,
        ["acme-data", "acme-web"]
    );
    assert_eq!(list(admin, "acme", "data").await, ["acme-data"]);
    let tenant = cloud.tenant("acme").await;
    assert_eq!(list(tenant, "", "").await, ["acme-web"]);
    let operator = cloud.operator().await;
    assert_eq!(
        list(operator.clone(), "", "").await,
        ["acme-data", "acme-web", "globex-web"]
    );
    assert_eq!(list(operator, "globex", "web").await, ["globex-web"]);
}

#[tokio::test]
async fn a_list_shows_what_get_would() {
    const OWN: &str = "resource.owner == principal.id";
    let cloud = Cloud::start().await;
    let mut member = cloud.tenant("acme").await;
    member.vpc("theirs", "10.0.0.0/16").await;
    // All on a condition; and the list without one, but for what is read.
    let all = [("network:*", OWN)];
    let read = [
        ("network:vpcs:create", ""),
        ("network:vpcs:list", ""),
        ("network:vpcs:watch", ""),
        ("network:vpcs:get", OWN),
    ];
    for (name, permissions) in [("own-1", &all[..]), ("own-2", &read[..])] {
        let mut bob = cloud.with_role("acme", permissions).await;
        bob.vpc(name, "10.1.0.0/16").await;
        let listed = bob.vpcs.list_vpcs(pb::ListVpcsRequest::default()).await;
        let listed = listed.unwrap().into_inner().vpcs;
        let names: Vec<_> = listed.iter().map(|vpc| vpc.name.as_str()).collect();
        assert_eq!(names, [name]);
        // By name as well, which is an answer of its own.
        let theirs = pb::ListVpcsRequest {
            name: "theirs".into(),
            ..Default::default()
        };
        let found = bob.vpcs.list_vpcs(theirs).await.unwrap().into_inner();
        assert_eq!(found.vpcs, []);
        // A stream is not looked through, so that there is none.
        let watch = bob.vpcs.watch_vpcs(pb::WatchVpcsRequest::default()).await;
        assert_eq!(watch.unwrap_err().code(), Code::PermissionDenied);
    }
    // Whoever may see all is shown all; whoever may list alone, too.
    for who in [
        cloud.viewer("acme").await,
        cloud.with_role("acme", &[("network:vpcs:list", "")]).await,
    ] {
        let mut who = who;
        let listed = who.vpcs.list_vpcs(pb::ListVpcsRequest::default()).await;
        assert_eq!(listed.unwrap().into_inner().vpcs.len(), 3);
    }
    // Nobody who may not list at all is told anything.
    let mut nobody = cloud.nobody("acme").await;
    let refused = nobody.vpcs.list_vpcs(pb::ListVpcsRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
}

/// A group of 240 rules with descriptions of `description` characters of four bytes.
fn fat_group(name: &str, description: usize) -> pb::CreateSecurityGroupRequest {
    let rule = |port| pb::SecurityGroupRule {
        direction: pb::Direction::Ingress.into(),
        protocol: pb::Protocol::Tcp.into(),
        port_min: port,
        port_max: port,
        remote_cidr: "10.0.0.0/8".into(),
        description: "🐘".repeat(description),
        ..Default::default()
    };
    pb::CreateSecurityGroupRequest {
        name: name.into(),
        rules: (1..=240).map(rule).collect(),
        ..Default::default()
    }
}

/// What no client can take would be no answer.
#[tokio::test]
async fn a_page_of_large_items_has_fewer_of_them() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let mut wanted = Vec::new();
    for n in 0..6 {
        let name = format!("g{n}");
        let request = fat_group(&name, 900);
        tenant.groups.create_security_group(request).await.unwrap();
        wanted.push(name);
    }
    let mut request = pb::ListSecurityGroupsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = tenant.groups.list_security_groups(request.clone()).await;
        let page = page.unwrap().into_inner();
        found.extend(page.security_groups.into_iter().map(|group| group.name));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(sorted(found), wanted);
    assert_eq!(pages, 2, "three of 0.9 MB on each");
}
