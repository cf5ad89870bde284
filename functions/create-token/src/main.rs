//! The Lambda function `create-token`.

use create_token::CreateToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<CreateToken>().await
}
