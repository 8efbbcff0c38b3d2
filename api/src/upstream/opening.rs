//! From a launch plan to an open conversation, whichever transport it takes.
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::conversation::Conversation;
use super::endpoint::Endpoint;
use super::http::HttpSession;
use super::logs::{LogPen, LogSource, ServerLog};
use super::sse_legacy::{SseSession, origin_form};
use super::stdio::{Start, StdioSession};
use super::{Era, Launch, ServerPlan, UpstreamError};

/// What an opening depends on beyond the plan.
pub(super) struct Opening<'a> {
    pub(super) plan: &'a ServerPlan,
    pub(super) instance: &'a str,
    pub(super) capabilities: Option<Arc<str>>,
    pub(super) era: Option<Era>,
    pub(super) limit: Duration,
    pub(super) log: Arc<ServerLog>,
    pub(super) work_folder: Option<&'a Path>,
    pub(super) tasks: &'a TaskTracker,
}

impl Opening<'_> {
    /// Opens the conversation.
    pub(super) async fn open(self) -> Result<Arc<dyn Conversation>, UpstreamError> {
        let server: Arc<str> = self.plan.name.as_str().into();
        match &self.plan.launch {
            Launch::Stdio { argv, env } => {
                let folder = self.folder()?;
                let start = Start {
                    server,
                    argv,
                    env,
                    folder: &folder,
                    capabilities: self.capabilities,
                    pen: LogPen::new(self.log, self.instance, env.iter()),
                    era: self.era,
                    limit: self.limit,
                    tasks: self.tasks,
                };
                Ok(Arc::new(StdioSession::open(start).await?))
            }
            Launch::Http { url, headers, allow_private_address } => {
                let endpoint = Endpoint::new(&server, url, headers, *allow_private_address).await?;
                let capabilities = self.capabilities.clone();
                let uri = origin_form(url).map_err(|why| unavailable(&server, why.into()))?;
                let session = HttpSession::open(server, endpoint, uri, capabilities, self.era, self.limit).await?;
                Ok(self.noted(Arc::new(session)))
            }
            Launch::Sse { url, headers, allow_private_address } => {
                let endpoint = Endpoint::new(&server, url, headers, *allow_private_address).await?;
                let capabilities = self.capabilities.clone();
                let session = SseSession::open(server, endpoint, url, capabilities, self.limit).await?;
                Ok(self.noted(Arc::new(session)))
            }
        }
    }

    fn noted(&self, session: Arc<dyn Conversation>) -> Arc<dyn Conversation> {
        let said = session.handshake();
        let pen = LogPen::new(self.log.clone(), self.instance, [].into_iter());
        pen.write(LogSource::Event, &format!("connected, MCP {}", said.version));
        session
    }

    /// A folder of the server's own, for nobody else to read; without a work folder, the one for temporary files.
    fn folder(&self) -> Result<PathBuf, UpstreamError> {
        let Some(work) = self.work_folder else { return Ok(std::env::temp_dir()) };
        let folder = work.join(self.plan.uid.to_string());
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| {
            let why = format!("its working folder could not be made ({error}): check the data folder of mcpctl");
            unavailable(&self.plan.name, why)
        })?;
        Ok(folder)
    }
}

fn unavailable(server: &str, why: String) -> UpstreamError {
    UpstreamError::Unavailable { server: server.to_owned(), why }
}
