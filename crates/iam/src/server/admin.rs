//! `IamAdminService`: which handler answers which call.

use photon_api::iam::v1::iam_admin_service_server::IamAdminService;
use photon_api::iam::v1::*;
use photon_service::answer;
use tonic::{Request, Response, Status};

use super::{Server, binding, credential, organization, principal, project, role};

macro_rules! delegate {
    ($($method:ident($request:ty) -> $response:ty = $handler:path;)*) => {
        #[tonic::async_trait]
        impl IamAdminService for Server {
            $(
                async fn $method(
                    &self,
                    request: Request<$request>,
                ) -> Result<Response<$response>, Status> {
                    answer(async {
                        let (caller, request) = self.open(request).await?;
                        $handler(self, &caller, request).await
                    })
                    .await
                }
            )*
        }
    };
}

delegate! {
    create_organization(CreateOrganizationRequest) -> CreateOrganizationResponse = organization::create;
    get_organization(GetOrganizationRequest) -> GetOrganizationResponse = organization::get;
    list_organizations(ListOrganizationsRequest) -> ListOrganizationsResponse = organization::list;
    update_organization(UpdateOrganizationRequest) -> UpdateOrganizationResponse = organization::update;
    delete_organization(DeleteOrganizationRequest) -> DeleteOrganizationResponse = organization::delete;

    create_project(CreateProjectRequest) -> CreateProjectResponse = project::create;
    get_project(GetProjectRequest) -> GetProjectResponse = project::get;
    list_projects(ListProjectsRequest) -> ListProjectsResponse = project::list;
    update_project(UpdateProjectRequest) -> UpdateProjectResponse = project::update;
    delete_project(DeleteProjectRequest) -> DeleteProjectResponse = project::delete;

    create_principal(CreatePrincipalRequest) -> CreatePrincipalResponse = principal::create;
    get_principal(GetPrincipalRequest) -> GetPrincipalResponse = principal::get;
    list_principals(ListPrincipalsRequest) -> ListPrincipalsResponse = principal::list;
    update_principal(UpdatePrincipalRequest) -> UpdatePrincipalResponse = principal::update;
    delete_principal(DeletePrincipalRequest) -> DeletePrincipalResponse = principal::delete;
    set_password(SetPasswordRequest) -> SetPasswordResponse = principal::set_password;

    create_api_key(CreateApiKeyRequest) -> CreateApiKeyResponse = credential::api_key_create;
    get_api_key(GetApiKeyRequest) -> GetApiKeyResponse = credential::api_key_get;
    list_api_keys(ListApiKeysRequest) -> ListApiKeysResponse = credential::api_key_list;
    delete_api_key(DeleteApiKeyRequest) -> DeleteApiKeyResponse = credential::api_key_delete;
    create_s3_access_key(CreateS3AccessKeyRequest) -> CreateS3AccessKeyResponse = credential::s3_key_create;
    list_s3_access_keys(ListS3AccessKeysRequest) -> ListS3AccessKeysResponse = credential::s3_key_list;
    delete_s3_access_key(DeleteS3AccessKeyRequest) -> DeleteS3AccessKeyResponse = credential::s3_key_delete;

    create_role(CreateRoleRequest) -> CreateRoleResponse = role::create;
    get_role(GetRoleRequest) -> GetRoleResponse = role::get;
    list_roles(ListRolesRequest) -> ListRolesResponse = role::list;
    update_role(UpdateRoleRequest) -> UpdateRoleResponse = role::update;
    delete_role(DeleteRoleRequest) -> DeleteRoleResponse = role::delete;

    create_binding(CreateBindingRequest) -> CreateBindingResponse = binding::create;
    get_binding(GetBindingRequest) -> GetBindingResponse = binding::get;
    list_bindings(ListBindingsRequest) -> ListBindingsResponse = binding::list;
    update_binding(UpdateBindingRequest) -> UpdateBindingResponse = binding::update;
    delete_binding(DeleteBindingRequest) -> DeleteBindingResponse = binding::delete;
}
