//! Applications: creation, and changes of their settings.

use serde_json::{Value, json};
use shared::{
    error::InvocationError,
    id::ObjectId,
    store::{Application, ApplicationChange, Entity, OwnerState, Update},
};

use crate::provision::Provision;

impl Provision {
    pub(crate) async fn create_application(&self, application: Application) -> Result<Value, InvocationError> {
        let organization_id = application.organization_id;
        let id = Application::id(organization_id, &application.slug);
        let item = |suspension| Application { state: OwnerState::new(suspension), ..application.clone() };
        self.create_in(organization_id, &Entity::application(id), "slug", item, None).await?;
        Ok(json!({"applicationId": id}))
    }

    /// Changes an application. Its tokens keep their expiry.
    pub(crate) async fn update_application(
        &self,
        id: ObjectId,
        change: &ApplicationChange,
    ) -> Result<Value, InvocationError> {
        let missing = InvocationError::NotFound("applicationId");
        let Some(mut application) = self.store.load_application(id).await? else { return Err(missing) };
        let mut retry = self.store.patient_retry("update the application");
        loop {
            match self.store.update_application(id, change, &application).await? {
                Update::Applied(()) => return Ok(json!({"applicationId": id})),
                Update::Conflict(current) => application = current,
                Update::Missing => return Err(missing),
            }
            retry.pause().await?;
        }
    }
}
