use hyper::Request;

use super::*;
use crate::instance::example;

const NOW: u64 = 1_000_000;

struct Asked {
    instance: Instance,
    issuer: Issuer,
}

impl Asked {
    fn new(http_tokens: Tokens) -> Self {
        Self {
            instance: Instance {
                http_tokens,
                ..example(1, "pt1", "10.0.1.10/24")
            },
            issuer: Issuer::new().unwrap(),
        }
    }

    fn of(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "169.254.169.254");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let caller = Caller {
            instance: &self.instance,
            tap: "pt1",
        };
        answer(Some(caller), &parts, &self.issuer, NOW)
    }

    fn token(&self) -> String {
        let answer = self.of("PUT", "/latest/api/token", &[(TTL, "60")]);
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.token, Some((60, self.instance.hop_limit)));
        String::from_utf8(answer.body).unwrap()
    }

    /// With a token.
    fn read(&self, path: &str) -> (u16, String) {
        let answer = self.of("GET", path, &[(TOKEN, &self.token())]);
        let body = String::from_utf8(answer.body).unwrap();
        (answer.status.as_u16(), body)
    }

    fn text(&self, path: &str) -> String {
        let (status, body) = self.read(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn status(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.of(method, path, headers).status.as_u16()
    }
}

#[test]
fn with_a_token_a_guest_reads_what_it_is() {
    let asked = Asked::new(Tokens::Required);
    assert_eq!(asked.text("/"), "2009-04-04\n2021-03-23\nlatest");
    assert_eq!(asked.text("/latest/"), "dynamic\nmeta-data\nuser-data");
    assert_eq!(
        asked.text("/latest/meta-data/"),
        "ami-launch-index\nhostname\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nnetwork/\npublic-keys/"
    );
    for version in ["2009-04-04", "2021-03-23", "latest"] {
        let id = asked.text(&format!("/{version}/meta-data/instance-id"));
        assert_eq!(id, asked.instance.instance_id);
    }
    assert_eq!(asked.text("/latest/meta-data/local-ipv4"), "10.0.1.10");
    assert_eq!(asked.text("/latest/meta-data/hostname"), "app-1");
    assert_eq!(asked.text("/latest/meta-data/public-keys/"), "0=key-0");
    assert_eq!(
        asked.text("/latest/meta-data/public-keys/0/"),
        "openssh-key"
    );
    assert_eq!(
        asked.text("/latest/meta-data/public-keys/0/openssh-key"),
        "ssh-ed25519 AAAA me"
    );
    let of_mac = "/latest/meta-data/network/interfaces/macs/fa:16:3e:00:00:01";
    assert_eq!(
        asked.text(of_mac),
        "device-number\nlocal-hostname\nlocal-ipv4s\nmac\nsubnet-ipv4-cidr-block"
    );
    let subnet = asked.text(&format!("{of_mac}/subnet-ipv4-cidr-block"));
    assert_eq!(subnet, "10.0.1.0/24");
    assert_eq!(asked.text("/latest/user-data"), "#!/bin/sh\n");
    let document = asked.text("/latest/dynamic/instance-identity/document");
    assert!(
        document.contains(r#""privateIp":"10.0.1.10""#),
        "{document}"
    );
    for absent in [
        "/latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/hostname/more",
        "/1.0/meta-data/",
        "/latest/api/token",
        "/latest/%6deta-data/",
        "/latest/../latest/user-data",
    ] {
        assert_eq!(asked.read(absent).0, 404, "{absent}");
    }
}

#[test]
fn nothing_is_told_without_a_token_of_this_vm() {
    let asked = Asked::new(Tokens::Required);
    let other = asked
        .issuer
        .issue(example(2, "pt2", "10.0.1.11/24").vm, "pt1", NOW + 60);
    let by_another = asked.issuer.issue(asked.instance.vm, "pt2", NOW + 60);
    let ended = asked.issuer.issue(asked.instance.vm, "pt1", NOW);
    for path in [
        "/",
        "/latest/user-data",
        "/nowhere",
        "/openstack/latest/user_data",
        "/nocloud/user-data",
    ] {
        assert_eq!(asked.status("GET", path, &[]), 401, "{path}");
        for wrong in ["", "x", &other, &by_another, &ended] {
            assert_eq!(
                asked.status("GET", path, &[(TOKEN, wrong)]),
                401,
                "{path} {wrong}"
            );
        }
    }
    // A wrong one is refused also where none is needed.
    let asked = Asked::new(Tokens::Optional);
    assert_eq!(
        asked.status("GET", "/latest/user-data", &[(TOKEN, "x")]),
        401
    );
    assert_eq!(asked.status("GET", "/latest/user-data", &[]), 200);
}

#[test]
fn a_token_says_for_how_long_it_is_asked_for() {
    let asked = Asked::new(Tokens::Required);
    for wrong in ["0", "21601", "-1", "x", ""] {
        let status = asked.status("PUT", "/latest/api/token", &[(TTL, wrong)]);
        assert_eq!(status, 400, "{wrong}");
    }
    assert_eq!(asked.status("PUT", "/latest/api/token", &[]), 400);
    assert_eq!(
        asked.status("PUT", "/latest/api/token", &[(TTL, "21600")]),
        200
    );
    assert_eq!(
        asked.status("PUT", "/latest/user-data", &[(TTL, "60")]),
        405
    );
    assert_eq!(
        asked.status("POST", "/latest/api/token", &[(TTL, "60")]),
        405
    );
}

#[test]
fn what_a_proxy_or_a_foreign_name_brings_is_refused() {
    let asked = Asked::new(Tokens::Optional);
    let forwarded = [("x-forwarded-for", "")];
    assert_eq!(asked.status("GET", "/latest/user-data", &forwarded), 403);
    let put = [("x-forwarded-for", "10.0.0.1"), (TTL, "60")];
    assert_eq!(asked.status("PUT", "/latest/api/token", &put), 403);
    for (host, status) in [
        ("169.254.169.254", 200),
        ("169.254.169.254:80", 200),
        ("169.254.169.254:8080", 421),
        ("rebound.example", 421),
        ("", 421),
    ] {
        assert_eq!(
            asked.status("GET", "/", &[("host", host)]),
            status,
            "{host}"
        );
    }
    let whole = "http://rebound.example/latest/user-data";
    assert_eq!(asked.status("GET", whole, &[]), 421);
    let twice = [("host", "169.254.169.254"), ("host", "rebound.example")];
    assert_eq!(asked.status("GET", "/", &twice), 421);
}

#[test]
fn whoever_is_not_known_finds_nothing() {
    let issuer = Issuer::new().unwrap();
    for (method, path) in [("GET", "/latest/meta-data/"), ("PUT", "/latest/api/token")] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(TTL, "60");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(
            answer(None, &parts, &issuer, NOW).status,
            StatusCode::NOT_FOUND
        );
    }
}

#[test]
fn clients_that_know_no_tokens_are_answered_where_none_are_needed() {
    let strict = Asked::new(Tokens::Required);
    for path in ["/openstack/latest/meta_data.json", "/nocloud/meta-data"] {
        assert_eq!(strict.read(path).0, 404, "{path}");
    }
    let asked = Asked::new(Tokens::Optional);
    let read = |path: &str| {
        let answer = asked.of("GET", path, &[]);
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        String::from_utf8(answer.body).unwrap()
    };
    assert_eq!(read("/openstack/"), "latest");
    let meta: serde_json::Value =
        serde_json::from_str(&read("/openstack/latest/meta_data.json")).unwrap();
    assert_eq!(meta["hostname"], "app-1");
    assert_eq!(meta["public_keys"]["key-0"], "ssh-ed25519 AAAA me");
    let network: serde_json::Value =
        serde_json::from_str(&read("/openstack/latest/network_data.json")).unwrap();
    assert_eq!(network["networks"][0]["type"], "ipv4_dhcp");
    assert_eq!(network["links"][0]["mtu"], 1450);
    assert_eq!(read("/openstack/latest/vendor_data.json"), "{}");
    assert_eq!(read("/openstack/latest/user_data"), "#!/bin/sh\n");
    assert_eq!(read("/nocloud/user-data"), "#!/bin/sh\n");
    assert_eq!(read("/nocloud/meta-data"), "instance-id: \"x\"\n");
    assert_eq!(read("/nocloud/network-config"), "{\"version\":2}");
    assert_eq!(read("/nocloud/vendor-data"), "");
}

#[test]
fn an_address_that_is_not_told_by_dhcp_is_written() {
    let mut asked = Asked::new(Tokens::Optional);
    let interface = &mut asked.instance.interfaces[0];
    interface.dhcp = false;
    interface.ipv6 = Some(("fd00::5/64".parse().unwrap(), "fd00::1".parse().unwrap()));
    let answer = asked.of("GET", "/openstack/latest/network_data.json", &[]);
    let network: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let [four, six] = [&network["networks"][0], &network["networks"][1]];
    assert_eq!(four["ip_address"], "10.0.1.10");
    assert_eq!(four["netmask"], "255.255.255.0");
    assert_eq!(four["routes"][0]["gateway"], "10.0.1.1");
    assert_eq!(four["services"][0]["address"], "10.0.1.1");
    assert_eq!(six["ip_address"], "fd00::5");
    assert_eq!(six["routes"][0]["gateway"], "fd00::1");
}
