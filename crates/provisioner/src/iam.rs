//! IAM as this server uses it.

use std::time::Duration;

use photon_api::iam::v1 as pb;
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_program::Identity;
use photon_resource::Error;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// What agents may do, and where.
const ROLE: &str = "NodeAgent";
const SCOPE: &str = "system";
/// How long one call to IAM may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Tells IAM which principals there are. Clones share the connection.
#[derive(Clone)]
pub struct Principals {
    client: IamAdminServiceClient<Channel>,
    own: Identity,
}

/// A principal that IAM has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    /// The host that it is an agent of; `None`: it is none.
    node: Option<String>,
}

impl Seen {
    /// Whether it is an agent of the host `node`.
    pub fn is_agent_of(&self, node: &str) -> bool {
        self.node.as_deref() == Some(node)
    }
}

impl Principals {
    /// In the IAM behind `channel`, as the principal `own`.
    pub fn new(channel: Channel, own: Identity) -> Self {
        Self {
            client: IamAdminServiceClient::new(channel),
            own,
        }
    }

    /// The principal of this name; `None`: there is none.
    pub async fn find(&self, name: &str) -> Result<Option<Seen>, Error> {
        let message = pb::GetPrincipalRequest {
            id: name.to_owned(),
            ..Default::default()
        };
        let request = self.request(message).await?;
        match self.client.clone().get_principal(request).await {
            Ok(found) => Ok(found.into_inner().principal.map(seen)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(failed("find", name, &status)),
        }
    }

    /// Makes an agent of the host `node`, and answers its id.
    pub async fn make_agent(&self, name: &str, node: &str) -> Result<String, Error> {
        let message = pb::CreatePrincipalRequest {
            name: name.to_owned(),
            kind: pb::PrincipalKind::Node.into(),
            node: node.to_owned(),
            description: format!("agent of the host {node}, by its certificate"),
            ..Default::default()
        };
        let request = self.request(message).await?;
        let made = self.client.clone().create_principal(request).await;
        let made = made.map_err(|status| failed("make", name, &status))?;
        Ok(made.into_inner().principal.unwrap_or_default().id)
    }

    /// Whether the principal has the role of agents.
    pub async fn has_role(&self, name: &str, id: &str) -> Result<bool, Error> {
        let message = pb::ListBindingsRequest {
            principal_id: id.to_owned(),
            scope: SCOPE.to_owned(),
            ..Default::default()
        };
        let request = self.request(message).await?;
        let bindings = self.client.clone().list_bindings(request).await;
        let bindings = bindings.map_err(|status| failed("read the roles of", name, &status))?;
        let bound = |it: &pb::Binding| it.role_id == ROLE && it.scope == SCOPE;
        Ok(bindings.into_inner().bindings.iter().any(bound))
    }

    /// Gives the principal the role of agents.
    pub async fn give_role(&self, name: &str, id: String) -> Result<(), Error> {
        let message = pb::CreateBindingRequest {
            principal_id: id,
            role_id: ROLE.to_owned(),
            scope: SCOPE.to_owned(),
            ..Default::default()
        };
        let request = self.request(message).await?;
        let made = self.client.clone().create_binding(request).await;
        made.map(drop)
            .map_err(|status| failed("give a role to", name, &status))
    }

    /// Deletes the principal, and with it its roles and tokens. `false`: it was gone.
    pub async fn delete(&self, name: &str, id: String) -> Result<bool, Error> {
        let message = pb::DeletePrincipalRequest {
            id,
            ..Default::default()
        };
        let request = self.request(message).await?;
        match self.client.clone().delete_principal(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(failed("delete", name, &status)),
        }
    }

    async fn request<T>(&self, message: T) -> Result<Request<T>, Error> {
        let mut request = self.own.request(message, "").await?;
        request.set_timeout(DEADLINE);
        Ok(request)
    }
}

fn seen(principal: pb::Principal) -> Seen {
    let node = principal.kind() == pb::PrincipalKind::Node;
    Seen {
        id: principal.id,
        node: node.then_some(principal.node),
    }
}

fn failed(what: &str, principal: &str, status: &Status) -> Error {
    Error::Unavailable(format!(
        "could not {what} '{principal}' in IAM: {}",
        status.message()
    ))
}
