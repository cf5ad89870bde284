//! DynamoDB: the embedded emulator, serving the real SDK over a socket, and the table as the template defines it.

use std::path::Path;

use axum::body::Body;
use dynoxide::{
    Database,
    actions::{
        create_table::CreateTableRequest, list_tables::ListTablesRequest, update_time_to_live::UpdateTimeToLiveRequest,
    },
};
use hyper_util::{client::legacy::Client, client::legacy::connect::HttpConnector, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::StartError;

/// The table's name.
pub const TABLE: &str = "tokenmint";

/// A running emulator.
#[derive(Clone, Debug)]
pub(crate) struct DynamoDb {
    authority: String,
    client: Client<HttpConnector, Body>,
}

impl DynamoDb {
    /// Opens the database, in `file` or in memory, makes the table where there is none, and serves on a port of its
    /// own.
    ///
    /// # Errors
    /// When the file cannot be used or the definition is refused.
    pub(crate) async fn start(file: Option<&Path>, table: &Value) -> Result<Self, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError(format!("cannot open the database: {error}"));
        let database = match file.map(|file| file.to_str().ok_or("its path is not UTF-8")) {
            None => Database::memory(),
            Some(file) => Database::new(file.map_err(|error| failed(&error))?),
        };
        let database = database.map_err(|error| failed(&error))?;
        create_table(&database, table).map_err(|error| StartError(format!("cannot create the table: {error}")))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(&error))?;
        let authority = listener.local_addr().map_err(|error| failed(&error))?.to_string();
        tokio::spawn(dynoxide::server::serve_on(listener, database));
        Ok(Self { authority, client: Client::builder(TokioExecutor::new()).build_http() })
    }

    /// Passes a request of the AWS API on.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub(crate) async fn forward(
        &self,
        mut request: axum::http::Request<Body>,
    ) -> Result<axum::response::Response, String> {
        let uri = format!("http://{}/", self.authority).parse().map_err(|error| format!("{error}"))?;
        *request.uri_mut() = uri;
        let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
        Ok(answer.map(Body::new))
    }
}

fn create_table(database: &Database, definition: &Value) -> Result<(), Box<dyn std::error::Error>> {
    if database.list_tables(ListTablesRequest::default())?.table_names.iter().any(|name| name == TABLE) {
        return Ok(());
    }
    let parts = ["AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema"];
    let mut request = json!({"TableName": TABLE});
    for part in parts.into_iter().filter(|part| !definition[*part].is_null()) {
        request[part] = definition[part].clone();
    }
    database.create_table(serde_json::from_value::<CreateTableRequest>(request)?)?;
    let time_to_live = json!({"TableName": TABLE, "TimeToLiveSpecification": definition["TimeToLiveSpecification"]});
    database.update_time_to_live(serde_json::from_value::<UpdateTimeToLiveRequest>(time_to_live)?)?;
    Ok(())
}
