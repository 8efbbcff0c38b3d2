//! Logging in and out, and asking who one is.
use mcpctl_core::plaintext::Plaintext;
use reqwest::Method;
use serde_json::{Value, json};

use super::transport::Ask;
use super::{Client, ClientError};
use crate::wire::{Introspection, LoginAnswer, Me, OidcOffer, OidcSignIn};

impl Client {
    /// Opens a login.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn login(&self, email: &str, password: &Plaintext) -> Result<LoginAnswer, ClientError> {
        let body = json!({ "email": email, "password": password.expose() });
        Ok(self.json(Ask::once(Method::POST, self.address().api(&["auth", "login"]), Some(body))).await?.body)
    }

    /// The identity provider that people sign in at.
    ///
    /// # Errors
    /// See [`ClientError`]; of status 404 when there is none.
    pub async fn oidc_offer(&self) -> Result<OidcOffer, ClientError> {
        Ok(self.json(Ask::get(self.address().api(&["auth", "oidc"]))).await?.body)
    }

    /// Opens a login with an ID token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sign_in(&self, with: &OidcSignIn) -> Result<LoginAnswer, ClientError> {
        let body = json!({ "idToken": with.id_token, "verifier": with.verifier });
        Ok(self.json(Ask::once(Method::POST, self.address().api(&["auth", "oidc"]), Some(body))).await?.body)
    }

    /// Ends the login of this client's bearer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logout(&self) -> Result<(), ClientError> {
        self.send(Ask::mutation(Method::POST, self.address().api(&["auth", "logout"]), None)).await.map(drop)
    }

    /// Who the bearer is, and what it may do.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn me(&self) -> Result<Me, ClientError> {
        Ok(self.json(Ask::get(self.address().api(&["auth", "me"]))).await?.body)
    }

    /// Whether the token that this client holds opens its project.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn introspect(&self) -> Result<Introspection, ClientError> {
        let url = self.address().api(&["mcptokens", "introspect"]);
        Ok(self.json(Ask::once(Method::POST, url, Some(Value::Object(serde_json::Map::new())))).await?.body)
    }
}
