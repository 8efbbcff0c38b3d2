//! Objects of every kind through the one generic path.
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::transport::Ask;
use super::{Client, ClientError};
use crate::wire::{Done, HistoryItem, List, Table};

/// One object: kind, name, and project for kinds that live in one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Project.
    pub project: Option<String>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.project {
            Some(project) => write!(f, "{}/{project}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

/// How a change is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Write {
    /// It is made.
    #[default]
    Real,
    /// It is decided, and nothing is appended.
    DryRun,
}

/// What a change that takes access away is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// Until it is dead everywhere.
    #[default]
    UntilDead,
    /// Until it is recorded.
    None,
}

/// Answer to a POST or PUT.
#[derive(Clone, Debug)]
pub struct Changed {
    /// `created`, `changed` or `unchanged`.
    pub outcome: String,
    /// The full manifest; with `token` when one was drawn.
    pub object: Map<String, Value>,
}

impl Changed {
    /// The raw token, when one was drawn.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.object.get("token").and_then(Value::as_str)
    }
}

/// One of several objects that were applied together.
#[derive(Clone, Debug, Deserialize)]
pub struct Applied {
    /// `created`, `changed` or `unchanged`.
    pub outcome: String,
    /// The raw token, when one was drawn.
    #[serde(default)]
    pub token: Option<String>,
}

/// Most manifests that are applied together.
pub const BATCH_MAX: usize = 1_000;

fn plural(kind: Kind) -> &'static str {
    kind.names().plural
}

/// A token reaches what lives in its project only by the path below that project.
fn path(kind: Kind, project: Option<&str>) -> Vec<&str> {
    match (kind.scope(), project) {
        (Scope::Project, Some(project)) => vec!["projects", project, plural(kind)],
        _ => vec![plural(kind)],
    }
}

/// The point of the past that is asked, if one is.
fn at(mut url: Url, at: Option<&str>) -> Url {
    if let Some(at) = at {
        url.query_pairs_mut().append_pair("at", at);
    }
    url
}

pub(super) fn dry(mut url: Url, write: Write) -> Url {
    if write == Write::DryRun {
        url.query_pairs_mut().append_pair("dryRun", "true");
    }
    url
}

impl Client {
    pub(super) fn object_url(&self, target: &Target, after: &[&str]) -> Url {
        let mut segments = path(target.kind, target.project.as_deref());
        segments.push(&target.name);
        segments.extend_from_slice(after);
        self.address().api(&segments)
    }

    /// All objects of a kind that the caller may view.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&self, kind: Kind, project: Option<&str>) -> Result<List, ClientError> {
        self.list_at(kind, project, None).await
    }

    /// The same as they were at a point of the past, when one is named.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_at(&self, kind: Kind, project: Option<&str>, then: Option<&str>) -> Result<List, ClientError> {
        Ok(self.json(Ask::get(at(self.address().api(&path(kind, project)), then))).await?.body)
    }

    /// The same as `get` prints them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn table(&self, kind: Kind, project: Option<&str>) -> Result<Table, ClientError> {
        self.table_at(kind, project, None).await
    }

    /// The same as they were at a point of the past, when one is named.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn table_at(&self, kind: Kind, project: Option<&str>, then: Option<&str>) -> Result<Table, ClientError> {
        let mut url = at(self.address().api(&path(kind, project)), then);
        url.query_pairs_mut().append_pair("view", "table");
        Ok(self.json(Ask::get(url)).await?.body)
    }

    /// One object: manifest, metadata, status.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, target: &Target) -> Result<Map<String, Value>, ClientError> {
        self.get_at(target, None).await
    }

    /// The same as it was at a point of the past, when one is named.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_at(&self, target: &Target, then: Option<&str>) -> Result<Map<String, Value>, ClientError> {
        Ok(self.json(Ask::get(at(self.object_url(target, &[]), then))).await?.body)
    }

    /// Makes an object that is not there yet.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create(&self, kind: Kind, manifest: Map<String, Value>, write: Write) -> Result<Changed, ClientError> {
        let url = dry(self.address().api(&[plural(kind)]), write);
        self.changed(Ask::mutation(Method::POST, url, Some(manifest.into()))).await
    }

    /// Makes an object what the manifest says; only at a version, when one is given.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn apply(
        &self,
        target: &Target,
        manifest: Map<String, Value>,
        version: Option<Seq>,
        write: Write,
    ) -> Result<Changed, ClientError> {
        let url = dry(self.object_url(target, &[]), write);
        self.changed(Ask::mutation(Method::PUT, url, Some(manifest.into())).only_if(version)).await
    }

    /// Makes several objects what their manifests say: all of them, or none. The answers are in the order of the manifests.
    ///
    /// # Errors
    /// See [`ClientError`]. The fields of a refusal begin with `items[N]`.
    pub async fn apply_all(&self, manifests: &[Map<String, Value>], write: Write) -> Result<Vec<Applied>, ClientError> {
        let url = dry(self.address().api(&["apply"]), write);
        let body = json!({ "items": manifests });
        let list: List<Applied> = self.json(Ask::mutation(Method::POST, url, Some(body))).await?.body;
        if list.items.len() == manifests.len() {
            Ok(list.items)
        } else {
            Err(self.odd(format!("it answers about {} of {} manifests", list.items.len(), manifests.len())))
        }
    }

    async fn changed(&self, ask: Ask) -> Result<Changed, ClientError> {
        let answer = self.json(ask).await?;
        let outcome = answer.outcome.ok_or_else(|| self.odd("it does not say what became of the change".to_owned()))?;
        Ok(Changed { outcome, object: answer.body })
    }

    /// Removes an object.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, target: &Target, version: Option<Seq>, write: Write) -> Result<Done, ClientError> {
        let url = dry(self.object_url(target, &[]), write);
        Ok(self.json(Ask::mutation(Method::DELETE, url, None).only_if(version)).await?.body)
    }

    /// Ends a token for good.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke(&self, token: &Target, patience: Patience) -> Result<Done, ClientError> {
        let mut url = self.object_url(token, &["revoke"]);
        if patience == Patience::None {
            url.query_pairs_mut().append_pair("wait", "false");
        }
        Ok(self.json(Ask::mutation(Method::POST, url, None)).await?.body)
    }

    /// Says that what an `rbac` gives is still right.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn attest(&self, rbac: &Target, note: Option<&str>) -> Result<Done, ClientError> {
        let url = self.object_url(rbac, &["attest"]);
        Ok(self.json(Ask::mutation(Method::POST, url, Some(json!({ "note": note })))).await?.body)
    }

    /// Events of an object, also of one that is gone; up to a point of the past, when one is named.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn history(&self, target: &Target, until: Option<&str>) -> Result<List<HistoryItem>, ClientError> {
        let mut url = at(self.address().api(&[plural(target.kind), &target.name, "history"]), until);
        if let Some(project) = &target.project {
            url.query_pairs_mut().append_pair("project", project);
        }
        Ok(self.json(Ask::get(url)).await?.body)
    }

    /// Values of a secret, for those who may have them. The asking is recorded.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn secret_values(&self, name: &str) -> Result<Map<String, Value>, ClientError> {
        let url = self.address().api(&[plural(Kind::Secret), name, "values"]);
        let mut body: Map<String, Value> = self.json(Ask::get(url)).await?.body;
        match body.remove("data") {
            Some(Value::Object(data)) => Ok(data),
            _ => Err(self.odd("it gives no `data`".to_owned())),
        }
    }
}
