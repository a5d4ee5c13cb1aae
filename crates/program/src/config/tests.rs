use std::path::Path;

use clap::Parser;
use photon_api::components;
use serde::Deserialize;

use super::*;

const COMPONENT: Component = Component {
    name: "iam",
    port: 50080,
};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Own {
    token_seconds: u32,
}

impl ComponentSettings for Own {
    fn apply_env(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), Invalid> {
        if let Some(text) = env("IAM_TOKEN_SECONDS") {
            self.token_seconds = text
                .parse()
                .map_err(|_| Invalid::new("iam.token_seconds", text, "a number"))?;
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), Invalid> {
        if self.token_seconds > 3600 {
            return Err(Invalid::new(
                "iam.token_seconds",
                self.token_seconds,
                "at most 3600",
            ));
        }
        Ok(())
    }
}

#[derive(clap::Parser)]
struct Server {
    #[command(flatten)]
    args: ServerArgs,
}

#[derive(clap::Parser)]
struct Agent {
    #[command(flatten)]
    args: AgentArgs,
}

fn no_env(_: &str) -> Option<String> {
    None
}

fn load(flags: &[&str], file: &str) -> Result<Settings<Own>, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "iam.toml", file);
    let flags = ["iam-server", "--config", path.to_str().unwrap()]
        .into_iter()
        .chain(flags.iter().copied());
    Server::parse_from(flags).args.load(COMPONENT, &no_env)
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn refusal(flags: &[&str], file: &str) -> String {
    load(flags, file).unwrap_err().to_string()
}

#[test]
fn without_anything_a_server_is_on_loopback_only() {
    let settings = Server::parse_from(["iam-server"])
        .args
        .load::<Own>(COMPONENT, &no_env)
        .unwrap();
    let server = &settings.server;
    assert!(server.listen.is_loopback());
    assert_eq!(server.port, 50080);
    assert_eq!(
        server.metrics_listen.unwrap().to_string(),
        "127.0.0.1:51080"
    );
    assert_eq!(server.state_dir, Path::new("/var/lib/photoncloud/iam"));
    assert_eq!(server.endpoints, Endpoints::default());
    assert_eq!(server.limits, Limits::default());
    assert_eq!(server.events, KeptEvents::default());
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file = r#"
        port = 1111
        metrics_listen = "off"
        state_dir = "/srv/iam"
        [endpoints]
        prismnet = "http://127.0.0.1:7001"
        plasmavmc = "https://vm.example:7002"
        [events]
        days = 0
        most = 50000
        [limits]
        calls = 7
        call_timeout_seconds = 9
        [limits.principal]
        burst = 11
        [iam]
        token_seconds = 60
    "#;
    let settings = load(
        &["--port", "2222", "--prismnet-endpoint", "http://[::1]:7003"],
        file,
    )
    .unwrap();
    assert_eq!(settings.server.port, 2222);
    assert_eq!(settings.server.metrics_listen, None);
    assert_eq!(settings.server.state_dir, Path::new("/srv/iam"));
    assert_eq!(
        settings.server.endpoints.url(&components::PRISMNET),
        "http://[::1]:7003"
    );
    assert_eq!(
        settings.server.endpoints.url(&components::PLASMAVMC),
        "https://vm.example:7002"
    );
    let (days, most) = (None, Some(50_000));
    assert_eq!(settings.server.events, KeptEvents { days, most });
    assert_eq!(settings.server.limits.calls, 7);
    assert_eq!(settings.server.limits.call_timeout, Duration::from_secs(9));
    assert_eq!(settings.server.limits.principal.burst, 11);
    assert_eq!(settings.component.token_seconds, 60);
    assert_eq!(load(&[], file).unwrap().server.port, 1111);
}

#[test]
fn every_component_has_a_key_a_flag_and_a_variable_and_those_of_before_are_the_same() {
    use clap::CommandFactory;

    let command = Server::command();
    let arguments: Vec<(String, String)> = command
        .get_arguments()
        .filter_map(|it| {
            let variable = it.get_env()?.to_str()?.to_owned();
            Some((format!("--{}", it.get_long()?), variable))
        })
        .collect();
    for (flag, variable) in [
        ("--iam-endpoint", "PHOTON_IAM_ENDPOINT"),
        ("--prismnet-endpoint", "PHOTON_PRISMNET_ENDPOINT"),
        ("--plasmavmc-endpoint", "PHOTON_PLASMAVMC_ENDPOINT"),
        ("--provisioner-endpoint", "PHOTON_PROVISIONER_ENDPOINT"),
    ] {
        let both = (flag.to_owned(), variable.to_owned());
        assert!(arguments.contains(&both), "{flag}: {arguments:?}");
    }
    for component in components::COMPONENTS {
        let (name, url) = (component.name, "https://other.example:7");
        let file = format!("[endpoints]\n{name} = {url:?}\n");
        let from_file = load(&[], &file).unwrap().server.endpoints;
        assert_eq!(from_file.url(component), url);
        let flag = format!("--{}={url}", component.endpoint_flag);
        let from_flag = load(&[&flag], "").unwrap().server.endpoints;
        assert_eq!(from_flag, from_file);
        for other in components::COMPONENTS {
            if other != component {
                assert_eq!(from_file.url(other), other.default_endpoint);
            }
        }
    }
}

#[test]
fn a_key_that_is_no_components_is_refused_with_its_place() {
    let message = refusal(
        &[],
        "[endpoints]\niam = \"https://i.example\"\nprismnett = \"https://p.example\"",
    );
    for expected in ["line 3", "unknown field `prismnett`", "`prismnet`", "`ca`"] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn systemd_and_the_environment_give_directories_and_component_settings() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "identity", "secret");
    let credentials = dir.path().to_str().unwrap().to_owned();
    let env = move |name: &str| match name {
        "STATE_DIRECTORY" => Some("/var/lib/photoncloud/iam:/other".to_owned()),
        "CREDENTIALS_DIRECTORY" => Some(credentials.clone()),
        "IAM_TOKEN_SECONDS" => Some("120".to_owned()),
        _ => None,
    };
    let settings = Server::parse_from(["iam-server"])
        .args
        .load::<Own>(COMPONENT, &env)
        .unwrap();
    assert_eq!(
        settings.server.state_dir,
        Path::new("/var/lib/photoncloud/iam")
    );
    assert_eq!(
        settings.server.credential_file,
        Some(dir.path().join("identity"))
    );
    assert_eq!(settings.component.token_seconds, 120);
}

#[test]
fn what_is_not_understood_is_refused_with_file_key_and_value() {
    let cases = [
        ("prot = 1", "unknown field `prot`"),
        ("port = \"x\"", "port = \"x\""),
        ("port = 65536", "expected u16"),
        ("[tls]\ncert = \"x\"", "unknown field `cert`"),
        ("[iam]\ntoken_secs = 1", "in [iam]"),
        ("[iam]\ntoken_secs = 1", "unknown field `token_secs`"),
        (
            "[iam]\ntoken_seconds = 9999",
            "iam.token_seconds = \"9999\" can't be used: expected at most 3600",
        ),
        ("[prismnet]\n", "unknown field `prismnet`"),
        ("port = 1\nport = 2", "duplicate key"),
        ("= 3", "TOML parse error at line 1"),
        (
            "node = \"h1\"",
            "node = \"h1\" can't be used: expected this key only in an agent's file",
        ),
        ("state_dir = \"iam\"", "an absolute path"),
        ("metrics_listen = \"0.0.0.0:9\"", "loopback"),
        (
            "[events]\ndays = 29",
            "events.days = \"29\" can't be used: expected 0 for all, or 30 to 36500: younger events are never cut off",
        ),
        (
            "[events]\nmost = 9999",
            "events.most = \"9999\" can't be used: expected 0 for any number, or at least 10000",
        ),
        (
            "[limits]\ncalls = 0",
            "limits.calls = \"0\" can't be used: expected 1 to 1048576",
        ),
        (
            "[limits.stranger]\ncalls_per_second = 0",
            "limits.stranger.calls_per_second = \"0\" can't be used: expected 1 to 1048576",
        ),
        (
            "[endpoints]\nprismnet = \"http://10.0.0.1:50081\"",
            "endpoints.prismnet = \"http://10.0.0.1:50081\"",
        ),
        ("[endpoints]\niam = \"ftp://127.0.0.1\"", "endpoints.iam"),
        (
            "[endpoints]\niam = \"https://iam.example/path\"",
            "endpoints.iam",
        ),
        ("[endpoints]\niam = \"127.0.0.1:50080\"", "endpoints.iam"),
        (
            "credential_file = \"/no/such/file\"",
            "credential_file = \"/no/such/file\"",
        ),
    ];
    for (file, expected) in cases {
        let message = refusal(&[], file);
        assert!(message.contains(expected), "{file}: {message}");
        assert!(message.contains("iam.toml"), "{message}");
    }
    let missing = Server::parse_from(["iam-server", "--config", "/no/such.toml"]);
    let message = missing
        .args
        .load::<Own>(COMPONENT, &no_env)
        .unwrap_err()
        .to_string();
    assert!(message.contains("/no/such.toml"), "{message}");
}

#[test]
fn a_listener_that_others_reach_must_speak_tls() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["iam.example".to_owned()]).unwrap();
    let certificate = write(dir.path(), "cert.pem", &made.cert.pem());
    let key = write(dir.path(), "key.pem", &made.signing_key.serialize_pem());
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let other = write(dir.path(), "other.pem", &other);
    let (certificate, key, other) = (
        certificate.to_str().unwrap(),
        key.to_str().unwrap(),
        other.to_str().unwrap(),
    );

    for listen in ["0.0.0.0", "::", "192.0.2.1"] {
        let message = refusal(&["--listen", listen], "");
        assert!(message.contains("must speak TLS"), "{message}");
        load(
            &[
                "--listen",
                listen,
                "--tls-certificate",
                certificate,
                "--tls-key",
                key,
            ],
            "",
        )
        .unwrap();
    }
    for (flags, expected) in [
        (vec!["--tls-certificate", certificate], "tls.key beside it"),
        (vec!["--tls-key", key], "tls.certificate beside it"),
        (
            vec!["--tls-client-ca", certificate],
            "tls.certificate and tls.key beside it",
        ),
        (
            vec!["--tls-client-certificates", "optional"],
            "tls.client_certificates = \"optional\" can't be used: expected tls.client_ca beside it",
        ),
        (
            vec!["--tls-certificate", key, "--tls-key", key],
            "a PEM file with a CERTIFICATE section",
        ),
        (
            vec!["--tls-certificate", certificate, "--tls-key", other],
            "a certificate and its private key",
        ),
        (
            vec!["--tls-certificate", "/no/such.pem", "--tls-key", key],
            "/no/such.pem",
        ),
    ] {
        let message = refusal(&flags, "");
        assert!(message.contains(expected), "{flags:?}: {message}");
    }
}

#[test]
fn clients_must_show_certificates_unless_they_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["iam.example".to_owned()]).unwrap();
    let certificate = write(dir.path(), "cert.pem", &made.cert.pem());
    let key = write(dir.path(), "key.pem", &made.signing_key.serialize_pem());
    let file = |more: &str| {
        let (certificate, key) = (certificate.display(), key.display());
        format!(
            "[tls]\ncertificate = '{certificate}'\nkey = '{key}'\nclient_ca = '{certificate}'\n{more}"
        )
    };
    let whether = |flags: &[&str], file: &str| {
        let settings = load(flags, file).unwrap();
        settings.server.tls.unwrap().client_certificates
    };
    let optional = file("client_certificates = 'optional'");
    assert_eq!(whether(&[], &file("")), ClientCertificates::Required);
    assert_eq!(whether(&[], &optional), ClientCertificates::Optional);
    let flag = ["--tls-client-certificates", "required"];
    assert_eq!(whether(&flag, &optional), ClientCertificates::Required);
    let message = refusal(&[], &file("client_certificates = 'maybe'"));
    assert!(
        message.contains("unknown variant `maybe`, expected `required` or `optional`"),
        "{message}"
    );
}

#[test]
fn a_credential_of_an_empty_line_is_none() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "identity", "\n");
    let credentials = dir.path().to_str().unwrap().to_owned();
    let env = move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.clone());
    let settings = Server::parse_from(["iam-server"]).args;
    let settings = settings.load::<Own>(COMPONENT, &env).unwrap();
    assert_eq!(settings.server.credential_file, None);
}

#[test]
fn an_agent_has_a_node_and_no_listener() {
    const AGENT: Component = Component {
        name: "prismnet-agent",
        port: 50091,
    };
    let dir = tempfile::tempdir().unwrap();
    let load = |flags: &[&str], file: &str| {
        let path = write(dir.path(), "agent.toml", file);
        let flags = ["agent", "--config", path.to_str().unwrap()]
            .into_iter()
            .chain(flags.iter().copied());
        Agent::parse_from(flags).args.load::<()>(AGENT, &no_env)
    };
    let settings = load(&[], "node = \"h7\"").unwrap();
    assert_eq!(settings.node, "h7");
    assert_eq!(settings.metrics_listen.unwrap().port(), 51091);
    assert_eq!(
        settings.state_dir,
        Path::new("/var/lib/photoncloud/prismnet-agent")
    );
    assert_eq!(load(&["--node", "h8"], "node = \"h7\"").unwrap().node, "h8");
    assert!(
        !load(&[], "").unwrap().node.is_empty(),
        "the host's name is the default"
    );
    for (file, expected) in [
        (
            "port = 1",
            "port = \"1\" can't be used: expected this key only in a server's file",
        ),
        ("node = \"h 7\"", "node = \"h 7\""),
        ("[prismnet-agent]\nx = 1", "in [prismnet-agent]"),
    ] {
        let message = load(&[], file).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
