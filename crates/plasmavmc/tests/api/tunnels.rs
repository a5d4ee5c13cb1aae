//! Tunnels to guests, with a host that does as it is told.

use std::time::Duration;

use pb::tunnel_request::Message;
use photon_api::plasmavmc::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::host::Host;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::{DEADLINE, expect_error};

type Owner = (
    Streaming<pb::TunnelResponse>,
    mpsc::Sender<pb::TunnelRequest>,
);
type Guest = (
    Streaming<pb::ServeTunnelResponse>,
    mpsc::Sender<pb::ServeTunnelRequest>,
);

fn message(message: Message) -> pb::TunnelRequest {
    pb::TunnelRequest {
        message: Some(message),
        port: 0,
    }
}

async fn tunnel(client: &Client, vm: &str, port: u32) -> Result<Owner, Status> {
    let (sender, input) = mpsc::channel(4);
    let first = pb::TunnelRequest {
        port,
        ..message(Message::VmId(vm.into()))
    };
    sender.send(first).await.unwrap();
    let response = client
        .vms
        .clone()
        .tunnel(ReceiverStream::new(input))
        .await?;
    let mut answers = response.into_inner();
    let first = answers.message().await?.unwrap();
    assert!(first.data.is_empty());
    Ok((answers, sender))
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

/// Serves the next tunnel that the host is asked for, or refuses it.
async fn serve(
    host: &Host,
    to_host: &mut Streaming<pb::ServeConsolesResponse>,
    refusal: &str,
) -> (pb::TunnelOrder, Guest) {
    let told = within(to_host.message()).await.unwrap().unwrap();
    let order = told.tunnel.unwrap();
    (order, host.tunnel(told.session, refusal).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_arrives_whole_and_in_order_on_both_ways() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "one").await;
    let vm = tenant.create(new_vm("web-1", &[&port])).await.unwrap();
    expect_error(
        tunnel(&tenant, "web-1", 0).await,
        Code::FailedPrecondition,
        "VM 'web-1' is PROVISIONING: a tunnel leads to one that is RUNNING",
    );
    let desired = host.desired_now().await;
    host.obey(&desired).await;
    expect_error(
        tunnel(&tenant, "web-1", 0).await,
        Code::Unavailable,
        "host is not connected",
    );
    let (mut to_host, _from_host) = host.consoles().await;

    let (owner, (order, guest)) =
        tokio::join!(tunnel(&tenant, &vm.id, 0), serve(&host, &mut to_host, ""));
    assert_eq!(order.port, 22);
    assert_eq!(
        (&order.port_id, &order.ip_address),
        (&port.id, &port.ip_address)
    );
    let ((mut answers, sender), (mut told, guest)) = (owner.unwrap(), guest);
    // More than all that waits on the way, both ways at once.
    let pieces = 64_u8;
    let piece = |number: u8| vec![number; 65_536];
    let sending = async {
        for number in 0..pieces {
            sender
                .send(message(Message::Data(piece(number))))
                .await
                .unwrap();
        }
        for number in 0..pieces {
            let read = within(answers.message()).await.unwrap().unwrap();
            assert!(read.data == piece(number), "{number}");
        }
    };
    let guests = async {
        for number in 0..pieces {
            let request = pb::ServeTunnelRequest {
                data: piece(number),
                ..Default::default()
            };
            guest.send(request).await.unwrap();
        }
    };
    let reading = async {
        for number in 0..pieces {
            let read = within(told.message()).await.unwrap().unwrap();
            assert!(read.data == piece(number), "{number}");
        }
    };
    tokio::join!(sending, guests, reading);
    // One side ends before the other.
    drop(sender);
    assert!(within(told.message()).await.unwrap().unwrap().ended);
    let last = pb::ServeTunnelRequest {
        data: b"bye".to_vec(),
        ..Default::default()
    };
    guest.send(last).await.unwrap();
    drop(guest);
    assert_eq!(
        within(answers.message()).await.unwrap().unwrap().data,
        b"bye"
    );
    assert!(within(answers.message()).await.unwrap().is_none());
    assert!(within(told.message()).await.unwrap().is_none());

    // The owner goes without a word.
    let (owner, (_, (mut told, _guest))) = tokio::join!(
        tunnel(&tenant, &vm.id, 5432),
        serve(&host, &mut to_host, "")
    );
    drop(owner.unwrap());
    assert!(within(told.message()).await.unwrap().unwrap().ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_is_opened_wrongly_or_by_others_or_once_too_often_is_refused() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let other = cloud.tenant("globex").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "one").await;
    let vm = tenant.create(new_vm("web-1", &[&port])).await.unwrap();
    tenant.create(new_vm("bare", &[])).await.unwrap();
    let desired = host.desired_now().await;
    host.obey(&desired).await;
    let (mut to_host, _from_host) = host.consoles().await;
    expect_error(
        tunnel(&other, &vm.id, 22).await,
        Code::NotFound,
        "not found",
    );
    let viewer = cloud.user("acme", "viewer", "ProjectViewer").await;
    expect_error(
        tunnel(&cloud.client(&viewer), &vm.id, 22).await,
        Code::PermissionDenied,
        "compute:instances:console",
    );
    expect_error(
        tunnel(&tenant, &vm.id, 65_536).await,
        Code::InvalidArgument,
        "port '65536' is not valid: expected a TCP port, 1 to 65535",
    );
    expect_error(
        tunnel(&tenant, "bare", 22).await,
        Code::FailedPrecondition,
        "VM 'bare' has no interface with an IPv4 address",
    );
    let early = tokio_stream::once(message(Message::Data(b"x".to_vec())));
    expect_error(
        tenant.vms.tunnel(early).await,
        Code::InvalidArgument,
        "expected 'vm_id' in the first message",
    );

    // What the guest says to it.
    let (refused, (_, (mut told, _guest))) = tokio::join!(
        tunnel(&tenant, &vm.id, 22),
        serve(&host, &mut to_host, "the guest does not accept at port 22")
    );
    expect_error(refused, Code::Unavailable, "the guest does not accept");
    assert!(within(told.message()).await.unwrap().is_none());
    // A number that nobody waits for, or waits for no more, serves nothing.
    let (mut told, _guest) = host.tunnel(u64::MAX, "").await;
    assert!(within(told.message()).await.unwrap().is_none());

    let mut open = Vec::new();
    for _ in 0..16 {
        let (owner, (_, guest)) =
            tokio::join!(tunnel(&tenant, &vm.id, 22), serve(&host, &mut to_host, ""));
        open.push((owner.unwrap(), guest));
    }
    expect_error(
        tunnel(&tenant, &vm.id, 22).await,
        Code::ResourceExhausted,
        "VM 'web-1' has 16 tunnels open",
    );
    let ((_, sender), _) = open.last().unwrap();
    sender
        .send(message(Message::Data(vec![0; 65_537])))
        .await
        .unwrap();
    let ((mut answers, sender), guest) = open.pop().unwrap();
    expect_error(
        within(answers.message()).await,
        Code::InvalidArgument,
        "data '(65537 bytes)' is not valid",
    );
    // One that has ended makes room, once both ends know.
    drop((answers, sender, guest));
    let begun = tokio::time::Instant::now();
    loop {
        let waiting = tunnel(&tenant, &vm.id, 22);
        tokio::select! {
            answered = waiting => match answered {
                // Served, and told so at the same moment.
                Ok(_) => break,
                refused => expect_error(refused, Code::ResourceExhausted, "16 tunnels"),
            },
            (_, guest) = serve(&host, &mut to_host, "") => {
                drop(guest);
                break;
            }
        }
        assert!(begun.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
