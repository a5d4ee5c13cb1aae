//! Quotas of what other servers than IAM keep, which ask IAM who may set them and what there is.

use photon_api::iam::v1::DeleteProjectRequest;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_api::prismnet::v1::{
    CreateVpcRequest, DeleteVpcRequest, EnsureDefaultSubnetRequest, ListSubnetsRequest,
};
use photon_api::quota::v1::quota_service_client::QuotaServiceClient;
use photon_api::quota::v1::{GetQuotasRequest, Quota, SetQuotaRequest};
use photon_testcloud::TestCloud;
use photon_testkit::{Session, expect_error, refused};
use tonic::{Code, Status};

fn vpcs(project: &str, limit: Option<u64>) -> SetQuotaRequest {
    SetQuotaRequest {
        request_id: format!("vpcs-of-{project}-{limit:?}").replace(['(', ')'], "-"),
        org_id: "acme".into(),
        project_id: project.into(),
        name: "vpcs".into(),
        limit,
    }
}

async fn set(cloud: &TestCloud, who: &Session, request: SetQuotaRequest) -> Result<Quota, Status> {
    let mut quotas = QuotaServiceClient::new(who.on(cloud.channel("prismnet")));
    let answer = quotas.set_quota(request).await?.into_inner();
    Ok(answer.quota.unwrap())
}

async fn create(cloud: &TestCloud, name: &str) -> Result<String, Status> {
    let request = CreateVpcRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        name: name.into(),
        cidr: "10.0.0.0/16".into(),
        ..Default::default()
    };
    let mut vpcs = VpcServiceClient::new(cloud.acme.admin.on(cloud.channel("prismnet")));
    let made = vpcs.create_vpc(request).await?.into_inner();
    Ok(made.vpc.unwrap().id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_how_much_a_project_may_have() {
    let cloud = TestCloud::start().await;
    let operator = &cloud.operator;
    let main = create(&cloud, "main").await.unwrap();
    let quota = set(&cloud, operator, vpcs("web", Some(1))).await.unwrap();
    assert_eq!((quota.used, quota.limit, quota.set), (1, 1, true));
    expect_error(
        create(&cloud, "more").await,
        Code::ResourceExhausted,
        "the project acme/web may have 1 vpcs, has 1 and would take 1 more; an operator can raise it \
         (`photon quota set vpcs=N --org acme --project web`)",
    );
    // The same call again is the same.
    let again = set(&cloud, operator, vpcs("web", Some(1))).await.unwrap();
    assert_eq!(again, quota);
    for tenant in [&cloud.acme.admin, &cloud.acme.member, &cloud.acme.viewer] {
        refused(
            set(&cloud, tenant, vpcs("web", Some(9))).await,
            Code::PermissionDenied,
        );
    }
    let default = set(&cloud, operator, vpcs("web", None)).await.unwrap();
    assert_eq!((default.limit, default.set), (20, false));
    create(&cloud, "more").await.unwrap();
    let mut client = VpcServiceClient::new(cloud.acme.admin.on(cloud.channel("prismnet")));
    let delete = DeleteVpcRequest {
        id: main,
        ..Default::default()
    };
    client.delete_vpc(delete).await.unwrap();
    let mut quotas = QuotaServiceClient::new(cloud.acme.viewer.on(cloud.channel("prismnet")));
    let request = GetQuotasRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
    };
    let shown = quotas.get_quotas(request).await.unwrap().into_inner();
    let of_vpcs = shown.quotas.iter().find(|it| it.name == "vpcs").unwrap();
    assert_eq!(of_vpcs.used, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_no_quota() {
    let cloud = TestCloud::start().await;
    let operator = &cloud.operator;
    expect_error(
        set(&cloud, operator, vpcs("wbe", Some(1))).await,
        Code::NotFound,
        "project 'wbe' not found",
    );
    let of_nobody = SetQuotaRequest {
        org_id: "acne".into(),
        ..vpcs("", Some(1))
    };
    expect_error(
        set(&cloud, operator, of_nobody).await,
        Code::NotFound,
        "organization 'acne' not found",
    );
    let misspelt = SetQuotaRequest {
        name: "vpc".into(),
        ..vpcs("web", Some(1))
    };
    expect_error(
        set(&cloud, operator, misspelt).await,
        Code::InvalidArgument,
        "name 'vpc' is not valid: expected one of vpcs, subnets",
    );
    // Neither has what is deleted, but a call that was answered before is answered the same.
    let request = vpcs("elsewhere", Some(5));
    let quota = set(&cloud, operator, request.clone()).await.unwrap();
    let delete = DeleteProjectRequest {
        org_id: "acme".into(),
        id: "elsewhere".into(),
        ..Default::default()
    };
    let deleted = cloud.admin().delete_project(operator.request(delete)).await;
    deleted.unwrap();
    assert_eq!(set(&cloud, operator, request).await.unwrap(), quota);
    refused(
        set(&cloud, operator, vpcs("elsewhere", Some(6))).await,
        Code::NotFound,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_network_counts_as_any_other_and_is_made_whole_or_not_at_all() {
    let cloud = TestCloud::start().await;
    let request = |name: &str, limit| SetQuotaRequest {
        name: name.into(),
        request_id: String::new(),
        ..vpcs("web", limit)
    };
    let mut subnets = SubnetServiceClient::new(cloud.acme.admin.on(cloud.channel("prismnet")));
    let ensure = EnsureDefaultSubnetRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        ..Default::default()
    };
    // There is room for a VPC and none for a subnet: neither is made.
    let operator = &cloud.operator;
    set(&cloud, operator, request("vpcs", Some(1)))
        .await
        .unwrap();
    set(&cloud, operator, request("subnets", Some(0)))
        .await
        .unwrap();
    expect_error(
        subnets.ensure_default_subnet(ensure.clone()).await,
        Code::ResourceExhausted,
        "the project acme/web may have 0 subnets",
    );
    let quota = set(&cloud, operator, request("subnets", Some(1))).await;
    assert_eq!(quota.unwrap().used, 0);
    subnets.ensure_default_subnet(ensure.clone()).await.unwrap();
    subnets.ensure_default_subnet(ensure).await.unwrap();
    for name in ["vpcs", "subnets"] {
        let quota = set(&cloud, operator, request(name, Some(2))).await;
        assert_eq!(quota.unwrap().used, 1, "{name}");
    }
    let list = ListSubnetsRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        ..Default::default()
    };
    let listed = subnets.list_subnets(list).await.unwrap().into_inner();
    assert_eq!(listed.subnets.len(), 1);
}
