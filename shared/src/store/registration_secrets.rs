//! The secrets of a confidential registration. They are an item of their own beside it, so that a made-up secret costs
//! one small read, however many tokens the registration has.

use aws_sdk_dynamodb::types::Put;
use serde::{Deserialize, Serialize};

use super::{ClientSecrets, Store, Update, WriteId, item::Item, key::Key, write::put};
use crate::{credential::CredentialHash, error::InternalError, id::RegistrationId};

/// The item beside `REGISTRATION#<id>`. That of a deleted registration stays and opens nothing, since the id stays
/// taken.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationSecrets {
    #[serde(flatten)]
    pub secrets: ClientSecrets,
    /// The write that recorded them. A rotation requires this to be unchanged.
    version: WriteId,
}

const CONTEXT: &str = "record the secret";

impl RegistrationSecrets {
    fn item(&self, key: Key) -> Result<Item, InternalError> {
        let mut item: Item = serde_dynamo::to_item(self).map_err(|error| InternalError::new(CONTEXT, error))?;
        item.extend(Item::from(key));
        Ok(item)
    }
}

impl Store {
    /// The secrets of a registration; `None` if it has none.
    pub async fn load_registration_secrets(
        &self,
        id: &RegistrationId,
    ) -> Result<Option<RegistrationSecrets>, InternalError> {
        self.get(Key::registration_secrets(id), "load the secrets").await
    }

    /// The write that records the first secret of a registration, for the transaction that creates it.
    pub(super) fn first_secret(
        &self,
        id: &str,
        secret: &CredentialHash,
        write: &WriteId,
    ) -> Result<Put, InternalError> {
        let secrets = ClientSecrets { current: Some(secret.clone()), previous: None };
        let item = RegistrationSecrets { secrets, version: write.clone() }.item(Key::registration_secrets(id))?;
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).build();
        put.map_err(|error| InternalError::new(CONTEXT, error))
    }

    /// Records other secrets of a registration, if they are still those that this was decided on.
    pub async fn update_registration_secrets(
        &self,
        id: &RegistrationId,
        secrets: ClientSecrets,
        decided_on: &RegistrationSecrets,
    ) -> Result<Update<(), RegistrationSecrets>, InternalError> {
        let version = self.write_id()?;
        let item = RegistrationSecrets { secrets, version: version.clone() }.item(Key::registration_secrets(id))?;
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("#version = :seen")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":seen", (&decided_on.version).into());
        put(call, CONTEXT, |_, found: &RegistrationSecrets| found.version == version).await
    }
}
