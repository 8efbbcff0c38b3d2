//! Policies: one permit for each line that somebody was given, one for each token, and what nobody or no token may.
use mcpctl_core::access::RoleBinding;
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::{Kind, McpToken, Project, Rbac, SubjectRef};
use mcpctl_core::object::Object;
use mcpctl_core::world::World;

/// What holds for everybody.
const ALWAYS: &str = r#"
forbid(principal, action, resource) when { principal.ended };
forbid(principal, action, resource) when { principal has expires && principal.expires <= context.now };
forbid(principal, action in Action::"run:*", resource) when { principal.token };
forbid(principal, action in [Action::"create", Action::"edit"], resource in Kind::"mcptokens") when { principal.token };
forbid(principal, action == Action::"create", resource in Kind::"projects") when { principal.token };
"#;

/// What is one's own, of whoever stands for `?`.
const OWN: &str = r#"((action == Action::"view" && resource has object && resource.object == ?) || (action in [Action::"view", Action::"edit", Action::"delete"] && resource has owner && resource.owner == ?))"#;

/// A line that somebody was given.
struct Given {
    to: Uid,
    condition: String,
}

pub(crate) fn text(world: &dyn World) -> String {
    let given = given(world);
    let mut text = ALWAYS.to_owned();
    for kind in [Kind::User, Kind::ServiceAccount] {
        for object in world.all(kind) {
            text.push_str(&permit(object.meta.uid, &[either(&rights(&given, object.meta.uid))]));
        }
    }
    for token in world.all(Kind::McpToken) {
        text.push_str(&of_token(world, &given, token).unwrap_or_default());
    }
    text
}

fn permit(subject: Uid, conditions: &[String]) -> String {
    let when: String = conditions.iter().map(|condition| format!(" when {{ {condition} }}")).collect();
    format!("permit(principal == Subject::\"{subject}\", action, resource){when};\n")
}

/// Any of them. As a balanced tree: Cedar goes down each expression, and its depth is limited.
fn either(conditions: &[String]) -> String {
    match conditions {
        [] => "false".to_owned(),
        [one] => one.clone(),
        _ => {
            let (left, right) = conditions.split_at(conditions.len() / 2);
            format!("({} || {})", either(left), either(right))
        }
    }
}

/// All that objects say is given, to persons, machines, groups and tokens.
fn given(world: &dyn World) -> Vec<Given> {
    let mut all = Vec::new();
    for object in world.all(Kind::Rbac) {
        let Some((spec, _)) = object.of::<Rbac>() else { continue };
        for to in spec.subjects.iter().filter_map(|subject| meant(world, object, subject)) {
            all.extend(spec.role_bindings.iter().map(|line| Given { to, condition: condition(line) }));
        }
    }
    for object in world.all(Kind::Project) {
        let Some((spec, _)) = object.of::<Project>() else { continue };
        let condition = format!(
            r#"(action in [Action::"view", Action::"run"] && {})"#,
            named("projects", object.meta.name.as_str())
        );
        let named = |name| spec.members.iter().any(|member| member.name() == name);
        let members = object.refs.iter().filter(|meant| meant.kind == Kind::User && named(&meant.name));
        all.extend(members.map(|meant| Given { to: meant.uid, condition: condition.clone() }));
    }
    all
}

fn meant(world: &dyn World, by: &Object, subject: &SubjectRef) -> Option<Uid> {
    let (kind, name) = match subject {
        SubjectRef::User { name } => (Kind::User, name.name()),
        SubjectRef::Group { name } => (Kind::Group, name.name()),
        SubjectRef::ServiceAccount { name } => (Kind::ServiceAccount, name.name()),
        SubjectRef::McpToken { name } => {
            let has = |object: &&std::sync::Arc<Object>| {
                object.of::<McpToken>().is_some_and(|(_, s)| s.sha256 == Some(name.0))
            };
            return world.all(Kind::McpToken).find(has).map(|object| object.meta.uid);
        }
    };
    by.refs.iter().find(|meant| meant.kind == kind && meant.name == *name).map(|meant| meant.uid)
}

fn named(plural: &str, name: &str) -> String {
    format!("resource in Kind::{plural:?} && resource has name && resource.name == {name:?}")
}

fn condition(line: &RoleBinding) -> String {
    match line {
        RoleBinding::Operation { action, .. } => format!("action in Action::\"run:{action}\""),
        RoleBinding::Resource { role, resource, name } => {
            let role = role.to_string();
            let verbs: &[&str] = if role == "edit" { &["view", "create", "delete", "edit"] } else { &[&role] };
            let verbs: Vec<String> = verbs.iter().map(|verb| format!("Action::{verb:?}")).collect();
            let what = name.as_ref().map_or_else(
                || format!("resource in Kind::\"{resource}\""),
                |name| self::named(&resource.to_string(), name.as_str()),
            );
            format!("(action in [{}] && {what})", verbs.join(", "))
        }
    }
}

/// What a person or machine may: what is given to it or to a group that it is in, and its own.
fn rights(given: &[Given], who: Uid) -> Vec<String> {
    let who = format!("Subject::\"{who}\"");
    let lines = given.iter().map(|Given { to, condition }| format!("({who} in Subject::\"{to}\" && {condition})"));
    lines.chain([OWN.replace('?', &who)]).collect()
}

/// C5: given to it, and its owner's right, and inside its project.
fn of_token(world: &dyn World, given: &[Given], token: &Object) -> Option<String> {
    let (_, status) = token.of::<McpToken>()?;
    let project = world.by_uid(token.meta.project.as_ref()?.uid)?;
    let inside = inside(project)?;
    let itself = r#"action == Action::"view" && resource has object && resource.object == principal"#.to_owned();
    let mut text = permit(token.meta.uid, &[inside.clone(), itself]);
    let owner = world.by_uid(status.owner.as_ref()?.uid).filter(|owner| owner.body.enabled());
    if let Some(owner) = owner {
        let lines = given.iter().filter(|line| line.to == token.meta.uid).map(|line| line.condition.clone());
        let own: Vec<String> = status.grants.iter().map(condition).chain(lines).collect();
        let of_owner = rights(given, owner.meta.uid);
        text.push_str(&permit(token.meta.uid, &[inside, either(&own), either(&of_owner)]));
    }
    Some(text)
}

fn inside(project: &Object) -> Option<String> {
    let (spec, _) = project.of::<Project>()?;
    let servers: Vec<String> = spec.servers.iter().map(|server| format!("{:?}", server.name().as_str())).collect();
    let lives = format!("(resource has project && resource.project == Project::\"{}\")", project.meta.uid);
    let itself = format!("({})", named("projects", project.meta.name.as_str()));
    let served = format!(
        r#"(action in [Action::"view", Action::"run"] && (resource in Kind::"servers" || resource in Kind::"instances") && resource has name && [{}].contains(resource.name))"#,
        servers.join(", ")
    );
    Some(either(&[lives, itself, served]))
}
