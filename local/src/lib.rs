//! The whole service on one machine: the deployed functions behind API Gateway's HTTP API and Lambda's Invoke path, with an
//! embedded DynamoDB and KMS, all on one port. The functions use the real AWS SDK; only the endpoint differs.
#![expect(clippy::indexing_slicing, reason = "of JSON values, which answer null for what is not there")]

mod allowed_hosts;
mod data_dir;
mod database;
mod demo;
mod gateway;
mod kms;
mod lambda;
mod login;
mod pages;
mod protected;
pub mod request_log;
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
use axum::{Router, body::Bytes};
use serde_json::{Value, json};
use shared::{clock::Clock, keys::SigningMode, random::Random, runtime::Environment, store::Store};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

use self::{
    allowed_hosts::AllowedHosts,
    data_dir::DataDir,
    database::DynamoDb,
    gateway::{Gateway, LocalAddress},
    kms::Kms,
    login::Login,
    pages::Pages,
};
/// The variables that the authorizer's settings are read from.
pub const AUTHORIZER_VARIABLES: [&str; 4] = ["CLIENT_IDS", "CREDENTIAL_KINDS", "ORGANIZATION_ID", "REQUIRED_SCOPES"];

pub use self::{
    database::TABLE,
    lambda::Functions,
    template::{Route, Template, yaml},
};

/// How long the stack waits, when it stops, for requests to finish.
const GRACE: Duration = Duration::from_secs(3);

/// How to run the stack.
#[derive(Debug)]
pub struct Options {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 for a free one.
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
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub random: Arc<dyn Random>,
    /// Where tokens are signed.
    pub signing_mode: SigningMode,
    /// The settings of the authorizer, by the names of their variables.
    pub authorizer: HashMap<String, String>,
    /// How the functions reach AWS; the endpoint and the credentials are set by the stack.
    pub aws: aws_config::ConfigLoader,
}

/// A running stack.
#[derive(Debug)]
pub struct Stack {
    base_url: String,
    gateway: Arc<Gateway>,
    environment: Environment,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
    _data_dir: Option<DataDir>,
}

/// Why the stack does not start, in one line for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl Stack {
    /// Starts the stack. When this returns, it accepts requests.
    ///
    /// # Errors
    /// If the port is in use, the data directory cannot be used, or a function rejects its settings.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let address = SocketAddr::new(options.host, options.port);
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| StartError(format!("cannot listen on {address}: {error}")))?;
        let address = listener.local_addr().map_err(|error| StartError(error.to_string()))?;
        let base_url = format!("http://{address}");

        let data_dir = options.data_dir.map(DataDir::open).transpose()?;
        let template = Template::read().map_err(StartError)?;
        let dynamodb = DynamoDb::open(data_dir.as_ref().map(DataDir::database).as_deref(), &template.table)?;
        let unusable = |error: std::io::Error| StartError(format!("cannot use the KMS keys: {error}"));
        let kms = Kms::open(data_dir.as_ref().map(DataDir::keys)).map_err(unusable)?;
        kms.create_own_keys().map_err(unusable)?;

        let mut variables = HashMap::from([
            ("ISSUER".to_owned(), options.issuer.unwrap_or_else(|| base_url.clone())),
            ("MAC_KEY_ID".to_owned(), kms::MAC_KEY_ID.to_owned()),
            ("SIGNING_KEY_ID".to_owned(), kms::SIGNING_KEY_ID.to_owned()),
            ("SIGNING_MODE".to_owned(), options.signing_mode.as_str().to_owned()),
            ("TABLE_NAME".to_owned(), TABLE.to_owned()),
            ("WRAPPING_KEY_ID".to_owned(), kms::WRAPPING_KEY_ID.to_owned()),
        ]);
        // Unencrypted, it can be the login service of this machine only.
        if options.host.is_loopback() {
            variables.insert("AUTHORIZATION_ENDPOINT".to_owned(), format!("{base_url}/authorize"));
        }
        variables.extend(options.authorizer);
        variables.extend(options.oidc_issuer.map(|issuer| ("OIDC_ISSUER".to_owned(), issuer)));
        let aws = aws_config(options.aws, &base_url).await;
        let clock = Arc::clone(&options.clock);
        let environment = Environment { variables, aws, clock, random: options.random };
        let functions = Functions::start(&environment).map_err(|error| StartError(error.to_string()))?;

        let login = Login::new(&environment).map_err(|error| StartError(error.to_string()))?;
        let pages = Pages::new(&environment);
        let allow_origins = options.allow_origins;
        let allowed_hosts = AllowedHosts { address: options.host, names: options.allow_hosts };
        let clock = options.clock;
        let gateway = Gateway { template, allowed_hosts, allow_origins, functions, dynamodb, kms, login, pages, clock };
        let gateway = Arc::new(gateway);
        let router = Router::new().fallback(gateway::answer).with_state(Arc::clone(&gateway));
        let router = router.into_make_service_with_connect_info::<LocalAddress>();
        let (stop, stopped) = oneshot::channel();
        let server = axum::serve(listener, router).with_graceful_shutdown(async {
            // It stops also if the sender is dropped.
            let _ = stopped.await;
        });
        let server = tokio::spawn(server.into_future());
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

    /// Creates the demo's entities that do not exist yet, and a new code. Returns the text to print: the stack's URL, and a
    /// curl line for each endpoint.
    ///
    /// # Errors
    /// If an entity cannot be created.
    pub async fn provision_demo(&self) -> Result<String, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError(format!("cannot provision the demo: {error}"));
        let Environment { random, clock, .. } = &self.environment;
        let store = Store::from_environment(&self.environment).map_err(|error| failed(&error))?;
        demo::provision(&store, random.as_ref(), clock.now()).await.map_err(|fault| failed(&fault.chain()))?;
        let mode = SigningMode::from_environment(&self.environment).map_err(|error| failed(&error))?;
        let keyless = async || store.load_signing_keys().await.map(|keys| keys.is_none());
        if mode != SigningMode::Kms && keyless().await.map_err(|fault| failed(&fault.chain()))? {
            let rotation = json!({"action": "rotateSigningKey"});
            self.invoke("provision", &rotation).await.map_err(|error| failed(&error))?;
        }
        self.register_callback(&store).await?;
        let issued = self.invoke("issue-code", &demo::login()).await.map_err(|error| failed(&error))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut ids = Vec::new();
        for (function, event) in demo::revocable() {
            let answer = self.invoke(function, &event).await.map_err(|error| failed(&error))?;
            let body: Value = serde_json::from_str(&text(&answer["body"])).unwrap_or_default();
            ids.push(text(if body["token"].is_null() { &body["data"]["id"] } else { &body["token"]["id"] }));
        }
        let (app_token, token) = (ids.pop().unwrap_or_default(), ids.pop().unwrap_or_default());
        Ok(demo::lines(&self.base_url, &demo::Fresh { code: text(&issued["code"]), token, app_token }))
    }

    /// Lets the demo's client return to the page, by either name of the loopback. With `--data-dir` the port may be another
    /// one than before.
    async fn register_callback(&self, store: &Store) -> Result<(), StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError(format!("cannot provision the demo: {error}"));
        let client = demo::CLIENT.parse().map_err(|_| failed(&"the client's id is malformed"))?;
        let client = store.load_client(client).await.map_err(|fault| failed(&fault.chain()))?;
        let before = client.map(|client| client.redirect_uris).unwrap_or_default();
        let before: Vec<_> = before.iter().map(|uri| uri.as_str().to_owned()).collect();
        let after = demo::redirect_uris(&self.base_url, &before);
        if before != after {
            let update = json!({"action": "updateClient", "clientId": demo::CLIENT, "redirectUris": after});
            self.invoke("provision", &update).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// What a terminal shows once the stack serves.
    #[must_use]
    pub fn welcome(&self, color: bool) -> String {
        welcome::text(&self.base_url, color)
    }

    /// Invokes a function.
    ///
    /// # Errors
    /// The function error, `{"errorType": …, "errorMessage": …}`.
    pub async fn invoke(&self, name: &str, event: &Value) -> Result<Value, Value> {
        let error = |error_type: &str, message: &str| json!({"errorType": error_type, "errorMessage": message});
        match self.gateway.functions.invoke(name, Bytes::from(event.to_string())).await {
            None => Err(error("ResourceNotFoundException", name)),
            Some(Err(diagnostic)) => Err(error(&diagnostic.error_type, &diagnostic.error_message)),
            Some(Ok(answer)) => {
                serde_json::from_slice(&answer).map_err(|failed| error("MarshalError", &failed.to_string()))
            }
        }
    }

    /// Stops, after waiting a limited time for requests to finish.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = timeout(GRACE, self.server).await;
    }
}

/// The AWS configuration that points at the stack. The machine's own AWS variables are ignored, since they are for the real
/// AWS.
async fn aws_config(loader: aws_config::ConfigLoader, endpoint: &str) -> SdkConfig {
    let credentials = Credentials::from_keys("local", "local", None);
    let loader = loader.empty_test_environment().endpoint_url(endpoint).region(Region::from_static("local"));
    loader.credentials_provider(credentials).load().await
}
