//! What `photon` promises beside what it prints: a command repeated under one request id counts once, a closed pipe is no
//! error, and no server's events are left out in silence.

#[path = "support/mod.rs"]
mod support;

use std::process::Stdio;
use std::time::Duration;

use photon_api::chainfire::v1::event_service_server::{EventService, EventServiceServer};
use photon_api::chainfire::v1::{
    ListEventsRequest, ListEventsResponse, VerifyChainRequest, VerifyChainResponse,
};
use photon_api::iam::v1::directory_service_server::{DirectoryService, DirectoryServiceServer};
use photon_api::iam::v1::{ComponentEndpoint, ListEndpointsRequest, ListEndpointsResponse};
use photon_testcloud::TestCloud;
use serde_json::Value;
use support::{Photon, register_host};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

fn tenant(cloud: &TestCloud, folder: &std::path::Path) -> Photon {
    Photon::of(cloud, folder, &cloud.acme.admin.token)
        .with("PHOTON_ORG", "acme")
        .with("PHOTON_PROJECT", "web")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_given_again_under_its_request_id_answers_the_same() {
    let cloud = TestCloud::start().await;
    register_host(&cloud).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("disk.raw"), vec![0; 4096]).unwrap();
    let photon = tenant(&cloud, folder.path());
    let twice = async |name: &str, line: &str| -> Value {
        let mut arguments: Vec<&str> = line.split(' ').collect();
        arguments.extend(["--request-id", name, "-o", "json"]);
        let first = photon.run(&arguments).await;
        assert_eq!(first.code, Some(0), "{line}: {first:?}");
        let second = photon.run(&arguments).await;
        assert_eq!(
            (second.code, &second.stdout),
            (Some(0), &first.stdout),
            "{line}: {second:?}"
        );
        serde_json::from_str(&first.stdout).unwrap_or_default()
    };
    twice("p1", "project create shop").await;
    twice("p2", "project update shop --description Wares").await;
    let user = twice("u1", "user create alice").await;
    twice("u2", "user disable alice").await;
    twice("r1", "role create looker --permit compute:instances:get").await;
    twice("b1", "binding create alice looker").await;
    let vpc = twice(
        "v1",
        "vpc create main --cidr 10.0.0.0/16 --label a=1 --label b=2 --label c=3",
    )
    .await;
    twice("v2", "vpc update main --label d=1 --label e=2 --label f=3").await;
    twice("s1", "subnet create front --vpc main --cidr 10.0.1.0/24").await;
    twice("g1", "security-group create closed").await;
    twice(
        "g2",
        "security-group add-rule closed --in --protocol tcp --ports 80",
    )
    .await;
    let port = twice(
        "o1",
        "port create one --subnet front --security-group closed",
    )
    .await;
    twice("i1", "image import disk --disk disk.raw").await;
    let vm = twice("m1", "vm create one --memory 1G --stopped").await;
    assert_eq!(vm["spec"]["memory_mib"], 1024);
    twice("m2", "vm update one --description Second").await;

    // What is gone has no name any more: its id is what the server knows the answer by.
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
    twice("d1", &format!("port delete {} --yes", id(&port))).await;
    twice("d2", &format!("vm delete {} --yes", id(&vm))).await;
    twice("d3", &format!("user delete {} --yes", id(&user))).await;
    twice("d4", "project delete shop --yes").await;
    let other = photon
        .run(&["vpc", "delete", &id(&vpc), "--yes", "--request-id", "d5"])
        .await;
    assert_eq!(other.code, Some(1), "it has a subnet: {other:?}");

    // Under another id, or none, it is another command.
    let again = photon.run(&["security-group", "create", "closed"]).await;
    assert!(again.stderr.contains("already exists"), "{again:?}");
    // And what was done under an id is not something else.
    let other = ["security-group", "create", "open", "--request-id", "g1"];
    let answer = photon.run(&other).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("another request"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disks_format_is_seen_in_its_content_before_it_is_sent() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let photon = tenant(&cloud, folder.path());
    let write = |name: &str, from: usize, bytes: &[u8]| {
        let mut content = vec![0; 1 << 20];
        content[from..from + bytes.len()].copy_from_slice(bytes);
        std::fs::write(folder.path().join(name), content).unwrap();
    };
    write("appliance.vmdk", 0, b"KDMV");
    write("fixed.vhd", (1 << 20) - 512, b"conectix");
    write("disk.raw.gz", 0, b"\x1f\x8b\x08");
    write(
        "install.iso",
        34 << 10,
        b"\0CD001\x01EL TORITO SPECIFICATION",
    );
    write("plain.qcow2", 510, b"\x55\xaa");
    let mut qcow2 = vec![0_u8; 4 * 65536];
    let fields: [(usize, &[u8]); 8] = [
        (0, b"QFI\xfb"),
        (4, &3_u32.to_be_bytes()),
        (20, &16_u32.to_be_bytes()),
        (24, &(1_u64 << 20).to_be_bytes()),
        (36, &1_u32.to_be_bytes()),
        (40, &(3_u64 * 65536).to_be_bytes()),
        (48, &65536_u64.to_be_bytes()),
        (100, &104_u32.to_be_bytes()),
    ];
    for (offset, value) in fields {
        qcow2[offset..offset + value.len()].copy_from_slice(value);
    }
    std::fs::write(folder.path().join("cloudimg-amd64.img"), qcow2).unwrap();
    for (file, said) in [
        (
            "appliance.vmdk",
            "appliance.vmdk is a VMware disk (VMDK); convert it first: qemu-img convert -f vmdk",
        ),
        ("fixed.vhd", "fixed.vhd is a VHD disk"),
        ("install.iso", "install.iso is a CD to install from (ISO)"),
        (
            "disk.raw.gz",
            "disk.raw.gz is compressed with gzip; unpack it first: gunzip",
        ),
        (
            "cloudimg-amd64.img --format raw",
            "is qcow2: import it with --format qcow2",
        ),
        (
            "plain.qcow2 --format qcow2",
            "is not qcow2: import it with --format raw",
        ),
    ] {
        let line = format!("image import x --disk {file}");
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let answer = photon.run(&arguments).await;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stderr.contains(said), "{answer:?}");
    }
    for (name, file, format) in [
        ("ubuntu", "cloudimg-amd64.img", "IMAGE_FORMAT_QCOW2"),
        ("plain", "plain.qcow2", "IMAGE_FORMAT_RAW"),
    ] {
        let image = photon
            .json(&["image", "import", name, "--disk", file])
            .await;
        assert_eq!(image["format"], format, "{image}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_seen_enough_may_close_the_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Photon::new(folder.path())
        .command(&["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).await.unwrap();
    drop(out);
    let ended = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""));

    let cloud = TestCloud::start().await;
    register_host(&cloud).await;
    let photon = tenant(&cloud, folder.path());
    let mut child = photon
        .command(&["vm", "watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let create = ["vm", "create", "one", "--memory", "64", "--stopped"];
    assert_eq!(photon.run(&create).await.code, Some(0));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut number = 0;
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(tokio::time::Instant::now() < deadline, "it goes on");
        // Something to print.
        number += 1;
        let text = number.to_string();
        photon
            .run(&["vm", "update", "one", "--description", &text])
            .await;
    };
    let mut said = String::new();
    let mut err = child.stderr.take().unwrap();
    err.read_to_string(&mut said).await.unwrap();
    assert_eq!((ended.code(), said.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_servers_chain_is_read_or_its_absence_is_said() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let operator = || Photon::of(&cloud, folder.path(), &cloud.operator.token);
    let services = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().unwrap();
        rows.iter()
            .map(|row| row["service"].as_str().unwrap().to_owned())
            .collect()
    };
    // Bound and let go: nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", free.local_addr().unwrap());
    drop(free);

    let verify = ["audit", "verify", "-o", "json"];
    let answer = operator().run(&verify).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let rows: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(
        services(&rows),
        ["iam", "prismnet", "plasmavmc", "flashdns"]
    );
    assert!(
        answer.stderr.contains("--provisioner-endpoint"),
        "{answer:?}"
    );

    // One that is said to be there must answer.
    let there = operator().with("PHOTON_PROVISIONER_ENDPOINT", nowhere);
    assert_eq!(there.run(&verify).await.code, Some(5));

    let there = operator().with(
        "PHOTON_PROVISIONER_ENDPOINT",
        cloud.server("provisioner").url(),
    );
    let answer = there.run(&verify).await;
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    let rows: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(
        services(&rows),
        ["iam", "prismnet", "plasmavmc", "flashdns", "provisioner"]
    );
}

/// An IAM that only knows where the others are.
struct Told(Vec<ComponentEndpoint>);

#[tonic::async_trait]
impl DirectoryService for Told {
    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        Ok(Response::new(ListEndpointsResponse {
            endpoints: self.0.clone(),
        }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_url_leads_to_all_servers() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let told = Told(vec![ComponentEndpoint {
        component: "prismnet".into(),
        url: cloud.server("prismnet").url(),
    }]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let iam = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(DirectoryServiceServer::new(told));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let photon = Photon::new(folder.path())
        .with("PHOTON_TOKEN", &cloud.acme.admin.token)
        .with("PHOTON_ORG", "acme")
        .with("PHOTON_PROJECT", "web");
    let set = ["context", "set", "rack", "--endpoint", &iam];
    assert_eq!(photon.run(&set).await.code, Some(0));
    let made = photon
        .json(&["vpc", "create", "main", "--cidr", "10.0.0.0/16"])
        .await;
    assert_eq!(made["name"], "main");

    // Nobody tells of the servers that are beside this one: each is looked for at its own port.
    let set = [
        "context",
        "set",
        "rack",
        "--endpoint",
        "https://rack.example:50080",
    ];
    assert_eq!(photon.run(&set).await.code, Some(0));
    let shown = photon.json(&["context", "show"]).await;
    assert_eq!(shown["endpoint"], "https://rack.example:50080");
    assert_eq!(shown["iam"], "https://rack.example:50080");
    assert_eq!(shown["prismnet"], "https://rack.example:50081");
    assert_eq!(shown["provisioner"], "https://rack.example:50089");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iam_without_a_directory_is_no_obstacle() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let iam = format!("http://{}", listener.local_addr().unwrap());
    let events = EventServiceServer::new(NoEvents);
    let server = tonic::transport::Server::builder().add_service(events);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let photon = tenant(&cloud, folder.path());
    let set = ["context", "set", "rack", "--endpoint", &iam];
    assert_eq!(photon.run(&set).await.code, Some(0));
    // The environment says where PrismNET is.
    let answer = photon.run(&["vpc", "list"]).await;
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
}

/// A server of before there was a directory.
struct NoEvents;

#[tonic::async_trait]
impl EventService for NoEvents {
    async fn list_events(
        &self,
        _: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        Err(Status::permission_denied("no"))
    }

    async fn verify_chain(
        &self,
        _: Request<VerifyChainRequest>,
    ) -> Result<Response<VerifyChainResponse>, Status> {
        Err(Status::permission_denied("no"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_field_is_called_by_its_flag() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let photon = tenant(&cloud, folder.path());
    let answer = photon
        .run(&["vpc", "create", "main", "--cidr", "10.0.0.0/33"])
        .await;
    assert!(
        answer.stderr.starts_with("error: --cidr '10.0.0.0/33'"),
        "{answer:?}"
    );
    assert_eq!(photon.run(&["sg", "create", "web"]).await.code, Some(0));
    let rule = [
        "sg",
        "add-rule",
        "web",
        "--in",
        "--protocol",
        "icmp",
        "--ports",
        "80",
    ];
    let answer = photon.run(&rule).await;
    assert!(
        answer.stderr.starts_with("error: --ports '80'"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_context_of_before_leads_where_it_led() {
    let folder = tempfile::tempdir().unwrap();
    let old = "current = \"rack\"\n\n[contexts.rack]\niam = \"https://rack:50080\"\nprismnet = \"https://rack:50081\"\n\
               plasmavmc = \"https://rack:50082\"\nca_file = \"/ca.pem\"\norg = \"acme\"\n";
    std::fs::write(folder.path().join("config.toml"), old).unwrap();
    let shown = Photon::new(folder.path()).json(&["context", "show"]).await;
    assert_eq!(shown["plasmavmc"], "https://rack:50082");
    assert_eq!(shown["ca_file"], "/ca.pem");
    assert_eq!(shown["org"], "acme");
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_of_all_services_are_shown_together_and_set_where_they_are_counted() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let admin = tenant(&cloud, folder.path());
    let operator = Photon::of(&cloud, folder.path(), &cloud.operator.token);
    let of = |shown: &Value, name: &str| -> Value {
        let rows = shown.as_array().unwrap().iter();
        let mut found = rows.filter(|row| row["name"] == name);
        let row = found
            .next()
            .unwrap_or_else(|| panic!("{name} is not in {shown}"));
        assert!(found.next().is_none(), "{name} is there twice");
        row.clone()
    };
    admin
        .json(&["vpc", "create", "main", "--cidr", "10.0.0.0/16"])
        .await;
    let mut set = vec!["quota", "set", "vpcs=1", "memory=128GiB", "bindings=50"];
    set.extend(["--org", "acme", "--project", "web", "--request-id", "q1"]);
    let first = operator.json(&set).await;
    assert_eq!(of(&first, "vpcs")["service"], "prismnet");
    assert_eq!(of(&first, "memory_mib")["service"], "plasmavmc");
    assert_eq!(of(&first, "bindings")["service"], "iam");
    assert_eq!(operator.json(&set).await, first, "given again");

    let shown = admin.json(&["quota", "show"]).await;
    let vpcs = of(&shown, "vpcs");
    assert_eq!(
        vpcs["project"],
        serde_json::json!({"used": 1, "limit": 1, "set": true})
    );
    assert_eq!(vpcs["organization"]["used"], 1);
    assert_eq!(vpcs["organization"]["set"], false);
    assert_eq!(of(&shown, "memory_mib")["project"]["limit"], 128 << 10);
    assert_eq!(of(&shown, "projects")["project"], Value::Null);
    // A member of the project alone sees the project's alone.
    let member = Photon::of(&cloud, folder.path(), &cloud.acme.member.token)
        .with("PHOTON_ORG", "acme")
        .with("PHOTON_PROJECT", "web");
    let shown = member.json(&["quota", "show"]).await;
    assert_eq!(of(&shown, "vpcs")["organization"], Value::Null);
    let answer = admin
        .run(&["vpc", "create", "two", "--cidr", "10.1.0.0/16"])
        .await;
    assert!(
        answer
            .stderr
            .contains("`photon quota set vpcs=N --org acme --project web`"),
        "{answer:?}"
    );
    let answer = admin.run(&["quota", "set", "vpcs=5"]).await;
    assert_eq!(answer.code, Some(4), "{answer:?}");
    assert!(
        answer.stderr.contains("only an operator sets quotas"),
        "{answer:?}"
    );

    // Nothing is set if one of them can't be.
    let refused = async |arguments: &[&str], said: &str| {
        let mut all = vec!["quota", "set", "vms=3"];
        all.extend(arguments);
        all.extend(["--org", "acme"]);
        let answer = operator.run(&all).await;
        assert_ne!(answer.code, Some(0), "{answer:?}");
        assert!(answer.stderr.contains(said), "{answer:?}");
    };
    let web = ["--project", "web"];
    refused(
        &["vpc=3", web[0], web[1]],
        "there is no quota 'vpc'; there is: bindings",
    )
    .await;
    refused(&["vcpus=4G", web[0], web[1]], "vcpus=4G: expected a number").await;
    refused(&["vms=4", web[0], web[1]], "vms is set twice").await;
    refused(&["projects=4", web[0], web[1]], "--whole-org").await;
    refused(&["--project", "wbe"], "project 'wbe' not found").await;
    let shown = admin.json(&["quota", "show"]).await;
    assert_eq!(of(&shown, "vms")["project"]["set"], false);
    // The whole organization's, also where the context has a project; and as the settings say again.
    let operator = operator
        .with("PHOTON_PROJECT", "web")
        .with("PHOTON_ORG", "acme");
    operator
        .json(&["quota", "set", "projects=4", "--whole-org"])
        .await;
    operator.json(&["quota", "set", "vpcs=default"]).await;
    let shown = admin.json(&["quota", "show"]).await;
    assert_eq!(of(&shown, "projects")["organization"]["limit"], 4);
    assert_eq!(of(&shown, "vpcs")["project"]["set"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_not_there_is_an_error_and_not_an_empty_one() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let photon = tenant(&cloud, folder.path());
    for line in [
        "--project wbe vpc list",
        "--project wbe vm list",
        "--project wbe vpc create main --cidr 10.0.0.0/16",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = photon.run(&words).await;
        assert_eq!(answer.code, Some(3), "{line}: {answer:?}");
        assert!(
            answer.stderr.contains("project 'wbe' not found"),
            "{answer:?}"
        );
    }
    let answer = photon.run(&["vpc", "list", "--no-headers"]).await;
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_sign_in_is_told_what_to_check() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "wrong horse battery").unwrap();
    let login = ["login", "nobody-such", "--password-file", "password"];
    let answer = tenant(&cloud, folder.path()).run(&login).await;
    assert_eq!(answer.code, Some(4), "{answer:?}");
    assert!(answer.stderr.contains("Check the name"), "{answer:?}");
    assert!(!answer.stderr.contains("photon login"), "{answer:?}");
}

#[tokio::test]
async fn a_variable_of_before_counts_too() {
    let folder = tempfile::tempdir().unwrap();
    // Bound and let go: nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for name in ["IAM_ENDPOINT", "PHOTON_IAM_ENDPOINT"] {
        let photon = Photon::new(folder.path()).with(name, &url);
        let answer = photon.run(&["org", "list"]).await;
        assert_eq!(answer.code, Some(5), "{answer:?}");
        assert!(
            answer
                .stderr
                .contains(&format!("cannot reach the sign-in service at {url}")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn every_command_has_its_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let photon = Photon::new(folder.path());
    let answer = photon.run(&["man", "."]).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    for name in ["photon", "photon-vm-create", "photon-host-upgrade"] {
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(!folder.path().join("photon-help.1").exists());
    assert_eq!(photon.run(&["man", "absent"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_completed() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let photon = tenant(&cloud, folder.path());
    let made = ["vpc", "create", "backbone", "--cidr", "10.0.0.0/16"];
    assert_eq!(photon.run(&made).await.code, Some(0));
    // As a shell asks when the tab key is pressed after "photon vpc get b".
    let asking = photon
        .with("PHOTON_COMPLETE", "bash")
        .with("_CLAP_COMPLETE_INDEX", "3")
        .with("_CLAP_COMPLETE_SPACE", "true");
    let answer = asking.run(&["--", "photon", "vpc", "get", "b"]).await;
    assert_eq!(answer.stdout.trim(), "backbone", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_goes_with_all_that_is_in_it() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let admin = tenant(&cloud, folder.path());
    let run = async |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        admin.run(&words).await
    };
    for line in [
        "vpc create main --cidr 10.0.0.0/16",
        "subnet create front --vpc main --cidr 10.0.1.0/24 --gateway 10.0.1.1",
        "port create eth0 --subnet front",
        // Each names the other, so that neither can be deleted first.
        "security-group create a",
        "security-group create b",
        "security-group add-rule a --in --protocol tcp --from-group b",
        "security-group add-rule b --in --protocol tcp --from-group a",
        "security-group add-rule default --in --protocol tcp --from-group a",
    ] {
        let answer = run(line).await;
        assert_eq!(answer.code, Some(0), "{line}: {answer:?}");
    }
    let answer = run("project delete web --yes").await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("still holds"), "{answer:?}");
    // Who is not asked, because there is no terminal, learns what would go.
    let answer = run("project delete web --cascade").await;
    let what = "Remove project web with 1 port, 2 security groups, 1 subnet, 1 VPC?";
    assert!(answer.stderr.contains(what), "{answer:?}");
    assert_eq!(run("port get eth0").await.code, Some(0));

    let answer = run("project delete web --cascade --yes").await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    for said in [
        "removing port eth0",
        "removing security group a",
        "removing VPC main",
    ] {
        assert!(answer.stderr.contains(said), "{answer:?}");
    }
    assert_eq!(run("project get web").await.code, Some(3));

    let operator = Photon::of(&cloud, folder.path(), &cloud.operator.token);
    let answer = operator
        .run(&["org", "delete", "acme", "--cascade", "--yes"])
        .await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let answer = operator.run(&["org", "get", "acme"]).await;
    assert_eq!(answer.code, Some(3), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_compared_by_what_they_allow() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let photon = tenant(&cloud, folder.path());
    let make = "role create looker --permit compute:instances:get";
    photon.json(&make.split(' ').collect::<Vec<_>>()).await;
    let compare = ["role", "compare", "looker", "ProjectViewer"];
    let found = photon.json(&compare).await;
    assert_eq!(found["scope"], "org/acme/project/web");
    assert_eq!(found["only_first"], Value::Array(Vec::new()));
    let beyond = found["only_second"].as_array().unwrap();
    assert_eq!(beyond.len(), 3, "{beyond:?}");
    assert_eq!(beyond[0]["permission"]["action"], "*:*:get");
    let action = beyond[0]["example"]["action"].as_str().unwrap();
    assert!(
        action.ends_with(":get") && action != "compute:instances:get",
        "{action}"
    );

    let said = photon.run(&compare).await.stdout;
    let first =
        "Given at org/acme/project/web:\n\nAll that looker allows, ProjectViewer allows too.\n";
    assert!(said.starts_with(first), "{said}");
    assert!(
        said.contains("\nProjectViewer allows what looker does not:\n  *:*:get\n    for example "),
        "{said}"
    );

    let without = [&compare[..], &["--solver", "/nowhere/cvc5"]].concat();
    let answer = photon.run(&without).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(
        answer
            .stderr
            .contains("the solver /nowhere/cvc5 can't be started"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_sets_its_own_password_and_nobody_elses() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let role = ("ProjectMember", "org/acme/project/web");
    let judy = cloud.people.user("acme", "web", "judy", role).await;
    let new = "an other password than before";
    std::fs::write(folder.path().join("now"), photon_testkit::PASSWORD).unwrap();
    std::fs::write(folder.path().join("new"), new).unwrap();
    let photon = Photon::of(&cloud, folder.path(), &judy.token)
        .with("PHOTON_ORG", "acme")
        .with("PHOTON_PROJECT", "web");
    let set = async |whose: &str| {
        let files = ["--current-password-file", "now", "--password-file", "new"];
        let mut line = vec!["user", "set-password", whose];
        line.extend(files);
        photon.run(&line).await
    };
    let answer = set("admin").await;
    assert_eq!(answer.code, Some(4), "{answer:?}");
    let answer = set("judy").await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let signed_in = cloud.people.sign_in("acme", "web", "judy", new).await;
    signed_in.expect("the new password counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_user_data_arrive_as_they_are() {
    let cloud = TestCloud::start().await;
    register_host(&cloud).await;
    let folder = tempfile::tempdir().unwrap();
    // The beginning of a gzip file, and what is no UTF-8.
    std::fs::write(folder.path().join("x.gz"), b"\x1f\x8b\x08\xff\xfe").unwrap();
    let photon = tenant(&cloud, folder.path());
    let line = "vm create web --memory 64 --stopped --no-network --user-data x.gz";
    let words: Vec<&str> = line.split(' ').collect();
    photon.json(&words).await;
    let shown = photon.json(&["vm", "get", "web"]).await;
    assert_eq!(shown["spec"]["user_data_binary"], "H4sI//4=", "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_gets_an_address_outside_and_ssh_gets_into_it() {
    let cloud = TestCloud::start().await;
    register_host(&cloud).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("disk.raw"), vec![0; 4096]).unwrap();
    // What would be asked of ssh.
    let ssh = folder.path().join("ssh");
    std::fs::write(&ssh, "#!/bin/sh\necho \"$@\"\nexit 7\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&ssh, executable).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let photon = tenant(&cloud, folder.path()).with("PATH", path);
    let operator = Photon::of(&cloud, folder.path(), &cloud.operator.token);
    let run = async |line: &str| photon.run(&line.split(' ').collect::<Vec<_>>()).await;

    photon
        .json(&[
            "image",
            "import",
            "debian",
            "--disk",
            "disk.raw",
            "--default-user",
            "debian",
        ])
        .await;
    // Without a network outside nothing is made.
    let refused = run("vm create web --image debian --floating-ip").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(photon.json(&["vm", "list"]).await, serde_json::json!([]));

    let network = "external-network create uplink --cidr 203.0.113.0/24 --gateway 203.0.113.1 \
                   --pool 203.0.113.100-203.0.113.101";
    operator
        .json(&network.split_whitespace().collect::<Vec<_>>())
        .await;
    let line = "vm create web --image debian --floating-ip --request-id once";
    for _ in 0..2 {
        let made = run(line).await;
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let floating = photon.json(&["floating-ip", "list"]).await;
    let address = floating[0]["ip_address"].as_str().unwrap();
    assert_eq!(floating.as_array().unwrap().len(), 1, "{floating}");
    assert!(!floating[0]["port_id"].as_str().unwrap().is_empty());
    let port = photon.json(&["port", "list"]).await;
    assert_eq!(
        port[0]["security_group_ids"].as_array().unwrap().len(),
        2,
        "{port}"
    );

    // ssh has the terminal, and its exit status is the command's.
    let there = run("ssh web -- -v uptime").await;
    assert_eq!(there.code, Some(7), "{there:?}");
    let words = format!("StrictHostKeyChecking=accept-new -l debian -- {address} uptime");
    assert!(
        there.stdout.starts_with("-v -o HostKeyAlias=photon-"),
        "{there:?}"
    );
    assert!(there.stdout.trim().ends_with(&words), "{there:?}");

    // What can't be made takes no address with it.
    let refused = run("vm create web --image debian --floating-ip").await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert_eq!(
        photon
            .json(&["floating-ip", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let refused = run("vm create other --image debian --memory 1T --floating-ip").await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert_eq!(
        photon
            .json(&["floating-ip", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );

    // Without one, and where it is asked for, through the VM's host.
    run("vm create inside --image debian").await;
    for (line, name) in [("ssh inside", "inside"), ("ssh web --tunnel", "web")] {
        let through = run(line).await;
        let words = ["-o ProxyCommand='", " vm tunnel "];
        assert!(
            words.iter().all(|it| through.stdout.contains(it)),
            "{through:?}"
        );
        assert!(
            through
                .stdout
                .trim()
                .ends_with(&format!("-l debian -- {name}")),
            "{through:?}"
        );
    }
}
