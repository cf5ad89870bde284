//! The Lambda function `manage-tokens`.

use manage_tokens::ManageTokens;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<ManageTokens>().await
}
