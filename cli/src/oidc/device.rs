//! The device flow: the person enters a code in a browser anywhere, and this end asks until that is done.
use std::time::Duration;

use mcpctl_api::wire::OidcOffer;
use tokio::time::Instant;

use super::http::{Answer, address, post, shown};
use crate::failure::{Done, Failure};
use crate::out;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Between two questions, unless the provider says otherwise (RFC 8628, section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// The shortest and longest interval that a provider can ask for.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the person may take at most, whatever the provider allows.
const PATIENCE: Duration = Duration::from_secs(900);

pub(super) async fn id_token(offer: &OidcOffer, nonce: &str) -> Done<String> {
    let Some(endpoint) = &offer.device_authorization_endpoint else {
        return Err(Failure::new("the identity provider has no device flow")
            .hint("on a machine with a browser: mcpctl login --oidc"));
    };
    let (endpoint, token_endpoint) = (address(endpoint)?, address(&offer.token_endpoint)?);
    let form = [("client_id", offer.client_id.as_str()), ("scope", offer.scopes.as_str()), ("nonce", nonce)];
    let begun = post(&endpoint, &form).await?;
    let (None, Some(device_code), Some(user_code), Some(uri)) =
        (begun.error(), begun.text("device_code"), begun.text("user_code"), begun.text("verification_uri"))
    else {
        return Err(begun.failure("the device flow"));
    };
    invite(user_code, uri, begun.text("verification_uri_complete"))?;
    let ends = Instant::now() + begun.seconds("expires_in").unwrap_or(PATIENCE).min(PATIENCE);
    let form = [("grant_type", GRANT), ("device_code", device_code), ("client_id", offer.client_id.as_str())];
    let mut interval = begun.seconds("interval").unwrap_or(INTERVAL).clamp(INTERVALS.0, INTERVALS.1);
    while Instant::now() + interval < ends {
        tokio::time::sleep(interval).await;
        match next(&post(&token_endpoint, &form).await)? {
            Next::Token(token) => return Ok(token),
            Next::Wait => {}
            Next::Slower => interval = (interval + INTERVAL).min(INTERVALS.1),
        }
    }
    Err(Failure::new("nobody entered the code in time").hint("try again: mcpctl login --device"))
}

fn invite(user_code: &str, uri: &str, complete: Option<&str>) -> Done {
    let uri = address(uri)?;
    let complete = complete.map(address).transpose()?;
    let mut words = format!("Open this address in any browser and enter the code {}:\n\n  {uri}\n", shown(user_code));
    if let Some(complete) = complete {
        words.push_str(&format!("\nor this one, which has the code in it:\n\n  {complete}\n"));
    }
    out::note(&words);
    Ok(())
}

/// What follows from an answer to the question whether the code was entered.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Token(String),
    Wait,
    Slower,
}

fn next(answer: &Done<Answer>) -> Done<Next> {
    // The network may come back (RFC 8628, section 3.5): that is no answer, and asked more slowly.
    let Ok(answer) = answer else { return Ok(Next::Slower) };
    match answer.error() {
        None => answer.id_token().map(Next::Token),
        Some("authorization_pending") => Ok(Next::Wait),
        Some("slow_down") => Ok(Next::Slower),
        Some("access_denied") => Err(Failure::new("the sign-in was refused in the browser")),
        Some("expired_token") => {
            Err(Failure::new("nobody entered the code in time").hint("try again: mcpctl login --device"))
        }
        Some(_) => Err(answer.failure("the sign-in")),
    }
}
