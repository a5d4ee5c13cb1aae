//! The flags of the command that was given, to say by which of them a field of a request was set.

use clap::{ArgMatches, Command};

/// A command's flags and positional arguments.
#[derive(Debug, Default)]
pub struct Flags {
    long: Vec<String>,
    positional: Vec<String>,
}

/// Fields that are called quite otherwise on the command line; a flag that the command lacks does not count.
const OTHERWISE: [(&str, &str); 14] = [
    ("node", "host"),
    ("spec.disks[0].size_bytes", "disk-size"),
    ("size_bytes", "disk"),
    ("port_min", "ports"),
    ("port_max", "ports"),
    ("remote_cidr", "from"),
    ("remote_group_id", "from-group"),
    ("ssh_authorized_keys", "ssh-keys"),
    ("name", "rename"),
    ("ttl_seconds", "ttl"),
    ("interface.port_id", "name"),
    ("interface.id", "as"),
    ("http_tokens", "metadata-tokens"),
    ("hop_limit", "metadata-hops"),
];

/// What a field's name says beyond its flag's: that it is an id, its unit.
const ENDS: [&str; 8] = [
    "-ids", "-id", "-mib", "-bytes", "-seconds", "-address", "-enabled", "-servers",
];

impl Flags {
    /// These, without their dashes.
    #[cfg(test)]
    pub fn new<'a>(
        long: impl IntoIterator<Item = &'a str>,
        positional: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            long: long.into_iter().map(str::to_owned).collect(),
            positional: positional.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Of the command that these matches lead to.
    pub fn given(mut command: &Command, mut matches: &ArgMatches) -> Self {
        while let Some((name, below)) = matches.subcommand() {
            let Some(next) = command.find_subcommand(name) else {
                break;
            };
            (command, matches) = (next, below);
        }
        Self {
            long: command
                .get_arguments()
                .filter_map(|argument| argument.get_long())
                .map(str::to_owned)
                .collect(),
            positional: command
                .get_positionals()
                .map(|argument| match argument.get_value_names() {
                    Some([name]) => name.to_string(),
                    _ => argument.get_id().as_str().to_uppercase(),
                })
                .collect(),
        }
    }

    /// The flag or argument that sets this field, as it is typed: `--vcpus`, `NAME`.
    pub fn of(&self, field: &str) -> Option<String> {
        let last = field.rsplit('.').next().unwrap_or(field);
        let last = last.split('[').next().unwrap_or(last);
        let has = |flag: &str| self.long.iter().any(|long| long == flag);
        let otherwise = OTHERWISE
            .iter()
            .filter(|(name, _)| *name == field || *name == last)
            .map(|(_, flag)| (*flag).to_owned());
        let plain = last.replace('_', "-");
        let shorter: Vec<String> = ENDS
            .iter()
            .filter_map(|end| plain.strip_suffix(end))
            .map(str::to_owned)
            .collect();
        let names: Vec<String> = std::iter::once(plain).chain(shorter).collect();
        let singular: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_suffix('s'))
            .map(str::to_owned)
            .collect();
        let names: Vec<String> = otherwise.chain(names).chain(singular).collect();
        names.iter().find_map(|name| {
            if has(name) {
                return Some(format!("--{name}"));
            }
            let argument = name.to_uppercase().replace('-', "_");
            self.positional.contains(&argument).then_some(argument)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_flags() {
        let create = Flags::new(
            [
                "vcpus",
                "memory",
                "disk",
                "disk-size",
                "ssh-keys",
                "label",
                "port",
            ],
            ["NAME"],
        );
        for (field, flag) in [
            ("spec.vcpus", Some("--vcpus")),
            ("spec.memory_mib", Some("--memory")),
            ("spec.disks[0].size_bytes", Some("--disk-size")),
            ("spec.disks[2].size_bytes", Some("--disk")),
            ("spec.ssh_authorized_keys[0]", Some("--ssh-keys")),
            ("labels", Some("--label")),
            ("spec.network[0].port_id", Some("--port")),
            ("name", Some("NAME")),
            ("spec.hypervisor", None),
        ] {
            assert_eq!(create.of(field).as_deref(), flag, "{field}");
        }
        let attach = Flags::new(["vm", "as"], ["NAME"]);
        assert_eq!(attach.of("interface.port_id").as_deref(), Some("NAME"));
        assert_eq!(attach.of("interface.id").as_deref(), Some("--as"));
        let update = Flags::new(["rename", "dns", "ip", "security-group"], ["NAME"]);
        assert_eq!(update.of("name").as_deref(), Some("--rename"));
        assert_eq!(update.of("dns_servers").as_deref(), Some("--dns"));
        assert_eq!(update.of("ip_address").as_deref(), Some("--ip"));
        let groups = update.of("security_group_ids[1]");
        assert_eq!(groups.as_deref(), Some("--security-group"));
    }
}
