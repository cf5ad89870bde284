//! The Lambda function `oauth2`.

use oauth2::Oauth2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<Oauth2>().await
}
