//! FlashDNS with those that it follows, and what a host is told.

use std::ops::{Deref, DerefMut};

use photon_api::desired::DesiredMessage;
use photon_api::flashdns::v1 as pb;
use photon_api::flashdns::v1::node_service_client::NodeServiceClient;
use photon_testkit::{Bearing, DEADLINE, Part};
use tonic::Streaming;

use crate::{plasmavmc, prismnet};

const NAME: &str = flashdns::COMPONENT.name;

/// FlashDNS.
pub fn part() -> Part {
    Part::new(NAME, move |place, listener, shutdown| {
        let settings = crate::settings(flashdns::COMPONENT, &place, Some("flashdns-server"));
        flashdns::run(settings, listener, shutdown)
    })
}

/// PlasmaVMC's cloud and FlashDNS.
pub struct Cloud(plasmavmc::Cloud);

impl Deref for Cloud {
    type Target = plasmavmc::Cloud;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Cloud {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Cloud {
    /// Four servers.
    pub async fn start() -> Self {
        let parts = [
            crate::iam::part(plasmavmc::HOST),
            prismnet::part(),
            plasmavmc::part(Default::default()),
            part(),
        ];
        Self(plasmavmc::Cloud::of(
            photon_testkit::Cloud::start(parts).await,
        ))
    }

    /// What a host's agent hears.
    pub async fn told(&self, node: &str) -> Told {
        let session = match node {
            plasmavmc::HOST => {
                self.people
                    .program("flashdns-agent", Some(node), 3600)
                    .await
            }
            node => self.people.agent(node).await.session,
        };
        let mut client: NodeServiceClient<Bearing> =
            NodeServiceClient::new(session.on(self.channel(NAME)));
        let request = pb::WatchDesiredRequest { node: node.into() };
        Told {
            stream: client.watch_desired(request).await.unwrap().into_inner(),
            known: pb::DesiredNames::default(),
        }
    }
}

/// What a host has been told.
pub struct Told {
    stream: Streaming<pb::DesiredNames>,
    /// Put together.
    pub known: pb::DesiredNames,
}

impl Told {
    /// Listens until it is as wanted.
    pub async fn until(&mut self, wanted: impl Fn(&pb::DesiredNames) -> bool) {
        let listen = async {
            loop {
                let message = self.stream.message().await.unwrap().expect("it goes on");
                let more = message.more;
                self.known.amend(message);
                if !more && wanted(&self.known) {
                    return;
                }
            }
        };
        let heard = tokio::time::timeout(DEADLINE, listen).await;
        heard.unwrap_or_else(|_| panic!("not told in time, but {:#?}", self.known));
    }

    /// Listens until the names of the VPC are these.
    pub async fn until_names(&mut self, vpc: &str, wanted: &[&str]) {
        self.until(|known| names(known, vpc) == wanted).await;
    }
}

/// Name and addresses of all that the guests of a VPC are answered.
pub fn names(known: &pb::DesiredNames, vpc: &str) -> Vec<String> {
    let views = known.views.iter().filter(|view| view.id == vpc);
    let names = views.flat_map(|view| &view.names);
    names
        .map(|name| format!("{} {}", name.id, name.addresses.join(" ")))
        .collect()
}
