//! What a terminal shows once the stack serves.

use crate::demo::{API_KEY, REGISTRATION};

pub(crate) fn text(base_url: &str, color: bool) -> String {
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
