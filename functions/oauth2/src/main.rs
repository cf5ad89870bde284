//! The Lambda function `oauth2`.

use oauth2::Oauth2;
use shared::runtime::http::Http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<Http<Oauth2>>().await
}
