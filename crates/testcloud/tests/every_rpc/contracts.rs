use std::collections::BTreeSet;

use flaredb::Db;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::{CreateProjectRequest, IssueTokenRequest};
use photon_testcloud::provisioner::{mac, report_of, uuid};
use photon_testcloud::{NODE, TestCloud};
use photon_testkit::Session;
use photon_testkit::walk::{
    Alias, Case, Narrow, Outsider, Secrets, Witness, expect_none, hidden, narrowed, pages, repeated,
};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;

use crate::{Scene, flashdns, iam, plasmavmc, prismnet, provisioner};

/// A server with the cases of two tenants.
struct Stage<'a> {
    cloud: &'a TestCloud,
    channel: Channel,
    name: &'static str,
    cases: Vec<Case>,
    /// The same of the other tenant.
    own: Vec<Case>,
    aliases: Vec<Alias>,
}

/// The same person with a token for one project.
async fn for_project(cloud: &TestCloud, who: &Session, project: &str) -> Session {
    let request = IssueTokenRequest {
        principal_id: who.principal_id.clone(),
        org_id: cloud.acme.org.clone(),
        project_id: project.to_owned(),
        ..Default::default()
    };
    let mut client = IamTokenServiceClient::new(cloud.channel("iam"));
    let issued = client
        .issue_token(cloud.operator.request(request))
        .await
        .unwrap();
    Session {
        token: issued.into_inner().token,
        ..who.clone()
    }
}

/// A second project of `acme`, in which nothing is.
async fn second_project(cloud: &TestCloud) -> &'static str {
    let project = "data";
    let request = CreateProjectRequest {
        org_id: cloud.acme.org.clone(),
        id: project.into(),
        ..Default::default()
    };
    cloud
        .admin()
        .create_project(cloud.operator.request(request))
        .await
        .unwrap();
    project
}

impl<'a> Scene<'a> {
    /// The same of `globex`.
    fn globex(cloud: &'a TestCloud) -> Self {
        Self {
            cloud,
            tenant: &cloud.globex,
            other: &cloud.acme,
        }
    }
}

/// What else the machines of the cases are called.
fn aliases(joined: &str) -> Vec<Alias> {
    let serial = |n| report_of(n).serial;
    let mut aliases = vec![
        Alias::new(&serial(2), "by its id", joined),
        Alias::new(&serial(2), "by its host name", provisioner::JOINED),
    ];
    for n in 1..=3 {
        aliases.push(Alias::new(&serial(n), "by its MAC address", &mac(n)));
        aliases.push(Alias::new(&serial(n), "by its UUID", &uuid(n)));
    }
    aliases
}

impl Stage<'_> {
    /// Everybody without a right to things of `acme`.
    async fn outsiders(&self) -> Vec<Outsider> {
        let (cloud, acme, globex) = (self.cloud, &self.cloud.acme, &self.cloud.globex);
        let project = second_project(cloud).await;
        let scope = format!("org/{}/project/{project}", acme.org);
        let roles = [("ProjectMember", scope.as_str())];
        let neighbour = cloud
            .people
            .service_account(&acme.org, "neighbour", &roles)
            .await;
        let neighbour = for_project(cloud, &neighbour, project).await;
        let mut outsiders = Vec::new();
        let mut add = |who, session: &Session, knows: &str| {
            outsiders.push(Outsider {
                who,
                session: session.clone(),
                // Both tenants' projects have the same name.
                knows: if knows == globex.org {
                    vec![knows.to_owned(), format!("project/{}", globex.project)]
                } else {
                    vec![knows.to_owned()]
                },
            });
        };
        add("another tenant's administrator", &globex.admin, &globex.org);
        add("another tenant's viewer", &globex.viewer, &globex.org);
        add(
            "one of another tenant without a role",
            &globex.nobody,
            &globex.org,
        );
        add("one of the tenant without a role", &acme.nobody, &acme.org);
        add(
            "one of the tenant who may only look",
            &acme.viewer,
            &acme.org,
        );
        add(
            "a member of another project, with its token",
            &neighbour,
            &acme.org,
        );
        add(
            "the tenant's administrator with a token for another project",
            &acme.elsewhere,
            &acme.org,
        );
        add("one of the system without a role", &cloud.stranger, "");
        for agent in ["prismnet-agent", "plasmavmc-agent", "flashdns-agent"] {
            add("a host's agent", &cloud.program(agent).await, NODE);
        }
        outsiders
    }

    /// The digests of all that the server has stored.
    async fn stored(&self) -> BTreeSet<String> {
        let file = self
            .cloud
            .place()
            .state_dir(self.name)
            .join("flaredb.sqlite");
        let db = Db::sqlite_read_only(&file).await.unwrap();
        let (mut digests, mut after) = (BTreeSet::new(), None);
        loop {
            let scan = db.scan_raw("", after.as_deref(), 1000).await.unwrap();
            for item in &scan.items {
                let digest = Sha256::digest(&item.value);
                digests.insert(digest.iter().map(|byte| format!("{byte:02x}")).collect());
            }
            after = scan.items.last().map(|item| item.key.clone());
            if !scan.more {
                return digests;
            }
        }
    }

    async fn keeps_its_promises(&self) {
        let mut problems = Vec::new();
        let name = self.name;
        let acme = &self.cloud.acme;
        let outsiders = self.outsiders().await;
        let secrets = Secrets {
            cases: &self.cases,
            scope: (&acme.org, &acme.project),
            aliases: &self.aliases,
            outsiders: &outsiders,
            neighbour: (&self.cloud.globex.admin, &self.own),
        };
        let (tried, found) = hidden(&self.channel, &secrets).await;
        println!("{name}, hidden: {tried:?}");
        problems.extend(found);

        let ((lists, calls), found) =
            pages(&self.channel, &self.cases, &self.own, &self.cloud.operator).await;
        println!("{name}, pages: {lists} lists, {calls} calls");
        problems.extend(found);

        let here = for_project(self.cloud, &acme.admin, &acme.project).await;
        let elsewhere = for_project(self.cloud, &acme.admin, "data").await;
        let narrow = |session, project| Narrow { session, project };
        let (lists, found) = narrowed(
            &self.channel,
            &self.cases,
            narrow(&here, &acme.project),
            narrow(&elsewhere, "data"),
        )
        .await;
        println!("{name}, narrowed: {lists} lists");
        problems.extend(found);

        // Last, because it changes things.
        let witness = Witness {
            channel: &self.channel,
            auditor: &self.cloud.operator,
            // That of an organization is its own; these are made and deleted.
            chains: &[&acme.org, iam::NEW_ORG, iam::OLD_ORG, "system"],
            stored: async || self.stored().await,
        };
        let (tried, found) = repeated(&witness, &self.cases).await;
        println!("{name}, repeated: {tried:?}");
        problems.extend(found);
        expect_none(&problems);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn iam_keeps_the_promises_of_every_rpc() {
    let cloud = TestCloud::start().await;
    let stage = Stage {
        cloud: &cloud,
        channel: cloud.channel("iam"),
        name: "iam",
        cases: iam::cases(&Scene::acme(&cloud)).await,
        own: iam::cases(&Scene::globex(&cloud)).await,
        aliases: Vec::new(),
    };
    stage.keeps_its_promises().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prismnet_keeps_the_promises_of_every_rpc() {
    let cloud = TestCloud::start().await;
    let stage = Stage {
        cloud: &cloud,
        channel: cloud.channel("prismnet"),
        name: "prismnet",
        cases: prismnet::cases(&Scene::acme(&cloud)).await,
        own: prismnet::cases(&Scene::globex(&cloud)).await,
        aliases: Vec::new(),
    };
    stage.keeps_its_promises().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plasmavmc_keeps_the_promises_of_every_rpc() {
    let cloud = TestCloud::start().await;
    let stage = Stage {
        cloud: &cloud,
        channel: cloud.channel("plasmavmc"),
        name: "plasmavmc",
        cases: plasmavmc::cases(&Scene::acme(&cloud)).await,
        own: plasmavmc::cases(&Scene::globex(&cloud)).await,
        aliases: Vec::new(),
    };
    stage.keeps_its_promises().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flashdns_keeps_the_promises_of_every_rpc() {
    let cloud = TestCloud::start().await;
    let stage = Stage {
        cloud: &cloud,
        channel: cloud.channel("flashdns"),
        name: "flashdns",
        cases: flashdns::cases(&Scene::acme(&cloud)).await,
        own: flashdns::cases(&Scene::globex(&cloud)).await,
        aliases: Vec::new(),
    };
    stage.keeps_its_promises().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provisioner_keeps_the_promises_of_every_rpc() {
    let cloud = TestCloud::start().await;
    let joined = provisioner::discovered(&cloud).await;
    let stage = Stage {
        cloud: &cloud,
        channel: cloud.channel("provisioner"),
        name: "provisioner",
        cases: provisioner::cases(&Scene::acme(&cloud)),
        own: provisioner::cases(&Scene::globex(&cloud)),
        aliases: aliases(&joined),
    };
    stage.keeps_its_promises().await;
}
