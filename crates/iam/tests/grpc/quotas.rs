//! How much an organization and its projects may have in IAM.

use std::collections::BTreeMap;

use photon_api::iam::v1::*;
use photon_api::quota::v1::quota_service_client::QuotaServiceClient;
use photon_api::quota::v1::{GetQuotasRequest, SetQuotaRequest};
use photon_testkit::{Caller, Cloud, expect_error, refused};
use tonic::Code;

/// What is used, by name; of what there is none is left out.
type Used = BTreeMap<String, u64>;

async fn start() -> Cloud {
    let part = photon_testcloud::iam::with("host-1", |_, settings| {
        let quota = &mut settings.component.quota;
        quota.organization = [("projects".to_owned(), 2)].into();
        quota.project = [("bindings".to_owned(), 2)].into();
    });
    Cloud::start([part]).await
}

fn quotas(iam: &Cloud, who: &Caller) -> QuotaServiceClient<photon_testkit::Bearing> {
    QuotaServiceClient::new(who.as_ref().on(iam.channel("iam")))
}

async fn used(iam: &Cloud, who: &Caller, project: &str) -> Used {
    let request = GetQuotasRequest {
        org_id: "acme".into(),
        project_id: project.into(),
    };
    let answer = quotas(iam, who).get_quotas(request).await.unwrap();
    let there = answer.into_inner().quotas.into_iter();
    let there = there.filter(|it| it.used > 0);
    there.map(|it| (it.name, it.used)).collect()
}

fn counts(of: &[(&str, u64)]) -> Used {
    let of = of.iter();
    of.map(|(name, used)| ((*name).to_owned(), *used)).collect()
}

#[tokio::test]
async fn an_organization_and_a_project_have_quotas() {
    let mut iam = start().await;
    let operator = iam.people.operator().await;
    operator.create_org("acme").await.unwrap();
    assert_eq!(used(&iam, &operator, "").await, Used::new());
    operator.create_project("acme", "web").await.unwrap();
    operator.create_project("acme", "db").await.unwrap();
    let third = operator.create_project("acme", "mail").await;
    expect_error(
        third,
        Code::ResourceExhausted,
        "the organization acme may have 2 projects, has 2 and would take 1 more; an operator can raise it \
         (`photon quota set projects=N --org acme`)",
    );
    let scope = "org/acme/project/web";
    let admin = operator.create_user("acme", "admin").await.unwrap();
    let ci = operator.create_service_account("acme", "ci").await.unwrap();
    operator.bind(&admin, "OrgAdmin", "org/acme").await.unwrap();
    operator.bind(&admin, "ProjectMember", scope).await.unwrap();
    operator.bind(&ci, "ProjectMember", scope).await.unwrap();
    expect_error(
        operator.bind(&ci, "ProjectViewer", scope).await,
        Code::ResourceExhausted,
        "the project acme/web may have 2 bindings",
    );
    let looker = [("network:vpcs:get", "", "")];
    operator
        .create_role("acme", "Looker", &looker)
        .await
        .unwrap();
    operator.create_api_key(&ci).await.unwrap();
    let s3 = CreateS3AccessKeyRequest {
        principal_id: ci.clone(),
        project_id: "web".into(),
        ..Default::default()
    };
    operator.admin().create_s3_access_key(s3).await.unwrap();
    let organization = counts(&[
        ("projects", 2),
        ("principals", 2),
        ("roles", 1),
        ("bindings", 3),
        ("api_keys", 1),
        ("s3_keys", 1),
    ]);
    let project = counts(&[("bindings", 2), ("s3_keys", 1)]);
    assert_eq!(used(&iam, &operator, "").await, organization);
    assert_eq!(used(&iam, &operator, "web").await, project);
    // What is renamed or changed is not one more.
    let rename = UpdatePrincipalRequest {
        id: ci.clone(),
        name: Some("builds".into()),
        ..Default::default()
    };
    operator.admin().update_principal(rename).await.unwrap();
    assert_eq!(used(&iam, &operator, "").await, organization);
    // A start counts the same.
    iam.restart("iam").await;
    let operator = iam.people.operator().await;
    assert_eq!(used(&iam, &operator, "").await, organization);
    assert_eq!(used(&iam, &operator, "web").await, project);
    // What goes gives back all that it had.
    for id in [ci, admin] {
        let request = DeletePrincipalRequest {
            id,
            ..Default::default()
        };
        operator.admin().delete_principal(request).await.unwrap();
    }
    assert_eq!(used(&iam, &operator, "web").await, Used::new());
    let left = counts(&[("projects", 2), ("roles", 1)]);
    assert_eq!(used(&iam, &operator, "").await, left);
    let request = DeleteProjectRequest {
        org_id: "acme".into(),
        id: "db".into(),
        ..Default::default()
    };
    operator.admin().delete_project(request).await.unwrap();
    operator.create_project("acme", "mail").await.unwrap();
}

#[tokio::test]
async fn an_operator_sets_quotas_of_what_is_there() {
    let iam = start().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let operator = iam.people.operator().await;
    let set = async |who: &Caller, project: &str, name: &str, limit| {
        let request = SetQuotaRequest {
            org_id: "acme".into(),
            project_id: project.into(),
            name: name.into(),
            limit,
            ..Default::default()
        };
        let answer = quotas(&iam, who).set_quota(request).await?;
        Ok::<_, tonic::Status>(answer.into_inner().quota.unwrap())
    };
    refused(
        set(&admin, "", "projects", Some(10)).await,
        Code::PermissionDenied,
    );
    let quota = set(&operator, "", "projects", Some(3)).await.unwrap();
    assert_eq!((quota.used, quota.limit, quota.set), (1, 3, true));
    let quota = set(&operator, "", "projects", None).await.unwrap();
    assert_eq!((quota.limit, quota.set), (2, false));
    // What is in no project has no quota there.
    expect_error(
        set(&operator, "web", "projects", Some(3)).await,
        Code::InvalidArgument,
        "name 'projects' is not valid: expected one of bindings, api_keys, s3_keys",
    );
    expect_error(
        set(&operator, "wbe", "bindings", Some(3)).await,
        Code::NotFound,
        "project 'wbe' not found",
    );
    // Everybody of the tenant sees them; a project's with the organization's, if it may see that.
    set(&operator, "web", "bindings", Some(7)).await.unwrap();
    let request = GetQuotasRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
    };
    let shown = quotas(&iam, &admin).get_quotas(request.clone()).await;
    let shown = shown.unwrap().into_inner();
    assert_eq!(
        (shown.org_id.as_str(), shown.project_id.as_str()),
        ("acme", "web")
    );
    let names = |quotas: &[photon_api::quota::v1::Quota]| -> Vec<String> {
        quotas.iter().map(|it| it.name.clone()).collect()
    };
    assert_eq!(names(&shown.quotas), ["bindings", "api_keys", "s3_keys"]);
    assert_eq!((shown.quotas[0].limit, shown.quotas[0].set), (7, true));
    assert_eq!(shown.organization_quotas.len(), 6);
    for role in ["ProjectViewer", "ProjectMember"] {
        let scope = (role, "org/acme/project/web");
        let member = iam
            .people
            .user("acme", "web", &role.to_lowercase(), scope)
            .await;
        let shown = quotas(&iam, &member).get_quotas(request.clone()).await;
        let shown = shown.unwrap().into_inner();
        assert_eq!(shown.quotas.len(), 3, "{role}");
        assert!(shown.organization_quotas.is_empty(), "{role}");
    }
    let absent = GetQuotasRequest {
        project_id: "wbe".into(),
        ..request
    };
    expect_error(
        quotas(&iam, &admin).get_quotas(absent).await,
        Code::NotFound,
        "project 'wbe' not found",
    );
}

#[tokio::test]
async fn one_principal_does_not_use_up_the_keys_of_its_organization() {
    let iam = photon_testcloud::iam::start().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let ci = admin.create_service_account("acme", "ci").await.unwrap();
    for _ in 0..100 {
        admin.create_api_key(&ci).await.unwrap();
    }
    expect_error(
        admin.create_api_key(&ci).await,
        Code::ResourceExhausted,
        "'ci' has its 100 API keys: delete one",
    );
    let other = admin.create_service_account("acme", "cd").await.unwrap();
    admin.create_api_key(&other).await.unwrap();
}
