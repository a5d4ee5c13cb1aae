use photon_api::provisioner::v1::enrolment_service_client::EnrolmentServiceClient;
use photon_api::provisioner::v1::machine_service_client::MachineServiceClient;
use photon_api::provisioner::v1::*;
use photon_testcloud::TestCloud;
use photon_testcloud::provisioner::{csr, enrol_request, join_token, report, report_of};
use photon_testkit::until;
use photon_testkit::walk::{Case, walk};
use rcgen::KeyPair;
use tonic::Code;
use tonic::transport::Channel;

use crate::{Scene, bearers};

/// Hosts have no token: a join token or the certificate of the connection says who they are, and each of these calls is
/// refused without.
const EXCEPTIONS: &[&str] = &[
    "provisioner.v1.EnrolmentService/Enrol",
    "provisioner.v1.EnrolmentService/Renew",
    "provisioner.v1.EnrolmentService/ReportReady",
];

/// The name of the machine that has joined.
pub const JOINED: &str = "node03";

fn serial(n: u8) -> String {
    report_of(n).serial
}

/// Three machines: one that is discovered, one that has joined as `node03`, and another discovered. The second one's id.
pub async fn discovered(cloud: &TestCloud) -> String {
    for n in 1..=3 {
        report(cloud.boot, &report_of(n)).await;
    }
    join(cloud).await
}

/// The second machine is approved, installed, and enrols.
async fn join(cloud: &TestCloud) -> String {
    let mut client = MachineServiceClient::new(cloud.channel("provisioner"));
    let approve = ApproveMachineRequest {
        id: serial(2),
        name: JOINED.into(),
        ..Default::default()
    };
    let approved = client
        .approve_machine(cloud.operator.request(approve))
        .await
        .unwrap();
    let id = approved.into_inner().machine.unwrap().id;
    report(cloud.boot, &report_of(2)).await;
    let installing = async || {
        let get = GetMachineRequest { id: serial(2) };
        let machine = client.get_machine(cloud.operator.request(get)).await;
        let state = machine.unwrap().into_inner().machine.unwrap().state();
        (state == MachineState::Installing).then_some(())
    };
    until(installing).await;
    let token = std::fs::read_to_string(join_token(cloud.place(), &id)).unwrap();
    let request = csr(JOINED, &KeyPair::generate().unwrap());
    let mut hosts = EnrolmentServiceClient::new(cloud.channel("provisioner"));
    hosts
        .enrol(enrol_request(2, &request, token.trim()))
        .await
        .unwrap();
    id
}

pub fn cases(scene: &Scene<'_>) -> Vec<Case> {
    let operator = &scene.cloud.operator;
    let mut cases: Vec<Case> = scene.events().into();
    cases.extend([
        scene.system(
            "provisioner.v1.MachineService/ListMachines",
            operator,
            ListMachinesRequest::default(),
        ),
        scene.system(
            "provisioner.v1.MachineService/GetMachine",
            operator,
            GetMachineRequest { id: serial(2) },
        ),
        scene.system(
            "provisioner.v1.MachineService/ApproveMachine",
            operator,
            ApproveMachineRequest {
                id: serial(1),
                name: "node02".into(),
                ..Default::default()
            },
        ),
        scene.system(
            "provisioner.v1.MachineService/WatchMachine",
            operator,
            WatchMachineRequest { id: serial(2) },
        ),
        scene.system(
            "provisioner.v1.MachineService/IssueJoinToken",
            operator,
            IssueJoinTokenRequest {
                machine: serial(2),
                confirm_name: JOINED.into(),
                ..Default::default()
            },
        ),
        scene.system(
            "provisioner.v1.MachineService/ReinstallMachine",
            operator,
            ReinstallMachineRequest {
                id: serial(2),
                force: true,
                ..Default::default()
            },
        ),
        scene.system(
            "provisioner.v1.MachineService/RetireMachine",
            operator,
            RetireMachineRequest {
                id: serial(3),
                force: true,
                ..Default::default()
            },
        ),
        Case::no_token(
            EXCEPTIONS[0],
            &EnrolRequest::default(),
            "a join token says which machine it is",
        ),
        Case::no_token(
            EXCEPTIONS[1],
            &RenewRequest::default(),
            "the certificate of the connection says which host it is",
        ),
        Case::no_token(
            EXCEPTIONS[2],
            &ReportReadyRequest::default(),
            "the certificate of the connection says which host it is",
        ),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_of_the_provisioner_has_its_walls() {
    let cloud = TestCloud::start().await;
    discovered(&cloud).await;
    let bearers = bearers(&cloud, &[]).await;
    let cases = cases(&Scene::acme(&cloud));
    let count = cases.len();
    let channel = cloud.channel("provisioner");
    let calls = walk(&channel, &cases, &bearers, EXCEPTIONS).await;
    println!("{calls} calls of {count} RPCs");
}

/// Nobody's token counts where a join token or a certificate is asked for, not even the operator's.
#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_makes_nobody_a_host() {
    let cloud = TestCloud::start().await;
    report(cloud.boot, &report_of(1)).await;
    let mut client: EnrolmentServiceClient<Channel> =
        EnrolmentServiceClient::new(cloud.channel("provisioner"));
    let enrol = EnrolRequest {
        token: cloud.operator.token.clone(),
        ..Default::default()
    };
    for status in [
        client.enrol(EnrolRequest::default()).await.unwrap_err(),
        client
            .renew(cloud.operator.request(RenewRequest::default()))
            .await
            .unwrap_err(),
        client
            .report_ready(cloud.operator.request(ReportReadyRequest::default()))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    }
    let status = client
        .enrol(cloud.operator.request(enrol))
        .await
        .unwrap_err();
    // Before the token is looked at, there is no certificate request.
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let mut machines = MachineServiceClient::new(cloud.channel("provisioner"));
    let get = GetMachineRequest { id: serial(1) };
    let machine = machines
        .get_machine(cloud.operator.request(get))
        .await
        .unwrap();
    let machine = machine.into_inner().machine.unwrap();
    assert_eq!(machine.state(), MachineState::Discovered);
}
