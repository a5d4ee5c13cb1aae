//! How guests are told what they are: wanted of their hosts at once, with no start.

use photon_api::plasmavmc::v1 as pb;
use photon_api::plasmavmc::v1::{HttpTokens, MetadataEndpoint, MetadataOptions};
use photon_testcloud::plasmavmc::{Cloud, new_vm};

use crate::host::Host;

fn options(endpoint: MetadataEndpoint, tokens: HttpTokens, hop_limit: u32) -> MetadataOptions {
    MetadataOptions {
        endpoint: endpoint.into(),
        http_tokens: tokens.into(),
        hop_limit,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_must_show_a_token_unless_its_owner_says_otherwise() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut admin = cloud.tenant("acme").await;
    let made = admin.create(new_vm("web-1", &[])).await.unwrap();
    let usual = options(MetadataEndpoint::Enabled, HttpTokens::Required, 1);
    assert_eq!(made.spec.unwrap().metadata_options, Some(usual));
    let mut wanted = async || host.desired_now().await.vms.remove(0);
    let before = wanted().await;
    assert_eq!(before.spec.unwrap().metadata_options, Some(usual));

    // What is not said is as it was.
    let update = |given| pb::UpdateVmRequest {
        id: made.id.clone(),
        metadata_options: Some(given),
        ..Default::default()
    };
    let unsaid = MetadataEndpoint::Unspecified;
    let open = update(options(unsaid, HttpTokens::Optional, 0));
    admin.vms.update_vm(open).await.unwrap();
    let far = update(options(unsaid, HttpTokens::Unspecified, 3));
    admin.vms.update_vm(far).await.unwrap();
    let now = options(MetadataEndpoint::Enabled, HttpTokens::Optional, 3);
    let told = wanted().await;
    assert_eq!(told.spec.unwrap().metadata_options, Some(now));
    // It is no matter of the next start.
    assert_eq!(told.spec_revision, before.spec_revision);
    let off = MetadataOptions {
        endpoint: MetadataEndpoint::Disabled.into(),
        ..Default::default()
    };
    let vm = admin.vms.update_vm(update(off)).await.unwrap();
    let vm = vm.into_inner().vm.unwrap();
    let now = options(MetadataEndpoint::Disabled, HttpTokens::Optional, 3);
    assert_eq!(vm.spec.unwrap().metadata_options, Some(now));
    assert_eq!(
        admin
            .get(&made.id)
            .await
            .unwrap()
            .spec
            .unwrap()
            .metadata_options,
        Some(now)
    );
}
