use std::net::SocketAddr;

use photon_api::provisioner::v1::enrolment_service_client::EnrolmentServiceClient;
use photon_api::provisioner::v1::machine_service_client::MachineServiceClient;
use photon_api::provisioner::v1::*;
use photon_testkit::TestCloud;
use photon_testkit::walk::{Case, walk};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::{bearers, events, system};

/// Hosts have no token: a join token or the certificate of the connection says who they are, and each of these calls is
/// refused without.
const EXCEPTIONS: &[&str] = &[
    "provisioner.v1.EnrolmentService/Enrol",
    "provisioner.v1.EnrolmentService/Renew",
    "provisioner.v1.EnrolmentService/ReportReady",
];

/// A machine reports its inventory.
async fn discover(boot: SocketAddr) {
    let body = r#"{"serial":"S-1","interfaces":[{"name":"eth0","mac":"52:54:00:00:00:01"}]}"#;
    let head = format!(
        "POST /inventory HTTP/1.1\r\nHost: boot\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(boot).await.unwrap();
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn cases(cloud: &TestCloud) -> Vec<Case> {
    let id = || "S-1".to_owned();
    let operator = &cloud.operator;
    let mut cases: Vec<Case> = events(cloud).into();
    cases.extend([
        system(
            cloud,
            "provisioner.v1.MachineService/ListMachines",
            operator,
            ListMachinesRequest::default(),
        ),
        system(
            cloud,
            "provisioner.v1.MachineService/GetMachine",
            operator,
            GetMachineRequest { id: id() },
        ),
        system(
            cloud,
            "provisioner.v1.MachineService/ApproveMachine",
            operator,
            ApproveMachineRequest {
                id: id(),
                name: "node02".into(),
                ..Default::default()
            },
        ),
        system(
            cloud,
            "provisioner.v1.MachineService/WatchMachine",
            operator,
            WatchMachineRequest { id: id() },
        ),
        system(
            cloud,
            "provisioner.v1.MachineService/ReinstallMachine",
            operator,
            ReinstallMachineRequest {
                id: id(),
                force: true,
                ..Default::default()
            },
        ),
        system(
            cloud,
            "provisioner.v1.MachineService/RetireMachine",
            operator,
            RetireMachineRequest {
                id: id(),
                force: true,
                ..Default::default()
            },
        ),
        system(
            cloud,
            "provisioner.v1.MachineService/IssueJoinToken",
            operator,
            IssueJoinTokenRequest {
                machine: id(),
                confirm_name: "node02".into(),
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
    let (provisioner, boot) = cloud.provisioner().await;
    discover(boot).await;
    let bearers = bearers(&cloud, &[]).await;
    let cases = cases(&cloud);
    let count = cases.len();
    let calls = walk(&provisioner.channel(), &cases, &bearers, EXCEPTIONS).await;
    println!("{calls} calls of {count} RPCs");
}

/// Nobody's token counts where a join token or a certificate is asked for, not even the operator's.
#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_makes_nobody_a_host() {
    let cloud = TestCloud::start().await;
    let (provisioner, boot) = cloud.provisioner().await;
    discover(boot).await;
    let mut client: EnrolmentServiceClient<Channel> =
        EnrolmentServiceClient::new(provisioner.channel());
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
    let mut machines = MachineServiceClient::new(provisioner.channel());
    let get = GetMachineRequest { id: "S-1".into() };
    let machine = machines
        .get_machine(cloud.operator.request(get))
        .await
        .unwrap();
    let machine = machine.into_inner().machine.unwrap();
    assert_eq!(machine.state(), MachineState::Discovered);
}
