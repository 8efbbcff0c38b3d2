//! `mcpctl get`: lists objects, or shows some by name.
use mcpctl_api::wire::{Gateway, Instance, TableRow};
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;
use serde_json::{Map, Value};

use super::question::failed;
use super::{AsOf, InProject};
use crate::failure::{Done, Failure};
use crate::format::{self, Format};
use crate::manifests;
use crate::noun::{Named, Noun, target};
use crate::session::{Global, Session};
use crate::table::Table;
use crate::{completion, out};

/// Lists objects of a kind, or shows some by name
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl get servers
  mcpctl get mcptokens -p web
  mcpctl get server everything -o yaml | mcpctl apply -f -
  mcpctl get instances
  mcpctl get gateways              # what each holds, and how long its lease lasts
  mcpctl get rbac --at \"2 days ago\"
  mcpctl get server everything --at 1207 -o yaml")]
pub struct Get {
    /// Kind and perhaps names, or KIND/NAME
    #[arg(required = true, value_name = "KIND [NAME]", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
    #[command(flatten)]
    then: AsOf,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

impl Get {
    pub async fn run(self, global: &Global) -> Done {
        let all = Named::parse(&self.words)?;
        let session = global.session()?;
        let mut texts = Vec::new();
        for named in all {
            texts.push(match named.noun {
                Noun::Kind(kind) => self.objects(&session, kind, &named.names).await?,
                Noun::Instance if self.then.at.is_some() => return Err(no_past_instances()),
                Noun::Instance => instances(&session, &named.names, self.output).await?,
                Noun::Gateway => gateways(&session, &named.names, self.output).await?,
            });
        }
        let between = match self.output {
            Format::Table => "\n",
            Format::Yaml => "---\n",
            Format::Json | Format::Name => "",
        };
        texts.retain(|text| !text.is_empty());
        out::print(&texts.join(between))
    }

    async fn objects(&self, session: &Session, kind: Kind, names: &[String]) -> Done<String> {
        match self.output {
            Format::Table | Format::Name => self.rows(session, kind, names).await,
            Format::Json | Format::Yaml => self.full(session, kind, names).await,
        }
    }

    async fn rows(&self, session: &Session, kind: Kind, names: &[String]) -> Done<String> {
        let project = project_of_list(session, kind, self.project.name(), names)?;
        let mut found = session.client.table_at(kind, project.as_deref(), self.then.point()).await.map_err(failed)?;
        if names.is_empty() && found.rows.is_empty() {
            let inside = project.map(|project| format!(" in project {project}")).unwrap_or_default();
            out::note(&format!("No {} found{inside}.", kind.names().plural));
            return Ok(String::new());
        }
        if !names.is_empty() {
            let mut rows = Vec::new();
            for name in names {
                rows.push(self.row(session, kind, name, &found.rows).await?);
            }
            found.rows = rows;
        }
        if self.output == Format::Name {
            return Ok(found.rows.iter().map(|row| title(kind, row) + "\n").collect());
        }
        let mut table = Table::new(found.columns);
        found.rows.into_iter().for_each(|row| table.row(row.cells));
        Ok(table.render())
    }

    async fn full(&self, session: &Session, kind: Kind, names: &[String]) -> Done<String> {
        let mut objects = Vec::new();
        if names.is_empty() {
            let project = project_of_list(session, kind, self.project.name(), names)?;
            let list = session.client.list_at(kind, project.as_deref(), self.then.point()).await.map_err(failed)?;
            if self.output == Format::Json {
                return Ok(format::json(&list));
            }
            objects = list.items;
        }
        for name in names {
            let target = target(session, kind, name, self.project.name())?;
            objects.push(session.client.get_at(&target, self.then.point()).await.map_err(failed)?);
        }
        Ok(match (self.output, objects.as_slice()) {
            (Format::Json, [one]) => format::json(one),
            (Format::Json, several) => format::json(&serde_json::json!({ "items": several })),
            _ => yaml(kind, &objects),
        })
    }
}

impl Get {
    async fn row(&self, session: &Session, kind: Kind, name: &str, rows: &[TableRow]) -> Done<TableRow> {
        let target = target(session, kind, name, self.project.name())?;
        let fits =
            |row: &&TableRow| row.name == target.name && (row.project.is_none() || row.project == target.project);
        if let Some(row) = rows.iter().find(fits) {
            return Ok(row.clone());
        }
        // The control plane says why it is not in the list, if there is a reason that this caller may know.
        session.client.get_at(&target, self.then.point()).await?;
        Err(Failure::new(format!("{target} was made or removed just now")).hint("ask again"))
    }
}

fn yaml(kind: Kind, objects: &[Map<String, Value>]) -> String {
    let manifests: Vec<_> = objects.iter().map(|object| manifests::of_full(kind, object)).collect();
    if manifests.is_empty() {
        out::note(&format!("No {} found.", kind.names().plural));
    }
    format::documents(&manifests)
}

/// A list goes over all projects unless one is named; names are looked for in the context's.
fn project_of_list(session: &Session, kind: Kind, flag: Option<&str>, names: &[String]) -> Done<Option<String>> {
    let all_over = names.is_empty() || names.iter().any(|name| name.contains('/'));
    if kind.scope() == Scope::Project && flag.is_none() && all_over {
        Ok(None)
    } else {
        session.project_for(kind, flag)
    }
}

/// Running copies are derived, and nobody keeps what they were.
pub fn no_past_instances() -> Failure {
    Failure::usage("instances are not part of the log, so nothing is known of those of the past")
        .hint("leave --at out, or ask for their server: mcpctl get server NAME --at …")
}

fn title(kind: Kind, row: &TableRow) -> String {
    match &row.project {
        Some(project) => format!("{kind}/{project}/{}", row.name),
        None => format!("{kind}/{}", row.name),
    }
}

async fn instances(session: &Session, names: &[String], output: Format) -> Done<String> {
    let mut list = session.client.instances(None).await?;
    for name in names {
        if !list.items.iter().any(|instance| instance.name == *name) {
            let known: Vec<&str> = list.items.iter().map(|instance| instance.name.as_str()).collect();
            return Err(crate::noun::unknown("instance", name, &known));
        }
    }
    list.items.retain(|instance| names.is_empty() || names.contains(&instance.name));
    if list.items.is_empty() && output != Format::Json {
        out::note("No instances found.");
        return Ok(String::new());
    }
    Ok(match output {
        Format::Table => instance_table(&list.items).render(),
        Format::Json => format::json(&list),
        Format::Yaml => format::yaml(&list.items),
        Format::Name => list.items.iter().map(|instance| format!("instance/{}\n", instance.name)).collect(),
    })
}

async fn gateways(session: &Session, names: &[String], output: Format) -> Done<String> {
    let mut list = session.client.gateways().await?;
    for name in names {
        if !list.items.iter().any(|gateway| gateway.name == *name) {
            let known: Vec<&str> = list.items.iter().map(|gateway| gateway.name.as_str()).collect();
            return Err(crate::noun::unknown("gateway", name, &known));
        }
    }
    list.items.retain(|gateway| names.is_empty() || names.contains(&gateway.name));
    if list.items.is_empty() && output != Format::Json {
        out::note("No gateways found. One is seen as soon as it has served somebody.");
        return Ok(String::new());
    }
    Ok(match output {
        Format::Table => gateway_table(&list.items).render(),
        Format::Json => format::json(&list),
        Format::Yaml => format::yaml(&list.items),
        Format::Name => list.items.iter().map(|gateway| format!("gateway/{}\n", gateway.name)).collect(),
    })
}

fn gateway_table(gateways: &[Gateway]) -> Table {
    let now = format::now();
    let mut table = Table::new(["NAME", "STATE", "VERSION", "ADDRESS", "HEAD", "LEASE", "TOKENS", "LAG", "AGE"]);
    for gateway in gateways {
        table.row(vec![
            gateway.name.clone(),
            gateway.state.clone(),
            gateway.version.clone(),
            gateway.address.clone(),
            gateway.head.to_string(),
            format!("{} ms", gateway.lease_ms),
            gateway.tokens.to_string(),
            format!("{} ms", gateway.lag_ms),
            format::age(gateway.since, now),
        ]);
    }
    table
}

/// Running copies as `get instances` and `status` show them.
pub fn instance_table(instances: &[Instance]) -> Table {
    let now = format::now();
    let mut table = Table::new(["NAME", "SERVER", "STATE", "PID", "ERA", "RESTARTS", "AGE", "LAST-ERROR"]);
    for instance in instances {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            instance.name.clone(),
            instance.server.clone(),
            instance.state.clone(),
            or_dash(instance.pid.map(|pid| pid.to_string())),
            or_dash(instance.era.clone()),
            instance.restarts.to_string(),
            or_dash(instance.since.map(|since| format::age(since, now))),
            instance.last_error.clone().unwrap_or_default(),
        ]);
    }
    table
}
