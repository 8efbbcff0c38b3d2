//! The access matrix as a file that people read: role × kind × verb.
use std::fmt::Write as _;

use mcpctl_core::access::{Ask, ResourceName, Verb};
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::Name;

use crate::town::{BASE, Town};

const ROLES: [&str; 5] = ["view", "create", "delete", "edit", "run"];

fn row(role: &str, bound: &str, kind: Kind) -> String {
    let mut town = Town::given(BASE);
    let yaml = format!(
        "kind: user\nname: a@example.com\n---\nkind: rbac\nname: a\nsubjects: [{{kind: User, name: a@example.com}}]\nroleBindings: [{{role: {role}, resource: '{bound}'}}]\n"
    );
    town.apply_all(&Actor::system("test"), &yaml).unwrap();
    let who = town.user("a@example.com");
    let name = Name::parse(kind.untyped().name_rule(), if kind == Kind::User { "x@example.com" } else { "x" }).unwrap();
    let cell = |verb: Verb| {
        let ask = Ask::Object { verb, resource: ResourceName::Kind(kind), project: None, name: Some(&name), uid: None };
        if town.can(&who, &ask) { "yes" } else { "-" }
    };
    let cells: Vec<String> = Verb::ALL.iter().map(|verb| format!("{:<7}", cell(*verb))).collect();
    cells.join(" ").trim_end().to_owned()
}

fn matrix() -> String {
    let mut text = String::from(
        "# Who holds ROLE on RESOURCE may do VERB to an object of KIND. Generated; see docs/architecture.md.\n",
    );
    let _ = writeln!(text, "{:<8} {:<16} {:<16} view    create  delete  edit    run", "ROLE", "RESOURCE", "KIND");
    for role in ROLES {
        for kind in Kind::ALL {
            let names = kind.names();
            let other = if *kind == Kind::Server { "projects" } else { "servers" };
            for bound in [names.plural, "*", other] {
                let _ = writeln!(text, "{role:<8} {bound:<16} {:<16} {}", names.singular, row(role, bound, *kind));
            }
        }
    }
    text
}

#[test]
fn the_access_matrix_is_the_one_that_people_agreed_to() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/access-matrix.txt");
    let made = matrix();
    if std::env::var_os("MCPCTL_REGENERATE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let agreed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        agreed == made,
        "fixtures/access-matrix.txt differs: look at the change, then run the test with MCPCTL_REGENERATE=1"
    );
}
