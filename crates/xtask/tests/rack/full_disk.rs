//! A tenant fills the file system that the stores are on, too: the stores' servers write on.

use photon_e2e::{Account, onboard};

use crate::cloud::Cloud;

/// The user of a virtual machine (decision 0003) takes all that it can get, in ever smaller pieces.
const FILL: &str = "mkdir -m 777 /var/lib/guests && cd /var/lib/guests
for size in 100M 10M 1M 64K 4K; do
  while setpriv --reuid=1610612999 --regid=1610612999 --clear-groups fallocate -l $size $((n = n + 1)) 2>/dev/null; do :; done
done
df --output=avail . | tail -1";

#[tokio::test]
async fn the_stores_servers_write_on_when_guests_have_filled_the_disk() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let free = host.check(FILL).await.unwrap();
    assert_eq!(free.trim(), "0", "KiB are free for users");

    // Without the reserve they can't: some soon, some when their file has to grow.
    let mut failed = None;
    for number in 0..60 {
        let account = Account::new(&format!("without-{number}")).unwrap();
        if let Err(error) = onboard(&cloud.operator, &account).await {
            failed = Some(error.to_string());
            break;
        }
    }
    assert!(failed.is_some(), "the disk is not full for the servers");

    // As modules/disks.nix has it mounted.
    host.check("mount -o remount,resgid=$(getent group photoncloud-stores | cut -d: -f3) /")
        .await
        .unwrap();
    for number in 0..10 {
        let account = Account::new(&format!("with-{number}")).unwrap();
        onboard(&cloud.operator, &account).await.unwrap();
        account.sign_in(&cloud.channels).await.unwrap();
    }
    // And tenants' machines get none of it.
    let more = host.run("cd /var/lib/guests && setpriv --reuid=1610612999 --regid=1610612999 --clear-groups sh -c 'echo > more && fallocate -l 1M more'");
    assert!(!more.await.unwrap().success());
}
