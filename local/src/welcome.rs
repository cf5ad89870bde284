//! What is printed once the stack serves.

use crate::demo::{API_KEY, APPLICATION, CLIENT, EVENTS, Issued, ORGANIZATION, REDIRECT_URI, REGISTRATION};

pub(crate) fn for_a_person(base_url: &str, color: bool) -> String {
    let paint = |code: &str, text: &str| {
        if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let (bold, quiet) = (|text: &str| paint("1", text), |text: &str| paint("2", text));
    format!(
        "\n  {name}  {running}\n\n  \
           {page}   {base_url}\n  \
           {reference}   {base_url}/docs\n\n  \
           {standard}\n  \
           curl {base_url}/oauth2/token -d grant_type=client_credentials \\\n    \
             -u {REGISTRATION}:{API_KEY}\n\n  \
           {documented}\n  \
           curl {base_url}/api/v1/create-token -H 'Content-Type: application/json' \\\n    \
             -H 'Authorization: Bearer {API_KEY}' \\\n    \
             -d '{{\"registrationId\":\"{REGISTRATION}\"}}'\n\n  \
           {keys}\n  \
           curl {base_url}/.well-known/jwks.json\n\n  \
           {code}\n  \
           curl {base_url}/2015-03-31/functions/issue-code/invocations \\\n    \
             -d @events/issue-code.success.json\n\n  \
           {end}\n",
        name = paint("1;32", "tokenmint"),
        running = quiet("the whole service, on this machine"),
        page = bold("Try it in a browser"),
        reference = bold("The API's reference"),
        standard = quiet("# A token, as any OAuth client gets one"),
        documented = quiet("# The same by the documented API"),
        keys = quiet("# The keys that verify it"),
        code = quiet("# A new authorization code for the user in that file; or log in at the page"),
        end = quiet("Ctrl-C ends it."),
    )
}

/// The stack's URL, and a curl line for each endpoint.
pub(crate) fn for_a_program(base_url: &str, Issued { code, token, app_token }: &Issued) -> String {
    let json = "-H 'Content-Type: application/json'";
    format!(
        "tokenmint serves at {base_url}\n\n\
         curl -i {base_url}/api/v1/create-token -H 'Authorization: Bearer {API_KEY}' {json} \
         -d '{{\"registrationId\":\"{REGISTRATION}\",\"email\":\"user@example.com\"}}'\n\n\
         curl -i {base_url}/v1/organizations/{ORGANIZATION}/apps/{APPLICATION}/tokens \
         -H 'Authorization: Bearer {API_KEY}' {json} -d '{{\"description\":\"CI\",\"scopes\":[\"sdk\"]}}'\n\n\
         curl -i {base_url}/api/v1/list-tokens -H 'Authorization: Bearer {API_KEY}' {json} \
         -d '{{\"registrationId\":\"{REGISTRATION}\"}}'\n\n\
         curl -i '{base_url}/v1/organizations/{ORGANIZATION}/apps/{APPLICATION}/tokens?limit=10' \
         -H 'Authorization: Bearer {API_KEY}'\n\n\
         curl -i {base_url}/api/v1/revoke-token -H 'Authorization: Bearer {API_KEY}' {json} \
         -d '{{\"registrationId\":\"{EVENTS}\",\"tokenId\":\"{token}\"}}'\n\n\
         curl -i -X DELETE {base_url}/v1/organizations/{ORGANIZATION}/apps/{EVENTS}/tokens/{app_token} \
         -H 'Authorization: Bearer {API_KEY}'\n\n\
         curl -i {base_url}/api/v1/tokens {json} -d '{{\"client_id\":\"{CLIENT}\",\"service\":\"email\",\
         \"grant_type\":\"authorization_code\",\"redirect_uri\":\"{REDIRECT_URI}\",\"code\":\"{code}\"}}'\n\n\
         curl -i {base_url}/oauth2/token -u '{REGISTRATION}:{API_KEY}' -d grant_type=client_credentials\n\n\
         curl -i {base_url}/oauth2/introspect -H 'Authorization: Bearer {API_KEY}' -d 'token={API_KEY}'\n\n\
         curl -i {base_url}/oauth2/revoke -d 'token=made-up'\n\n\
         curl -i {base_url}/.well-known/openid-configuration\n\n\
         curl -i {base_url}/.well-known/jwks.json\n\n\
         curl -i {base_url}/api/v1/apps/{CLIENT}/keys\n\n\
         Ctrl-C ends it."
    )
}
