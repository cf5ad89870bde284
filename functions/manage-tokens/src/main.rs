//! The Lambda function `manage-tokens`.

use manage_tokens::ManageTokens;
use shared::runtime::http::Http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<Http<ManageTokens>>().await
}
