//! Which provider people sign in at: flags and environment of `mcpd serve` and `mcpctl up`.
use url::Url;

/// The OpenID Connect provider. Without an issuer, people sign in with passwords only.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sign-in at an OpenID Connect provider")]
pub struct OidcFlags {
    /// The provider, as it calls itself: the URL above its /.well-known/openid-configuration
    #[arg(long, env = "MCPD_OIDC_ISSUER", value_name = "URL", requires = "oidc_client_id")]
    pub oidc_issuer: Option<String>,
    /// Client at the provider: a public one, with the redirect URI http://127.0.0.1/callback
    #[arg(long, env = "MCPD_OIDC_CLIENT_ID", value_name = "ID", requires = "oidc_issuer")]
    pub oidc_client_id: Option<String>,
    /// What is asked of the provider, parted by spaces
    #[arg(long, env = "MCPD_OIDC_SCOPES", value_name = "SCOPES", default_value = "openid email")]
    pub oidc_scopes: String,
    /// Claim of the ID token that names a new user
    #[arg(long, env = "MCPD_OIDC_NAME_CLAIM", value_name = "CLAIM", default_value = "email")]
    pub oidc_name_claim: String,
    /// Claim of the ID token with the person's groups at the provider
    #[arg(long, env = "MCPD_OIDC_GROUPS_CLAIM", value_name = "CLAIM", default_value = "groups")]
    pub oidc_groups_claim: String,
    /// Claim that an ID token must have, such as hd=example.com; may be given several times
    #[arg(long, env = "MCPD_OIDC_REQUIRED_CLAIM", value_name = "CLAIM=VALUE", value_delimiter = ',')]
    pub oidc_required_claim: Vec<String>,
    /// Accepts ID tokens without a nonce, for providers that leave it out in the device flow
    #[arg(long, env = "MCPD_OIDC_ALLOW_MISSING_NONCE")]
    pub oidc_allow_missing_nonce: bool,
}

/// A provider as it was configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What `iss` must be, letter for letter.
    pub issuer: String,
    /// What `aud` must be or hold.
    pub client_id: String,
    /// What is asked for.
    pub scopes: String,
    /// Claim that names a new user.
    pub name_claim: String,
    /// Claim with the groups.
    pub groups_claim: String,
    /// Claims that must be there, with their values.
    pub required: Vec<(String, String)>,
    /// Whether a token may come without a nonce.
    pub allow_missing_nonce: bool,
}

/// A flag that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// Not a URL to talk to.
    #[error("--oidc-issuer must be an https:// URL without query, fragment or password (http:// on this machine only)")]
    Issuer,
    /// Half of the configuration.
    #[error("--oidc-client-id is missing: register a public client at the provider and give its id")]
    ClientId,
    /// Without it the answer is no ID token.
    #[error("--oidc-scopes must have `openid`")]
    Scopes,
    /// No `=`.
    #[error("--oidc-required-claim {given:?} is not CLAIM=VALUE")]
    RequiredClaim {
        /// What was given.
        given: String,
    },
}

impl OidcFlags {
    /// The provider, when there is one.
    ///
    /// # Errors
    /// Names the flag that can't be used.
    pub fn settings(&self) -> Result<Option<Settings>, InvalidSettings> {
        let Some(issuer) = self.oidc_issuer.clone().filter(|issuer| !issuer.is_empty()) else { return Ok(None) };
        let url: Url = issuer.parse().map_err(|_| InvalidSettings::Issuer)?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !plain || url.password().is_some() || !matches!(url.scheme(), "https" | "http") {
            return Err(InvalidSettings::Issuer);
        }
        let client_id = self.oidc_client_id.clone().filter(|id| !id.is_empty()).ok_or(InvalidSettings::ClientId)?;
        if !self.oidc_scopes.split(' ').any(|scope| scope == "openid") {
            return Err(InvalidSettings::Scopes);
        }
        let required = self.oidc_required_claim.iter().map(|given| match given.split_once('=') {
            Some((claim, value)) if !claim.is_empty() => Ok((claim.to_owned(), value.to_owned())),
            _ => Err(InvalidSettings::RequiredClaim { given: given.clone() }),
        });
        Ok(Some(Settings {
            issuer,
            client_id,
            scopes: self.oidc_scopes.clone(),
            name_claim: self.oidc_name_claim.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            required: required.collect::<Result<_, _>>()?,
            allow_missing_nonce: self.oidc_allow_missing_nonce,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(issuer: &str) -> OidcFlags {
        OidcFlags {
            oidc_issuer: Some(issuer.to_owned()),
            oidc_client_id: Some("mcpctl".to_owned()),
            oidc_scopes: "openid email".to_owned(),
            ..OidcFlags::default()
        }
    }

    #[test]
    fn a_provider_is_taken_only_when_all_of_it_can_be_used() {
        assert!(OidcFlags::default().settings().unwrap().is_none());
        let required = vec!["hd=example.com".to_owned(), "a=b=c".to_owned()];
        let good = OidcFlags { oidc_required_claim: required, ..flags("https://id.example.com/realms/a") };
        let settings = good.settings().unwrap().unwrap();
        assert_eq!(settings.required, [("hd".into(), "example.com".into()), ("a".into(), "b=c".into())]);
        for issuer in
            ["id.example.com", "ftp://id.example.com", "https://id.example.com?x", "https://u:p@id.example.com"]
        {
            assert!(matches!(flags(issuer).settings(), Err(InvalidSettings::Issuer)), "{issuer}");
        }
        let nameless = OidcFlags { oidc_client_id: None, ..flags("https://id.example.com") };
        assert!(matches!(nameless.settings(), Err(InvalidSettings::ClientId)));
        let no_openid = OidcFlags { oidc_scopes: "email".to_owned(), ..flags("https://id.example.com") };
        assert!(matches!(no_openid.settings(), Err(InvalidSettings::Scopes)));
        let bad = OidcFlags { oidc_required_claim: vec!["hd".to_owned()], ..flags("https://id.example.com") };
        assert!(matches!(bad.settings(), Err(InvalidSettings::RequiredClaim { .. })));
    }
}
