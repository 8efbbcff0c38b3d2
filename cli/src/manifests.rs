//! Manifests as they come from files, folders and the standard input, and as they go back out.
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use mcpctl_api::client::Target;
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest::{self, INPUT_BYTES_MAX};
use mcpctl_core::refusal::Violation;
use mcpctl_core::resource::Scope;
use serde_json::{Map, Value};

use crate::failure::{Done, Failure, file};
use crate::session::Session;

/// Where manifests are.
#[derive(Clone, Debug, clap::Args)]
pub struct Sources {
    /// File, folder, or - for the standard input; repeatable
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,
}

/// One document, and where it stands.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it is about.
    pub target: Target,
    /// The document as it was written: what is write-only is still in it.
    pub fields: Map<String, Value>,
    /// The document in its normal form, without what is write-only.
    pub normal: Map<String, Value>,
    /// File and place in it, for messages.
    pub place: String,
}

impl Sources {
    /// All documents, in the order in which they are applied. Nothing is done with any when one can't be read.
    pub fn read(&self, session: &Session, project: Option<&str>) -> Done<Vec<Document>> {
        let mut documents = Vec::new();
        let mut wrong = Vec::new();
        for (place, text) in self.texts()? {
            let found = manifest::documents(&text)
                .map_err(|violation| Failure::new(format!("{place}: {}", violation.message)))?;
            let many = found.len() > 1;
            for (index, fields) in found.into_iter().enumerate() {
                let place = if many { format!("{place}, document {}", index + 1) } else { place.clone() };
                match Document::read(session, fields, project, place) {
                    Ok(document) => documents.push(document),
                    Err(failure) => wrong.push(failure),
                }
            }
        }
        wrong.extend(repeated(&documents));
        check(wrong)?;
        if documents.is_empty() {
            return Err(Failure::new("there is no document in what was given")
                .hint("a manifest begins with `kind:`; see `mcpctl create KIND --help`"));
        }
        // `Kind` is ordered as manifests are applied; within a kind the author's order stays.
        documents.sort_by_key(|document| document.target.kind);
        Ok(documents)
    }

    fn texts(&self) -> Done<Vec<(String, String)>> {
        let mut texts = Vec::new();
        for path in &self.files {
            if path.as_os_str() == "-" {
                texts.push(("standard input".to_owned(), limited(std::io::stdin().lock(), Path::new("-"))?));
                continue;
            }
            for path in files_in(path)? {
                let opened = fs::File::open(&path).map_err(|error| file("can't read", &path, &error))?;
                texts.push((path.display().to_string(), limited(opened, &path)?));
            }
        }
        Ok(texts)
    }
}

/// The file itself, or the manifests of a folder by name (not of the folders in it).
fn files_in(path: &Path) -> Done<Vec<PathBuf>> {
    let fail = |error: &std::io::Error| file("can't read", path, error);
    if !fs::metadata(path).map_err(|error| fail(&error))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| fail(&error))? {
        let path = entry.map_err(|error| fail(&error))?.path();
        let fits = path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        if fits && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn limited(from: impl Read, path: &Path) -> Done<String> {
    let mut text = String::new();
    let limit = INPUT_BYTES_MAX as u64 + 1;
    from.take(limit).read_to_string(&mut text).map_err(|error| file("can't read", path, &error))?;
    Ok(text)
}

fn check(mut wrong: Vec<Failure>) -> Done {
    match wrong.len() {
        0 => Ok(()),
        1 => Err(wrong.remove(0)),
        count => {
            wrong.iter().for_each(Failure::report);
            Err(Failure::new(format!("{count} documents can't be read; nothing was done")))
        }
    }
}

/// Two documents about one object: which of them should hold?
fn repeated(documents: &[Document]) -> Vec<Failure> {
    let mut seen = std::collections::BTreeMap::new();
    let mut wrong = Vec::new();
    for document in documents {
        if let Some(first) = seen.insert(&document.target, &document.place) {
            let message = format!("{}: {} stands in {first} already", document.place, document.target);
            wrong.push(Failure::new(message).hint("keep one of the two documents"));
        }
    }
    wrong
}

impl Document {
    /// Reads one document; the project may be left to the flag or the context.
    pub fn read(session: &Session, mut fields: Map<String, Value>, project: Option<&str>, place: String) -> Done<Self> {
        let kind = fields.get("kind").and_then(Value::as_str).map(crate::noun::kind).transpose();
        let kind = kind.map_err(|failure| failure.about(&place))?;
        if let Some(kind) = kind
            && kind.scope() == Scope::Project
            && !fields.contains_key("project")
        {
            let project = session.project_for(kind, project).map_err(|failure| failure.about(&place))?;
            fields.insert("project".into(), project.into());
        }
        let read = manifest::read(fields.clone()).map_err(|violations| unreadable(&place, &fields, &violations))?;
        let normal =
            normal(read.kind, read.name.as_str(), read.project.as_ref().map(|p| p.as_str()), read.body.spec_fields());
        let target =
            Target { kind: read.kind, name: read.name.to_string(), project: read.project.map(|p| p.to_string()) };
        Ok(Self { target, fields, normal, place })
    }
}

/// Names the document and each field that is wrong.
pub fn unreadable(place: &str, fields: &Map<String, Value>, violations: &[Violation]) -> Failure {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or("?");
    Failure::new(format!("{place}: {}/{} can't be read", text("kind"), text("name"))).fields(violations)
}

fn normal(kind: Kind, name: &str, project: Option<&str>, spec: Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("kind".into(), kind.names().singular.into());
    fields.insert("name".into(), name.into());
    if let Some(project) = project {
        fields.insert("project".into(), project.into());
    }
    fields.extend(spec);
    fields
}

/// What `apply` takes of a full object: its schema's fields, but not those that are only read.
pub fn of_full(kind: Kind, full: &Map<String, Value>) -> Map<String, Value> {
    let schema = kind.untyped().schema();
    let kept = |name: &str| schema["properties"].get(name).is_some_and(|field| field["readOnly"] != true);
    full.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The same in normal form, for comparing.
pub fn normal_of_full(kind: Kind, full: &Map<String, Value>) -> Map<String, Value> {
    let fields = of_full(kind, full);
    match manifest::read_kind(kind, fields.clone()) {
        Ok(read) => {
            normal(kind, read.name.as_str(), read.project.as_ref().map(|p| p.as_str()), read.body.spec_fields())
        }
        // A newer control plane may know fields that this program does not: compare what it gave.
        Err(_) => fields,
    }
}

/// Fields that can be written and are never given back (secret values, passwords).
pub fn write_only(kind: Kind, fields: &Map<String, Value>) -> Vec<String> {
    let schema = kind.untyped().schema();
    fields.keys().filter(|name| schema["properties"][name.as_str()]["writeOnly"] == true).cloned().collect()
}

/// Version of a full object.
pub fn version_of(full: &Map<String, Value>) -> Option<Seq> {
    full.get("metadata")?.get("resourceVersion")?.as_u64().map(Seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `get -o yaml` prints is what `apply -f` reads: for every kind.
    #[test]
    fn every_example_survives_the_way_out_and_back_in() {
        for kind in Kind::ALL {
            let document = manifest::documents(kind.untyped().example()).unwrap().remove(0);
            let read = manifest::read(document.clone()).unwrap_or_else(|wrong| panic!("{kind}: {wrong:?}"));
            let mut full =
                normal(*kind, read.name.as_str(), read.project.as_ref().map(|p| p.as_str()), read.body.spec_fields());
            full.insert("metadata".into(), serde_json::json!({"resourceVersion": 7}));
            full.insert("status".into(), serde_json::json!({}));
            let yaml = manifest::to_yaml(&of_full(*kind, &full));
            let again = manifest::documents(&yaml).unwrap().remove(0);
            assert!(!again.contains_key("metadata") && !again.contains_key("status"), "{kind}");
            let stored = manifest::read(again).unwrap();
            assert_eq!(stored.body.spec_fields(), read.body.spec_fields(), "{kind}");
            assert_eq!(version_of(&full), Some(Seq(7)));
        }
    }

    #[test]
    fn values_that_are_never_given_back_are_known_by_the_schema() {
        let document = manifest::documents(Kind::Secret.untyped().example()).unwrap().remove(0);
        assert_eq!(write_only(Kind::Secret, &document), ["data"]);
        assert!(
            write_only(Kind::Server, &manifest::documents(Kind::Server.untyped().example()).unwrap()[0]).is_empty()
        );
    }

    #[test]
    fn a_folder_gives_its_manifests_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", "note.txt", "c.json"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("d.yaml")).unwrap();
        let names: Vec<_> =
            files_in(folder.path()).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.yaml", "b.yml", "c.json"]);
    }
}
