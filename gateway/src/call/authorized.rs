//! A request that may be made, and the one function that makes it.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_api::cut::Cut;
use mcpctl_api::otel::Place;
use mcpctl_api::plane::{Admission, AuditFailed, is_call, rule};
use mcpctl_api::upstream::trace::TracedCall;
use mcpctl_api::upstream::{Call, CallSink, Reply, Session, SessionKey, Sessions, UpstreamError};
use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::pins::Pins;
use serde_json::value::RawValue;

use super::resolved::{Resolved, Target};

/// A request that was checked against the admission of its caller and the filters of the project. Only [`authorize`]
/// makes one.
pub struct Authorized {
    server: Uid,
    call: Call,
    cut: Cut,
    /// The project is strict, and it is not durable yet that this was admitted.
    owes_record: bool,
    /// The project asks for approval, and nobody looked yet which definition of the tool the server shows.
    owes_definition: Option<Arc<Pins>>,
    /// Where in a trace it is made, and the server's name for it.
    trace: Option<(Arc<Place>, String)>,
}

/// Why a request is not made. The caller is told no more than that there is no such thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A filter of the server or of the project hides the tool.
    #[error("the tool filter does not serve it")]
    NotServed,
    /// The tool has no approved definition, or the server shows another.
    #[error("the tool's definition waits for approval")]
    Quarantined,
    /// The server is not one of the project that the caller was admitted to.
    #[error("the project does not have the server")]
    NotInProject,
    /// A method that the gateway does not know could go around the filters that the server has.
    #[error("an unknown method, and the server has tool filters")]
    UnknownMethod,
    /// The access was taken away meanwhile.
    #[error("the access was taken away")]
    Cut,
}

impl Refused {
    /// The rule, as it is kept in the audit log.
    pub(crate) const fn rule(self) -> &'static str {
        match self {
            Self::NotServed => rule::NOT_SERVED,
            Self::Quarantined => rule::QUARANTINED,
            Self::NotInProject => rule::NOT_IN_PROJECT,
            Self::UnknownMethod => rule::UNKNOWN_METHOD,
            Self::Cut => rule::CUT,
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unanswered {
    /// The server did not answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The caller's access was taken away while the call ran: whatever the server answered is withheld.
    #[error("the access was taken away while the call ran")]
    Cut,
}

/// Decides whether a request may be made.
///
/// # Errors
/// When a filter hides its tool, or the admission does not reach to its server (any more).
pub fn authorize(admission: &Admission, resolved: Resolved<'_>) -> Result<Authorized, Refused> {
    let Resolved { server, target, call, trace } = resolved;
    // Looked up again: the view that the name was resolved in need not be the one that was admitted.
    let Some(admitted) = admission.project.servers.iter().find(|one| one.uid == server.uid) else {
        return Err(Refused::NotInProject);
    };
    match &target {
        Target::Tool(tool) if !admitted.lets_through(tool) => return Err(Refused::NotServed),
        Target::Tool(tool) if !admitted.is_approved(tool) => return Err(Refused::Quarantined),
        Target::Unknown if !admitted.is_open() => return Err(Refused::UnknownMethod),
        Target::Tool(_) | Target::Other(_) | Target::Server | Target::Unknown => {}
    }
    if admission.cut.is_cancelled() {
        return Err(Refused::Cut);
    }
    let owes_record = admission.project.strict && is_call(&call.method);
    let owes_definition = admitted.pins.clone().filter(|_| matches!(target, Target::Tool(_)));
    let trace = trace.map(|place| (place, admitted.name.clone()));
    Ok(Authorized { server: admitted.uid, call, cut: admission.cut.clone(), owes_record, owes_definition, trace })
}

impl Authorized {
    /// Has it recorded that this was admitted, where the project is strict. Without that [`send`] calls nobody.
    ///
    /// # Errors
    /// When the record is not durable in time, or the access is taken away meanwhile.
    pub(crate) async fn record(
        &mut self,
        durable: impl Future<Output = Result<(), AuditFailed>>,
    ) -> Result<(), Unanswered> {
        if !self.owes_record {
            return Ok(());
        }
        let _inside = self.cut.enter().ok_or(Unanswered::Cut)?;
        tokio::select! {
            biased;
            () = self.cut.cancelled() => return Err(Unanswered::Cut),
            durable = durable => durable.map_err(|AuditFailed(why)| UpstreamError::Unrecorded { why })?,
        }
        self.owes_record = false;
        Ok(())
    }

    /// Whether the project asks which definition of the tool is shown.
    pub(crate) const fn owes_definition(&self) -> bool {
        self.owes_definition.is_some()
    }

    /// Says which definition of the tool the server shows to this client. Without that [`send`] calls nobody.
    ///
    /// # Errors
    /// When it is none that was approved.
    pub(crate) fn shown_as(&mut self, definition: Option<Digest>) -> Result<(), Refused> {
        let tool = self.call.target.as_deref().unwrap_or_default();
        let approved = |pins: &Arc<Pins>| pins.get(tool).zip(definition).is_some_and(|(all, one)| all.contains(&one));
        if !self.owes_definition.as_ref().is_none_or(approved) {
            return Err(Refused::Quarantined);
        }
        self.owes_definition = None;
        Ok(())
    }

    /// Opens the conversation that the request is made in. Nobody starts a server with a request that is refused.
    ///
    /// # Errors
    /// When the server can't be reached, or the access is taken away meanwhile.
    pub(crate) async fn open(&self, sessions: &dyn Sessions, key: &SessionKey) -> Result<Arc<dyn Session>, Unanswered> {
        let _inside = self.cut.enter().ok_or(Unanswered::Cut)?;
        tokio::select! {
            biased;
            () = self.cut.cancelled() => Err(Unanswered::Cut),
            session = sessions.session(self.server, key) => Ok(session?),
        }
    }

    /// How long the answer may take.
    pub(crate) fn allow(&mut self, limit: Duration) {
        self.call.timeout = limit;
    }

    /// Headers that the client could not send by itself.
    pub(crate) fn add_headers(&mut self, headers: &[(String, String)]) {
        self.call.headers.extend_from_slice(headers);
    }

    /// What the client offers to a modern server; it travels with each request.
    pub(crate) fn offer(&mut self, capabilities: Option<Arc<str>>) {
        self.call.capabilities = capabilities;
    }

    /// Changes the params: stages may touch arguments and `_meta`, never method or target.
    pub(crate) fn change_params(&mut self, change: impl FnOnce(Option<&RawValue>) -> Option<Box<RawValue>>) {
        self.call.params = change(self.call.params.as_deref());
    }
}

/// Makes a request of a server and waits for the answer. Ends when the caller's access is taken away; an answer that comes
/// at the same moment or later is withheld. Dropping the future cancels the request upstream.
///
/// # Errors
/// When the server does not answer, or the access is taken away.
pub async fn send(authorized: Authorized, session: &dyn Session, sink: Arc<dyn CallSink>) -> Result<Reply, Unanswered> {
    let Authorized { mut call, cut, owes_record, owes_definition, trace, .. } = authorized;
    if owes_record {
        return Err(
            UpstreamError::Unrecorded { why: "nobody wrote the call down: this is a bug in mcpctl".into() }.into()
        );
    }
    if owes_definition.is_some() {
        let why = "nobody looked whether the tool's definition is approved: this is a bug in mcpctl";
        return Err(UpstreamError::Unavailable { server: String::new(), why: why.into() }.into());
    }
    // Whoever takes the access away waits until this has ended: nothing is on its way to a server after that.
    let _inside = cut.enter().ok_or(Unanswered::Cut)?;
    let span = trace.map(|(place, server)| TracedCall::begin(place.within(), &server, session, &mut call));
    let made = async {
        let reply = session.request(call, sink).await;
        if let Some(span) = span {
            span.end(&reply);
        }
        reply
    };
    tokio::select! {
        biased;
        () = cut.cancelled() => Err(Unanswered::Cut),
        reply = made => if cut.is_cancelled() { Err(Unanswered::Cut) } else { Ok(reply?) },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use mcpctl_api::cut::Why;
    use mcpctl_api::plane::{Caller, ProjectView, ServerView};
    use mcpctl_api::upstream::{Era, Handshake, NoSink, ServerMessage};
    use mcpctl_core::actor::Actor;
    use mcpctl_core::ids::Seq;
    use mcpctl_core::kinds::{ToolFilter, ToolNames};
    use tokio::sync::broadcast;

    use super::*;

    fn server(uid: u128, deny: &[&str]) -> ServerView {
        let deny = deny.iter().map(|&glob| glob.to_owned()).collect();
        ServerView {
            uid: Uid::fixed(uid),
            name: format!("s{uid}"),
            description: None,
            tools: ToolFilter { deny, ..ToolFilter::default() },
            project_tools: ToolFilter::default(),
            pins: None,
            version: Seq(1),
        }
    }

    fn admission(servers: Vec<ServerView>) -> Admission {
        let project = ProjectView {
            uid: Uid::fixed(9),
            name: "p".into(),
            instructions: None,
            tool_names: ToolNames::Prefixed,
            strict: false,
            servers,
            version: Seq(1),
        };
        Admission {
            caller: Arc::new(Caller { actor: Actor::system("test"), owner: None, token_sha: None }),
            project: Arc::new(project),
            seq: Seq(1),
            via: [].into(),
            cut: Cut::new(),
        }
    }

    fn ask(admission: &Admission, server: &ServerView, target: Target) -> Option<Refused> {
        authorize(admission, Resolved::new(server, target, "tools/call", None, Duration::ZERO)).err()
    }

    #[test]
    fn the_admitted_filters_decide_not_those_of_the_view_that_resolved() {
        let admission = admission(vec![server(1, &["secret_*"])]);
        let tool = |name: &str| Target::Tool(name.into());
        assert_eq!(ask(&admission, &server(1, &[]), tool("open")), None);
        assert_eq!(ask(&admission, &server(1, &[]), tool("secret_x")), Some(Refused::NotServed));
        assert_eq!(ask(&admission, &server(2, &[]), tool("open")), Some(Refused::NotInProject));
        assert_eq!(ask(&admission, &server(1, &[]), Target::Unknown), Some(Refused::UnknownMethod));
    }

    #[test]
    fn an_access_that_was_cut_authorizes_nothing() {
        let admission = admission(vec![server(1, &[])]);
        admission.cut.cancel(Why::changed(Seq(2)));
        assert_eq!(ask(&admission, &server(1, &[]), Target::Server), Some(Refused::Cut));
    }

    /// A server that answers at the very moment at which the access is taken away.
    struct TooLate(Cut, Handshake);

    #[async_trait::async_trait]
    impl Session for TooLate {
        fn handshake(&self) -> &Handshake {
            &self.1
        }
        async fn request(&self, _: Call, _: Arc<dyn CallSink>) -> Result<Reply, UpstreamError> {
            self.0.cancel(Why::changed(Seq(2)));
            Ok(Reply::Result(crate::json::raw("{}".into())))
        }
        async fn notify(&self, _: &str, _: Option<&RawValue>) -> Result<(), UpstreamError> {
            Ok(())
        }
        async fn respond(&self, _: &RawValue, _: Reply) -> Result<(), UpstreamError> {
            Ok(())
        }
        fn messages(&self) -> broadcast::Receiver<ServerMessage> {
            broadcast::Sender::new(1).subscribe()
        }
        fn is_open(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_with_the_revocation_is_withheld() {
        let admission = admission(vec![server(1, &[])]);
        let handshake = Handshake {
            era: Era::Modern,
            version: String::new(),
            server_info: None,
            capabilities: None,
            instructions: None,
        };
        let server = server(1, &[]);
        let resolved = Resolved::of_server(&server, "tools/list", None, Duration::ZERO);
        let authorized = authorize(&admission, resolved).expect("nothing hides it");
        let sent = send(authorized, &TooLate(admission.cut.clone(), handshake), Arc::new(NoSink)).await;
        assert!(matches!(sent, Err(Unanswered::Cut)));
    }

    #[tokio::test]
    async fn a_call_of_a_strict_project_goes_nowhere_until_it_is_recorded() {
        let mut admission = admission(vec![server(1, &[])]);
        Arc::make_mut(&mut admission.project).strict = true;
        let server = server(1, &[]);
        let handshake = Handshake {
            era: Era::Modern,
            version: String::new(),
            server_info: None,
            capabilities: None,
            instructions: None,
        };
        let session = TooLate(Cut::new(), handshake);
        let authorized = |method: &str| {
            let resolved = Resolved::of_server(&server, method, None, Duration::ZERO);
            authorize(&admission, resolved).expect("nothing hides it")
        };
        for (method, is_recorded) in [("tools/call", true), ("vendor/new", true), ("tools/list", false)] {
            let sent = send(authorized(method), &session, Arc::new(NoSink)).await;
            assert_eq!(sent.is_err(), is_recorded, "{method}");
            assert_eq!(session.0.is_cancelled(), !is_recorded, "{method}: it was called");
        }
        let mut call = authorized("tools/call");
        let failed = call.record(async { Err(AuditFailed("the disk is full".into())) }).await;
        assert!(matches!(failed, Err(Unanswered::Upstream(UpstreamError::Unrecorded { .. }))));
        assert!(send(call, &session, Arc::new(NoSink)).await.is_err());
        let mut call = authorized("tools/call");
        call.record(async { Ok(()) }).await.expect("it is durable");
        assert!(send(call, &session, Arc::new(NoSink)).await.is_ok());
    }

    #[test]
    fn no_other_file_of_the_gateway_makes_a_request_of_a_server() {
        fn scan(folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    scan(&path, found);
                } else if fs::read_to_string(&path).unwrap().contains(concat!("session.", "request(")) {
                    found.push(path.file_name().unwrap().to_string_lossy().into_owned());
                }
            }
        }
        let mut found = Vec::new();
        scan(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert_eq!(found, ["authorized.rs"]);
    }
}
