//! The keys that a provider signs with: its JSON Web Key Set, as far as we can use it.
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of a set that are kept.
const KEYS_MAX: usize = 64;

/// The algorithms that an ID token may be signed with. `none` and those with a shared secret (HS256 …) are not among
/// them, so that a public key can never be taken for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signing {
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2,048 bits and more.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Signing {
    /// The algorithm of a token's header.
    pub(super) fn from_header(alg: &str) -> Option<Self> {
        match alg {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }

    pub(super) const fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// One key of a set.
struct Key {
    kid: Option<String>,
    signing: Signing,
    key: DecodingKey,
}

/// A key set. Keys for encryption, of other families, or damaged are left out.
#[derive(Default)]
pub(super) struct Keys(Vec<Key>);

/// RFC 7517, the parameters that a key for signatures has.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    fn key(self) -> Option<Key> {
        if self.used_for.as_deref().is_some_and(|used_for| used_for != "sig") {
            return None;
        }
        let (signing, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Signing::Rs256, DecodingKey::from_rsa_components(&self.n?, &self.e?)),
            ("EC", Some("P-256")) => (Signing::Es256, DecodingKey::from_ec_components(&self.x?, &self.y?)),
            ("OKP", Some("Ed25519")) => (Signing::EdDsa, DecodingKey::from_ed_components(&self.x?)),
            _ => return None,
        };
        if self.alg.is_some_and(|alg| Signing::from_header(&alg) != Some(signing)) {
            return None;
        }
        Some(Key { kid: self.kid, signing, key: key.ok()? })
    }
}

impl Keys {
    /// Reads a key set; `None` when it is none.
    pub(super) fn read(document: &Value) -> Option<Self> {
        let keys = document.get("keys")?.as_array()?.iter().take(KEYS_MAX);
        let read = |key: &Value| serde_json::from_value::<Jwk>(key.clone()).ok()?.key();
        Some(Self(keys.filter_map(read).collect()))
    }

    /// The key that a token says it was signed with. A token that does not say is taken when there is one key only of its
    /// algorithm (OpenID Connect Core 1.0, section 10.1).
    pub(super) fn find(&self, kid: Option<&str>, signing: Signing) -> Option<&DecodingKey> {
        let mut fitting = self.0.iter().filter(|key| key.signing == signing);
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)).map(|key| &key.key),
            None => {
                let only = fitting.next()?;
                fitting.next().is_none().then_some(&only.key)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_keys_for_signatures_of_the_allowed_algorithms_are_taken() {
        let rsa = |more: Value| {
            let mut key = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
            key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            key
        };
        let keys = Keys::read(&json!({ "keys": [
            rsa(json!({ "kid": "encrypts", "use": "enc" })),
            rsa(json!({ "kid": "other-alg", "alg": "RS512" })),
            { "kty": "oct", "kid": "shared", "k": "c2VjcmV0" },
            { "kty": "EC", "crv": "P-521", "kid": "curve", "x": "AA", "y": "AA" },
            { "kty": "RSA", "kid": "half", "n": "AQAB" },
            "no key at all",
            rsa(json!({ "kid": "good", "use": "sig", "alg": "RS256" })),
        ] }))
        .unwrap();
        assert_eq!(keys.0.len(), 1);
        assert!(keys.find(Some("good"), Signing::Rs256).is_some());
        assert!(keys.find(None, Signing::Rs256).is_some(), "it is the only one");
        assert!(keys.find(Some("good"), Signing::Es256).is_none(), "an algorithm of another family");
        assert!(keys.find(Some("other"), Signing::Rs256).is_none());
        let two = Keys::read(&json!({ "keys": [rsa(json!({ "kid": "a" })), rsa(json!({ "kid": "b" }))] })).unwrap();
        assert!(two.find(None, Signing::Rs256).is_none(), "which one is not said");
        assert!(Keys::read(&json!({ "error": "x" })).is_none());
    }
}
