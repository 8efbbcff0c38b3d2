//! Keys that sign, and the claims of a token that is good, for the tests of what looks at tokens.
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcpctl_core::time::Timestamp;
use serde_json::{Value, json};

use super::flags::Settings;
use super::id_token::nonce_of;

pub(super) const ISSUER: &str = "https://id.example.com";
pub(super) const CLIENT: &str = "mcpctl";
pub(super) const VERIFIER: &str = "what the nonce was made of";
/// The moment of the tests, in seconds.
pub(super) const NOW_S: u64 = 1_800_000_000;

pub(super) fn now() -> Timestamp {
    Timestamp::from_millis(NOW_S * 1000)
}

pub(super) fn settings() -> Settings {
    Settings {
        issuer: ISSUER.to_owned(),
        client_id: CLIENT.to_owned(),
        scopes: "openid email".to_owned(),
        name_claim: "email".to_owned(),
        groups_claim: "groups".to_owned(),
        required: Vec::new(),
        allow_missing_nonce: false,
    }
}

/// The claims of a token that is good, with some of them changed; `null` takes one out.
pub(super) fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "sub": "subject-1", "aud": CLIENT, "iat": NOW_S - 5, "exp": NOW_S + 300,
        "nonce": nonce_of(VERIFIER), "email": "Ann@Example.com", "email_verified": true, "groups": ["eng", "ops"],
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub(super) fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
    Ed(Box<Ed25519KeyPair>),
}

/// A key of a provider.
pub(super) struct Signer {
    pub(super) kid: &'static str,
    pair: Pair,
}

impl Signer {
    pub(super) fn rsa(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())) }
    }

    pub(super) fn ec(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Ec(Box::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())) }
    }

    pub(super) fn ed(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Ed(Box::new(Ed25519KeyPair::generate().unwrap())) }
    }

    pub(super) fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// Its public half, as a provider shows it.
    pub(super) fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                json!({ "kty": "RSA", "n": text(n.big_endian_without_leading_zero()),
                    "e": text(e.big_endian_without_leading_zero()) })
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..65]) })
            }
            Pair::Ed(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) }),
        };
        jwk["kid"] = self.kid.into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.alg().into();
        jwk
    }

    /// A token with a header of its own.
    pub(super) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token as the provider makes it.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": self.alg(), "kid": self.kid, "typ": "JWT" }), claims)
    }
}
