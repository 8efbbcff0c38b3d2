//! Questions about rights: who may what, why, and why not, now and at any point of the past.
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::transport::Ask;
use super::{Client, ClientError};
use crate::access_wire::{Explanation, PointDiff, Review, Simulation, WhatCan, WhoCan};

/// What is asked. Empty fields are left out: the caller is asked about, in the newest state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessQuestion {
    /// About whom, such as `User:alice@example.com` or `McpToken:web/ci`.
    pub subject: Option<String>,
    /// The verb.
    pub verb: Option<String>,
    /// The resource.
    pub resource: Option<String>,
    /// One name of it.
    pub name: Option<String>,
    /// The project that it lives in.
    pub project: Option<String>,
    /// An operation, instead of verb and resource.
    pub operation: Option<String>,
    /// The point of the past, such as `1207`, `2026-11-21T09:30:00Z` or `2 days ago`.
    pub at: Option<String>,
}

/// Between which points, and about what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffQuestion {
    /// The earlier point.
    pub from: String,
    /// The later one; without it, the newest state.
    pub to: Option<String>,
    /// About whose access only.
    pub subject: Option<String>,
    /// About objects of this kind, and rights on them, only.
    pub kind: Option<String>,
}

/// What of a review.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReviewQuestion {
    /// Only these findings, with commas between them.
    pub only: Option<String>,
    /// Also every `rbac` that nobody attested since then.
    pub not_attested_since: Option<String>,
    /// The point of the past that is reviewed.
    pub at: Option<String>,
}

impl Client {
    /// Whether a subject may.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn can_i(&self, asked: &AccessQuestion) -> Result<Explanation, ClientError> {
        self.question("can-i", asked).await
    }

    /// Why a subject may, or what stands in the way.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn why(&self, asked: &AccessQuestion) -> Result<Explanation, ClientError> {
        self.question("why", asked).await
    }

    /// Everybody who may.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn who_can(&self, asked: &AccessQuestion) -> Result<WhoCan, ClientError> {
        self.question("who-can", asked).await
    }

    /// Everything that a subject may.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn what_can(&self, asked: &AccessQuestion) -> Result<WhatCan, ClientError> {
        self.question("what-can", asked).await
    }

    /// What differs between two points, in objects and in access.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn diff(&self, asked: &DiffQuestion) -> Result<PointDiff, ClientError> {
        let DiffQuestion { from, to, subject, kind } = asked;
        let fields = [("to", to), ("subject", subject), ("kind", kind)];
        let mut url = self.address().api(&["access", "diff"]);
        url.query_pairs_mut()
            .append_pair("from", from)
            .extend_pairs(fields.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))));
        Ok(self.json(Ask::get(url)).await?.body)
    }

    /// What manifests would do to access, and to the calls that were recorded since a point, when one is named. Nothing is
    /// changed.
    ///
    /// # Errors
    /// See [`ClientError`]. The fields of a refusal begin with `items[N]`.
    pub async fn simulate(
        &self,
        manifests: &[Map<String, Value>],
        replay: Option<&str>,
    ) -> Result<Simulation, ClientError> {
        let mut url = self.address().api(&["access", "simulate"]);
        if let Some(since) = replay {
            url.query_pairs_mut().append_pair("replay", since);
        }
        Ok(self.json(Ask::once(Method::POST, url, Some(json!({ "items": manifests })))).await?.body)
    }

    /// What a reviewer of rights should look at.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn review(&self, asked: &ReviewQuestion) -> Result<Review, ClientError> {
        let ReviewQuestion { only, not_attested_since, at } = asked;
        let fields = [("only", only), ("notAttestedSince", not_attested_since), ("at", at)];
        let mut url = self.address().api(&["access", "review"]);
        url.query_pairs_mut().extend_pairs(fields.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))));
        Ok(self.json(Ask::get(url)).await?.body)
    }

    async fn question<T: DeserializeOwned>(&self, question: &str, asked: &AccessQuestion) -> Result<T, ClientError> {
        let AccessQuestion { subject, verb, resource, name, project, operation, at } = asked;
        let fields = [
            ("subject", subject),
            ("verb", verb),
            ("resource", resource),
            ("name", name),
            ("project", project),
            ("operation", operation),
            ("at", at),
        ];
        let mut url = self.address().api(&["access", question]);
        url.query_pairs_mut().extend_pairs(fields.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))));
        Ok(self.json(Ask::get(url)).await?.body)
    }
}
