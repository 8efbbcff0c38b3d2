//! Authorization code with PKCE: the browser brings a code to a port of this machine, which becomes an ID token.
use std::time::Duration;

use mcpctl_api::wire::OidcOffer;
use url::Url;

use super::http::{address, post, shown};
use super::loopback::{Loopback, Returned};
use super::{browser, random_text, sha256_text};
use crate::failure::{Done, Failure};
use crate::out;

/// How long the person may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn id_token(offer: &OidcOffer, nonce: &str, may_open: bool) -> Done<String> {
    let token_endpoint = address(&offer.token_endpoint)?;
    let loopback = Loopback::open().await.map_err(|error| {
        Failure::new(format!("no port of this machine can be listened on: {error}")).hint("use mcpctl login --device")
    })?;
    let redirect_uri = loopback.redirect_uri();
    let (state, verifier) = (random_text(), random_text());
    let url = authorization(offer, &redirect_uri, &state, nonce, &sha256_text(&verifier))?;
    invite(&url, may_open);
    let waited = tokio::time::timeout(PATIENCE, loopback.wait(&state)).await.map_err(|_| {
        Failure::new(format!("nobody signed in within {} minutes", PATIENCE.as_secs() / 60))
            .hint("without a browser on this machine: mcpctl login --device")
    })?;
    let code = match waited.map_err(|error| Failure::new(format!("the browser could not come back: {error}")))? {
        Returned::Error { error, description } => {
            let more = description.map(|text| format!(" ({})", shown(&text))).unwrap_or_default();
            return Err(Failure::new(format!("the identity provider refuses the sign-in: {}{more}", shown(&error))));
        }
        // RFC 9207: a code of another provider is not sent to this one.
        Returned::Code { issuer: Some(issuer), .. } if issuer != offer.issuer => {
            return Err(Failure::new("another identity provider answered than the one that was asked"));
        }
        Returned::Code { code, .. } => code,
    };
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", redirect_uri.as_str()),
        ("client_id", offer.client_id.as_str()),
        ("code_verifier", verifier.as_str()),
    ];
    let answer = post(&token_endpoint, &form).await?;
    if answer.error().is_some() {
        return Err(answer.failure("the code"));
    }
    answer.id_token()
}

fn authorization(offer: &OidcOffer, redirect_uri: &str, state: &str, nonce: &str, challenge: &str) -> Done<Url> {
    let mut url = address(&offer.authorization_endpoint)?;
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", offer.client_id.as_str()),
        ("redirect_uri", redirect_uri),
        ("scope", offer.scopes.as_str()),
        ("state", state),
        ("nonce", nonce),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ]);
    Ok(url)
}

fn invite(url: &Url, may_open: bool) {
    let opened = may_open && browser::open(url);
    let words = if opened {
        "Sign in with the browser that was opened. If none was, open this address:"
    } else {
        "Open this address in a browser on this machine to sign in (on another one: mcpctl login --device):"
    };
    out::note(&format!("{words}\n\n  {url}\n"));
}
