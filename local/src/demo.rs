//! What the local stack begins with: one of everything, under names that are the same on every machine, so that the README's
//! examples and the sample events work as they are.

use shared::{
    auth::Permission,
    credential::{Credential, Kind},
    fault::Fault,
    id::{ClientId, ObjectId, RegistrationId, Slug},
    random::Random,
    store::{ApiKey, Application, Client, Organization, Registration, Store},
};

/// Known to everyone who has read this, and good for nothing but the local stack.
const API_KEY: &str = "tmk_PublicDemoKeyOfTheLocalStackNotASecret000002v2C12";
const ORGANIZATION: &str = "demo";
const REGISTRATION: &str = "demo";
const APPLICATION: &str = "demo-app";
const CLIENT: &str = "11111111-1111-1111-1111-111111111111";

/// Makes the demo's entities where they do not stand already.
pub(crate) async fn provision(store: &Store, random: &dyn Random) -> Result<(), Fault> {
    let all = || Permission::ALL.iter().map(|permission| permission.as_str().to_owned()).collect::<Vec<_>>();
    let slug: Slug = constant(ORGANIZATION.parse().ok())?;
    let organization_id = Organization::id(&slug);
    let _ = store.create_organization(&slug, random).await?;

    let key = constant(Credential::parse(Kind::ApiKey, API_KEY))?;
    let api_key_id = ObjectId::of_slug("demo API key", slug.as_str());
    let api_key =
        ApiKey { api_key_id, organization_id, permissions: all(), description: Some("The local demo".to_owned()) };
    let _ = store.create_api_key(&key.hash(), &api_key, random).await?;

    let id: RegistrationId = constant(REGISTRATION.parse().ok())?;
    let registration = Registration {
        organization_id,
        name: "The local demo".to_owned(),
        max_allowed: 10,
        token_ttl_seconds: 31_536_000,
        scopes: all(),
        tokens: std::collections::BTreeMap::new(),
    };
    let _ = store.create_registration(&id, &registration, random).await?;

    let slug: Slug = constant(APPLICATION.parse().ok())?;
    let name = Some("The local demo".to_owned());
    let application = Application { organization_id, slug: slug.to_string(), name };
    let _ = store.create_application(Application::id(organization_id, &slug), &application, random).await?;

    let id: ClientId = constant(CLIENT.parse().ok())?;
    let client = Client {
        redirect_uris: vec!["https://app.example.com/callback".to_owned()],
        services: vec!["email".to_owned()],
        scopes: ["openid", "profile", "email"].map(str::to_owned).into(),
        refresh_reuse_seconds: 60,
    };
    let _ = store.create_client(id, &client, random).await?;
    Ok(())
}

fn constant<T>(parsed: Option<T>) -> Result<T, Fault> {
    parsed.ok_or_else(|| Fault::new("read the demo's constants", "one of them is malformed"))
}

/// What is printed: where the service is, and a line for each endpoint.
pub(crate) fn lines(base_url: &str) -> String {
    let json = "-H 'Content-Type: application/json'";
    format!(
        "tokenmint serves at {base_url}\n\n\
         curl -i {base_url}/api/v1/create-token -H 'Authorization: Bearer {API_KEY}' {json} \
         -d '{{\"registrationId\":\"{REGISTRATION}\",\"email\":\"user@example.com\"}}'\n\n\
         curl -i {base_url}/v1/organizations/{ORGANIZATION}/apps/{APPLICATION}/tokens -H 'Authorization: Bearer {API_KEY}' \
         {json} -d '{{\"description\":\"CI\",\"scopes\":[\"sdk\"]}}'\n\n\
         curl -i {base_url}/.well-known/jwks.json\n\n\
         curl -i {base_url}/api/v1/apps/{CLIENT}/keys\n\n\
         Ctrl-C ends it."
    )
}
