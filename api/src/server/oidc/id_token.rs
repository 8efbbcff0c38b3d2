//! Whether an ID token is what it says, for us, now, and for whoever presents it. Pure: keys and time come in.
//!
//! The order matters: the algorithm is looked up in a list before any key is touched, the signature is checked before any
//! claim is believed. No message holds anything of the token.
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::Identity;
use mcpctl_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::flags::Settings;
use super::keys::{Keys, Signing};

/// Most bytes of an ID token.
pub(super) const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// How far two clocks may be apart.
const LEEWAY_S: i64 = 60;
/// A token is presented right after it was made; one that lay about for longer is not taken.
pub(super) const AGE_MAX_S: i64 = 600;
/// Most groups of a person that are looked at.
const GROUPS_MAX: usize = 2_000;

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is no signed ID token")]
    Malformed,
    #[error("it is not signed with RS256, ES256 or EdDSA")]
    Algorithm,
    #[error("the provider has no such key")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it has no usable claim {0:?}")]
    Missing(&'static str),
    #[error("it was issued by another provider")]
    Issuer,
    #[error("it was issued for another client")]
    Audience,
    #[error("it has expired {0} s ago")]
    Expired(i64),
    #[error("it is from the future, by {0} s")]
    Future(i64),
    #[error("it was issued {0} s ago, and only one that was just issued is taken")]
    Old(i64),
    #[error("it was issued for another sign-in")]
    Nonce,
    #[error("it has no nonce, so that it could be anybody's")]
    NoNonce,
    #[error("it lacks the claim {0:?} with the value that is required here")]
    Required(String),
    #[error("the provider left the groups out of it, because there are too many")]
    GroupsLeftOut,
}

impl Refused {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Expired(_) | Self::Future(_) | Self::Old(_) => {
                "the clock of the provider or of this control plane may be wrong: compare both, then sign in again"
            }
            Self::NoNonce => {
                "the provider leaves the nonce out in this flow: use `mcpctl login --oidc`, or set \
                 MCPD_OIDC_ALLOW_MISSING_NONCE=true"
            }
            Self::Algorithm => "set the client at the provider to sign ID tokens with RS256",
            Self::Required(_) => "sign in with an account that may use mcpctl",
            Self::GroupsLeftOut => {
                "at the provider, limit the groups in ID tokens to those that are assigned to mcpctl"
            }
            _ => "sign in again: mcpctl login",
        }
    }
}

/// What a provider said, and it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Who.
    pub(super) identity: Identity,
    /// What a new user would be called; `None` when the provider said none, or one that it has not verified.
    pub(super) name: Option<String>,
    /// The person's groups at the provider.
    pub(super) groups: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// What a token's header says of its key.
pub(super) struct Signed {
    pub(super) signing: Signing,
    pub(super) kid: Option<String>,
}

fn part(text: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refused::Malformed)
}

/// Looks at the header only, to know which key is needed. Nothing of it is believed.
pub(super) fn header(token: &str) -> Result<Signed, Refused> {
    if token.len() > TOKEN_BYTES_MAX || token.split('.').count() != 3 {
        return Err(Refused::Malformed);
    }
    let text = token.split('.').next().ok_or(Refused::Malformed)?;
    let header: Header = serde_json::from_slice(&part(text)?).map_err(|_| Refused::Malformed)?;
    if header.crit.is_some() {
        return Err(Refused::Malformed);
    }
    let signing = Signing::from_header(&header.alg).ok_or(Refused::Algorithm)?;
    Ok(Signed { signing, kid: header.kid })
}

/// Checks a token for whoever knows the verifier that its nonce was made of.
pub(super) fn check(
    token: &str,
    verifier: &str,
    keys: &Keys,
    settings: &Settings,
    now: Timestamp,
) -> Result<Said, Refused> {
    let signed = header(token)?;
    let key = keys.find(signed.kid.as_deref(), signed.signing).ok_or(Refused::UnknownKey)?;
    let (message, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
    let right = jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, signed.signing.algorithm());
    if !right.unwrap_or(false) {
        return Err(Refused::Signature);
    }
    let payload = message.split_once('.').ok_or(Refused::Malformed)?.1;
    let claims: Map<String, Value> = serde_json::from_slice(&part(payload)?).map_err(|_| Refused::Malformed)?;
    for_us(&claims, settings)?;
    in_time(&claims, now)?;
    for_this_sign_in(&claims, verifier, settings.allow_missing_nonce)?;
    said(&claims, settings)
}

fn text<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<&'c str, Refused> {
    let text = claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or(Refused::Missing(name))
}

/// OpenID Connect Core 1.0, section 3.1.3.7: issuer, audience, authorized party.
fn for_us(claims: &Map<String, Value>, settings: &Settings) -> Result<(), Refused> {
    if text(claims, "iss")? != settings.issuer {
        return Err(Refused::Issuer);
    }
    let audience: Vec<&Value> = match claims.get("aud") {
        Some(Value::Array(many)) => many.iter().collect(),
        Some(one) => vec![one],
        None => return Err(Refused::Missing("aud")),
    };
    if !audience.iter().any(|audience| audience.as_str() == Some(&settings.client_id)) {
        return Err(Refused::Audience);
    }
    match claims.get("azp") {
        Some(party) if party.as_str() == Some(&settings.client_id) => Ok(()),
        // With several audiences, for whom it was made must be said.
        None if audience.len() == 1 => Ok(()),
        _ => Err(Refused::Audience),
    }
}

/// Seconds since 1970; a provider may write them with a fraction.
fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Refused> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite() && (0.0..1e12).contains(seconds));
    #[allow(clippy::cast_possible_truncation, reason = "looked at above")]
    seconds.map(|seconds| Some(seconds as i64)).ok_or(Refused::Missing(name))
}

fn in_time(claims: &Map<String, Value>, now: Timestamp) -> Result<(), Refused> {
    let now = i64::try_from(now.as_millis() / 1000).unwrap_or(i64::MAX);
    let expires = seconds(claims, "exp")?.ok_or(Refused::Missing("exp"))?;
    let issued = seconds(claims, "iat")?.ok_or(Refused::Missing("iat"))?;
    let begins = seconds(claims, "nbf")?.unwrap_or(issued);
    let ahead = issued.max(begins) - now;
    if ahead > LEEWAY_S {
        return Err(Refused::Future(ahead));
    }
    if now - expires > LEEWAY_S {
        return Err(Refused::Expired(now - expires));
    }
    if now - issued > AGE_MAX_S + LEEWAY_S {
        return Err(Refused::Old(now - issued));
    }
    Ok(())
}

/// The nonce that a verifier gives: whoever presents a token must know what its nonce was made of, so that a token that was
/// seen on the way, or made for something else, opens nothing.
pub(super) fn nonce_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::sha256(verifier.as_bytes()).0)
}

fn for_this_sign_in(claims: &Map<String, Value>, verifier: &str, may_miss: bool) -> Result<(), Refused> {
    match claims.get("nonce") {
        None if may_miss => Ok(()),
        None => Err(Refused::NoNonce),
        Some(Value::String(nonce)) if bool::from(nonce.as_bytes().ct_eq(nonce_of(verifier).as_bytes())) => Ok(()),
        Some(_) => Err(Refused::Nonce),
    }
}

fn said(claims: &Map<String, Value>, settings: &Settings) -> Result<Said, Refused> {
    for (name, wanted) in &settings.required {
        if !values(claims.get(name)).any(|value| value == *wanted) {
            return Err(Refused::Required(name.clone()));
        }
    }
    // Microsoft Entra ID leaves groups out when there are more than 200, and says where to ask: to take that for "no
    // groups" would put people out of theirs.
    if claims.get("_claim_names").is_some_and(|left_out| left_out.get(&settings.groups_claim).is_some()) {
        return Err(Refused::GroupsLeftOut);
    }
    let subject = text(claims, "sub")?.to_owned();
    let unverified = settings.name_claim == "email"
        && claims.get("email_verified").is_some_and(|verified| verified != true && verified != "true");
    let name = claims.get(&settings.name_claim).and_then(Value::as_str).filter(|_| !unverified);
    Ok(Said {
        identity: Identity { issuer: settings.issuer.clone(), subject },
        name: name.map(|name| name.trim().to_ascii_lowercase()),
        groups: values(claims.get(&settings.groups_claim)).take(GROUPS_MAX).collect(),
    })
}

/// A claim's values as text: one, or each of a list.
fn values(claim: Option<&Value>) -> impl Iterator<Item = String> {
    let all = match claim {
        Some(Value::Array(many)) => many.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    all.iter().filter_map(|value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    })
}

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
