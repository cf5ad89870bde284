//! The configuration of the AWS clients. It comes from the environment and is built once per cold start, with one HTTP
//! connector for all clients.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, ConfigLoader, SdkConfig,
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
    retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_runtime::{request_info::RequestInfoInterceptor, user_agent::UserAgentInterceptor};
use aws_sdk_dynamodb::{
    error::ProvideErrorMetadata as _,
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError},
};
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn},
        interceptors::{
            Intercept, SharedInterceptor,
            context::{
                BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut, InterceptorContext,
            },
            disable_interceptor, dyn_dispatch_hint,
        },
        retries::classifiers::{ClassifyRetry, RetryAction},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;

use crate::runtime::telemetry::{self, Meter, Service};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of one AWS operation with all its attempts. How many of them a request does depends on what it finds, so
/// the time of a whole request has a limit of its own, in [`super::deadline`].
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ATTEMPTS: u32 = 3;
/// The SDK waits up to this long before the second attempt and up to twice as long before the third. The default of one
/// second suits batch work, but here somebody waits for the answer.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);

/// Takes region and credentials from environment variables only, so nothing waits for a profile or a metadata service.
/// The SDK itself reads `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB` and `AWS_ENDPOINT_URL_KMS`.
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

/// One connector for all clients, with one connection pool and one set of TLS roots; the SDK would build one per
/// client.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    let connector = SharedHttpConnector::new(connector());
    http_client_fn(move |_, _| connector.clone())
}

/// The SDK does not pass its connect timeout to a connector that was built before, so the timeout is set here too.
#[must_use]
pub fn connector() -> Connector {
    Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .build()
}

/// A single write that meets a transaction of another request is refused with this error. The SDK does not repeat it by
/// itself. It is none of the connection's: the SDK would close that after a transient error.
#[derive(Debug)]
struct TransactionConflicts;

impl ClassifyRetry for TransactionConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let error = error.as_operation_error();
        let is = |code: Option<&str>| code == Some("TransactionConflictException");
        let update =
            error.and_then(|error| error.downcast_ref::<UpdateItemError>()).is_some_and(|error| is(error.code()));
        let put = error.and_then(|error| error.downcast_ref::<PutItemError>()).is_some_and(|error| is(error.code()));
        let delete =
            error.and_then(|error| error.downcast_ref::<DeleteItemError>()).is_some_and(|error| is(error.code()));
        if update || put || delete { RetryAction::throttling_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "TransactionConflicts"
    }
}

pub(crate) fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let mut config = aws_sdk_dynamodb::config::Builder::from(config).retry_classifier(TransactionConflicts);
    for interceptor in interceptors(Service::DynamoDb) {
        config.push_interceptor(interceptor);
    }
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

pub(crate) fn kms(config: &SdkConfig) -> aws_sdk_kms::Client {
    let mut config = aws_sdk_kms::config::Builder::from(config);
    for interceptor in interceptors(Service::Kms) {
        config.push_interceptor(interceptor);
    }
    aws_sdk_kms::Client::from_conf(config.build())
}

/// They are permanent: the SDK then does not ask before every hook whether they are enabled.
fn interceptors(service: Service) -> [SharedInterceptor; 2] {
    [SharedInterceptor::permanent(Meter(service)), SharedInterceptor::permanent(ConstantHeaders)]
}

/// Sends a constant user agent, which AWS logs. The SDK builds its own for each call, sends it twice and signs one
/// copy. Building it and the number of the attempt took a tenth of a call's instructions; AWS uses both for statistics
/// only. The id that all attempts of a call share is still sent.
#[derive(Debug)]
struct ConstantHeaders;

impl ConstantHeaders {
    const USER_AGENT: &str = concat!("tokenmint/", env!("CARGO_PKG_VERSION"), " aws-sdk-rust");
}

#[dyn_dispatch_hint]
impl Intercept for ConstantHeaders {
    fn name(&self) -> &'static str {
        "ConstantHeaders"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        const CAUSE: &str = "their headers are constant or left out";
        config
            .interceptor_state()
            .store_put(disable_interceptor::<UserAgentInterceptor>(CAUSE))
            .store_put(disable_interceptor::<RequestInfoInterceptor>(CAUSE));
        Ok(())
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        headers.insert("user-agent", Self::USER_AGENT);
        // Otherwise the SDK reads it from the environment for each attempt. It still does if this value is not a valid
        // header.
        if let Some(id) = telemetry::xray_trace_id() {
            let _ = headers.try_insert("x-amzn-trace-id", id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::{
        http::{HttpConnector, HttpConnectorFuture},
        orchestrator::{HttpRequest, HttpResponse},
    };
    use aws_smithy_types::body::SdkBody;

    use super::*;

    /// Answers every request with an empty object and keeps its headers.
    #[derive(Clone, Debug, Default)]
    struct Recorder(Arc<Mutex<Vec<(String, String)>>>);

    impl HttpConnector for Recorder {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let headers = request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            *self.0.lock().unwrap() = headers.collect();
            HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::from("{}"))))
        }
    }

    #[tokio::test]
    async fn requests_have_the_headers_that_aws_needs_and_a_constant_user_agent() {
        let recorder = Recorder::default();
        let connector = SharedHttpConnector::new(recorder.clone());
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(aws_sdk_dynamodb::config::SharedCredentialsProvider::new(Credentials::new(
                "id",
                "secret",
                Some("token".to_owned()),
                None,
                "test",
            )))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        let sent = || {
            let mut headers = recorder.0.lock().unwrap().clone();
            headers.sort();
            assert!(headers.contains(&("user-agent".to_owned(), ConstantHeaders::USER_AGENT.to_owned())));
            headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let expected = [
            "amz-sdk-invocation-id",
            "authorization",
            "content-length",
            "content-type",
            "user-agent",
            "x-amz-date",
            "x-amz-security-token",
            "x-amz-target",
        ];
        dynamodb(&config).list_tables().send().await.unwrap();
        assert_eq!(sent(), expected);
        // In a request that has one, the trace id of its event.
        for (trace, named) in [("Root=1-a", Some("Root=1-a")), ("a\nb", None)] {
            let mut context = lambda_http::Context::default();
            context.xray_trace_id = Some(trace.to_owned());
            let call = async {
                dynamodb(&config).list_tables().send().await.unwrap();
                crate::runtime::Handled::of(Ok(()))
            };
            telemetry::observe("test", &context, Box::pin(call)).await;
            let headers = recorder.0.lock().unwrap().clone();
            let sent = headers.iter().find(|(name, _)| name == "x-amzn-trace-id").map(|(_, value)| value.as_str());
            assert_eq!(sent, named);
        }
        kms(&config).list_keys().send().await.unwrap();
        assert_eq!(sent(), expected);
    }
}
