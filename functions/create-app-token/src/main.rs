//! The Lambda function `create-app-token`.

use create_app_token::CreateAppToken;
use shared::http::Http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::function::run::<Http<CreateAppToken>>().await
}
