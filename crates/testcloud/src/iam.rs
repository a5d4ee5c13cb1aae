//! IAM.

use iam::app::bootstrap::make_credentials;
use photon_program::Settings;
use photon_testkit::{Cloud, Part, Place};

/// IAM with an operator from its credential, and identities for the agents of the host `node`.
pub fn part(node: &str) -> Part {
    with(node, |_, _| ())
}

/// As [`part`], with other settings than the usual.
pub fn with(
    node: &str,
    change: impl Fn(&Place, &mut Settings<iam::Settings>) + Send + Sync + 'static,
) -> Part {
    blank(node, change).prepared(|place| {
        make_credentials(&place.credentials()).expect("credentials");
    })
}

/// IAM that finds no credentials at its first start.
pub fn blank(
    node: &str,
    change: impl Fn(&Place, &mut Settings<iam::Settings>) + Send + Sync + 'static,
) -> Part {
    let node = node.to_owned();
    Part::new(iam::COMPONENT.name, move |place, listener, shutdown| {
        let mut settings = crate::settings::<iam::Settings>(iam::COMPONENT, &place, None);
        let credentials = place.credentials();
        settings.component.credentials_dir = credentials.exists().then_some(credentials);
        settings.component.node = Some(node.clone());
        // Those that this cloud has.
        let holders = settings.component.holders().expect("by default");
        let there = holders.iter().filter(|it| place.url(it.name).is_some());
        settings.component.tenant_holders = Some(there.map(|it| it.name.to_owned()).collect());
        change(&place, &mut settings);
        iam::run(settings, listener, shutdown)
    })
}

/// IAM alone, for the host `host-1`.
pub async fn start() -> Cloud {
    Cloud::start([part("host-1")]).await
}
