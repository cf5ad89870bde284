//! The Lambda function `publish-keys`.

use publish_keys::PublishKeys;
use shared::http::Http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::function::run::<Http<PublishKeys>>().await
}
