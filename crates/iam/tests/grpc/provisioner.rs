//! What photon-provisioner may do: make and remove the identities of hosts' agents, and nothing else.

use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use tonic::Code;

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{Caller, Cloud, refused};

async fn provisioner(iam: &Cloud) -> Caller {
    iam.people
        .issue(IssueTokenRequest {
            principal_id: "photon-provisioner".into(),
            credential: Some(Credential::ApiKey(
                iam.people.credential("photon-provisioner.key"),
            )),
            ..Default::default()
        })
        .await
        .unwrap()
}

fn principal(name: &str, kind: PrincipalKind) -> CreatePrincipalRequest {
    let node = (kind == PrincipalKind::Node).then_some("node02");
    CreatePrincipalRequest {
        name: name.into(),
        kind: kind as i32,
        node: node.unwrap_or_default().into(),
        ..Default::default()
    }
}

async fn make(caller: &Caller, request: CreatePrincipalRequest) -> Principal {
    let made = caller.admin().create_principal(request).await.unwrap();
    made.into_inner().principal.unwrap()
}

fn deletion(id: &str) -> DeletePrincipalRequest {
    DeletePrincipalRequest {
        id: id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_provisioner_gives_a_host_its_agents_and_takes_them_away() {
    let iam = start_iam().await;
    let provisioner = provisioner(&iam).await;
    let name = "prismnet-agent@node02";
    let made = make(&provisioner, principal(name, PrincipalKind::Node)).await;
    assert_eq!((made.kind(), &*made.node), (PrincipalKind::Node, "node02"));
    let binding = provisioner.bind(&made.id, "NodeAgent", "system").await;
    let binding = binding.unwrap();

    let get = GetPrincipalRequest {
        id: name.into(),
        ..Default::default()
    };
    let got = provisioner.admin().get_principal(get).await.unwrap();
    assert_eq!(got.into_inner().principal.unwrap(), made);
    let list = ListPrincipalsRequest {
        kind: PrincipalKind::Node as i32,
        ..Default::default()
    };
    let listed = provisioner.admin().list_principals(list).await.unwrap();
    let listed = listed.into_inner().principals;
    assert!(listed.contains(&made), "{listed:?}");
    let list = ListBindingsRequest {
        scope: "system".into(),
        principal_id: made.id.clone(),
        ..Default::default()
    };
    let listed = provisioner.admin().list_bindings(list).await.unwrap();
    assert_eq!(listed.into_inner().bindings, std::slice::from_ref(&binding));
    let get = GetBindingRequest {
        id: binding.id.clone(),
    };
    provisioner.admin().get_binding(get).await.unwrap();

    // The operator can make a host's identity too.
    let operator = iam.people.operator().await;
    make(&operator, principal("agent@node02", PrincipalKind::Node)).await;

    let delete = DeleteBindingRequest {
        id: binding.id,
        ..Default::default()
    };
    provisioner.admin().delete_binding(delete).await.unwrap();
    let delete = deletion(&made.id);
    provisioner.admin().delete_principal(delete).await.unwrap();
}

#[tokio::test]
async fn the_provisioner_gives_and_takes_nothing_else() {
    let iam = start_iam().await;
    let operator = iam.people.operator().await;
    let provisioner = provisioner(&iam).await;
    let node = make(&provisioner, principal("a@node02", PrincipalKind::Node)).await;
    for kind in [
        PrincipalKind::User,
        PrincipalKind::Service,
        PrincipalKind::ServiceAccount,
    ] {
        let mut admin = provisioner.admin();
        let made = admin.create_principal(principal("x", kind)).await;
        refused(made, Code::PermissionDenied);
    }
    for (principal, role, scope) in [
        (&*node.id, "SystemAdmin", "system"),
        (&node.id, "ServiceAgent", "system"),
        (&node.id, "Provisioner", "system"),
        ("operator", "NodeAgent", "system"),
        ("photon-provisioner", "NodeAgent", "system"),
        ("photon-provisioner", "SystemAdmin", "system"),
        ("nobody", "NodeAgent", "system"),
    ] {
        refused(
            provisioner.bind(principal, role, scope).await,
            Code::PermissionDenied,
        );
    }
    operator.create_org("acme").await.unwrap();
    let elsewhere = provisioner.bind(&node.id, "NodeAgent", "org/acme").await;
    refused(elsewhere, Code::PermissionDenied);

    let mut admin = provisioner.admin();
    let everybody = admin.list_principals(ListPrincipalsRequest::default());
    refused(everybody.await, Code::PermissionDenied);
    let get = GetPrincipalRequest {
        id: operator.principal_id.clone(),
        ..Default::default()
    };
    // What its role's conditions leave out reads as what is absent.
    refused(admin.get_principal(get).await, Code::NotFound);
    let delete = deletion(&operator.principal_id);
    refused(admin.delete_principal(delete).await, Code::NotFound);
    let list = ListBindingsRequest {
        scope: "system".into(),
        principal_id: operator.principal_id.clone(),
        ..Default::default()
    };
    refused(admin.list_bindings(list).await, Code::PermissionDenied);
    let list = ListBindingsRequest {
        scope: "system".into(),
        ..Default::default()
    };
    let all = operator.admin().list_bindings(list.clone()).await.unwrap();
    refused(admin.list_bindings(list).await, Code::PermissionDenied);
    let bindings = all.into_inner().bindings;
    let binding = bindings
        .iter()
        .find(|binding| binding.role_id == "SystemAdmin");
    let delete = DeleteBindingRequest {
        id: binding.unwrap().id.clone(),
        ..Default::default()
    };
    refused(admin.delete_binding(delete).await, Code::NotFound);
    let key = CreateApiKeyRequest {
        principal_id: node.id.clone(),
        ..Default::default()
    };
    refused(admin.create_api_key(key).await, Code::PermissionDenied);
    let rename = UpdatePrincipalRequest {
        id: node.id,
        name: Some("b@node02".into()),
        ..Default::default()
    };
    refused(admin.update_principal(rename).await, Code::PermissionDenied);
}
