//! What each call refuses, with the message that a person reads.

use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use prost_types::Timestamp;
use tonic::{Code, Status};

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{Caller, Cloud, permission, refused};

const NOBODY: &str = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";

/// Calls `method` with each request, and compares what it says.
macro_rules! refuses {
    ($client:expr, $method:ident: $($request:expr => $code:ident $message:expr),+ $(,)?) => {
        $(
            let result = $client.$method($request).await;
            check(stringify!($method), result.map(drop), Code::$code, $message);
        )+
    };
}

#[track_caller]
fn check(method: &str, result: Result<(), Status>, code: Code, expected: &str) {
    let message = refused(result, code);
    assert_eq!(message, expected, "{method}");
}

const SLUG: &str =
    "2 to 39 of a-z, 0-9 and '-', beginning with a letter, not ending with '-', and not 'system'";
const UUID: &str = "a UUID such as 6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";
const REQUEST_ID: &str =
    "request_id 'a b' is not valid: expected 1 to 128 letters, digits, '-', '_', '.', ':'";
const PAGE_SIZE: &str = "page_size '1001' is not valid: expected 0 to 1000";
const PAGE_TOKEN: &str =
    "page_token 'x' is not valid: expected the next_page_token of the previous page";
const ABSENT_PRINCIPAL: &str = "principal '6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e' not found";

async fn start() -> (Cloud, Caller, Caller) {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let operator = iam.people.operator().await;
    (iam, admin, operator)
}

#[tokio::test]
async fn organizations_and_projects() {
    let (_iam, admin, operator) = start().await;
    let mut system = operator.admin();
    let create = |id: &str| CreateOrganizationRequest {
        id: id.into(),
        ..Default::default()
    };
    let slug = |kind: &str, id: &str| format!("{kind} id '{id}' is not valid: expected {SLUG}");
    refuses!(system, create_organization:
        create("") => InvalidArgument &slug("organization", ""),
        create("Acme") => InvalidArgument &slug("organization", "Acme"),
        create("a/b") => InvalidArgument &slug("organization", "a/b"),
        create("acme") => AlreadyExists "organization 'acme' already exists",
        CreateOrganizationRequest { name: "\n".into(), ..create("initech") } => InvalidArgument
            "name '\n' is not valid: expected 1 to 100 characters, none that is invisible or turns the direction of writing",
        CreateOrganizationRequest { request_id: "a b".into(), ..create("initech") } => InvalidArgument REQUEST_ID,
    );
    // A chain and a scope of that name mean the cloud itself.
    refused(
        system.create_organization(create("system")).await,
        Code::InvalidArgument,
    );
    let update = UpdateOrganizationRequest {
        id: "initech".into(),
        ..Default::default()
    };
    refuses!(system, update_organization: update => NotFound "organization 'initech' not found");
    let list = ListOrganizationsRequest {
        page_size: 1001,
        ..Default::default()
    };
    refuses!(system, list_organizations: list => InvalidArgument PAGE_SIZE);
    let get = |id: &str| GetOrganizationRequest { id: id.into() };
    refuses!(system, get_organization: get("initech") => NotFound "organization 'initech' not found");
    let delete = |id: &str| DeleteOrganizationRequest {
        id: id.into(),
        ..Default::default()
    };
    refuses!(system, delete_organization: delete("initech") => NotFound "organization 'initech' not found");

    let create = |org: &str, id: &str| CreateProjectRequest {
        org_id: org.into(),
        id: id.into(),
        ..Default::default()
    };
    refuses!(system, create_project:
        create("", "web") => InvalidArgument
            "org_id '' is not valid: expected the id of an organization, because the token is for the whole system",
        create("acme", "web") => AlreadyExists "project 'web' already exists",
        create("acme", "w") => InvalidArgument &slug("project", "w"),
        create("initech", "web") => NotFound "organization 'initech' not found",
        CreateProjectRequest { description: "x".repeat(1025), ..create("acme", "lab") } => InvalidArgument
            &format!("description '{}…' is not valid: expected at most 1024 characters, none that is invisible or turns the direction of writing", "x".repeat(120)),
    );
    let mut client = admin.admin();
    let get = |id: &str| GetProjectRequest {
        id: id.into(),
        ..Default::default()
    };
    refuses!(client, get_project:
        get("lab") => NotFound "project 'lab' not found",
        get("../web") => InvalidArgument &slug("project", "../web"),
    );
    let list = ListProjectsRequest {
        page_token: "x".into(),
        ..Default::default()
    };
    refuses!(client, list_projects: list => InvalidArgument PAGE_TOKEN);
    let update = UpdateProjectRequest {
        id: "lab".into(),
        ..Default::default()
    };
    refuses!(client, update_project: update => NotFound "project 'lab' not found");
    let delete = DeleteProjectRequest {
        id: "lab".into(),
        ..Default::default()
    };
    refuses!(client, delete_project: delete => NotFound "project 'lab' not found");
}

#[tokio::test]
async fn principals_and_credentials() {
    let (_iam, admin, operator) = start().await;
    let mut client = admin.admin();
    let create = |name: &str, kind: PrincipalKind| CreatePrincipalRequest {
        name: name.into(),
        kind: kind as i32,
        ..Default::default()
    };
    let name = |name: &str| {
        format!(
            "name '{name}' is not valid: expected 1 to 63 of a-z, 0-9, '.', '_', '@' and '-', beginning with a letter or digit, and not a UUID"
        )
    };
    let user = PrincipalKind::User;
    refuses!(client, create_principal:
        create("", user) => InvalidArgument &name(""),
        create("Alice", user) => InvalidArgument &name("Alice"),
        create(NOBODY, user) => InvalidArgument &name(NOBODY),
        create("alice", PrincipalKind::Unspecified) => InvalidArgument
            "kind '0' is not valid: expected PRINCIPAL_KIND_USER, _SERVICE_ACCOUNT, _NODE or _SERVICE",
        CreatePrincipalRequest { kind: 99, ..create("alice", user) } => InvalidArgument
            "kind '99' is not valid: expected PRINCIPAL_KIND_USER, _SERVICE_ACCOUNT, _NODE or _SERVICE",
        CreatePrincipalRequest { password: "eleven char".into(), ..create("alice", user) } => InvalidArgument
            "password '(hidden, 11 characters)' is not valid: expected at least 12 characters and at most 1024 bytes",
        CreatePrincipalRequest { password: "long enough it is".into(), ..create("bot", PrincipalKind::ServiceAccount) } => InvalidArgument
            "password '(hidden)' is not valid: expected none, because the kind is not USER: programs sign in with an API key",
        CreatePrincipalRequest { node: "host-2".into(), ..create("alice", user) } => InvalidArgument
            "node 'host-2' is not valid: expected none, because the kind is not NODE",
        CreatePrincipalRequest { node: "host-2".into(), ..create("agent", PrincipalKind::Node) } => InvalidArgument
            "kind 'PRINCIPAL_KIND_NODE' is not valid: expected USER or SERVICE_ACCOUNT in an organization: hosts and servers belong to the system",
        create("root", user) => AlreadyExists "principal 'root' already exists",
    );
    let mut system = operator.admin();
    refuses!(system, create_principal:
        create("agent", PrincipalKind::Node) => InvalidArgument
            "node '' is not valid: expected 1 to 63 of a-z, 0-9 and '-', neither beginning nor ending with '-', and not a UUID",
        CreatePrincipalRequest { org_id: "initech".into(), ..create("alice", user) } => NotFound
            "organization 'initech' not found",
    );
    let get = |id: &str| GetPrincipalRequest {
        id: id.into(),
        ..Default::default()
    };
    refuses!(client, get_principal:
        get(NOBODY) => NotFound ABSENT_PRINCIPAL,
        get("nobody") => NotFound "principal 'nobody' not found",
        get("") => InvalidArgument "principal_id '' is not valid: expected a principal's UUID or name",
        get("a/b") => InvalidArgument "principal_id 'a/b' is not valid: expected a principal's UUID or name",
    );
    let list = ListPrincipalsRequest {
        kind: -1,
        ..Default::default()
    };
    refuses!(client, list_principals: list => InvalidArgument
        "kind '-1' is not valid: expected PRINCIPAL_KIND_USER, _SERVICE_ACCOUNT, _NODE or _SERVICE");
    let me = admin.principal_id.as_str();
    let update = |id: &str| UpdatePrincipalRequest {
        id: id.into(),
        ..Default::default()
    };
    refuses!(client, update_principal:
        update(NOBODY) => NotFound ABSENT_PRINCIPAL,
        UpdatePrincipalRequest { name: Some("A".into()), ..update(me) } => InvalidArgument &name("A"),
        UpdatePrincipalRequest { disabled: Some(true), ..update(me) } => FailedPrecondition
            "you can't disable yourself: let somebody else do it",
        UpdatePrincipalRequest { expected_revision: 7, ..update(me) } => Aborted
            &format!("principal '{me}' is at revision 1, not 7: read it again and repeat the change"),
    );
    let delete = |id: &str| DeletePrincipalRequest {
        id: id.into(),
        ..Default::default()
    };
    refuses!(client, delete_principal:
        delete(NOBODY) => NotFound ABSENT_PRINCIPAL,
        delete(me) => FailedPrecondition "you can't delete yourself: let somebody else do it",
    );
    let password = SetPasswordRequest {
        principal_id: NOBODY.into(),
        ..Default::default()
    };
    refuses!(client, set_password: password => NotFound ABSENT_PRINCIPAL);

    let key = |id: &str| CreateApiKeyRequest {
        principal_id: id.into(),
        ..Default::default()
    };
    refuses!(client, create_api_key:
        key(NOBODY) => NotFound ABSENT_PRINCIPAL,
        CreateApiKeyRequest { ttl_seconds: u64::MAX, ..key(me) } => InvalidArgument
            "ttl_seconds '18446744073709551615' is not valid: expected at most 31536000 (a year), or 0 for 7776000 (90 days)",
    );
    let absent = format!("API key '{NOBODY}' not found");
    let not_uuid = format!("API key id 'k' is not valid: expected {UUID}");
    refuses!(client, get_api_key:
        GetApiKeyRequest { id: NOBODY.into() } => NotFound &absent,
        GetApiKeyRequest { id: "k".into() } => InvalidArgument &not_uuid,
    );
    let delete = |id: &str| DeleteApiKeyRequest {
        id: id.into(),
        ..Default::default()
    };
    refuses!(client, delete_api_key: delete(NOBODY) => NotFound &absent, delete("k") => InvalidArgument &not_uuid);
    let list = ListApiKeysRequest {
        principal_id: NOBODY.into(),
        ..Default::default()
    };
    refuses!(client, list_api_keys: list => NotFound ABSENT_PRINCIPAL);
    let s3 = |project: &str| CreateS3AccessKeyRequest {
        principal_id: me.into(),
        project_id: project.into(),
        ..Default::default()
    };
    refuses!(client, create_s3_access_key: s3("") => InvalidArgument
        &format!("project id '' is not valid: expected {SLUG}"));
    let list = ListS3AccessKeysRequest {
        principal_id: NOBODY.into(),
        ..Default::default()
    };
    refuses!(client, list_s3_access_keys: list => NotFound ABSENT_PRINCIPAL);
    let delete = |id: &str| DeleteS3AccessKeyRequest {
        access_key_id: id.into(),
        ..Default::default()
    };
    refuses!(client, delete_s3_access_key:
        delete("../principal/x") => InvalidArgument
            "access_key_id '../principal/x' is not valid: expected PHOTON and 14 letters or digits",
        delete("PHOTONAAAAAAAAAAAAAA") => NotFound "S3 access key 'PHOTONAAAAAAAAAAAAAA' not found",
    );
}

#[tokio::test]
async fn roles_and_bindings() {
    let (_iam, admin, operator) = start().await;
    let mut client = admin.admin();
    let create = |name: &str| CreateRoleRequest {
        name: name.into(),
        permissions: vec![permission(&("compute:*", "", ""))],
        ..Default::default()
    };
    let name = |name: &str| {
        format!(
            "name '{name}' is not valid: expected 1 to 63 letters, digits, '.', '_' and '-', beginning with a letter, and not the name of a built-in role"
        )
    };
    client.create_role(create("starter")).await.unwrap();
    refuses!(client, create_role:
        create("") => InvalidArgument &name(""),
        create("a b") => InvalidArgument &name("a b"),
        create("OrgAdmin") => InvalidArgument &name("OrgAdmin"),
        create("starter") => AlreadyExists "role 'starter' already exists",
        CreateRoleRequest { permissions: vec![], ..create("none") } => InvalidArgument
            "permissions '0 permissions' is not valid: expected 1 to 100",
    );
    let get = |id: &str| GetRoleRequest {
        id: id.into(),
        ..Default::default()
    };
    refuses!(client, get_role:
        get("nope") => NotFound "role 'nope' not found",
        get(NOBODY) => NotFound &format!("role '{NOBODY}' not found"),
        get("") => InvalidArgument "role_id '' is not valid: expected a role's UUID or name",
    );
    let update = UpdateRoleRequest {
        id: "starter".into(),
        expected_revision: 9,
        ..Default::default()
    };
    let message = refused(client.update_role(update).await, Code::Aborted);
    assert!(
        message.ends_with("is at revision 1, not 9: read it again and repeat the change"),
        "{message}"
    );
    let delete = DeleteRoleRequest {
        id: "nope".into(),
        ..Default::default()
    };
    refuses!(client, delete_role: delete => NotFound "role 'nope' not found");
    let list = ListRolesRequest {
        page_size: 1001,
        ..Default::default()
    };
    refuses!(client, list_roles: list => InvalidArgument PAGE_SIZE);

    let me = admin.principal_id.as_str();
    let bind = |role: &str, scope: &str| CreateBindingRequest {
        principal_id: me.into(),
        role_id: role.into(),
        scope: scope.into(),
        ..Default::default()
    };
    let viewer = bind("ProjectViewer", "org/acme");
    refuses!(client, create_binding:
        bind("ProjectViewer", "") => InvalidArgument
            "scope '' is not valid: expected 'system', 'org/ORG' or 'org/ORG/project/PROJECT'",
        bind("ProjectViewer", "org/acme/web") => InvalidArgument
            "scope 'org/acme/web' is not valid: expected 'system', 'org/ORG' or 'org/ORG/project/PROJECT'",
        bind("Nope", "org/acme") => NotFound "role 'Nope' not found",
        bind("ProjectViewer", "org/acme/project/lab") => NotFound
            "project 'lab' not found",
        CreateBindingRequest { principal_id: NOBODY.into(), ..viewer.clone() } => NotFound ABSENT_PRINCIPAL,
        CreateBindingRequest { expires_at: Some(Timestamp { seconds: 1, nanos: 0 }), ..viewer.clone() } => InvalidArgument
            "expires_at '1970-01-01T00:00:01Z' is not valid: expected a time in the future, or none",
        CreateBindingRequest { expires_at: Some(Timestamp { seconds: i64::MAX, nanos: 0 }), ..viewer.clone() } => InvalidArgument
            "expires_at '9223372036854775807 s since 1970' is not valid: expected a time between 1970 and 9999",
        CreateBindingRequest { expires_at: Some(Timestamp { seconds: 4_000_000_000, nanos: -1 }), ..viewer } => InvalidArgument
            "expires_at '4000000000 s since 1970' is not valid: expected a time between 1970 and 9999",
    );
    // Not even an operator binds a tenant's principal, or a tenant's role, beyond the tenant.
    let mut system = operator.admin();
    let message = refused(
        system.create_binding(bind("ProjectViewer", "system")).await,
        Code::InvalidArgument,
    );
    assert_eq!(
        message,
        "scope 'system' is not valid: expected 'org/acme' or below, where principal 'root' belongs"
    );
    let role = admin
        .create_role("acme", "local", &[("compute:*", "", "")])
        .await
        .unwrap();
    operator.create_org("globex").await.unwrap();
    let theirs = CreateBindingRequest {
        principal_id: operator.principal_id.clone(),
        ..bind(&role, "org/globex")
    };
    let message = refused(system.create_binding(theirs).await, Code::InvalidArgument);
    assert_eq!(
        message,
        "scope 'org/globex' is not valid: expected 'org/acme' or below, where role 'local' belongs"
    );
    let absent = format!("binding '{NOBODY}' not found");
    refuses!(client, get_binding: GetBindingRequest { id: NOBODY.into() } => NotFound &absent);
    let update = UpdateBindingRequest {
        id: NOBODY.into(),
        ..Default::default()
    };
    refuses!(client, update_binding: update => NotFound &absent);
    let delete = DeleteBindingRequest {
        id: "b".into(),
        ..Default::default()
    };
    refuses!(client, delete_binding: delete => InvalidArgument &format!("binding id 'b' is not valid: expected {UUID}"));
    let list = ListBindingsRequest {
        scope: "acme".into(),
        ..Default::default()
    };
    refuses!(client, list_bindings: list => InvalidArgument
        "scope 'acme' is not valid: expected 'system', 'org/ORG' or 'org/ORG/project/PROJECT'");
}

#[tokio::test]
async fn tokens_and_questions() {
    let (iam, admin, operator) = start().await;
    let mut client = iam.people.stranger().tokens();
    let sign_in = |principal: &str, org: &str, project: &str| IssueTokenRequest {
        principal_id: principal.into(),
        org_id: org.into(),
        project_id: project.into(),
        credential: Some(Credential::Password(photon_testkit::PASSWORD.into())),
        ..Default::default()
    };
    refuses!(client, issue_token:
        IssueTokenRequest { credential: None, ..sign_in("root", "acme", "") } => Unauthenticated
            "not authenticated: give a password, an api_key or a certificate, or a token whose bearer may impersonate",
        sign_in("", "acme", "") => InvalidArgument
            "principal_id '' is not valid: expected the principal's UUID or name",
        sign_in("root", "ACME", "") => InvalidArgument &format!("organization id 'ACME' is not valid: expected {SLUG}"),
        sign_in("root", "acme", "Web") => InvalidArgument &format!("project id 'Web' is not valid: expected {SLUG}"),
        sign_in("root", "initech", "") => Unauthenticated
            "not authenticated: the principal or its credential is not right",
        IssueTokenRequest { ttl_seconds: 86_400, ..sign_in("root", "acme", "") } => InvalidArgument
            "ttl_seconds '86400' is not valid: expected at most 3600",
        IssueTokenRequest { credential: Some(Credential::ApiKey("photon_x".into())), ..sign_in("root", "acme", "") } => InvalidArgument
            "api_key '(hidden)' is not valid: expected the secret of an API key: photon_KEY-ID_SECRET, as it was shown when the key was made",
    );
    let password = iam.people.credential("operator-password");
    let project = IssueTokenRequest {
        credential: Some(Credential::Password(password)),
        ..sign_in("operator", "", "web")
    };
    refuses!(client, issue_token: project => InvalidArgument
        "org_id '' is not valid: expected the organization of project 'web'");
    refuses!(client, bootstrap: BootstrapRequest::default() => FailedPrecondition
        "there is an operator already: sign in as one");

    let mut client = operator.tokens();
    let revoke = |token: &str, principal: &str| RevokeTokenRequest {
        token: token.into(),
        principal_id: principal.into(),
    };
    refuses!(client, revoke_token:
        revoke("x", NOBODY) => InvalidArgument
            "principal_id '6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e' is not valid: expected none, because a token is given: one or the other",
        revoke("", NOBODY) => NotFound ABSENT_PRINCIPAL,
        revoke("x", "") => InvalidArgument
            "token '(hidden)' is not valid: expected a token that IAM issued: the token is malformed",
    );
    let stranger = "not authenticated: the call needs a token in 'authorization: Bearer TOKEN'";
    let mut client = iam.people.stranger().tokens();
    refuses!(client, who_am_i: WhoAmIRequest {} => Unauthenticated stranger);
    refuses!(client, rotate_signing_key: RotateSigningKeyRequest::default() => Unauthenticated stranger);

    let ask = |action: &str, resource: &str| AuthorizeRequest {
        token: admin.token.clone(),
        action: action.into(),
        resource: resource.into(),
        ..Default::default()
    };
    let mut client = admin.authz();
    let get = "compute:instances:get";
    let form = "'system/TYPE/ID', 'org/ORG/TYPE/ID' or 'org/ORG/project/PROJECT/TYPE/ID'";
    refuses!(client, authorize:
        ask("compute", "org/acme/images/x") => InvalidArgument
            "action 'compute' is not valid: expected 'SERVICE:TYPE:VERB' such as 'compute:instances:create'",
        ask("compute:*:get", "org/acme/images/x") => InvalidArgument
            "action 'compute:*:get' is not valid: expected 'SERVICE:TYPE:VERB' such as 'compute:instances:create'",
        ask(get, "") => InvalidArgument &format!("resource '' is not valid: expected {form}"),
        ask(get, "acme/images/x") => InvalidArgument &format!("resource 'acme/images/x' is not valid: expected {form}"),
        ask(get, "org/acme/images/a b") => InvalidArgument &format!("resource 'org/acme/images/a b' is not valid: expected {form}"),
    );
}
