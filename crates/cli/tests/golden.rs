//! What every command says of itself, and what it answers, to the byte: `tests/golden/*.txt`.
//!
//! With `PHOTON_REGENERATE=1` this writes the files anew instead of comparing. What differs from run to run (ids,
//! times, secrets, addresses of test servers) is replaced by what it is.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use photon_testcloud::TestCloud;
use support::{Photon, register_host};

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("PHOTON_REGENERATE").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed
        .lines()
        .zip(text.lines())
        .enumerate()
        .find(|(_, (old, new))| old != new);
    if let Some((at, (old, new))) = differs {
        panic!(
            "{name}:{}: was\n  {old}\nand is\n  {new}\nIf that is meant: PHOTON_REGENERATE=1 cargo test -p photon-cli \
             --test golden",
            at + 1
        );
    }
    assert_eq!(
        committed.lines().count(),
        text.lines().count(),
        "{name} has another length"
    );
}

/// The names below `Commands:` of a help text.
fn commands(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_command_says_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let photon = Photon::new(folder.path());
    let mut text = String::new();
    let mut waiting = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let answer = photon.run(&arguments).await;
        assert_eq!(answer.code, Some(0), "{path:?}: {answer:?}");
        // The same for all: shown once, at the root.
        let own = match path.is_empty() {
            true => answer.stdout.as_str(),
            false => answer.stdout.split("\nConnection:").next().unwrap(),
        };
        writeln!(
            text,
            "$ photon {}\n{}\n",
            arguments.join(" "),
            own.trim_end()
        )
        .unwrap();
        seen += 1;
        for name in commands(&answer.stdout).into_iter().rev() {
            let mut below = path.clone();
            below.push(name);
            waiting.push(below);
        }
    }
    assert!(seen > 100, "only {seen} commands were found");
    compare("help.txt", &text);
}

/// Replaces what differs from run to run.
#[derive(Default)]
struct Scrubber {
    ids: BTreeMap<String, usize>,
    urls: Vec<(String, &'static str)>,
    folder: String,
}

impl Scrubber {
    fn scrub(&mut self, text: &str) -> String {
        let mut text = text.replace(&self.folder, "FOLDER");
        for (url, name) in &self.urls {
            text = text.replace(url.as_str(), name);
        }
        let mut out = String::new();
        for line in text.split_inclusive('\n') {
            out.push_str(&self.line(line));
        }
        out
    }

    fn line(&mut self, line: &str) -> String {
        let mut out = String::new();
        let mut word = String::new();
        for c in line.chars() {
            if c.is_ascii_alphanumeric() || "-:._".contains(c) {
                word.push(c);
            } else {
                out.push_str(&self.word(&std::mem::take(&mut word)));
                out.push(c);
            }
        }
        out.push_str(&self.word(&word));
        // A port that was made for a VM ends in a part of its id, which is drawn.
        if let Some(at) = out.find("-eth0-") {
            let end = at + "-eth0-".len();
            let drawn = out[end..]
                .chars()
                .take_while(char::is_ascii_hexdigit)
                .count();
            out.replace_range(end..end + drawn, "DRAWN");
        }
        // A number that grows with what else was written; its column may be as wide as it is.
        for field in [
            "\"revision\": ",
            "revision: ",
            "revision  ",
            "\"vni\": ",
            "vni: ",
            "vni           ",
        ] {
            if let Some((before, after)) = out.split_once(field) {
                let rest = after
                    .trim_start()
                    .trim_start_matches(|c: char| c.is_ascii_digit());
                out = format!("{before}{field}N{rest}");
            }
        }
        let varies = [
            "<TIME>",
            "<DATE>",
            "<AGE>",
            "  TIME",
            "TIME  ",
            "  AGE",
            "  EXPIRES",
            "  LAST SEEN",
        ];
        if varies.iter().any(|part| out.contains(part)) {
            // The padding of a column depends on how many digits an age or a fraction of a second has.
            while out.contains("   ") {
                out = out.replace("   ", "  ");
            }
        }
        out
    }

    fn word(&mut self, word: &str) -> String {
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parts: Vec<&str> = word.split('-').collect();
        let is_id = word.len() == 36
            && parts.len() == 5
            && parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
            && parts.iter().all(|part| hex(part));
        if is_id {
            let next = self.ids.len() + 1;
            let number = *self.ids.entry(word.to_owned()).or_insert(next);
            // As long as an id, so that a table's columns stay as they are.
            return format!("{:-<36}", format!("id{number}"));
        }
        if word.len() >= 20 && word.ends_with('Z') && word.get(10..11) == Some("T") {
            return "<TIME>".to_owned();
        }
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if word.split('-').map(str::len).eq([4, 2, 2]) && word.split('-').all(digits) {
            return "<DATE>".to_owned();
        }
        if word.split(':').map(str::len).eq([2, 2, 2]) && word.split(':').all(digits) {
            return "<CLOCK>".to_owned();
        }
        if word.strip_suffix(['s', 'm']).is_some_and(digits) {
            return "<AGE>".to_owned();
        }
        if word.starts_with("photon_") && word.len() > 30 {
            return "<SECRET>".to_owned();
        }
        if word.len() == 17 && word.split(':').all(|part| part.len() == 2 && hex(part)) {
            return "mm:mm:mm:mm:mm:mm".to_owned();
        }
        // The name of a port's interface, which is made of its id.
        if word
            .strip_prefix("pt")
            .is_some_and(|rest| rest.len() > 8 && hex(rest))
        {
            return format!("{:-<14}", "pt");
        }
        if word.len() == 64 && hex(word) {
            return format!("{:-<64}", "hash");
        }
        if let Some((before, hash)) = word.rsplit_once(':')
            && hash.len() == 64
            && hex(hash)
        {
            return format!("{before}:{:-<64}", "hash");
        }
        if word.len() == 20
            && word
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        {
            return format!("{:-<20}", "KEY");
        }
        if word.len() == 40 && word.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return "<SECRET>".to_owned();
        }
        word.to_owned()
    }
}

struct Transcript {
    text: String,
    scrubber: Scrubber,
}

impl Transcript {
    async fn say(&mut self, photon: &Photon, line: &str) {
        let arguments: Vec<&str> = line.split(' ').collect();
        let answer = photon.run(&arguments).await;
        writeln!(self.text, "$ photon {line}").unwrap();
        self.text.push_str(&self.scrubber.scrub(&answer.stdout));
        for said in self.scrubber.scrub(&answer.stderr).lines() {
            writeln!(self.text, "! {said}").unwrap();
        }
        if answer.code != Some(0) {
            writeln!(self.text, "= {}", answer.code.unwrap()).unwrap();
        }
        self.text.push('\n');
    }
}

const OPERATOR: &[&str] = &[
    "org create orchid --name Orchid --description Flowers",
    "org get orchid -o json",
    "org get orchid -o yaml",
    "org get lily",
    "org list",
    "org update orchid --description Bulbs",
    "org delete orchid",
    "org delete orchid --yes",
    "org delete orchid --yes",
    "node list",
    "node list -o json",
    "quota set vcpus=64 memory=128GiB --org acme --project web",
    "quota set projects=5 --org acme",
    "quota set projects=5 --org acme --project web",
    "quota set vcpu=64 --org acme --project web",
    "quota set vms=many --org acme --project web",
    "quota set vms=7 --org acme --project wbe",
    "quota show",
    "quota show --org acme -o json",
    "host list --columns name,memory,memory-used --no-headers",
    "host vms node1",
    "host vms node9",
];

/// What an operator says for a tenant begins so.
const AS_OPERATOR: &str = "operator: ";
/// And what the tenant says of no project.
const IN_ORGANIZATION: &str = "organization: ";

const TENANT: &[&str] = &[
    "project create shop --name Shop",
    "project get shop -o json",
    "project list",
    "project update shop --description Wares",
    "project delete shop --yes",
    "user create alice --description Gardener",
    "user create alice",
    "user get alice",
    "user get alice -o json",
    "user list",
    "user update alice --rename alicia",
    "user disable alicia",
    "user enable alicia",
    "user delete alicia",
    "service-account create ci --description Builds",
    "sa list -o yaml",
    "sa get nobody-such",
    "api-key create ci --description key",
    "api-key list ci",
    "s3-key create ci",
    "s3-key list ci",
    "role create watcher --permit compute:instances:get --description Looks",
    "role get watcher -o json",
    "role list",
    "role update watcher --permit compute:instances:get=org/acme/project/web/instances/*",
    "binding create ci watcher",
    "binding list --principal ci",
    "binding list --principal ci -o json",
    "role delete watcher --yes",
    "user delete alicia --yes",
    "service-account delete ci --yes",
    "role delete watcher --yes",
    "vpc create main --cidr 10.0.0.0/16 --label tier=web",
    "vpc create main --cidr 10.0.0.0/16",
    "vpc create wide --cidr 10.0.0.0/33",
    "vpc create named --cidr 10.9.0.0/16 --label novalue",
    "vpc get main -o json",
    "vpc get main -o yaml",
    "vpc get absent",
    "vpc list",
    "vpc list --label tier=web -o json",
    "vpc list --label tier=db",
    "vpc update main --description Backbone --label tier=db",
    "vpc update main --no-labels",
    "vpc ls -o name",
    "vpc list --columns name,colour",
    "--project nope vpc list",
    "--project nope vpc create main --cidr 10.0.0.0/16",
    "subnet create front --vpc main --cidr 10.0.1.0/24 --gateway 10.0.1.1 --dns 10.0.1.2",
    "subnet create outside --vpc main --cidr 10.1.1.0/24",
    "subnet get front -o json",
    "subnet list",
    "subnet list --vpc main -o yaml",
    "subnet update front --dhcp false --dns 10.0.1.3",
    "subnet update front --no-dns",
    "security-group list",
    "security-group create web --description Web",
    "sg add-rule web --in --protocol tcp --ports 80-443 --from 0.0.0.0/0",
    "sg add-rule web --out --protocol icmp --ports 80",
    "sg get web -o json",
    "sg update web --rename website",
    "port create p1 --subnet front --ip 10.0.1.10 --security-group website",
    "port create p2 --subnet front --ip 10.0.1.10",
    "port create p3 --subnet front --ip 10.9.1.10",
    "port get p1 -o json",
    "port list",
    "port list --subnet front -o json",
    "port update p1 --description First --security-group default",
    "port create p4 --subnet front --ip 10.0.1.20",
    "port list --sort-by -name --limit 1 -o csv",
    "port delete p4 --yes",
    "port detach p1",
    "image import disk --disk disk.raw --description Zeros",
    "image import other --disk disk.raw --sha256 30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb59",
    "image import other --disk disk.raw --sha256 30e14955",
    "image import same --disk disk.raw --sha256 30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58",
    "image delete same --yes",
    "image get disk -o json",
    "image list",
    "image update disk --rename root --label os=none",
    "ssh-key add laptop id_ed25519.pub --description Mine",
    "ssh-key add laptop id_ed25519",
    "ssh-key list",
    "vm create v1 --vcpus 2 --memory 256 --image root --disk 1M --port p1 --label tier=web",
    "port create p4 --subnet front --ip 10.0.1.14",
    "port attach p4 --vm v1",
    "port attach p4 --vm v1 --as eth9",
    "port detach p4",
    "port detach p4 --yes",
    "port attach p4 --vm v1",
    "route create lab --vpc main --destination 192.168.0.0/16 --to-port p4",
    "port update p4 --no-source-check",
    "route create lab --vpc main --destination 192.168.0.0/16 --to-port p4",
    "route create hole --vpc main --destination 198.51.100.0/24 --blackhole",
    "route list --vpc main --sort-by name",
    "network trace --from v1 --to 198.51.100.7:443",
    "network trace --from-port p4 --to 10.0.1.10 -o json",
    "peering create away --vpc main --peer-vpc 7d0c9a4e-1f2b-4c3d-8e4f-5a6b7c8d9e0f --peer-org globex --peer-project web",
    "peering list",
    "peering accept away",
    "peering delete away --yes",
    "route delete hole --yes",
    "route delete lab --yes",
    "port update p4 --source-check",
    "vm list",
    "vm list --columns name,address,spec.hostname --no-headers",
    "vm list --phase failed",
    "vm list --phase provisioning -o name",
    "instance list --columns name,vcpus",
    "organization: vm list --columns name,project",
    "organization: port list --no-headers --sort-by name",
    "port list --sort-by name",
    "operator: port detach p1 --force",
    "operator: port detach p1 --force --yes",
    "vm create v3 --memory 64 --stopped --ssh-key laptop --ssh-key ./id_ed25519.pub",
    "vm create v5 --memory 64 --stopped --ssh-key nobody",
    "vm create v5 --memory 64 --stopped --network default --security-group website",
    "vm create v6 --memory 64 --stopped --no-network",
    "vm create v7 --memory 64 --port p1 --security-group website",
    "ssh-key delete laptop --yes",
    "vm create v4 --memory 64 --node nowhere",
    "vm get v1 -o json",
    "vm list --label tier=web -o yaml",
    "vm update v1 --memory 512 --description Second",
    "vm start v3",
    "vm stop v3 --force",
    "vm stop v3 --wait --timeout 1",
    "vm reboot v3",
    "vm get absent",
    "image delete root --yes",
    "port delete p1 --yes",
    "subnet delete front --yes",
    "vm delete v3",
    "vm delete v3 --yes",
    "vpc delete main --yes",
    "security-group delete website --yes",
    "audit list --action network:vpcs",
    "audit list --action network:vpcs -o json",
    "audit list --service iam --denied",
    "audit verify",
    "audit verify --service prismnet -o json",
    "whoami",
    "whoami -o json",
    "quota show",
    "quota show --project wbe",
    "quota set vcpus=1000",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_noun_answers_as_it_did() {
    let cloud = TestCloud::start().await;
    register_host(&cloud).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.raw"), vec![0; 1 << 20]).unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMG7pm7zO0l5xQfQ5hVhG5BdhxkR3NqHzqIUQbF0oL4r me";
    fs::write(folder.path().join("id_ed25519.pub"), key).unwrap();
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----";
    fs::write(folder.path().join("id_ed25519"), private).unwrap();
    let operator = Photon::of(&cloud, folder.path(), &cloud.operator.token);
    let tenant = Photon::of(&cloud, folder.path(), &cloud.acme.admin.token)
        .with("PHOTON_ORG", "acme")
        .with("PHOTON_PROJECT", "web");
    let mut transcript = Transcript {
        text: String::new(),
        scrubber: Scrubber {
            urls: vec![
                (cloud.server("iam").url(), "IAM-URL"),
                (cloud.server("prismnet").url(), "PRISMNET-URL"),
                (cloud.server("plasmavmc").url(), "PLASMAVMC-URL"),
            ],
            folder: folder.path().display().to_string(),
            ..Default::default()
        },
    };
    for line in OPERATOR {
        transcript.say(&operator, line).await;
    }
    let operator = operator
        .with("PHOTON_ORG", "acme")
        .with("PHOTON_PROJECT", "web");
    // Without a project: of all that the organization has.
    let in_organization =
        Photon::of(&cloud, folder.path(), &cloud.acme.admin.token).with("PHOTON_ORG", "acme");
    for line in TENANT {
        match line.strip_prefix(AS_OPERATOR) {
            Some(line) => transcript.say(&operator, line).await,
            None => match line.strip_prefix(IN_ORGANIZATION) {
                Some(line) => transcript.say(&in_organization, line).await,
                None => transcript.say(&tenant, line).await,
            },
        }
    }
    compare("answers.txt", &transcript.text);
}

#[tokio::test]
async fn contexts_are_made_shown_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let photon = Photon::new(folder.path());
    let mut transcript = Transcript {
        text: String::new(),
        scrubber: Scrubber {
            folder: folder.path().display().to_string(),
            ..Default::default()
        },
    };
    for line in [
        "context list",
        "context show",
        "context set rack --iam https://rack:50080 --prismnet https://rack:50081 --plasmavmc https://rack:50082 --ca ca.pem",
        "context set other --default-org acme --default-project web",
        "context list",
        "context show rack -o json",
        "context use other",
        "context use absent",
        "context show",
        "context get absent",
        "context set third --endpoint cloud.example:50080",
        "context set third --endpoint https://cloud.example:50080 --org acme --project web --ca-file ca.pem",
        "--org globex context set third --project db",
        "context get third",
        "context delete other",
        "context delete other",
        "vpc list",
        "context set ../up",
    ] {
        transcript.say(&photon, line).await;
    }
    transcript.text.push_str("config.toml:\n");
    let kept = fs::read_to_string(Path::new(folder.path()).join("config.toml")).unwrap();
    let kept = transcript.scrubber.scrub(&kept);
    transcript.text.push_str(&kept);
    compare("contexts.txt", &transcript.text);
}
