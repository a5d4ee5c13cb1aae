//! Finds what a call is about, and asks whether its caller may do that: in one step, so that nothing is found
//! that was not asked for.

use flaredb::Db;
use photon_resource::{
    Caller, Error, ImageId, OrgId, ProjectId, ResourceName, Scope, VmId, validate_resource_name,
};
use photon_service::Guard;

use crate::model::{Image, Labels, Vm};
use crate::store;

/// How a request names a resource: by id, or by name in a project.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference<'a> {
    pub id: &'a str,
    /// Only for names; empty: the token's.
    pub org_id: &'a str,
    pub project_id: &'a str,
}

impl<'a> Reference<'a> {
    pub fn of(id: &'a str) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }
}

/// Finds and authorizes. Clones are the same.
#[derive(Clone)]
pub struct Access {
    db: Db,
    guard: Guard,
}

impl Access {
    pub fn new(db: Db, guard: Guard) -> Self {
        Self { db, guard }
    }

    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The VM that is meant, if the caller may do `action` on it.
    ///
    /// Errors: as [`Guard::authorize`], `NotFound`, and `InvalidArgument` for what is neither id nor name.
    pub async fn vm(
        &self,
        caller: &Caller,
        action: &str,
        reference: Reference<'_>,
    ) -> Result<Vm, Error> {
        let text = reference.id;
        let (scope, id) = if VmId::looks_like(text) {
            (caller.claims.scope(), Some(text.parse()?))
        } else {
            let (org, project) = self.scope_of_name(caller, Vm::NOUN, reference)?;
            let scope = Scope::Project(org.clone(), project.clone());
            self.refuse_beyond_wall(caller, action, &scope, Vm::KIND, text)
                .await?;
            let id = store::vm::vm_by_name(&self.db, &org, &project, text).await?;
            (scope, id)
        };
        let vm = match id {
            Some(id) => store::vm::vm_get(&self.db, id).await?.0,
            None => None,
        };
        match vm {
            Some(vm) => {
                self.may(caller, action, &vm).await?;
                Ok(vm)
            }
            None => Err(self
                .absent(caller, action, scope, Vm::KIND, Vm::NOUN, text)
                .await),
        }
    }

    /// Whether the caller is shown the VM's user data.
    pub async fn sees_user_data(&self, caller: &Caller, vm: &Vm) -> Result<bool, Error> {
        let attributes = vm_attributes(vm);
        let attributes: Vec<(&str, &str)> = attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let action = "compute:instances:getUserData";
        self.guard
            .may_also(caller, action, &vm.resource_name(), &attributes)
            .await
    }

    /// Whether the caller may do `action` on this VM.
    async fn may(&self, caller: &Caller, action: &str, vm: &Vm) -> Result<(), Error> {
        self.ask(caller, action, &vm.resource_name(), &vm_attributes(vm))
            .await
    }

    /// The image that is meant, to look at it or start a VM from it: the project's own, or a public one.
    ///
    /// Errors: as [`Self::vm`].
    pub async fn image_to_use(
        &self,
        caller: &Caller,
        action: &str,
        reference: Reference<'_>,
    ) -> Result<Image, Error> {
        let (scope, image) = self.image_found(caller, action, reference, true).await?;
        match image {
            Some(image) if image.public => {
                // What is public is as if it were everybody's own.
                let owner = image.owner.to_string();
                let attributes = attributes(&image.name, &owner, &image.labels);
                let name = ResourceName::new(scope, Image::KIND, image.id);
                self.ask(caller, action, &name, &attributes).await?;
                Ok(image)
            }
            Some(image) => {
                self.may_image(caller, action, &image).await?;
                Ok(image)
            }
            None => Err(self
                .absent(
                    caller,
                    action,
                    scope,
                    Image::KIND,
                    ImageId::KIND,
                    reference.id,
                )
                .await),
        }
    }

    /// The image that is meant, to change it: only its own tenant may.
    ///
    /// Errors: as [`Self::vm`].
    pub async fn image_to_change(
        &self,
        caller: &Caller,
        action: &str,
        reference: Reference<'_>,
    ) -> Result<Image, Error> {
        let (scope, image) = self.image_found(caller, action, reference, false).await?;
        match image {
            Some(image) => {
                self.may_image(caller, action, &image).await?;
                Ok(image)
            }
            None => Err(self
                .absent(
                    caller,
                    action,
                    scope,
                    Image::KIND,
                    ImageId::KIND,
                    reference.id,
                )
                .await),
        }
    }

    async fn may_image(&self, caller: &Caller, action: &str, image: &Image) -> Result<(), Error> {
        let owner = image.owner.to_string();
        let attributes = attributes(&image.name, &owner, &image.labels);
        self.ask(caller, action, &image.resource_name(), &attributes)
            .await
    }

    /// The image, if there is one, and the scope in which it was looked for.
    async fn image_found(
        &self,
        caller: &Caller,
        action: &str,
        reference: Reference<'_>,
        public_too: bool,
    ) -> Result<(Scope, Option<Image>), Error> {
        let text = reference.id;
        let (scope, id) = if ImageId::looks_like(text) {
            (caller.claims.scope(), Some(text.parse()?))
        } else {
            let scope = if caller.claims.org_id.is_none() && reference.org_id.is_empty() {
                check_name(ImageId::KIND, text)?;
                // The cloud's own images.
                Scope::System
            } else if caller.claims.project_id.is_none()
                && reference.project_id.is_empty()
                && public_too
            {
                // A token for a whole organization still finds what is public by name.
                check_name(ImageId::KIND, text)?;
                caller.claims.scope()
            } else {
                let (org, project) = self.scope_of_name(caller, ImageId::KIND, reference)?;
                Scope::Project(org, project)
            };
            self.refuse_beyond_wall(caller, action, &scope, Image::KIND, text)
                .await?;
            let id = store::image::image_by_name(&self.db, &scope, text).await?;
            (scope, id)
        };
        let image = match id {
            Some(id) => store::image::image_get(&self.db, id).await?,
            None => None,
        };
        Ok((scope, image))
    }

    fn scope_of_name(
        &self,
        caller: &Caller,
        noun: &str,
        reference: Reference<'_>,
    ) -> Result<(OrgId, ProjectId), Error> {
        check_name(noun, reference.id)?;
        self.guard
            .scope(caller, reference.org_id, reference.project_id)
    }

    /// Refuses a name in another tenant before looking whether it is there.
    async fn refuse_beyond_wall(
        &self,
        caller: &Caller,
        action: &str,
        scope: &Scope,
        kind: &str,
        name: &str,
    ) -> Result<(), Error> {
        if caller.may_see(scope) {
            return Ok(());
        }
        let resource = ResourceName::new(scope.clone(), kind, name);
        self.guard.authorize(caller, action, &resource, &[]).await
    }

    /// The error for what is not there: who may not do it learns only that.
    async fn absent(
        &self,
        caller: &Caller,
        action: &str,
        scope: Scope,
        kind: &str,
        noun: &'static str,
        id: &str,
    ) -> Error {
        let resource = ResourceName::new(scope, kind, id);
        match self.guard.authorize(caller, action, &resource, &[]).await {
            Ok(()) => Error::not_found(noun, id),
            Err(refusal) => refusal,
        }
    }

    /// [`Guard::authorize`] with owned attributes.
    pub async fn ask(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        attributes: &[(String, String)],
    ) -> Result<(), Error> {
        let attributes: Vec<(&str, &str)> = attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        self.guard
            .authorize(caller, action, resource, &attributes)
            .await
    }
}

/// What conditions of roles can read of a VM.
pub(super) fn vm_attributes(vm: &Vm) -> Vec<(String, String)> {
    let mut attributes = attributes(&vm.name, &vm.owner.to_string(), &vm.labels);
    attributes.push(("node".to_owned(), vm.node.clone()));
    attributes
}

/// What conditions of roles can read of anything.
pub(super) fn attributes(name: &str, owner: &str, labels: &Labels) -> Vec<(String, String)> {
    let mut attributes = vec![
        ("name".to_owned(), name.to_owned()),
        ("owner".to_owned(), owner.to_owned()),
    ];
    for (key, value) in labels {
        attributes.push((format!("label.{key}"), value.clone()));
    }
    attributes
}

fn check_name(noun: &str, text: &str) -> Result<(), Error> {
    validate_resource_name("id", text).map_err(|_| {
        let expected =
            format!("the id of the {noun} (a UUID), or its name (1 to 63 of a-z, 0-9 and '-')");
        Error::invalid("id", text, expected)
    })
}
