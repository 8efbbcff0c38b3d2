//! The access matrix of the routes: what each caller is answered at every route and method of the real router. People
//! agree to it as a file; a new route is found in the router itself and must be entered.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mcpctl_api::server::login;
use mcpctl_api::server::{openapi, router};
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest;
use mcpctl_core::name::{Name, NameRule};
use serde_json::{Value, json};

use crate::house::{BASE, House};

/// Routes that nobody needs a bearer for. That of the identity provider is not there without one; a gateway's stream is
/// opened by watch handles, without which it is a bad request.
const OPEN: [&str; 8] = [
    "GET /api/v1/auth/oidc",
    "GET /health",
    "GET /healthz",
    "GET /metrics",
    "GET /openapi.json",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/oidc",
    "POST /api/v1/gateways/stream",
];
const HEAD: &str = "# What each caller is answered at every route: nobody, a person without rights, the administrator, a token of the
# project in the path (base) and one of another project. Written by a test with MCPCTL_REGENERATE=1; look at every change.
";

/// Method and path of all that the router serves, as the router itself says.
fn routes(house: &House) -> BTreeSet<(String, String)> {
    let told = format!("{:?}", router::router(house.control.app().clone()));
    let told = told.split("fallback_router").next().unwrap();
    let (routes, paths) = told.split_once("node: Node { paths: {").expect("axum tells its paths");
    let mut path_of = BTreeMap::new();
    for entry in paths.split("RouteId(").skip(1) {
        let (id, rest) = entry.split_once("): \"").unwrap();
        path_of.insert(id, rest.split('"').next().unwrap());
    }
    let mut found = BTreeSet::new();
    for entry in routes.split("RouteId(").skip(1) {
        let (id, rest) = entry.split_once("): MethodRouter(").expect("every route tells its methods");
        let methods = rest.split("allow_header: Bytes(b\"").nth(1).and_then(|rest| rest.split('"').next());
        let methods = methods.expect("no route takes every method").split(',').filter(|method| *method != "HEAD");
        found.extend(methods.map(|method| (method.to_owned(), path_of[id].to_owned())));
    }
    found
}

fn documented() -> BTreeSet<(String, String)> {
    let document = openapi::document();
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = |item: &Value| item.as_object().unwrap().keys().map(|key| key.to_uppercase()).collect::<Vec<_>>();
    paths.flat_map(|(path, item)| methods(item).into_iter().map(|method| (method, path.clone()))).collect()
}

fn kind_of(path: &str) -> Option<Kind> {
    let last = path.split('/').rfind(|segment| !segment.starts_with('{') && *segment != "history")?;
    Kind::ALL.iter().copied().find(|kind| kind.names().plural == last)
}

/// The address to ask: existing objects to look at, absent ones to change or end, so that the order does not matter.
fn address(method: &str, path: &str) -> String {
    let kind = kind_of(path);
    let of = |word: &str| match kind {
        Some(Kind::User) => format!("{word}@example.com"),
        _ => word.to_owned(),
    };
    let one = if method == "GET" { of("base") } else { of("absent") };
    let path = match path.strip_prefix("/api/v1/projects/{name}/") {
        Some(rest) => format!(
            "/api/v1/projects/base/{}",
            rest.replace("{object}", if method == "GET" { "mine" } else { "absent" })
        ),
        None => path.replace("{name}", &one),
    };
    let query = match path.as_str() {
        "/api/v1/mcp/proxy" => "?project=base&server=absent",
        "/api/v1/access/what-can" => "?subject=base@example.com",
        "/api/v1/access/who-can" => "?verb=view&resource=servers",
        _ if path.starts_with("/api/v1/access/") => "?subject=base@example.com&verb=view&resource=servers",
        "/api/v1/mcptokens/base" | "/api/v1/mcptokens/absent" | "/api/v1/mcptokens/base/history" => "?project=base",
        _ => "",
    };
    format!("{path}{query}")
}

/// A body that is right but for what it names: the example of the kind under an absent name.
fn body(method: &str, path: &str) -> Option<Value> {
    if !matches!(method, "POST" | "PUT") {
        return None;
    }
    let example = kind_of(path).map(|kind| manifest::documents(kind.untyped().example()).unwrap().remove(0));
    let mut fields = match example {
        Some(fields) => fields,
        None if path.ends_with("/proxy") => return Some(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })),
        None if path.ends_with("/apply") => return Some(json!({ "items": [{ "kind": "group", "name": "applied" }] })),
        None => return Some(json!({})),
    };
    let named = if path.ends_with("/users") || path.contains("/users/") { "absent@example.com" } else { "absent" };
    ["kind", "project"].into_iter().for_each(|key| drop(fields.remove(key)));
    if path == "/api/v1/mcptokens" || path.starts_with("/api/v1/mcptokens/") {
        fields.insert("project".into(), "base".into());
    }
    fields.insert("name".into(), named.into());
    Some(fields.into())
}

async fn status(house: &House, bearer: Option<&str>, method: &str, path: &str) -> u16 {
    let address = format!("http://{}{}", house.address, address(method, path));
    let mut request = reqwest::Client::new().request(method.parse().unwrap(), address);
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    if let Some(body) = body(method, path) {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    // Only the status: some answers never end.
    request.send().await.unwrap().status().as_u16()
}

/// Each caller's own bearers, made anew for each row: one of the routes ends a login.
async fn callers(house: &House) -> [Option<String>; 5] {
    let sign_in = async |email: &str| {
        let name = Name::parse(NameRule::Email, email).unwrap();
        Some(login::open(house.control.app(), &name).await.unwrap().token)
    };
    let admin = mcpctl_api::server::bootstrap::ADMINISTRATOR;
    [None, sign_in("nobody@example.com").await, sign_in(admin).await, None, None]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_in_the_document_and_in_the_agreed_access_matrix() {
    let house = House::start().await;
    house.apply(BASE).await;
    house.apply("kind: user\nname: nobody@example.com\n---\nkind: project\nname: other\n").await;
    let (inside, outside) = (house.token("base", "mine").await, house.token("other", "theirs").await);
    let routes = routes(&house);
    assert!(routes.len() > 50, "{}", routes.len());
    assert_eq!(routes, documented(), "the router (left) and the document (right) differ");
    let mut text = HEAD.to_owned();
    let _ = writeln!(text, "{:<7} {:<52} nobody  person  admin   token   other", "METHOD", "PATH");
    for (method, path) in &routes {
        let mut bearers = callers(&house).await;
        (bearers[3], bearers[4]) = (Some(inside.clone()), Some(outside.clone()));
        let _ = write!(text, "{method:<7} {path:<52}");
        for (caller, bearer) in bearers.iter().enumerate() {
            let status = status(&house, bearer.as_deref(), method, path).await;
            let open = OPEN.contains(&format!("{method} {path}").as_str());
            assert_eq!(status == 401, caller == 0 && !open, "{method} {path}: {status}");
            assert!(status < 500, "{method} {path}: {status}");
            let _ = write!(text, " {status:<7}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/api-access.txt");
    if std::env::var_os("MCPCTL_REGENERATE").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let agreed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        agreed == text,
        "fixtures/api-access.txt differs: look at the change, then run with MCPCTL_REGENERATE=1\n{text}"
    );
    house.stop().await;
}
