//! The tools of a project: told and decided about.
use mcpctl_core::ids::Digest;
use reqwest::Method;

use super::objects::{Write, dry};
use super::transport::Ask;
use super::{Client, ClientError};
use crate::tools_wire::{ToolDecision, ToolDefinition, ToolEvent, ToolList};
use crate::wire::{Done, List};

impl Client {
    fn tools_url(&self, project: &str, after: &[&str], query: &[(&str, Option<&str>)]) -> url::Url {
        let mut url = self.address().api(&[&["projects", project, "tools"], after].concat());
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url
    }

    /// Tools of a project's servers, and whether agents see them; as it was at a point of the past, when one is named.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tools(&self, project: &str, at: Option<&str>) -> Result<ToolList, ClientError> {
        Ok(self.json(Ask::get(self.tools_url(project, &[], &[("at", at)]))).await?.body)
    }

    /// Events about one tool, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tool_history(
        &self,
        project: &str,
        (server, tool): (&str, &str),
        at: Option<&str>,
    ) -> Result<List<ToolEvent>, ClientError> {
        let query = [("server", Some(server)), ("tool", Some(tool)), ("at", at)];
        Ok(self.json(Ask::get(self.tools_url(project, &["history"], &query))).await?.body)
    }

    /// A definition of a tool in full, if it is kept.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tool_definition(
        &self,
        project: &str,
        (server, tool): (&str, &str),
        definition: Digest,
    ) -> Result<ToolDefinition, ClientError> {
        let definition = definition.to_string();
        let query = [("server", Some(server)), ("tool", Some(tool)), ("definition", Some(definition.as_str()))];
        Ok(self.json(Ask::get(self.tools_url(project, &["definition"], &query))).await?.body)
    }

    /// Lets agents of a project see definitions.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn approve_tools(&self, project: &str, asked: &ToolDecision, write: Write) -> Result<Done, ClientError> {
        self.decide_on_tools(project, "approve", asked, write).await
    }

    /// Takes definitions back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reject_tools(&self, project: &str, asked: &ToolDecision, write: Write) -> Result<Done, ClientError> {
        self.decide_on_tools(project, "reject", asked, write).await
    }

    async fn decide_on_tools(
        &self,
        project: &str,
        what: &str,
        asked: &ToolDecision,
        write: Write,
    ) -> Result<Done, ClientError> {
        let url = dry(self.tools_url(project, &[what], &[]), write);
        let body = serde_json::to_value(asked).map_err(|error| self.odd(error.to_string()))?;
        Ok(self.json(Ask::mutation(Method::POST, url, Some(body))).await?.body)
    }
}
