//! SSH keys that a project keeps, and VMs that are made with them.

use photon_api::plasmavmc::v1 as pb;
use tonic::{Code, Status};

use crate::host::Host;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::{expect_error, refused};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMG7pm7zO0l5xQfQ5hVhG5BdhxkR3NqHzqIUQbF0oL4r me@laptop";

async fn add(client: &mut Client, name: &str, key: &str) -> Result<pb::SshKey, Status> {
    let request = pb::CreateSshKeyRequest {
        name: name.into(),
        public_key: key.into(),
        ..Default::default()
    };
    let made = client.ssh_keys.create_ssh_key(request).await?;
    Ok(made.into_inner().ssh_key.unwrap())
}

async fn get(client: &mut Client, id: &str) -> Result<pb::SshKey, Status> {
    let request = pb::GetSshKeyRequest {
        id: id.into(),
        ..Default::default()
    };
    let read = client.ssh_keys.get_ssh_key(request).await?;
    Ok(read.into_inner().ssh_key.unwrap())
}

fn vm_with(name: &str, keys: &[&str]) -> pb::CreateVmRequest {
    pb::CreateVmRequest {
        ssh_key_ids: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..new_vm(name, &[])
    }
}

fn keys(vm: &pb::Vm) -> &[String] {
    &vm.spec.as_ref().unwrap().ssh_authorized_keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_kept_shown_renamed_and_removed() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let made = add(&mut tenant, "laptop", &format!("  {KEY}\n"))
        .await
        .unwrap();
    assert_eq!(made.public_key, KEY);
    assert_eq!(made.r#type, "ssh-ed25519");
    assert_eq!(
        made.fingerprint,
        "SHA256:Q73qpMFpgEwuGqC8pXW/MEbZIrp6jTjJuJj0QkYVgZQ"
    );
    for id in [made.id.as_str(), "laptop"] {
        assert_eq!(get(&mut tenant, id).await.unwrap(), made);
    }
    expect_error(
        add(&mut tenant, "laptop", KEY).await,
        Code::AlreadyExists,
        "SSH key 'laptop' already exists",
    );
    let rename = pb::UpdateSshKeyRequest {
        id: made.id.clone(),
        name: Some("old".into()),
        ..Default::default()
    };
    tenant.ssh_keys.update_ssh_key(rename).await.unwrap();
    let listed = tenant
        .ssh_keys
        .list_ssh_keys(pb::ListSshKeysRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.ssh_keys.len(), 1);
    assert_eq!(listed.ssh_keys[0].name, "old");
    let delete = pb::DeleteSshKeyRequest {
        id: "old".into(),
        ..Default::default()
    };
    tenant.ssh_keys.delete_ssh_key(delete).await.unwrap();
    expect_error(get(&mut tenant, &made.id).await, Code::NotFound, "SSH key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_public_key_is_refused_and_a_private_one_by_name() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXkt";
    let message = refused(
        add(&mut tenant, "laptop", private).await,
        Code::InvalidArgument,
    );
    assert!(message.contains("this is a private key"), "{message}");
    assert!(!message.contains("b3BlbnNzaC1rZXkt"), "{message}");
    for bad in [
        "",
        "laptop",
        "command=\"x\" ssh-ed25519 AAAA",
        &format!("{KEY}\n{KEY}"),
    ] {
        expect_error(
            add(&mut tenant, "laptop", bad).await,
            Code::InvalidArgument,
            "expected one public key in authorized_keys form without options",
        );
    }
    let mut vm = new_vm("web", &[]);
    vm.spec.as_mut().unwrap().ssh_authorized_keys = vec![private.into()];
    expect_error(
        tenant.create(vm).await,
        Code::InvalidArgument,
        "spec.ssh_authorized_keys[0] '(a private key)' is not valid",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_gets_the_keys_of_its_own_project_that_it_names() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let laptop = add(&mut acme, "laptop", KEY).await.unwrap();
    // By name, by id and in the spec: once.
    let mut request = vm_with("web", &["laptop", &laptop.id]);
    request.spec.as_mut().unwrap().ssh_authorized_keys = vec![KEY.into()];
    let vm = acme.create(request).await.unwrap();
    assert_eq!(keys(&vm), [KEY]);
    // A VM keeps what it was made with.
    let delete = pb::DeleteSshKeyRequest {
        id: laptop.id.clone(),
        ..Default::default()
    };
    acme.ssh_keys.delete_ssh_key(delete).await.unwrap();
    assert_eq!(keys(&acme.get(&vm.id).await.unwrap()), [KEY]);
    expect_error(
        acme.create(vm_with("db", &["laptop"])).await,
        Code::NotFound,
        "SSH key 'laptop' not found",
    );

    // Another tenant's key is as one that is not there; also for an operator's VM in another project.
    let theirs = add(&mut globex, "theirs", KEY).await.unwrap();
    expect_error(
        acme.create(vm_with("db", &[&theirs.id])).await,
        Code::NotFound,
        &format!("SSH key '{}' not found", theirs.id),
    );
    let mut operator = cloud.operator().await;
    let for_acme = pb::CreateVmRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        ..vm_with("db", &[&theirs.id])
    };
    expect_error(operator.create(for_acme).await, Code::NotFound, "SSH key");
    expect_error(
        acme.create(vm_with("db", &["one"; 65])).await,
        Code::InvalidArgument,
        "ssh_key_ids '(65 entries)' is not valid: expected at most 64",
    );
}
