//! Signing in at a real OpenID Connect provider: both flows, groups, keys, and everybody who is not let in.
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::http::get;
use crate::support::oidc::{Provider, sign_in};
use crate::support::up::{Place, Up, login};

const ANN: &str = "ann@example.com";

fn objects(up: &Up) {
    up.apply(&[
        json!({ "kind": "group", "name": "eng", "claims": ["engineers"] }),
        json!({ "kind": "rbac", "name": "eng", "subjects": [{ "kind": "Group", "name": "eng" }],
            "roleBindings": [{ "role": "view", "resource": "servers" }] }),
    ]);
}

fn browser(up: &Up, home: &Arc<Place>) -> crate::support::process::Ran {
    sign_in(home, &["login", &up.ready.api, "--no-browser"])
}

fn device(up: &Up, home: &Arc<Place>) -> crate::support::process::Ran {
    sign_in(home, &["login", &up.ready.api, "--device"])
}

fn user(up: &Up, name: &str) -> Value {
    up.mcpctl(&["get", "user", name, "-o", "json"]).ok().json()
}

fn uid(up: &Up) -> String {
    let shown = up.mcpctl(&["describe", "user", ANN]).ok().stdout;
    let line =
        shown.lines().find(|line| line.to_ascii_lowercase().contains("uid")).unwrap_or_else(|| panic!("{shown}"));
    line.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn people_sign_in_with_a_browser_or_a_code_and_are_in_the_groups_that_the_provider_says() {
    let provider = Provider::start();
    let up = provider.up();
    objects(&up);
    let home = Place::new();
    provider.has("subject-1", ANN, &["engineers", "others"]);
    let signed_in = browser(&up, &home).ok();
    assert!(signed_in.stdout.contains("as ann@example.com until"), "{}", signed_in.said());
    home.mcpctl(&["can-i", "view", "servers"]).ok();
    home.mcpctl(&["can-i", "edit", "servers"]).exits(1);
    let identity = json!({ "issuer": provider.issuer(), "subject": "subject-1" });
    assert_eq!(user(&up, ANN)["identity"], identity);
    let shown = up.mcpctl(&["describe", "user", ANN]).ok().stdout;
    assert!(shown.contains("subject-1") && shown.contains(&provider.issuer()), "{shown}");
    let me = get(&format!("{}/api/v1/auth/me", up.ready.api), Some(&bearer(&home))).unwrap().json();
    assert_eq!((&me["identity"], &me["groups"]), (&identity, &json!(["eng"])), "{me}");

    provider.has("subject-1", "ann.new@example.com", &["others"]);
    let signed_in = device(&up, &home).ok();
    assert!(signed_in.stdout.contains("as ann@example.com until"), "another address is the same person");
    home.mcpctl(&["can-i", "view", "servers"]).exits(1);
    let history = up.mcpctl(&["history", "group/eng"]).ok().stdout;
    assert!(history.contains("group.member-claimed") && history.contains("group.member-unclaimed"), "{history}");
    assert!(history.contains("system:oidc"), "{history}");

    let audited = up.mcpctl(&["audit", "events", "-o", "json"]).ok().stdout;
    assert!(audited.contains("auth/oidc"), "{audited}");
    for written in [up.place.log(), audited, history] {
        assert!(!written.contains("eyJ") && !written.contains("subject-1"), "a token or claim was written: {written}");
    }
}

#[test]
fn new_keys_are_found_and_whoever_should_not_come_in_does_not() {
    let mut provider = Provider::start();
    let up = provider.up();
    let (home, other) = (Place::new(), Place::new());
    provider.has("subject-1", ANN, &[]);
    browser(&up, &home).ok();
    let first = uid(&up);

    provider.restart();
    provider.has("subject-2", ANN, &[]);
    let taken = browser(&up, &other).exits(1);
    assert!(taken.stderr.contains("somebody else") && taken.stderr.contains("administrator"), "{}", taken.said());
    provider.has("subject-1", ANN, &[]);
    browser(&up, &home).ok();
    assert_eq!(uid(&up), first);

    provider.refuses();
    let refused = browser(&up, &other).exits(1);
    assert!(refused.stderr.contains("access_denied"), "{}", refused.said());

    provider.has("subject-1", ANN, &[]);
    let spec = json!({ "kind": "user", "name": ANN, "disabled": true,
        "identity": { "issuer": provider.issuer(), "subject": "subject-1" } });
    up.apply(std::slice::from_ref(&spec));
    let disabled = browser(&up, &other).exits(1);
    assert!(disabled.stderr.contains("disabled"), "{}", disabled.said());
    home.mcpctl(&["can-i", "view", "servers"]).exits(1);

    up.mcpctl(&["delete", "user", ANN]).ok();
    browser(&up, &home).ok();
    assert_ne!(uid(&up), first, "who was deleted comes back as somebody else");
}

#[test]
fn without_the_provider_passwords_still_open_and_the_way_is_told() {
    let provider = Provider::down();
    let up = provider.up();
    let home = Place::new();
    let down = home.mcpctl(&["login", &up.ready.api, "--no-browser"]).exits(1);
    assert!(down.stderr.contains("identity provider") && down.stderr.contains("--user"), "{}", down.said());
    let manifest = json!({ "kind": "user", "name": "bob@example.com", "password": "correct horse battery" });
    up.apply(&[manifest]);
    let args = ["login", &up.ready.api, "--user", "bob@example.com", "--password-stdin"];
    home.mcpctl_with_input(&args, "correct horse battery\n").ok();

    let plain = Up::start();
    let told = home.mcpctl(&["login", &plain.ready.api]).exits(2);
    assert!(told.stderr.contains("--user"), "{}", told.said());
    assert!(!login(&plain).is_empty());
}

#[test]
fn the_guide_about_signing_in_does_what_it_says() {
    let guide = include_str!("../../../docs/guides/sign-in.md");
    let blocks: Vec<&str> = guide.split("\n```").skip(1).step_by(2).collect();
    let block = |with: &str| {
        let found = blocks.iter().find(|block| block.contains(with)).unwrap_or_else(|| panic!("no block with {with}"));
        found.split_once('\n').unwrap().1.to_owned()
    };
    let provider = Provider::start();
    let settings = block("MCPD_OIDC_ISSUER").replace("https://id.example.com", &provider.issuer());
    let up = Up::start_with(Place::new(), |command| {
        let named = settings.lines().chain(inline(guide, "MCPD_OIDC_ALLOW_MISSING_NONCE="));
        command
            .envs(named.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name, value.trim_matches('"'))));
    });
    up.place.mcpctl_with_input(&["apply", "-f", "-"], &block("claims:")).ok();
    let home = Place::new();
    provider.has("subject-1", ANN, &["engineering"]);
    let mut ways = Vec::new();
    for line in block("mcpctl login").lines() {
        let said = line.split(" #").next().unwrap().replace("https://mcp.example.com", &up.ready.api);
        let mut args: Vec<&str> = said.split_whitespace().skip(1).collect();
        ways.push(args.get(2).copied().unwrap_or("browser").to_owned());
        if args.contains(&"--user") {
            args.push("--password-stdin");
            up.apply(&[json!({ "kind": "user", "name": "admin@localhost", "password": "correct horse battery" })]);
            home.mcpctl_with_input(&args, "correct horse battery\n").ok();
            continue;
        }
        // There is no screen here: the test is the browser.
        args.extend(args.iter().all(|arg| *arg != "--device").then_some("--no-browser"));
        let signed_in = sign_in(&home, &args).ok();
        assert!(signed_in.stdout.contains("as ann@example.com until"), "{}", signed_in.said());
        home.mcpctl(&["can-i", "view", "servers"]).ok();
    }
    assert_eq!(ways, ["browser", "--device", "--user"]);
    // The new password ended the logins of the administrator, and with them the one that `up` left: this one is new.
    let history = home.mcpctl(&["history", "group/developers"]).ok().stdout;
    assert!(history.contains("group.member-claimed"), "{history}");
    let help = home.mcpctl(&["up", "--help"]).ok().stdout;
    for setting in
        guide.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.starts_with("MCPD_OIDC_"))
    {
        assert!(help.contains(setting), "mcpctl up --help does not know {setting}");
    }
}

/// What a text says `like this` and begins so.
fn inline<'a>(text: &'a str, begins: &'a str) -> impl Iterator<Item = &'a str> {
    text.split('`').filter(move |code| code.starts_with(begins) && !code.contains('\n')).take(1)
}

/// The login that a home keeps.
fn bearer(home: &Place) -> String {
    let text = std::fs::read_to_string(home.home().join(".mcpctl/credentials")).unwrap();
    let begin = text.find("mcpctl_").unwrap();
    text[begin..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}
