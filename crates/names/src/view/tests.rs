use hickory_proto::rr::rdata::CNAME;

use super::*;
use crate::RecordSet;

fn told(networks: &[&str], names: &[(&str, &[&str])]) -> Contents {
    let name = |(name, addresses): &(&str, &[&str])| {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        ((*name).to_owned(), addresses.collect())
    };
    Contents {
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        names: names.iter().map(name).collect(),
        ..Contents::default()
    }
}

fn acme() -> View {
    let names: [(&str, &[&str]); 2] = [
        ("db.web.acme", &["10.0.1.2", "fd00:1::2"]),
        ("app.web.acme", &["10.0.1.3"]),
    ];
    View::of(
        &told(&["10.0.1.0/24", "fd00:1::/64"], &names),
        "cloud.internal",
        &[],
    )
}

/// Code, values of the answers, and the zone that says no.
fn ask(view: &View, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>, String) {
    let resolved = view.resolve(&Name::from_ascii(name).unwrap(), kind);
    let answers = resolved.answers.iter();
    let authority = resolved.authority.map(|soa| soa.name.to_ascii());
    (
        resolved.code,
        answers.map(|record| record.data.to_string()).collect(),
        authority.unwrap_or_default(),
    )
}

fn values(values: &[&str]) -> (ResponseCode, Vec<String>, String) {
    let values = values.iter().map(|value| (*value).to_owned());
    (ResponseCode::NoError, values.collect(), String::new())
}

fn no(code: ResponseCode, zone: &str) -> (ResponseCode, Vec<String>, String) {
    (code, Vec::new(), zone.to_owned())
}

#[test]
fn a_vm_has_addresses_and_they_have_its_name() {
    let view = acme();
    let name = "db.web.acme.cloud.internal.";
    assert_eq!(ask(&view, name, RecordType::A), values(&["10.0.1.2"]));
    assert_eq!(ask(&view, name, RecordType::AAAA), values(&["fd00:1::2"]));
    // Names are compared without regard to case (RFC 4343), and answered as they were asked.
    let loud = view.resolve(
        &Name::from_ascii("DB.web.acme.Cloud.Internal.").unwrap(),
        RecordType::A,
    );
    assert_eq!(
        loud.answers[0].name.to_ascii(),
        "DB.web.acme.Cloud.Internal."
    );
    assert_eq!(loud.answers[0].ttl, 30);
    let reverse = "2.1.0.10.in-addr.arpa.";
    assert_eq!(ask(&view, reverse, RecordType::PTR), values(&[name]));
    let reverse = reverse::name("fd00:1::2".parse().unwrap()).unwrap();
    let reverse = reverse.to_ascii();
    assert_eq!(ask(&view, &reverse, RecordType::PTR), values(&[name]));
}

#[test]
fn what_is_not_there_is_said_not_to_be_for_five_seconds() {
    let view = acme();
    let nx = |zone| no(ResponseCode::NXDomain, zone);
    for (name, zone) in [
        ("none.web.acme.cloud.internal.", "cloud.internal."),
        ("db.web.globex.cloud.internal.", "cloud.internal."),
        ("x.db.web.acme.cloud.internal.", "cloud.internal."),
        ("9.1.0.10.in-addr.arpa.", "10.in-addr.arpa."),
        ("1.1.168.192.in-addr.arpa.", "168.192.in-addr.arpa."),
        ("elsewhere.internal.", "internal."),
        ("printer.local.", "local."),
        ("x.onion.", "onion."),
    ] {
        assert_eq!(ask(&view, name, RecordType::A), nx(zone), "{name}");
    }
    let resolved = view.resolve(
        &Name::from_ascii("none.cloud.internal.").unwrap(),
        RecordType::A,
    );
    let soa = resolved.authority.unwrap();
    assert_eq!(soa.ttl, 5);
    assert!(matches!(&soa.data, RData::SOA(soa) if soa.minimum == 5));
}

#[test]
fn a_name_without_such_a_record_exists() {
    let view = acme();
    let none = |zone| no(ResponseCode::NoError, zone);
    for (name, kind, zone) in [
        (
            "app.web.acme.cloud.internal.",
            RecordType::AAAA,
            "cloud.internal.",
        ),
        (
            "app.web.acme.cloud.internal.",
            RecordType::MX,
            "cloud.internal.",
        ),
        // Names below them exist.
        ("web.acme.cloud.internal.", RecordType::A, "cloud.internal."),
        ("acme.cloud.internal.", RecordType::A, "cloud.internal."),
        ("cloud.internal.", RecordType::A, "cloud.internal."),
        ("1.0.10.in-addr.arpa.", RecordType::PTR, "10.in-addr.arpa."),
    ] {
        assert_eq!(ask(&view, name, kind), none(zone), "{name}");
    }
}

#[test]
fn what_is_foreign_is_refused() {
    let view = acme();
    for name in [
        "example.com.",
        "com.",
        ".",
        "8.8.8.8.in-addr.arpa.",
        "arpa.",
    ] {
        let answer = ask(&view, name, RecordType::A);
        assert_eq!(answer, no(ResponseCode::Refused, ""), "{name}");
    }
    assert_eq!(
        ask(&view, "localhost.", RecordType::A),
        values(&["127.0.0.1"])
    );
}

#[test]
fn everything_at_once_is_not_told() {
    let view = acme();
    let (code, answers, _) = ask(&view, "db.web.acme.cloud.internal.", RecordType::ANY);
    assert_eq!(code, ResponseCode::NoError);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].contains("RFC8482"), "{answers:?}");
    let (_, soa, _) = ask(&view, "cloud.internal.", RecordType::SOA);
    assert_eq!(soa.len(), 1);
}

#[test]
fn a_public_range_of_a_vpc_is_its_own() {
    let view = View::of(
        &told(&["8.8.4.0/23"], &[("dns.web.acme", &["8.8.5.8"])]),
        "cloud.internal",
        &[],
    );
    assert_eq!(
        ask(&view, "8.5.8.8.in-addr.arpa.", RecordType::PTR),
        values(&["dns.web.acme.cloud.internal."])
    );
    assert_eq!(
        ask(&view, "8.4.8.8.in-addr.arpa.", RecordType::PTR),
        no(ResponseCode::NXDomain, "4.8.8.in-addr.arpa.")
    );
    assert_eq!(
        ask(&view, "8.8.8.8.in-addr.arpa.", RecordType::PTR).0,
        ResponseCode::Refused
    );
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

#[test]
fn an_alias_is_followed_eight_times() {
    let mut view = acme();
    let apex = name("shop.example.");
    let mut zone = Zone::new(apex.clone(), &apex);
    let alias = |to: &str| RData::CNAME(CNAME(name(to)));
    zone.add(name("a.shop.example."), 60, alias("b.shop.example."));
    zone.add(name("b.shop.example."), 60, alias("a.shop.example."));
    zone.add(
        name("db.shop.example."),
        60,
        alias("db.web.acme.cloud.internal."),
    );
    zone.add(name("out.shop.example."), 60, alias("example.com."));
    zone.add(name("gone.shop.example."), 60, alias("none.shop.example."));
    let address = RData::A(A(Ipv4Addr::new(10, 0, 0, 9)));
    zone.add(name("*.wild.shop.example."), 60, address);
    view.zones.insert(apex, zone);
    assert_eq!(
        ask(&view, "a.shop.example.", RecordType::A).0,
        ResponseCode::ServFail
    );
    assert_eq!(
        ask(&view, "db.shop.example.", RecordType::A),
        values(&["db.web.acme.cloud.internal.", "10.0.1.2"])
    );
    assert_eq!(
        ask(&view, "out.shop.example.", RecordType::A),
        values(&["example.com."])
    );
    assert_eq!(
        ask(&view, "gone.shop.example.", RecordType::A).0,
        ResponseCode::NXDomain
    );
    // RFC 4592: of what is below the closest name that exists, and of nothing beside it.
    assert_eq!(
        ask(&view, "x.y.wild.shop.example.", RecordType::A),
        values(&["10.0.0.9"])
    );
    assert_eq!(
        ask(&view, "x.db.shop.example.", RecordType::A).0,
        ResponseCode::NXDomain
    );
    assert_eq!(
        ask(&view, "wild.shop.example.", RecordType::A).0,
        ResponseCode::NoError
    );
}

#[test]
fn a_zone_of_a_tenants_is_answered_in_its_vpc() {
    let set = |name: &str, kind: u16, values: &[&[u8]]| RecordSet {
        name: name.into(),
        kind,
        ttl: 60,
        values: values.iter().map(|value| value.to_vec()).collect(),
    };
    let vpc = Contents {
        zones: vec![
            Domain {
                name: "shop.example".into(),
                record_sets: vec![
                    set("", 1, &[&[10, 0, 0, 1], &[10, 0, 0, 2]]),
                    set("", 15, &[b"\x00\x0a\x01m\x04shop\x07example\x00"]),
                    set("www", 5, &[b"\x04shop\x07example\x00"]),
                    set("txt", 16, &[b"\x02hi"]),
                    set("_db._tcp", 33, &[b"\x00\x01\x00\x02\x15\x38\x01d\x00"]),
                    set("ca", 257, &[b"\x00\x05issueca.example"]),
                    // Too short for an address, and more than one.
                    set("bad", 1, &[&[10, 0, 0], &[10, 0, 0, 1, 2]]),
                ],
            },
            // Not in the place of the cloud's own.
            Domain {
                name: "cloud.internal".into(),
                record_sets: vec![set("db.web.acme", 1, &[&[6, 6, 6, 6]])],
            },
        ],
        ..told(&["10.0.1.0/24"], &[("db.web.acme", &["10.0.1.2"])])
    };
    let view = View::of(&vpc, "cloud.internal", &[]);
    for (name, kind, expected) in [
        ("shop.example.", RecordType::A, vec!["10.0.0.1", "10.0.0.2"]),
        ("shop.example.", RecordType::MX, vec!["10 m.shop.example."]),
        (
            "www.shop.example.",
            RecordType::A,
            vec!["shop.example.", "10.0.0.1", "10.0.0.2"],
        ),
        ("txt.shop.example.", RecordType::TXT, vec!["hi"]),
        (
            "_db._tcp.shop.example.",
            RecordType::SRV,
            vec!["1 2 5432 d."],
        ),
        (
            "db.web.acme.cloud.internal.",
            RecordType::A,
            vec!["10.0.1.2"],
        ),
    ] {
        assert_eq!(ask(&view, name, kind), values(&expected), "{name}");
    }
    let (code, answers, _) = ask(&view, "ca.shop.example.", RecordType::CAA);
    assert_eq!((code, answers.len()), (ResponseCode::NoError, 1));
    assert_eq!(
        ask(&view, "bad.shop.example.", RecordType::A).0,
        ResponseCode::NXDomain
    );
    assert_eq!(
        ask(&view, "other.shop.example.", RecordType::A),
        no(ResponseCode::NXDomain, "shop.example.")
    );
}

#[test]
fn what_can_not_be_read_is_left_out() {
    let names: [(&str, &[&str]); 3] = [
        ("a..b", &["10.0.1.2"]),
        ("ok.web.acme", &["10.0.1.3"]),
        ("far.web.acme", &["203.0.114.1"]),
    ];
    let view = View::of(&told(&["10.0.1.0/24"], &names), "cloud.internal", &[]);
    assert_eq!(
        ask(&view, "ok.web.acme.cloud.internal.", RecordType::A),
        values(&["10.0.1.3"])
    );
    let nothing = View::of(&told(&[], &names), "a..b", &[]);
    assert_eq!(
        ask(&nothing, "ok.web.acme.cloud.internal.", RecordType::A).0,
        ResponseCode::NXDomain
    );
}
