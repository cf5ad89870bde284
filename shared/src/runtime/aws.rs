//! The configuration of the AWS clients. It comes from the environment and is built once per cold start, with one HTTP
//! connector for all clients.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, ConfigLoader, SdkConfig,
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
    retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};

use crate::runtime::telemetry::{Meter, Service};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of one AWS operation with all its attempts. A request does at most five in a row.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ATTEMPTS: u32 = 3;
/// The SDK waits up to this long before the second attempt and up to twice as long before the third. The default of one
/// second suits batch work, but here somebody waits for the answer.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);

/// Takes region and credentials from environment variables only, so nothing waits for a profile or a metadata service. The
/// SDK itself reads `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB` and `AWS_ENDPOINT_URL_KMS`.
#[must_use]
pub fn config() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT);
    let retries = RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_initial_backoff(INITIAL_BACKOFF);
    aws_config::defaults(BehaviorVersion::latest())
        .region(EnvironmentVariableRegionProvider::new())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .http_client(http_client())
        .timeout_config(timeouts.build())
        .retry_config(retries)
}

/// One connector for all clients, with one connection pool and one set of TLS roots; the SDK would build one per client. The
/// SDK does not pass its connect timeout to a connector that was built before, so the timeout is set here too.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    let connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .build();
    let connector = SharedHttpConnector::new(connector);
    http_client_fn(move |_, _| connector.clone())
}

pub(crate) fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(config).interceptor(Meter(Service::DynamoDb));
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

pub(crate) fn kms(config: &SdkConfig) -> aws_sdk_kms::Client {
    let config = aws_sdk_kms::config::Builder::from(config).interceptor(Meter(Service::Kms));
    aws_sdk_kms::Client::from_conf(config.build())
}
