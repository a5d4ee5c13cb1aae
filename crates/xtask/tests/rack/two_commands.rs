//! The two commands of the tenants' guide, from a project that has nothing: a VM of an image of the catalogue, a
//! distribution's with cloud-init and sshd, which is got into by ssh from outside, and which gets at what is outside.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use photon_e2e::{Account, onboard};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use xtask::cache::Cache;
use xtask::images::cloud_guest;
use xtask::photoncloud::wait_until_active;
use xtask::rack::Host;

use crate::cloud::Cloud;
use crate::egress::{BEYOND, OUTSIDE, offer};
use crate::images::{WEB, serve, set};
use crate::{SECOND, egress};

/// Something that a guest fetches, beyond the router.
const FILE: &str = "#!/bin/sh\necho packaged\n";

/// All that is known of a tunnel that is not there.
const TUNNEL: &str = "journalctl --no-pager -o cat -n 40 -u plasmavmc-agent -u plasmavmc-server; \
                      nft list chain inet photon input; nft list chain bridge photon source; ip -br link; ip neigh";

/// `photon` as a tenant has it, on a machine that reaches the external network by a jump host.
struct Shell {
    photon: PathBuf,
    home: tempfile::TempDir,
    variables: HashMap<String, String>,
}

impl Shell {
    fn new(cloud: &Cloud, account: &Account) -> Self {
        let variables = cloud.endpoints.variables();
        let mut variables: HashMap<_, _> = variables
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        variables.insert("PHOTON_ORG".into(), account.org.clone());
        variables.insert("PHOTON_PROJECT".into(), account.project.clone());
        Self {
            photon: cloud.host().share().join("bin/photon"),
            home: tempfile::tempdir().unwrap(),
            variables,
        }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// Runs it in `bash`, and gives what it prints.
    async fn run(&self, script: &str, limit: u32) -> Result<String, String> {
        let path = format!(
            "{}:{}",
            self.photon.parent().unwrap_or(Path::new("/")).display(),
            std::env::var("PATH").unwrap()
        );
        let run = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("PHOTON_CONFIG_DIR", self.home.path())
            .envs(&self.variables)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(limit * SECOND, run)
            .await
            .map_err(|_| format!("'{script}' takes longer than {limit} s"))?
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(out),
            false => Err(format!("'{script}': {}\n{out}\n{errors}", output.status)),
        }
    }
}

/// Offers a Debian with cloud-init as `debian-13`, from a web server.
async fn catalogue(cloud: &Cloud) {
    let image = tokio::task::spawn_blocking(|| cloud_guest::ensure(&Cache::open().unwrap()))
        .await
        .unwrap()
        .unwrap();
    let content = std::fs::read(image.file(cloud_guest::IMAGE)).unwrap();
    let sum = hex::encode(Sha256::digest(&content));
    let (port, _) = serve(cloud, content, 0).await;
    let settings = format!(
        "[plasmavmc]\\nimage_networks = [\"{WEB}/32\"]\\n\
         [plasmavmc.images.debian-13]\\nurl = \"http://{WEB}:{port}/debian-13.qcow2\"\\nsha256 = \"{sum}\"\\ndefault_user = \"debian\"\\n"
    );
    set(&cloud.host(), &settings, &format!("IPAddressAllow={WEB}")).await;
}

/// A file on a web server beyond the router, and a way for ssh into the external network: a port of the host's.
async fn outside(host: &Host, jump: u16) {
    host.check(&format!(
        "mkdir -p /run/web && printf '{}' > /run/web/tool && \
         systemd-run -q --unit=outside-web -p NetworkNamespacePath=/run/netns/outside busybox httpd -f -p 80 -h /run/web && \
         systemd-run -q --unit=jump socat TCP-LISTEN:{jump},bind=127.0.0.1,fork,reuseaddr \
           EXEC:'ip netns exec outside sh /run/jump'",
        FILE.replace('\n', "\\n")
    ))
    .await
    .unwrap();
}

#[tokio::test]
async fn two_commands_to_a_vm_with_ssh_and_a_way_out() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    host.check(OUTSIDE).await.unwrap();
    offer(&cloud.operator).await;
    catalogue(&cloud).await;
    outside(&host, 2222).await;
    let account = Account::new("orchid").unwrap();
    onboard(&cloud.operator, &account).await.unwrap();
    let forward = host.forward(2222, "127.0.0.1:0".parse().unwrap());
    let forward = forward.await.unwrap();

    let shell = Shell::new(&cloud, &account);
    std::fs::write(shell.path("password"), &account.password).unwrap();
    let key = shell.path("id_ed25519");
    let user = &account.user;
    let signed_in = format!(
        "ssh-keygen -q -t ed25519 -N '' -f {key}; photon login {user} --password-file {}; \
         until photon image list --no-headers | grep -q debian-13; do sleep 0.5; done",
        shell.path("password")
    );
    shell.run(&signed_in, 120).await.unwrap();

    let begun = Instant::now();
    let create = format!(
        "photon vm create web --image debian-13 --memory 384M --ssh-key {key}.pub --floating-ip --wait"
    );
    println!("{}", shell.run(&create, 240).await.unwrap());
    eprintln!("runs after {:.1} s", begun.elapsed().as_secs_f64());
    let address = "photon floating-ip list -o json | jq -r '.[0].ip_address'";
    let address = shell.run(address, 30).await.unwrap();
    let address = address.trim();
    host.check(&format!(
        "echo 'exec socat - TCP:{address}:22,connect-timeout=10' > /run/jump"
    ))
    .await
    .unwrap();

    // Through a jump host, as from a machine that is not in the external network.
    let jump = forward.address();
    std::fs::write(
        shell.path("jump"),
        format!(
            "exec 3<>/dev/tcp/{}/{} 2>/dev/null; cat <&3 & trap 'kill $!' EXIT HUP; cat >&3",
            jump.ip(),
            jump.port()
        ),
    )
    .unwrap();
    let into = format!(
        "photon ssh web -- -i {key} -o BatchMode=yes -o UserKnownHostsFile={} -o ProxyCommand='bash {}'",
        shell.path("known_hosts"),
        shell.path("jump")
    );
    let mut entered = shell.run(&format!("{into} whoami"), 120).await;
    while entered.is_err() && begun.elapsed() < 480 * SECOND {
        tokio::time::sleep(SECOND).await;
        entered = shell.run(&format!("{into} whoami"), 120).await;
    }
    if let Err(refused) = &entered {
        let explained = host.check(egress::EXPLAIN).await.unwrap_or_default();
        let console = shell
            .run("timeout 5 photon vm console web || true", 10)
            .await;
        panic!("{refused}\n{explained}\n{console:?}");
    }
    assert_eq!(entered.unwrap().trim(), "debian");
    eprintln!("entered after {:.1} s", begun.elapsed().as_secs_f64());

    // As itself, it gets what is outside.
    let who = format!("exec 3<>/dev/tcp/{}/7000; cat <&3", egress::NEIGHBOUR);
    let who = shell.run(&format!("{into} \"{who}\""), 120).await.unwrap();
    assert_eq!(who.trim(), address);
    let fetch = format!("busybox wget -q -O - http://{BEYOND}/tool");
    let fetched = shell.run(&format!("{into} {fetch}"), 120).await.unwrap();
    assert_eq!(fetched, FILE);
    // Without the key nobody gets in.
    let other = format!("ssh-keygen -q -t ed25519 -N '' -f {key}-other");
    shell.run(&other, 30).await.unwrap();
    let other = into.replace(&key, &format!("{key}-other"));
    let refused = shell.run(&format!("{other} whoami"), 120).await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("Permission denied"), "{refused}");

    // Without an address outside it goes through the host, whatever the groups are, and much is carried whole.
    let closed = "photon floating-ip disassociate web --yes; photon floating-ip delete web --yes; port=$(photon port list -o json | jq -r '.[0].id'); \
                  photon port update $port --security-group default";
    shell.run(closed, 60).await.unwrap();
    let through = format!(
        "photon ssh web -- -i {key} -o BatchMode=yes -o UserKnownHostsFile={}",
        shell.path("known_hosts")
    );
    let entered = shell.run(&format!("{through} whoami"), 120).await;
    if let Err(refused) = &entered {
        let explained = host.check(TUNNEL).await.unwrap_or_default();
        panic!("{refused}\n{explained}");
    }
    assert_eq!(entered.unwrap().trim(), "debian");
    let much = format!("{through} 'head -c 8000000 /dev/zero' | wc -c");
    assert_eq!(shell.run(&much, 180).await.unwrap().trim(), "8000000");
    let back = format!("head -c 4000000 /dev/zero | {through} wc -c");
    assert_eq!(shell.run(&back, 180).await.unwrap().trim(), "4000000");
    // The way is not the guest's: it begins nothing at its gateway.
    let probe = "gateway=$(ip route show default | cut -d\" \" -f3); for port in 22 64512 64600 65023; do \
                 timeout 3 bash -c \"exec 3<>/dev/tcp/$gateway/$port\" 2>/dev/null && echo open $port; done; echo tried";
    let probed = shell.run(&format!("{through} '{probe}'"), 120).await;
    assert_eq!(probed.unwrap().trim(), "tried");
    // A daemon's end is a tunnel's end, and not the next one's.
    host.check("systemctl kill -s KILL plasmavmc-agent plasmavmc-server prismnet-agent")
        .await
        .unwrap();
    wait_until_active(&host).await.unwrap();
    let again = format!("until {through} whoami; do sleep 1; done");
    assert_eq!(shell.run(&again, 120).await.unwrap().trim(), "debian");

    let gone = "photon vm delete web --yes --wait; photon vm list -o json";
    let left = shell.run(gone, 120).await.unwrap();
    assert!(left.trim().ends_with("\n[]"), "{left}");
}
