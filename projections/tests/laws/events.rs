//! Every event there is: written, read, folded, replayed; and the recorded bytes of each release decode for ever.
use std::collections::BTreeSet;

use mcpctl_core::actor::Actor;
use mcpctl_core::ids::Digest;
use mcpctl_core::kinds::{
    Answers, FailureCause, GroupAction, HealthAction, Kind, McpTokenAction, Noticed, PasswordVersion, ProjectAction,
    RbacAction, SecretAction, SecretVersion, ServerAction, ToolChoice, Unhealthy, UserAction,
};
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::record::Record;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;

use crate::town::{BASE, Town};

const USER: &str = "base@example.com";

/// A town in which every event of every kind has happened.
pub(crate) fn eventful() -> Town {
    let mut town = Town::given(BASE);
    let system = Actor::system("test");
    for kind in Kind::ALL {
        town.apply_all(&system, kind.untyped().example()).unwrap();
    }
    let now = town.now;
    let digest = Digest::sha256(b"login");
    let password = PasswordVersion { version: 1, commitment: Digest::sha256(b"password") };
    for action in [
        UserAction::SetPassword(password),
        UserAction::OpenLogin { digest, expires_at: now.plus_millis(9_000_000), checked: None },
        UserAction::CloseLogin { digest },
    ] {
        town.act(&system, Kind::User, None, USER, Box::new(action)).unwrap();
    }
    town.apply_all(&system, "kind: group\nname: developers\nclaims: [eng]\nmembers: [base@example.com]\n").unwrap();
    for said in [BTreeSet::from(["eng".to_owned()]), BTreeSet::new()] {
        let name = Name::parse(NameRule::Email, USER).unwrap();
        let level = GroupAction::Level { user: town.uid(Kind::User, None, USER), name, said };
        town.act(&system, Kind::Group, None, "developers", Box::new(level)).unwrap();
    }
    let version =
        SecretVersion { version: 1, keys: vec!["token".into()], backend: "plaintext".into(), commitment: digest };
    town.act(&system, Kind::Secret, None, "base", Box::new(SecretAction::Write(version))).unwrap();
    town.act(&system, Kind::McpToken, Some("base"), "ci", Box::new(McpTokenAction::Revoke)).unwrap();
    let attest = RbacAction::Attest { note: Some("checked".to_owned()) };
    town.act(&system, Kind::Rbac, None, "developers", Box::new(attest)).unwrap();
    tools(&mut town);
    let failed = Unhealthy { cause: FailureCause::TimedOut, unrecorded: 2 };
    for action in [
        ServerAction::Health(HealthAction::Fail { server: None, what: failed }),
        ServerAction::Health(HealthAction::Recover { server: None, what: Answers { unrecorded: 0 } }),
    ] {
        town.act(&system, Kind::Server, None, "base", Box::new(action)).unwrap();
    }
    town.apply_all(&system, "kind: mcptoken\nname: short\nproject: base\nttl: 1s\n").unwrap();
    town.expire();
    town.anchor(41);
    for kind in Kind::ALL.iter().rev() {
        let names: Vec<_> = town
            .state
            .all(*kind)
            .map(|o| (o.meta.project.as_ref().map(|p| p.name.to_string()), o.meta.name.to_string()))
            .collect();
        for (project, name) in names {
            let _ = town.delete(&system, *kind, project.as_deref(), &name);
        }
    }
    town
}

/// A tool that is seen, approved, changed and taken back.
fn tools(town: &mut Town) {
    let system = Actor::system("test");
    let definition = |number: u8| Digest([number; 32]);
    let notice = |town: &mut Town, number: u8| {
        let noticed = Noticed { tool: "light".to_owned(), definition: definition(number), diff: Vec::new() };
        town.act(&system, Kind::Server, None, "base", Box::new(ServerAction::Notice(vec![noticed]))).unwrap();
    };
    let quarantine =
        "kind: project\nname: base\nservers: [base]\nmembers: [base@example.com]\ntoolPolicy: quarantine\n";
    town.apply_all(&system, quarantine).unwrap();
    let choice = |number: u8| {
        vec![ToolChoice { server: "base".to_owned(), tool: "light".to_owned(), definition: Some(definition(number)) }]
    };
    notice(town, 1);
    let approve = ProjectAction::Approve { tools: choice(1), note: Some("checked".to_owned()) };
    town.act(&system, Kind::Project, None, "base", Box::new(approve)).unwrap();
    notice(town, 2);
    let reject = ProjectAction::Reject { tools: choice(2), note: None };
    town.act(&system, Kind::Project, None, "base", Box::new(reject)).unwrap();
}

#[test]
fn every_event_is_written_read_and_folded() {
    let town = eventful();
    let happened: BTreeSet<(Kind, String)> =
        town.records.iter().map(|record| (record.header.kind, record.header.event.clone())).collect();
    for kind in Kind::ALL {
        for event in kind.untyped().events() {
            assert!(happened.contains(&(*kind, event.to_owned())), "{kind}.{event} never happened");
        }
    }
    assert_eq!(town.replayed().canonical(), town.state.canonical());
}

#[test]
fn an_event_of_a_later_version_or_an_unknown_name_is_refused_with_what_to_do() {
    let town = eventful();
    let mut newer = town.records[0].clone();
    newer.header.version = 2;
    let Err(error) = State::default().fold(&newer, Digest::default()) else { panic!("folded") };
    assert!(error.to_string().contains("use the newer mcpctl"), "{error}");
    let mut unknown = town.records[0].clone();
    unknown.header.event = "exploded".to_owned();
    assert!(State::default().fold(&unknown, Digest::default()).is_err());
}

/// Records of one release, as lines of hexadecimal, and the state that they fold to.
#[test]
fn the_recorded_log_of_every_release_still_folds_to_the_same_state() {
    let dir = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/log"));
    let (log, state) = (dir.join("v1.hex"), dir.join("v1.state"));
    if std::env::var_os("MCPCTL_RECORD_LOG").is_some() {
        let town = eventful();
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let lines: Vec<String> = town.records.iter().map(|record| hex(record.store().unwrap().bytes)).collect();
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(&log, lines.join("\n")).unwrap();
        std::fs::write(&state, Digest::sha256(&town.state.canonical()).to_string()).unwrap();
    }
    let mut folded = State::default();
    let mut prev = Digest::default();
    for line in std::fs::read_to_string(&log).expect("the recorded log").lines() {
        let bytes: Vec<u8> =
            (0..line.len()).step_by(2).map(|i| u8::from_str_radix(&line[i..i + 2], 16).unwrap()).collect();
        let record = Record::load(&bytes).expect("decodes for ever");
        assert_eq!(record.header.prev, prev, "the chain holds");
        prev = Digest::blake3(&bytes);
        folded.fold(&record, prev).expect("folds for ever");
    }
    let expected = std::fs::read_to_string(&state).expect("the recorded state");
    assert_eq!(Digest::sha256(&folded.canonical()).to_string(), expected.trim());
}
