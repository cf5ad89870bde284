//! The Lambda function `provision`.

use provision::Provision;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<Provision>().await
}
