//! The Lambda function `create-token`.

use create_token::CreateToken;
use shared::runtime::http::Http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<Http<CreateToken>>().await
}
