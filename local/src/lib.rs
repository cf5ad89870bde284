//! The whole service on one machine: the deployed functions behind API Gateway's HTTP API and Lambda's Invoke path,
//! with an embedded DynamoDB and KMS, all on one port. The functions use the real AWS SDK; only the endpoint differs.
#![expect(clippy::indexing_slicing, reason = "of JSON values, which answer null for what is not there")]

mod allowed_hosts;
mod data_dir;
mod database;
mod demo;
mod gateway;
mod http_event;
mod kms;
mod lambda;
mod login;
mod pages;
mod protected;
pub mod request_log;
mod start_error;
mod target;
mod template;
mod welcome;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use axum::Router;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    error::InternalError,
    keys::SigningMode,
    random::Random,
    runtime::{Environment, SettingsError},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

use self::{
    allowed_hosts::AllowedHosts,
    data_dir::DataDir,
    database::DynamoDb,
    demo::Demo,
    gateway::{Gateway, LocalAddress},
    kms::Kms,
    login::Login,
    pages::Pages,
};
pub use self::{
    database::TABLE,
    lambda::Functions,
    start_error::StartError,
    template::{Route, Template, yaml},
};

/// The settings that a deployment takes from the parameters of its template, and the stack from its environment.
pub const SETTINGS: [&str; 12] = [
    "APPLICATION_IDS",
    "AUDIENCE",
    "AUDIENCES",
    "AUTHORIZATION_RESPONSE_ISS",
    "CLIENT_IDS",
    "CREDENTIAL_KINDS",
    "END_SESSION_ENDPOINT",
    "KEY_PUBLICATION_SECONDS",
    "MAX_TOKEN_TTL_SECONDS",
    "ORGANIZATION_ID",
    "REQUIRED_SCOPES",
    "SCOPES_SUPPORTED",
];

/// How long the stack waits, when it stops, for requests to finish.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Options {
    pub host: IpAddr,
    /// 0 for a free one.
    pub port: u16,
    /// The issuer of the tokens. The default is the stack's URL.
    pub issuer: Option<String>,
    /// The issuer of the endpoints under `/oauth2`. The default is `issuer`, if that can be one.
    pub oidc_issuer: Option<String>,
    /// Further hosts by which containers or a proxy may reach the Invoke path and the AWS APIs.
    pub allow_hosts: Vec<String>,
    /// The origins whose pages may call the API.
    pub allow_origins: Vec<String>,
    /// The directory for the database and the private keys. Without one they are kept in memory.
    pub data_dir: Option<PathBuf>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub signing_mode: SigningMode,
    /// Some of the [`SETTINGS`], by the names of their variables.
    pub settings: HashMap<String, String>,
    /// How the functions reach AWS; the endpoint and the credentials are set by the stack.
    pub aws: aws_config::ConfigLoader,
}

#[derive(Debug)]
pub struct Stack {
    base_url: String,
    gateway: Arc<Gateway>,
    environment: Environment,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
    _data_dir: Option<DataDir>,
}

impl Stack {
    /// Starts the stack. When this returns, it accepts requests.
    ///
    /// # Errors
    /// If the port is in use, the data directory cannot be used, or a function rejects its settings.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let address = SocketAddr::new(options.host, options.port);
        let cannot_listen = |error| StartError::new(&format!("cannot listen on {address}"), error);
        let listener = TcpListener::bind(address).await.map_err(cannot_listen)?;
        let base_url = format!("http://{}", listener.local_addr().map_err(cannot_listen)?);

        let template = Template::read().map_err(StartError)?;
        let data_dir = options.data_dir.map(DataDir::open).transpose()?;
        let dynamodb = DynamoDb::open(data_dir.as_ref().map(DataDir::database).as_deref(), &template.table)?;
        let kms = Kms::open(data_dir.as_ref().map(DataDir::keys));
        let kms = kms.map_err(|error| StartError::new("cannot use the KMS keys", error))?;

        let mut variables = HashMap::from([
            ("ISSUER".to_owned(), options.issuer.unwrap_or_else(|| base_url.clone())),
            ("MAC_KEY_ID".to_owned(), kms::MAC_KEY_ID.to_owned()),
            ("SIGNING_KEY_ID".to_owned(), kms.signing_key_id().to_owned()),
            ("SIGNING_MODE".to_owned(), options.signing_mode.as_str().to_owned()),
            ("TABLE_NAME".to_owned(), TABLE.to_owned()),
            ("WRAPPING_KEY_ID".to_owned(), kms::WRAPPING_KEY_ID.to_owned()),
        ]);
        // Unencrypted, it can be the login service of this machine only.
        if options.host.is_loopback() {
            variables.insert("AUTHORIZATION_ENDPOINT".to_owned(), format!("{base_url}/authorize"));
        }
        variables.extend(options.settings);
        variables.extend(options.oidc_issuer.map(|issuer| ("OIDC_ISSUER".to_owned(), issuer)));
        let aws = aws_config(options.aws, &base_url).await;
        let environment = Environment { variables, aws, clock: options.clock, random: options.random };

        let unusable = |error: SettingsError| StartError(error.to_string());
        let gateway = Arc::new(Gateway {
            template,
            allowed_hosts: AllowedHosts { address: options.host, names: options.allow_hosts },
            allow_origins: options.allow_origins,
            functions: Functions::start(&environment).map_err(unusable)?,
            dynamodb,
            kms,
            login: Login::new(&environment).map_err(unusable)?,
            pages: Pages::new(&environment),
            clock: Arc::clone(&environment.clock),
        });
        let (stop, server) = serve(listener, Arc::clone(&gateway));
        Ok(Self { base_url, gateway, environment, stop, server, _data_dir: data_dir })
    }

    /// The stack's URL, such as `http://127.0.0.1:3000`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The environment that the functions were started with.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Creates the demo's entities that do not exist yet, and a new code. Returns the text to print: the stack's URL,
    /// and a curl line for each endpoint.
    pub async fn provision_demo(&self) -> Result<String, StartError> {
        let failed = |error: InternalError| StartError::new("cannot provision the demo", error.chain());
        let demo = Demo::new(&self.gateway.functions, &self.environment).map_err(failed)?;
        let issued = demo.provision().await.map_err(failed)?;
        Ok(welcome::for_a_program(&self.base_url, &issued))
    }

    /// What a person at a terminal sees.
    #[must_use]
    pub fn welcome(&self, color: bool) -> String {
        welcome::for_a_person(&self.base_url, color)
    }

    /// # Errors
    /// The function error, `{"errorType": …, "errorMessage": …}`.
    pub async fn invoke(&self, name: &str, event: &Value) -> Result<Value, Value> {
        self.gateway.functions.call(name, event).await.map_err(|error| json!(error))
    }

    /// Stops, after waiting a limited time for requests to finish.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = timeout(GRACE, self.server).await;
    }
}

fn serve(listener: TcpListener, gateway: Arc<Gateway>) -> (oneshot::Sender<()>, JoinHandle<std::io::Result<()>>) {
    let router = Router::new().fallback(gateway::answer).with_state(gateway);
    let router = router.into_make_service_with_connect_info::<LocalAddress>();
    let (stop, stopped) = oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // It stops also if the sender is dropped.
        let _ = stopped.await;
    });
    (stop, tokio::spawn(server.into_future()))
}

/// The AWS configuration that points at the stack. The AWS variables of the machine are ignored, since they are for the
/// real AWS.
async fn aws_config(loader: aws_config::ConfigLoader, endpoint: &str) -> SdkConfig {
    let credentials = Credentials::from_keys("local", "local", None);
    let loader = loader.empty_test_environment().endpoint_url(endpoint).region(Region::from_static("local"));
    loader.credentials_provider(credentials).load().await
}
