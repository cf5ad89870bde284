//! The least that a function can be: what `cargo bench` compares the init of the others with.

use lambda_http::{Error, Request, run, service_fn};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(async |_: Request| Ok::<_, Error>(json!({"message": "hello"})))).await
}
