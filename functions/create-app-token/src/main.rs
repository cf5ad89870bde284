//! The Lambda function `create-app-token`.

use create_app_token::CreateAppToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<CreateAppToken>().await
}
