//! The items of the table, for what no endpoint can set up or show. Their keys are those of `shared::store`.

use serde_json::{Value, json};
use shared::credential::GrantCredential;

use super::TestStack;

/// The prefix of the keys of app tokens.
pub(crate) const APP_TOKEN: &str = "APP_TOKEN#";
/// The prefix of the keys of applications.
pub(crate) const APPLICATION: &str = "APPLICATION#";
/// The key of the item that has the table's signing keys.
pub(crate) const SIGNING_KEYS: &str = "SIGNING_KEYS#";

pub(crate) fn registration_key(id: &str) -> String {
    format!("REGISTRATION#{id}")
}

/// The key of the secrets of a confidential registration.
pub(crate) fn registration_secrets_key(id: &str) -> String {
    format!("{}/SECRETS", registration_key(id))
}

pub(crate) fn organization_key(id: &str) -> String {
    format!("ORGANIZATION#{id}")
}

pub(crate) fn application_key(id: &str) -> String {
    format!("{APPLICATION}{id}")
}

pub(crate) fn api_key_key(id: &str) -> String {
    format!("API_KEY#{id}")
}

pub(crate) fn app_token_key(id: &str) -> String {
    format!("{APP_TOKEN}{id}")
}

pub(crate) fn client_key(id: &str) -> String {
    format!("CLIENT#{id}")
}

/// The key of the grant that a code belongs to.
pub(crate) fn grant_key(code: &str) -> String {
    format!("GRANT#{}", GrantCredential::parse_code(code).unwrap().grant().session().as_str())
}

impl TestStack {
    pub(crate) async fn item(&self, key: &str) -> Value {
        let request = json!({"Key": primary_key(key), "ConsistentRead": true});
        self.dynamodb("GetItem", request).await["Item"].clone()
    }

    pub(crate) async fn registration_item(&self, id: &str) -> Value {
        self.item(&registration_key(id)).await
    }

    /// Updates the item with this key, whatever the service would allow.
    pub(crate) async fn update_item(&self, key: &str, expression: &str, values: Value) {
        let request = json!({
            "Key": primary_key(key), "UpdateExpression": expression, "ExpressionAttributeValues": values,
        });
        self.dynamodb("UpdateItem", request).await;
    }

    /// How many items have keys with this prefix.
    pub(crate) async fn count_items(&self, prefix: &str) -> usize {
        let items = self.dynamodb("Scan", json!({})).await;
        let keys = items["Items"].as_array().unwrap().iter().map(|item| item["pk"]["S"].as_str().unwrap());
        keys.filter(|key| key.starts_with(prefix)).count()
    }
}

/// The key of a test names the sort key only if it is another one than `ITEM`.
fn primary_key(key: &str) -> Value {
    let (pk, sk) = key.split_once('/').unwrap_or((key, "ITEM"));
    json!({"pk": {"S": pk}, "sk": {"S": sk}})
}
