//! A project as gateways serve it, and which definition of a tool they are taken to have shown.
use std::sync::Arc;

use mcpctl_core::ids::{Digest, Uid};
use mcpctl_core::kinds::{Kind, Project, ProjectStatus, Server};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::object::Object;
use mcpctl_core::pins;
use mcpctl_core::world::World;
use mcpctl_projections::State;

use crate::plane::{AuditEntry, ProjectView, ServerView};

/// The definition that a tool was noticed to have last, where whoever called it was shown none by the same gateway.
pub(super) fn newest_definition(state: &State, entry: &AuditEntry) -> Option<Digest> {
    let name = Name::parse(NameRule::Label, entry.server.as_deref()?).ok()?;
    let server = state.by_name(Kind::Server, None, &name)?;
    let (spec, status) = server.of::<Server>()?;
    let tool = entry.tool.as_deref()?;
    let known = status.tools.get(tool)?;
    let project = Name::parse(NameRule::Label, entry.project.as_deref()?).ok()?;
    let (project, decided) = state.by_name(Kind::Project, None, &project)?.of::<Project>()?;
    if !pins::are_asked(project, spec) {
        return Some(known.newest());
    }
    match decided.of(server.meta.uid, tool)?.served(known) {
        [only] => Some(*only),
        served => Some(known.newest()).filter(|newest| served.contains(newest)),
    }
}

/// A project as gateways serve it.
#[must_use]
pub fn view_of(state: &dyn World, project: Uid) -> Option<ProjectView> {
    let object = state.by_uid(project)?;
    let project = object.of::<Project>()?;
    let (spec, _) = project;
    let attached = spec.servers.iter().map(mcpctl_core::reference::Ref::name);
    let servers: Vec<ServerView> =
        attached.filter_map(|name| server_view(state.by_name(Kind::Server, None, name)?, project)).collect();
    let version = servers.iter().map(|server| server.version).chain([object.meta.resource_version]).max();
    Some(ProjectView {
        uid: object.meta.uid,
        name: object.meta.name.to_string(),
        instructions: spec.instructions.clone(),
        tool_names: spec.tool_names,
        strict: spec.strict,
        servers,
        version: version.unwrap_or_default(),
    })
}

fn server_view(object: &Object, project: (&Project, &ProjectStatus)) -> Option<ServerView> {
    let server = object.of::<Server>()?;
    let (spec, _) = server;
    Some(ServerView {
        uid: object.meta.uid,
        name: object.meta.name.to_string(),
        description: spec.description.clone(),
        tools: spec.tools.clone(),
        project_tools: project.0.tools.get(object.meta.name.as_str()).cloned().unwrap_or_default(),
        pins: pins::of(project, object.meta.uid, server).map(Arc::new),
        version: object.meta.resource_version,
    })
}
