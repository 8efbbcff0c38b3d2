//! The whole state with its past, as bytes and back: what a snapshot on disk holds. Equal states have equal bytes.
//!
//! It says nothing about how bytes are kept or whether they may be believed: that is for whoever stores them.
use std::collections::HashMap;
use std::sync::Arc;

use mcpctl_core::access::{Grant, Membership, Permission};
use mcpctl_core::actor::Actor;
use mcpctl_core::ids::{Digest, RequestId, Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;
use mcpctl_core::object::{Meta, Object, ProjectName};
use mcpctl_core::record::AuditAnchor;
use mcpctl_core::time::Timestamp;
use mcpctl_core::world::World as _;
use serde::{Deserialize, Serialize};

use crate::grants::Grants;
use crate::history::History;
use crate::permission_image;
use crate::state::State;
use crate::tables::Tables;

/// Shape of the bytes. Bytes of another shape are refused.
pub const IMAGE_FORMAT: u32 = 3;

/// Bytes that are no image of a state, or one that this program does not read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// They do not decode.
    #[error("the image of the state does not decode")]
    Decode(#[from] rmp_serde::decode::Error),
    /// They have another shape.
    #[error("the image of the state has format {found}, and this program reads {IMAGE_FORMAT}")]
    Format {
        /// Format found.
        found: u32,
    },
    /// They decode, and don't fit together.
    #[error("the image of the state contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// A subject and its groups: which, since when, by whom.
type GroupsOf = (Uid, Vec<(Uid, Seq, u32)>);

/// Everything that a state is made of but for what follows from its objects.
#[derive(Serialize, Deserialize)]
struct Image<H> {
    format: u32,
    seq: Seq,
    last_at: Timestamp,
    head: Digest,
    actors: Vec<Actor>,
    objects: Vec<ObjectImage>,
    credentials: Vec<(Digest, Uid)>,
    grants: Vec<(Uid, Vec<GrantImage>)>,
    groups: Vec<GroupsOf>,
    requests: Vec<(Uid, RequestId, Seq, Seq)>,
    depths: Vec<(Seq, u32)>,
    anchored: Option<(Seq, AuditAnchor)>,
    history: H,
}

#[derive(Serialize, Deserialize)]
struct ObjectImage {
    uid: Uid,
    kind: Kind,
    name: Name,
    project: Option<ProjectName>,
    resource_version: Seq,
    created: (Timestamp, u32),
    updated: (Timestamp, u32),
    #[serde(with = "serde_bytes")]
    content: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct GrantImage {
    #[serde(with = "permission_image")]
    permission: Permission,
    seq: Seq,
    source: Uid,
    grantor: u32,
}

/// Actors of an image, each once.
#[derive(Default)]
struct Cast {
    numbers: HashMap<Actor, u32>,
    all: Vec<Actor>,
}

impl Cast {
    fn number(&mut self, actor: &Actor) -> u32 {
        if let Some(number) = self.numbers.get(actor) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).expect("fewer actors than events, and an image fits in memory");
        self.all.push(actor.clone());
        self.numbers.insert(actor.clone(), number);
        number
    }
}

impl State {
    /// The whole state, with its past. Two states are equal, in every answer of now and of then, when these bytes are.
    #[must_use]
    pub fn to_image(&self) -> Vec<u8> {
        let mut cast = Cast::default();
        let objects = self.tables.by_uid.values().map(|object| object_image(object, &mut cast)).collect();
        let mut credentials: Vec<_> = self.tables.credentials.iter().map(|(digest, uid)| (*digest, *uid)).collect();
        credentials.sort_unstable();
        let held = self.grants.by_subject.iter();
        let grants = held.map(|(uid, all)| (*uid, all.iter().map(|g| grant_image(g, &mut cast)).collect())).collect();
        let mut member = |m: &Membership| (m.group, m.seq, cast.number(&m.grantor));
        let groups = self.grants.groups.iter();
        let groups = groups.map(|(uid, all)| (*uid, all.iter().map(&mut member).collect())).collect();
        let requests = self.requests.iter();
        let requests = requests.map(|((actor, id), (first, last))| (*actor, id.clone(), *first, *last)).collect();
        let image = Image {
            format: IMAGE_FORMAT,
            seq: self.seq(),
            last_at: self.last_at(),
            head: self.head(),
            actors: cast.all,
            objects,
            credentials,
            grants,
            groups,
            requests,
            depths: self.depths.iter().map(|(seq, depth)| (*seq, *depth)).collect(),
            anchored: self.anchored,
            history: &self.history,
        };
        rmp_serde::to_vec(&image).expect("an image is plain data, which always encodes")
    }

    /// Reads what [`State::to_image`] wrote. The bytes must be what it wrote: they are decoded, not judged.
    ///
    /// # Errors
    /// When they do not decode or have another shape.
    pub fn of_image(bytes: &[u8]) -> Result<Self, ImageError> {
        if let Some(format) = format_of(bytes).filter(|format| *format != IMAGE_FORMAT) {
            return Err(ImageError::Format { found: format });
        }
        let image: Image<History> = rmp_serde::from_slice(bytes)?;
        let actor = |number: u32| {
            let found = image.actors.get(number as usize).cloned();
            found.ok_or(ImageError::Contradiction("an actor is missing"))
        };
        let mut tables = Tables::default();
        let mut due = imbl::OrdMap::new();
        for object in image.objects {
            let object = Arc::new(object_of(object, &actor)?);
            if let Some((at, _)) = object.body.due() {
                due.insert((at, object.meta.uid), ());
            }
            tables.replace(None, Some(&object));
        }
        tables.credentials = image.credentials.into_iter().collect();
        let grants = grants_of(image.grants, image.groups, &actor)?;
        let mut state = Self::default();
        (state.tables, state.grants, state.history, state.due) = (tables, grants, image.history, due);
        state.depths = image.depths.into_iter().collect();
        state.anchored = image.anchored;
        state.set_place(image.seq, image.last_at, image.head);
        image.requests.into_iter().for_each(|(actor, id, first, last)| state.recall_request(actor, id, first, last));
        Ok(state)
    }
}

/// The first element of the image, without reading the rest.
fn format_of(bytes: &[u8]) -> Option<u32> {
    // An array of thirteen elements has a head of one byte.
    rmp_serde::from_slice::<u32>(bytes.get(1..)?).ok()
}

fn object_image(object: &Object, cast: &mut Cast) -> ObjectImage {
    let meta = &object.meta;
    ObjectImage {
        uid: meta.uid,
        kind: meta.kind,
        name: meta.name.clone(),
        project: meta.project.clone(),
        resource_version: meta.resource_version,
        created: (meta.created_at, cast.number(&meta.created_by)),
        updated: (meta.updated_at, cast.number(&meta.updated_by)),
        content: object.body.content(&object.refs),
    }
}

fn object_of(image: ObjectImage, actor: &dyn Fn(u32) -> Result<Actor, ImageError>) -> Result<Object, ImageError> {
    let ObjectImage { uid, kind, name, project, resource_version, created, updated, content } = image;
    let content = kind.untyped().of_content(&content);
    let (body, refs) = content.ok_or(ImageError::Contradiction("an object is not of its kind"))?;
    let (created_at, created_by) = (created.0, actor(created.1)?);
    let (updated_at, updated_by) = (updated.0, actor(updated.1)?);
    let meta = Meta { uid, kind, name, project, resource_version, created_at, created_by, updated_at, updated_by };
    Ok(Object { meta, body, refs })
}

fn grant_image(grant: &Grant, cast: &mut Cast) -> GrantImage {
    let Grant { permission, seq, source, grantor } = grant;
    GrantImage { permission: permission.clone(), seq: *seq, source: *source, grantor: cast.number(grantor) }
}

fn grants_of(
    grants: Vec<(Uid, Vec<GrantImage>)>,
    groups: Vec<GroupsOf>,
    actor: &dyn Fn(u32) -> Result<Actor, ImageError>,
) -> Result<Grants, ImageError> {
    let grant = |GrantImage { permission, seq, source, grantor }| {
        Ok(Grant { permission, seq, source, grantor: actor(grantor)? })
    };
    let member = |(group, seq, grantor)| Ok(Membership { group, seq, grantor: actor(grantor)? });
    let mut found = Grants::default();
    for (subject, held) in grants {
        let held: Vec<Grant> = held.into_iter().map(grant).collect::<Result<_, ImageError>>()?;
        found.by_subject.insert(subject, held.into());
    }
    for (subject, held) in groups {
        let held: Vec<Membership> = held.into_iter().map(member).collect::<Result<_, ImageError>>()?;
        found.groups.insert(subject, held.into());
    }
    Ok(found)
}
