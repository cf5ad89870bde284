//! The Lambda function `publish-keys`.

use publish_keys::PublishKeys;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<PublishKeys>().await
}
