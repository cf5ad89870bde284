//! The Lambda function `publish-keys`.

use publish_keys::PublishKeys;
use shared::runtime::http::Http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<Http<PublishKeys>>().await
}
