//! The Lambda function `exchange-token`.

use exchange_token::ExchangeToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<ExchangeToken>().await
}
