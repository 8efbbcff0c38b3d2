//! Which definitions of tools a project serves: one function of the state, by which tools are listed, called and explained.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{Digest, Uid};
use crate::kinds::{Kind, Project, ProjectStatus, Server, ServerStatus, ToolPolicy};
use crate::object::Object;
use crate::world::World;

/// By the tool's own name, the definitions that may be seen and called. A tool that is not in here may not.
pub type Pins = BTreeMap<String, Vec<Digest>>;

/// Whether a project asks for approval of the tools of a server. What is part of the control plane needs none: whoever can
/// change it could change this check.
#[must_use]
pub fn are_asked(project: &Project, server: &Server) -> bool {
    project.tool_policy == ToolPolicy::Quarantine && server.embedded.is_none()
}

/// What a project serves of a server; nothing when it asks for no approval.
#[must_use]
pub fn of(project: (&Project, &ProjectStatus), server: Uid, of_server: (&Server, &ServerStatus)) -> Option<Pins> {
    let ((spec, decided), (server_spec, known)) = (project, of_server);
    are_asked(spec, server_spec).then(|| served(decided, server, known))
}

/// The approved definitions of tools that were not noticed with another one since.
fn served(decided: &ProjectStatus, server: Uid, known: &ServerStatus) -> Pins {
    let approvals = decided.tools.get(&server).into_iter().flatten();
    let each = approvals.filter_map(|(tool, approval)| {
        let served = approval.served(known.tools.get(tool)?);
        (!served.is_empty()).then(|| (tool.clone(), served.to_vec()))
    });
    each.collect()
}

/// The projects that ask for approval of the tools of a server.
pub struct Asking<'w> {
    server: Uid,
    projects: Vec<&'w ProjectStatus>,
}

impl<'w> Asking<'w> {
    /// Finds them.
    #[must_use]
    pub fn of(world: &'w dyn World, server: Uid) -> Self {
        let spec = world.by_uid(server).and_then(|object| object.of::<Server>()).map(|(spec, _)| spec);
        let asks = |object: &'w Arc<Object>| {
            let (project, decided) = object.of::<Project>()?;
            are_asked(project, spec?).then_some(decided)
        };
        let referrers = world.referrers(server).into_iter().filter(|object| object.meta.kind == Kind::Project);
        Self { server, projects: referrers.filter_map(asks).collect() }
    }

    /// Whether a definition that the server shows now takes a tool away from one of them, which serves it by others.
    #[must_use]
    pub fn lose(&self, known: &ServerStatus, tool: &str, definition: Digest) -> bool {
        let Some(known) = known.tools.get(tool).filter(|_| !self.projects.is_empty()) else { return false };
        self.projects.iter().any(|decided| {
            let served = decided.of(self.server, tool).map(|approval| approval.served(known)).unwrap_or_default();
            !served.is_empty() && !served.contains(&definition)
        })
    }
}

/// Whether anything that was served before is not after.
pub(crate) fn lost(before: Option<&Pins>, after: Option<&Pins>) -> bool {
    let Some(after) = after else { return false };
    // Where nothing was asked, everything was served.
    let Some(before) = before else { return true };
    before.iter().any(|(tool, served)| {
        let still = after.get(tool).map(Vec::as_slice).unwrap_or_default();
        served.iter().any(|definition| !still.contains(definition))
    })
}
