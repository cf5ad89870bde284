//! The Lambda function `exchange-token`.

use exchange_token::ExchangeToken;
use shared::runtime::http::Http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<Http<ExchangeToken>>().await
}
