//! The commands of docs/getting-started/tenant-onboarding.md do what it says: with a generic gRPC client that
//! finds the API by reflection, and with `photon`.

use std::path::Path;
use std::process::Stdio;

use photon_e2e::OPERATOR;
use xtask::documents;
use xtask::photoncloud;

use crate::SECOND;
use crate::cloud::Cloud;

/// The commands of a document: its blocks marked `sh`, in order.
fn commands(document: &Path) -> String {
    let blocks = documents::blocks(document).unwrap().into_iter();
    let commands = blocks.filter(|block| block.language == "sh");
    commands.map(|block| block.text).collect()
}

#[tokio::test]
async fn the_commands_of_the_tenants_first_day_work() {
    let client = tokio::task::spawn_blocking(xtask::grpcurl::ensure)
        .await
        .unwrap()
        .unwrap();
    let cloud = Cloud::start().await;
    let document = photoncloud::tree().join("docs/getting-started/tenant-onboarding.md");
    let script = commands(&document);
    assert!(
        script.lines().count() > 40,
        "the document's commands were not found"
    );
    let password = photoncloud::operator_password(&cloud.host()).await.unwrap();
    let config = tempfile::tempdir().unwrap();
    let guest = cloud.rack.guest();
    let path = format!(
        "{}:{}:{}",
        client.display(),
        cloud.host().share().join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let run = tokio::process::Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .env("PATH", path)
        .env("PHOTON_CONFIG_DIR", config.path())
        // Where the document's SSH key is.
        .env("HOME", config.path())
        .envs(cloud.endpoints.variables())
        .env("PHOTON_OPERATOR", OPERATOR)
        .env("PHOTON_OPERATOR_PASSWORD", password)
        .env("PHOTON_GUEST_KERNEL", guest.kernel)
        .env("PHOTON_GUEST_INITRD", guest.initrd)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(300 * SECOND, run)
        .await
        .expect("the commands end")
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
