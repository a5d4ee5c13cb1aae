//! The generated clients, for the calls that are streams of requests and for whoever measures single calls.

use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_authz_service_client::IamAuthzServiceClient;
use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::security_group_service_client::SecurityGroupServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;

use crate::session::{Authorized, Session};

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $client:ident at $component:literal;)*) => {
        impl Session {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> $client<Authorized> {
                    $client::new(self.api_of($component))
                }
            )*
        }

        #[cfg(test)]
        const SERVED_BY: &[&str] = &[$($component),*];
    };
}

services! {
    /// Decisions.
    authz: IamAuthzServiceClient at "iam";
    /// Identities, roles, bindings.
    admin: IamAdminServiceClient at "iam";
    /// VPCs.
    vpcs: VpcServiceClient at "prismnet";
    /// Subnets.
    subnets: SubnetServiceClient at "prismnet";
    /// Ports.
    ports: PortServiceClient at "prismnet";
    /// Security groups.
    security_groups: SecurityGroupServiceClient at "prismnet";
    /// Images.
    images: ImageServiceClient at "plasmavmc";
    /// VMs.
    vms: VmServiceClient at "plasmavmc";
}

impl Session {
    fn api_of(&self, component: &'static str) -> Authorized {
        // Every component of the table has a channel, and a test looks that these are of the table.
        match self.api(component) {
            Ok(api) => api,
            Err(error) => unreachable!("{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use photon_api::components::component;

    #[test]
    fn every_service_is_of_a_component() {
        for name in super::SERVED_BY {
            assert!(component(name).is_some(), "{name}");
        }
    }
}
