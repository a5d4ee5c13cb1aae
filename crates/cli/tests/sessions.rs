//! Staying signed in: what `photon` keeps, how several of them share it, and how it ends.

#[path = "support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use photon_testcloud::TestCloud;
use photon_testkit::PASSWORD;
use serde_json::Value;
use support::Photon;

/// Somebody who signs in with a password, for tokens of three seconds.
async fn alice(cloud: &TestCloud, folder: &std::path::Path) -> Photon {
    let scope = cloud.acme.scope();
    let role = ("ProjectMember", scope.as_str());
    cloud.people.user("acme", "", "alice", role).await;
    std::fs::write(folder.join("password"), PASSWORD).unwrap();
    alice_again(cloud, folder)
}

fn alice_again(cloud: &TestCloud, folder: &std::path::Path) -> Photon {
    Photon::new(folder)
        .with("PHOTON_IAM_ENDPOINT", cloud.server("iam").url())
        .with("PHOTON_PRISMNET_ENDPOINT", cloud.server("prismnet").url())
        .with("PHOTON_ORG", "acme")
        .with("PHOTON_PROJECT", "web")
}

const LOGIN: [&str; 6] = [
    "login",
    "alice",
    "--password-file",
    "password",
    "--ttl",
    "3",
];

fn kept(folder: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(folder.join("tokens/default")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_commands_at_once_share_one_session() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let photon = alice(&cloud, folder.path()).await;
    let said = photon.run(&LOGIN).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let path = folder.path().join("tokens/default");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = kept(folder.path())["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!format!("{said:?}").contains(&secret));

    let session = photon.json(&["whoami"]).await["session_id"].clone();
    for _ in 0..3 {
        // There is nothing to watch for but the time: until the token has ended, for which it is renewed.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let before = kept(folder.path());
        let all = (0..5).map(|_| photon.json(&["whoami"]));
        for who in futures::future::join_all(all).await {
            assert_eq!(who["session_id"], session);
        }
        assert_ne!(
            before["refresh_token"],
            kept(folder.path())["refresh_token"]
        );
    }
    let sessions = photon.json(&["session", "list"]).await;
    let sessions = sessions.as_array().unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert!(
        sessions[0]["client"]
            .as_str()
            .unwrap()
            .starts_with("photon/")
    );

    // Whoever presses the tab key keeps the session too.
    let made = ["vpc", "create", "backbone", "--cidr", "10.0.0.0/16"];
    assert_eq!(photon.run(&made).await.code, Some(0));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let before = kept(folder.path());
    let asking = alice_again(&cloud, folder.path())
        .with("PHOTON_COMPLETE", "bash")
        .with("_CLAP_COMPLETE_INDEX", "3")
        .with("_CLAP_COMPLETE_SPACE", "true");
    let answer = asking.run(&["--", "photon", "vpc", "get", "b"]).await;
    assert_eq!(answer.stdout.trim(), "backbone", "{answer:?}");
    assert_ne!(
        before["refresh_token"],
        kept(folder.path())["refresh_token"]
    );
    assert_eq!(photon.json(&["whoami"]).await["session_id"], session);

    // A second sign-in takes the place of the first.
    assert_eq!(photon.run(&LOGIN).await.code, Some(0));
    let sessions = photon.json(&["session", "list"]).await;
    assert_eq!(sessions.as_array().unwrap().len(), 1, "{sessions:?}");
    assert_ne!(sessions[0]["id"], session);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_and_so_does_ending_it() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let photon = alice(&cloud, folder.path()).await;
    assert_eq!(photon.run(&LOGIN).await.code, Some(0));
    let token = kept(folder.path())["token"].as_str().unwrap().to_owned();
    let out = photon.run(&["logout"]).await;
    assert_eq!(out.code, Some(0), "{out:?}");
    assert!(!folder.path().join("tokens/default").exists());
    let with_old = Photon::of(&cloud, folder.path(), &token);
    assert_eq!(with_old.run(&["whoami"]).await.code, Some(4));

    assert_eq!(photon.run(&LOGIN).await.code, Some(0));
    let id = photon.json(&["whoami"]).await["session_id"].clone();
    let ended = photon.run(&["session", "end", id.as_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let refused = photon.run(&["whoami"]).await;
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("photon login"), "{refused:?}");
    // And that is no reason why one could not sign out here.
    assert_eq!(photon.run(&["logout"]).await.code, Some(0));

    assert_eq!(photon.run(&LOGIN).await.code, Some(0));
    assert_eq!(photon.run(&["session", "end", "--all"]).await.code, Some(0));
    assert_eq!(photon.run(&["session", "list"]).await.code, Some(4));
    let which = photon.run(&["session", "end"]).await;
    assert_eq!(which.code, Some(2), "{which:?}");

    // Without a session the token ends by itself.
    let mut plain = LOGIN.to_vec();
    plain.push("--no-session");
    assert_eq!(photon.run(&plain).await.code, Some(0));
    assert!(kept(folder.path()).get("refresh_token").is_none());
}
