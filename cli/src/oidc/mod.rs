//! Signing in at an OpenID Connect provider, as a public client: authorization code with PKCE on a loopback address
//! (RFC 8252), or the device flow (RFC 8628). Both end with an ID token, which the control plane checks.
mod browser;
mod code;
mod device;
mod http;
mod loopback;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcpctl_api::wire::{OidcOffer, OidcSignIn};
use mcpctl_core::ids::Digest;

use crate::failure::Done;

/// How the person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// In a browser on this machine, which is opened.
    Browser,
    /// In a browser on this machine, at an address that is only printed.
    Printed,
    /// In a browser anywhere, with a code.
    Device,
}

/// Gets an ID token, and the verifier that shows whose it is.
pub async fn id_token(offer: &OidcOffer, flow: Flow) -> Done<OidcSignIn> {
    let verifier = random_text();
    let nonce = sha256_text(&verifier);
    let id_token = match flow {
        Flow::Device => device::id_token(offer, &nonce).await?,
        Flow::Browser | Flow::Printed => code::id_token(offer, &nonce, flow == Flow::Browser).await?,
    };
    Ok(OidcSignIn { id_token, verifier })
}

/// 256 random bits as 43 characters: a state, or a verifier (RFC 7636, section 4.1).
fn random_text() -> String {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The S256 challenge of a verifier.
fn sha256_text(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::sha256(text.as_bytes()).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        assert_eq!(
            sha256_text("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        assert_eq!(random_text().len(), 43);
        assert_ne!(random_text(), random_text());
    }
}
