//! The Lambda function `authorize`.

use authorize::Authorize;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<Authorize>().await
}
