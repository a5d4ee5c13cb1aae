//! What a host is and runs, as `probe.sh` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use photon_api::components::{COMPONENTS, Program, ProgramKind};

/// Asks a host; reads nothing from its standard input, changes nothing.
pub const PROBE: &str = include_str!("probe.sh");

/// The servers' units and default ports.
fn servers() -> impl Iterator<Item = (String, u16)> {
    let server = |program: &Program| program.kind == ProgramKind::Server;
    COMPONENTS.into_iter().flat_map(move |component| {
        let programs = component.programs.iter().filter(move |it| server(it));
        programs.map(|program| (program.unit(), component.port))
    })
}

/// A unit that photon.target wants, or photon.target itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    pub kind: String,
    pub active: String,
    pub sub: String,
    pub result: String,
    pub main_pid: u32,
    pub restarts: u32,
    pub status: String,
    /// The program that the unit file names, links resolved; empty: not running.
    pub program: String,
    /// The program that runs, which after a switch without a restart is another one.
    pub running: String,
    /// What the running program says for `--version`.
    pub version: String,
    /// The last that it said, if it is not active.
    pub last_words: String,
}

impl Unit {
    /// Whether it is as it should be: active, or a one-shot that is done.
    pub fn is_well(&self) -> bool {
        self.active == "active"
            || (self.kind == "oneshot" && self.active == "inactive" && self.result == "success")
    }
}

/// A VM's unit while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    pub invocation: String,
    pub main_pid: u32,
}

/// Where a server of the host listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    pub unit: String,
    pub address: SocketAddr,
    pub tls: bool,
}

/// What a host is and runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub hostname: String,
    /// `/run/current-system`, links resolved: what runs.
    pub closure: String,
    /// The system profile, links resolved: what the next boot starts.
    pub profile: String,
    /// Number of the profile's generation.
    pub generation: Option<u64>,
    /// Version of NixOS.
    pub nixos: String,
    /// Release of the kernel that runs.
    pub kernel: String,
    /// Whether kernel, initrd or kernel modules of what runs are other ones than were booted.
    pub reboot_needed: bool,
    pub failed: BTreeSet<String>,
    pub units: BTreeMap<String, Unit>,
    pub vms: BTreeMap<String, Vm>,
    pub apis: Vec<Api>,
    /// The cluster's certificate authority, PEM; empty: the host has none.
    pub ca: String,
    /// The host's own certificate, PEM; empty: the host has none.
    pub certificate: String,
}

impl Facts {
    /// Reads the answer of the probe.
    ///
    /// Errors: why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let sections = sections(text);
        if !sections.contains_key("end") {
            let last = text.lines().rfind(|line| !line.is_empty());
            return Err(format!(
                "the host's answer is incomplete; it ended with '{}'",
                last.unwrap_or_default()
            ));
        }
        let section = |name: &str| sections.get(name).map_or(&[][..], Vec::as_slice);
        let mut facts = Self::default();
        let mut parts: [BTreeSet<&str>; 2] = Default::default();
        for (name, value) in pairs(section("facts")) {
            match name {
                "hostname" => facts.hostname = value.into(),
                "kernel" => facts.kernel = value.into(),
                "closure" => facts.closure = value.into(),
                "profile" => facts.profile = value.into(),
                "generation" => facts.generation = generation(value),
                "nixos" => facts.nixos = value.into(),
                "booted" => drop(parts[0].insert(value)),
                "current" => drop(parts[1].insert(value)),
                _ => {}
            }
        }
        facts.reboot_needed = parts[0] != parts[1];
        facts.failed = section("failed")
            .iter()
            .filter(|line| !line.is_empty())
            .map(|line| (*line).to_owned())
            .collect();
        facts.units = units(section("units"));
        for line in section("programs") {
            let mut words = line.split('\t');
            let Some(unit) = words.next().and_then(|name| facts.units.get_mut(name)) else {
                continue;
            };
            let mut word = || words.next().unwrap_or_default();
            unit.program = word().to_owned();
            // What the kernel adds when the file is gone.
            unit.running = word().trim_end_matches(" (deleted)").to_owned();
            // `iam-server 0.1.0`
            unit.version = word().rsplit(' ').next().unwrap_or_default().to_owned();
        }
        for (name, words) in pairs(section("journal")) {
            if let Some(unit) = facts.units.get_mut(name) {
                if !unit.last_words.is_empty() {
                    unit.last_words.push_str("; ");
                }
                unit.last_words.push_str(words);
            }
        }
        facts.vms = vms(section("vms"));
        facts.apis = apis(&facts.units, section("settings"))?;
        for (name, line) in pairs(section("files")) {
            let file = match name {
                "ca" => &mut facts.ca,
                "host" => &mut facts.certificate,
                _ => continue,
            };
            file.push_str(line);
            file.push('\n');
        }
        Ok(facts)
    }

    /// Whether servers run here, not only agents.
    pub fn is_control_plane(&self) -> bool {
        servers().any(|(unit, _)| self.units.contains_key(&unit))
    }

    /// Of the programs that run; more than one while only some were restarted.
    pub fn versions(&self) -> BTreeSet<&str> {
        let versions = self.units.values().map(|unit| unit.version.as_str());
        versions.filter(|version| !version.is_empty()).collect()
    }

    /// Whether both run and would boot the same.
    pub fn same_system(&self, other: &Self) -> bool {
        self.closure == other.closure && self.profile == other.profile
    }
}

fn sections(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        match line.strip_prefix("#section ") {
            Some(name) => {
                current = name;
                sections.entry(name).or_default();
            }
            None => sections.entry(current).or_default().push(line),
        }
    }
    sections
}

fn pairs<'a>(lines: &[&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    lines.iter().filter_map(|line| line.split_once('\t'))
}

/// The number in `system-12-link`.
fn generation(link: &str) -> Option<u64> {
    let name = link.rsplit('/').next()?;
    name.strip_suffix("-link")?.rsplit('-').next()?.parse().ok()
}

/// What `systemctl show` tells: blocks of `Name=value`, by their `Id`.
fn blocks<'a>(lines: &[&'a str]) -> BTreeMap<&'a str, BTreeMap<&'a str, &'a str>> {
    let mut blocks = BTreeMap::new();
    for block in lines.split(|line| line.is_empty()) {
        let fields: BTreeMap<&str, &str> = block
            .iter()
            .filter_map(|line| line.split_once('='))
            .collect();
        if let Some(id) = fields.get("Id") {
            blocks.insert(*id, fields);
        }
    }
    blocks
}

fn units(lines: &[&str]) -> BTreeMap<String, Unit> {
    let unit = |fields: BTreeMap<&str, &str>| {
        let text = |name: &str| fields.get(name).copied().unwrap_or_default().to_owned();
        let number = |name: &str| text(name).parse().unwrap_or_default();
        Unit {
            kind: text("Type"),
            active: text("ActiveState"),
            sub: text("SubState"),
            result: text("Result"),
            main_pid: number("MainPID"),
            restarts: number("NRestarts"),
            status: text("StatusText"),
            ..Unit::default()
        }
    };
    blocks(lines)
        .into_iter()
        .map(|(id, fields)| (id.to_owned(), unit(fields)))
        .collect()
}

fn vms(lines: &[&str]) -> BTreeMap<String, Vm> {
    let running = blocks(lines)
        .into_iter()
        .filter(|(_, fields)| fields.get("ActiveState") == Some(&"active"));
    running
        .map(|(id, fields)| {
            let text = |name: &str| fields.get(name).copied().unwrap_or_default();
            let vm = Vm {
                invocation: text("InvocationID").to_owned(),
                main_pid: text("MainPID").parse().unwrap_or_default(),
            };
            (id.to_owned(), vm)
        })
        .collect()
}

/// Where each server listens: as it does itself, the environment wins over its file, and that over the default.
fn apis(units: &BTreeMap<String, Unit>, settings: &[&str]) -> Result<Vec<Api>, String> {
    let mut apis = Vec::new();
    for (name, port) in servers() {
        if !units.contains_key(&name) {
            continue;
        }
        let mine: Vec<(&str, &str)> = settings
            .iter()
            .filter_map(|line| line.split_once('\t'))
            .filter(|(unit, _)| *unit == name)
            .filter_map(|(_, rest)| rest.split_once('\t'))
            .collect();
        let lines: Vec<&str> = mine
            .iter()
            .filter(|(key, _)| *key == "file")
            .map(|(_, line)| *line)
            .collect();
        let file: toml::Table = toml::from_str(&lines.join("\n"))
            .map_err(|error| format!("the settings of {name} are not TOML: {error}"))?;
        let set = |key: &str| {
            mine.iter()
                .find(|(at, _)| *at == key)
                .map(|(_, value)| *value)
        };
        let listen = set("PHOTON_LISTEN").or_else(|| file.get("listen")?.as_str());
        let listen = match listen {
            None => IpAddr::from(Ipv4Addr::LOCALHOST),
            Some(text) => text
                .parse()
                .map_err(|_| format!("{name} listens on '{text}', which is no IP address"))?,
        };
        let in_file = || file.get("port")?.as_integer()?.try_into().ok();
        let port = set("PHOTON_PORT")
            .and_then(|text| text.parse().ok())
            .or_else(in_file)
            .unwrap_or(port);
        let tls = file.get("tls").and_then(|tls| tls.get("certificate"));
        apis.push(Api {
            unit: name.clone(),
            address: SocketAddr::new(listen, port),
            tls: tls.is_some() || set("PHOTON_TLS_CERTIFICATE").is_some(),
        });
    }
    Ok(apis)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A control-plane host with one VM, as its probe answers.
    pub const ANSWER: &str = "\
#section facts
hostname\tnode01
kernel\t6.18.2
closure\t/nix/store/aaa-nixos-system-node01-26.05
profile\t/nix/store/aaa-nixos-system-node01-26.05
generation\tsystem-12-link
nixos\t26.05.20260803.531670d
booted\tkernel /nix/store/kkk-linux-6.18.2/bzImage
current\tkernel /nix/store/lll-linux-6.18.3/bzImage
booted\tinitrd /nix/store/iii/initrd
current\tinitrd /nix/store/iii/initrd
#section failed
nscd.service
#section units
Id=photon.target
ActiveState=active
SubState=active

Type=notify
Result=success
NRestarts=1
MainPID=812
StatusText=serving
Id=iam-server.service
ActiveState=active
SubState=running

Type=oneshot
Result=success
NRestarts=0
MainPID=0
Id=photon-bootstrap.service
ActiveState=inactive
SubState=dead

Type=notify
Result=exit-code
NRestarts=7
MainPID=0
Id=plasmavmc-agent.service
ActiveState=activating
SubState=auto-restart
#section programs
iam-server.service\t/nix/store/ppp-photoncloud-0.2.0/bin/iam-server\t/nix/store/ooo-photoncloud-0.1.0/bin/iam-server (deleted)\tiam-server 0.1.0
#section settings
iam-server.service\tPHOTON_PORT\t50180
iam-server.service\tfile\tlisten = \"192.0.2.1\"
iam-server.service\tfile\tport = 50280
iam-server.service\tfile\t[tls]
iam-server.service\tfile\tcertificate = \"/run/credentials/iam-server.service/tls-certificate\"
#section vms
MainPID=900
InvocationID=0123
Id=photon-vm-1.service
ActiveState=active

MainPID=0
InvocationID=4567
Id=photon-vm-2.service
ActiveState=failed
#section files
ca\t-----BEGIN CERTIFICATE-----
ca\tAAAA
#section journal
plasmavmc-agent.service\tcannot reach systemd
plasmavmc-agent.service\tfailed
#section end
";

    #[test]
    fn a_hosts_answer_is_read() {
        let facts = Facts::parse(ANSWER).unwrap();
        assert_eq!(facts.hostname, "node01");
        assert_eq!(facts.generation, Some(12));
        assert!(facts.reboot_needed, "another kernel than was booted");
        assert_eq!(facts.failed, BTreeSet::from(["nscd.service".to_owned()]));
        assert!(facts.is_control_plane());
        assert_eq!(facts.versions(), BTreeSet::from(["0.1.0"]));

        let iam = &facts.units["iam-server.service"];
        assert!(iam.is_well());
        assert_eq!((iam.main_pid, iam.restarts), (812, 1));
        assert_eq!(
            iam.running,
            "/nix/store/ooo-photoncloud-0.1.0/bin/iam-server"
        );
        assert!(facts.units["photon.target"].is_well());
        assert!(facts.units["photon-bootstrap.service"].is_well());
        let agent = &facts.units["plasmavmc-agent.service"];
        assert!(!agent.is_well());
        assert_eq!(agent.last_words, "cannot reach systemd; failed");

        // A VM that does not run has nothing to lose.
        assert_eq!(facts.vms.len(), 1);
        assert_eq!(facts.vms["photon-vm-1.service"].main_pid, 900);
        assert_eq!(facts.ca, "-----BEGIN CERTIFICATE-----\nAAAA\n");
        let api = Api {
            unit: "iam-server.service".into(),
            address: "192.0.2.1:50180".parse().unwrap(),
            tls: true,
        };
        assert_eq!(facts.apis, [api]);
    }

    #[test]
    fn an_incomplete_answer_is_none() {
        let cut = &ANSWER[..ANSWER.find("#section vms").unwrap()];
        let error = Facts::parse(cut).unwrap_err();
        assert!(error.contains("incomplete"), "{error}");
        let error = Facts::parse("sudo: a password is required\n").unwrap_err();
        assert!(error.contains("a password is required"), "{error}");
    }

    #[test]
    fn a_host_of_agents_is_no_control_plane() {
        let answer = ANSWER.replace("iam-server", "prismnet-agent");
        let facts = Facts::parse(&answer).unwrap();
        assert!(!facts.is_control_plane());
        assert_eq!(facts.apis, []);
    }
}
