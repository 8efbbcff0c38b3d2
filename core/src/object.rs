//! An object: one instance of a kind, as the fold of its events.
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::erased::{AnyBody, ResolvedRef};
use crate::ids::{Seq, Uid};
use crate::kinds::{Kind, SubjectRef};
use crate::name::Name;
use crate::time::Timestamp;

/// Identity and versions of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Identity, never used again.
    pub uid: Uid,
    /// Kind.
    pub kind: Kind,
    /// Name, unique within the kind (and project).
    pub name: Name,
    /// Project that it lives in, for kinds of that scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// Seq of its last event: what an edit states as `resourceVersion`.
    pub resource_version: Seq,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who created it.
    pub created_by: Actor,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Who last changed it.
    pub updated_by: Actor,
}

/// The project of an object: identity for decisions, name for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectName {
    /// Identity.
    pub uid: Uid,
    /// Name.
    pub name: Name,
}

/// One instance of a kind.
#[derive(Clone, Debug)]
pub struct Object {
    /// Identity and versions.
    pub meta: Meta,
    /// Spec and status, of the type that the kind says.
    pub body: Arc<dyn AnyBody>,
    /// What its references were resolved to when it was applied.
    pub refs: Arc<[ResolvedRef]>,
}

impl Object {
    /// Spec and status typed, when it is of kind `K`.
    #[must_use]
    pub fn of<K: crate::resource::Resource>(&self) -> Option<(&K, &K::Status)> {
        let typed = self.body.as_any().downcast_ref::<crate::erased::Body<K>>()?;
        Some((&typed.spec, &typed.status))
    }

    /// The identity of a subject that this object names: what its name meant when the object was applied, whatever has
    /// that name now. `None` for tokens, which are named by their digest.
    #[must_use]
    pub fn subject_uid(&self, subject: &SubjectRef) -> Option<Uid> {
        let (kind, name) = match subject {
            SubjectRef::User { name } => (Kind::User, name.name()),
            SubjectRef::Group { name } => (Kind::Group, name.name()),
            SubjectRef::ServiceAccount { name } => (Kind::ServiceAccount, name.name()),
            SubjectRef::McpToken { .. } => return None,
        };
        self.refs.iter().find(|r| r.kind == kind && r.name == *name).map(|r| r.uid)
    }

    /// `kind/name`, or `kind/project/name`, for messages.
    #[must_use]
    pub fn title(&self) -> String {
        title(self.meta.kind, self.meta.project.as_ref().map(|p| &p.name), self.meta.name.as_str())
    }
}

/// `kind/name`, or `kind/project/name`, for messages.
#[must_use]
pub fn title(kind: Kind, project: Option<&Name>, name: &str) -> String {
    match project {
        Some(project) => format!("{}/{project}/{name}", kind.names().singular),
        None => format!("{}/{name}", kind.names().singular),
    }
}
