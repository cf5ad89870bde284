//! `hello`, with one TLS connection to AWS opened during init: what `cargo bench` compares the init of the functions
//! with.

use aws_smithy_runtime_api::client::{http::HttpConnector, orchestrator::HttpRequest};
use lambda_http::{Error, Request, run, service_fn};
use serde_json::json;
use shared::runtime::aws;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    #[expect(clippy::disallowed_methods, reason = "there is no environment to read it from")]
    let endpoint = std::env::var("AWS_ENDPOINT_URL_DYNAMODB")?;
    aws::connector().call(HttpRequest::get(endpoint)?).await?;
    run(service_fn(async |_: Request| Ok::<_, Error>(json!({"message": "hello"})))).await
}
