//! Forged, stale and foreign tokens, one change each to a token that is good.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::testing::{CLIENT, ISSUER, NOW_S, Signer, VERIFIER, claims, now, part, settings};
use super::*;

fn keys_of(signers: &[&Signer]) -> Keys {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    Keys::read(&json!({ "keys": keys })).unwrap()
}

struct House {
    signer: Signer,
    keys: Keys,
}

impl House {
    fn new() -> Self {
        let signer = Signer::ec("one");
        Self { keys: keys_of(&[&signer]), signer }
    }

    /// A token with these claims changed.
    fn with(&self, changes: Value) -> Result<Said, Refused> {
        self.take(&self.signer.sign(&claims(changes)), &settings())
    }

    fn take(&self, token: &str, settings: &Settings) -> Result<Said, Refused> {
        check(token, VERIFIER, &self.keys, settings, now())
    }
}

#[test]
fn a_good_token_of_each_allowed_algorithm_says_who_it_is() {
    for signer in [Signer::rsa("r"), Signer::ec("e"), Signer::ed("d")] {
        let house = House { keys: keys_of(&[&signer]), signer };
        let said = house.with(json!({})).unwrap();
        let identity = Identity { issuer: ISSUER.to_owned(), subject: "subject-1".to_owned() };
        let groups = ["eng", "ops"].map(str::to_owned).into();
        assert_eq!(said, Said { identity, name: Some("ann@example.com".to_owned()), groups });
    }
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused_before_any_key_is_looked_at() {
    let house = House::new();
    let none = format!("{}.{}.", part(&json!({ "alg": "none", "kid": "one" })), part(&claims(json!({}))));
    assert_eq!(house.take(&none, &settings()), Err(Refused::Algorithm));
    for alg in ["none", "None", "NONE", "HS256", "HS384", "HS512", "RS512", "PS256", "ES384", "", "rs256"] {
        let token = house.signer.sign_as(&json!({ "alg": alg, "kid": "one" }), &claims(json!({})));
        assert_eq!(house.take(&token, &settings()), Err(Refused::Algorithm), "{alg:?}");
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_shared_secret() {
    let signer = Signer::rsa("one");
    let house = House { keys: keys_of(&[&signer]), signer };
    let message = format!("{}.{}", part(&json!({ "alg": "HS256", "kid": "one" })), part(&claims(json!({}))));
    for secret in
        [house.signer.jwk()["n"].as_str().unwrap().as_bytes().to_vec(), house.signer.jwk().to_string().into_bytes()]
    {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(house.take(&token, &settings()), Err(Refused::Algorithm));
        // And saying that it is RS256 after all does not help.
        let renamed =
            format!("{}.{}", part(&json!({ "alg": "RS256", "kid": "one" })), token.split_once('.').unwrap().1);
        assert_eq!(house.take(&renamed, &settings()), Err(Refused::Signature));
    }
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let house = House::new();
    let token = house.signer.sign(&claims(json!({})));
    let [header, payload, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = part(&claims(json!({ "sub": "subject-2" })));
    let other_header = part(&json!({ "alg": "ES256", "kid": "one", "typ": "at+jwt" }));
    for forged in [
        format!("{header}.{other}.{signature}"),
        format!("{other_header}.{payload}.{signature}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{}", "A".repeat(86)),
        Signer::ec("one").sign(&claims(json!({}))),
    ] {
        assert_eq!(house.take(&forged, &settings()), Err(Refused::Signature), "{forged}");
    }
    let signatures = (0..signature.len()).step_by(7).map(|at| {
        let mut changed = signature.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(changed).unwrap()
    });
    for changed in signatures {
        assert_eq!(house.take(&format!("{header}.{payload}.{changed}"), &settings()), Err(Refused::Signature));
    }
}

#[test]
fn a_key_that_the_provider_does_not_have_opens_nothing() {
    let house = House::new();
    assert_eq!(house.take(&Signer::ec("two").sign(&claims(json!({}))), &settings()), Err(Refused::UnknownKey));
    // The right name, with an algorithm of another family.
    let header = json!({ "alg": "RS256", "kid": "one" });
    assert_eq!(house.take(&house.signer.sign_as(&header, &claims(json!({}))), &settings()), Err(Refused::UnknownKey));
    // No name: the only key of its algorithm is meant, and with two of them none.
    let nameless = house.signer.sign_as(&json!({ "alg": "ES256" }), &claims(json!({})));
    assert!(house.take(&nameless, &settings()).is_ok());
    let two = keys_of(&[&house.signer, &Signer::ec("two")]);
    assert_eq!(check(&nameless, VERIFIER, &two, &settings(), now()), Err(Refused::UnknownKey));
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let house = House::new();
    for issuer in ["https://id.example.com/", "https://ID.example.com", "https://evil.example.com", ""] {
        assert!(house.with(json!({ "iss": issuer })).is_err(), "{issuer}");
    }
    assert_eq!(house.with(json!({ "iss": "https://evil.example.com" })), Err(Refused::Issuer));
    assert_eq!(house.with(json!({ "iss": [ISSUER] })), Err(Refused::Missing("iss")));
    for audience in [json!("other"), json!(["other"]), json!([]), json!({ "a": CLIENT }), json!(7)] {
        assert_eq!(house.with(json!({ "aud": audience })), Err(Refused::Audience), "{audience}");
    }
    assert_eq!(house.with(json!({ "aud": null })), Err(Refused::Missing("aud")));
    assert_eq!(house.with(json!({ "aud": [CLIENT, "other"] })), Err(Refused::Audience), "for whom is not said");
    assert_eq!(house.with(json!({ "aud": [CLIENT, "other"], "azp": "other" })), Err(Refused::Audience));
    assert_eq!(house.with(json!({ "azp": "other" })), Err(Refused::Audience));
    assert!(house.with(json!({ "aud": [CLIENT, "other"], "azp": CLIENT })).is_ok());
    assert!(house.with(json!({ "aud": [CLIENT] })).is_ok());
}

#[test]
fn a_token_is_taken_around_its_time_only() {
    let house = House::new();
    assert_eq!(house.with(json!({ "exp": NOW_S - 61 })), Err(Refused::Expired(61)));
    assert!(house.with(json!({ "exp": NOW_S - 60 })).is_ok(), "clocks differ a little");
    assert_eq!(house.with(json!({ "iat": NOW_S + 61 })), Err(Refused::Future(61)));
    assert!(house.with(json!({ "iat": NOW_S + 60 })).is_ok());
    assert_eq!(house.with(json!({ "nbf": NOW_S + 90 })), Err(Refused::Future(90)));
    assert_eq!(house.with(json!({ "iat": NOW_S - 661, "exp": NOW_S + 9_000 })), Err(Refused::Old(661)));
    assert!(house.with(json!({ "iat": NOW_S as f64 - 0.5, "exp": NOW_S as f64 + 0.5 })).is_ok(), "fractions");
    for name in ["exp", "iat"] {
        assert!(matches!(house.with(json!({ name: null })), Err(Refused::Missing(_))), "{name}");
        assert!(matches!(house.with(json!({ name: "soon" })), Err(Refused::Missing(_))), "{name}");
        assert!(matches!(house.with(json!({ name: -1 })), Err(Refused::Missing(_))), "{name}");
    }
}

#[test]
fn only_who_knows_what_the_nonce_was_made_of_can_present_a_token() {
    let house = House::new();
    let token = house.signer.sign(&claims(json!({})));
    for verifier in ["", "another", &nonce_of(VERIFIER)] {
        assert_eq!(check(&token, verifier, &house.keys, &settings(), now()), Err(Refused::Nonce), "{verifier}");
    }
    assert_eq!(house.with(json!({ "nonce": VERIFIER })), Err(Refused::Nonce));
    assert_eq!(house.with(json!({ "nonce": 7 })), Err(Refused::Nonce));
    assert_eq!(house.with(json!({ "nonce": null })), Err(Refused::NoNonce));
    let lenient = Settings { allow_missing_nonce: true, ..settings() };
    assert!(house.take(&house.signer.sign(&claims(json!({ "nonce": null }))), &lenient).is_ok());
    assert_eq!(check(&token, "another", &house.keys, &lenient, now()), Err(Refused::Nonce), "one that is there counts");
}

#[test]
fn what_is_no_token_is_refused_and_never_believed() {
    let house = House::new();
    let token = house.signer.sign(&claims(json!({})));
    let crit = house.signer.sign_as(&json!({ "alg": "ES256", "kid": "one", "crit": ["exp"] }), &claims(json!({})));
    let long = format!("{token}{}", "A".repeat(TOKEN_BYTES_MAX));
    for text in ["", ".", "..", "a.b.c", "a.b.c.d", &format!("{token}.x"), &token[1..], &crit, &long] {
        assert_eq!(house.take(text, &settings()), Err(Refused::Malformed), "{}", &text[..text.len().min(80)]);
    }
    assert_eq!(house.with(json!({ "sub": null })), Err(Refused::Missing("sub")));
    assert_eq!(house.with(json!({ "sub": "" })), Err(Refused::Missing("sub")));
}

#[test]
fn an_address_that_the_provider_has_not_verified_names_nobody() {
    let house = House::new();
    for unverified in [json!(false), json!("false"), json!(0)] {
        assert_eq!(house.with(json!({ "email_verified": unverified })).unwrap().name, None);
    }
    assert_eq!(house.with(json!({ "email": null })).unwrap().name, None);
    assert_eq!(house.with(json!({ "email_verified": null })).unwrap().name.as_deref(), Some("ann@example.com"));
    let by_upn = Settings { name_claim: "upn".to_owned(), ..settings() };
    let token = house.signer.sign(&claims(json!({ "upn": "ann@corp.example", "email_verified": false })));
    assert_eq!(house.take(&token, &by_upn).unwrap().name.as_deref(), Some("ann@corp.example"));
}

#[test]
fn groups_are_what_the_claim_says_and_left_out_is_not_none() {
    let house = House::new();
    let groups = |changes: Value| house.with(changes).unwrap().groups.into_iter().collect::<Vec<_>>();
    assert_eq!(groups(json!({ "groups": "eng" })), ["eng"]);
    assert_eq!(groups(json!({ "groups": ["b", 7, {}, null, ["c"], "a"] })), ["7", "a", "b"]);
    assert_eq!(house.with(json!({ "groups": null })).unwrap().groups, BTreeSet::new());
    let left_out = json!({ "groups": null, "_claim_names": { "groups": "src1" } });
    assert_eq!(house.with(left_out), Err(Refused::GroupsLeftOut));
}

#[test]
fn a_required_claim_must_be_there_with_its_value() {
    let house = House::new();
    let demanding = Settings { required: vec![("hd".to_owned(), "example.com".to_owned())], ..settings() };
    let with = |changes: Value| house.take(&house.signer.sign(&claims(changes)), &demanding);
    assert_eq!(with(json!({})), Err(Refused::Required("hd".to_owned())));
    assert_eq!(with(json!({ "hd": "evil.example" })), Err(Refused::Required("hd".to_owned())));
    assert!(with(json!({ "hd": "example.com" })).is_ok());
    assert!(with(json!({ "hd": ["other", "example.com"] })).is_ok());
}
