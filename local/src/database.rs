//! The embedded DynamoDB emulator, with the table that the template defines.

use std::path::Path;

use axum::http::StatusCode;
use dynoxide::{
    Database, DynoxideError,
    actions::{
        create_table::CreateTableRequest, list_tables::ListTablesRequest, update_time_to_live::UpdateTimeToLiveRequest,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::start_error::StartError;

pub const TABLE: &str = "tokenmint";

/// The emulator, without its own HTTP server, which would answer any web page on a second port, with CORS.
pub(crate) struct DynamoDb(Database);

impl DynamoDb {
    /// Opens the database, in `file` or in memory, and creates the table if it does not exist.
    pub(crate) fn open(file: Option<&Path>, table: &Value) -> Result<Self, StartError> {
        const CONTEXT: &str = "cannot open the database";
        let database = match file.map(|file| file.to_str().ok_or("its path is not UTF-8")) {
            None => Database::memory(),
            Some(file) => Database::new(file.map_err(|error| StartError::new(CONTEXT, error))?),
        };
        let database = database.map_err(|error| StartError::new(CONTEXT, error))?;
        create_table(&database, table).map_err(|error| StartError::new("cannot create the table", error))?;
        Ok(Self(database))
    }

    /// Answers a request: the operation is what follows the dot in `X-Amz-Target`.
    pub(crate) fn answer(&self, operation: &str, body: &[u8]) -> (StatusCode, String) {
        let database = &self.0;
        let answer = match operation {
            "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
            "BatchWriteItem" => run(body, |request| database.batch_write_item(request)),
            "DeleteItem" => run(body, |request| database.delete_item(request)),
            "DescribeTable" => run(body, |request| database.describe_table(request)),
            "DescribeTimeToLive" => run(body, |request| database.describe_time_to_live(request)),
            "ExecuteStatement" => run(body, |request| database.execute_statement(request)),
            "GetItem" => run(body, |request| database.get_item(request)),
            "ListTables" => run(body, |request| database.list_tables(request)),
            "PutItem" => run(body, |request| database.put_item(request)),
            "Query" => run(body, |request| database.query(request)),
            "Scan" => run(body, |request| database.scan(request)),
            "TransactGetItems" => run(body, |request| database.transact_get_items(request)),
            "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
            "UpdateItem" => run(body, |request| database.update_item(request)),
            _ => {
                let unknown = json!({"__type": "com.amazon.coral.service#UnknownOperationException"});
                return (StatusCode::BAD_REQUEST, unknown.to_string());
            }
        };
        match answer {
            Ok(answer) => (StatusCode::OK, answer),
            Err(error) => {
                let status = StatusCode::from_u16(error.status_code()).unwrap_or(StatusCode::BAD_REQUEST);
                (status, error.to_json())
            }
        }
    }
}

impl std::fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DynamoDb")
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operate: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            DynoxideError::ValidationException(error.to_string())
        } else {
            DynoxideError::SerializationException(error.to_string())
        }
    })?;
    serde_json::to_string(&operate(request)?).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
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
