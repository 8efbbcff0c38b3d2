//! The event that says where the audit log stood changes nothing, takes nothing away, and is the control plane's alone.
use mcpctl_core::actor::Actor;
use mcpctl_core::erased::deleted;
use mcpctl_core::ids::{Seq, Uid};
use mcpctl_core::kinds::Kind;
use mcpctl_core::name::{Name, NameRule};
use mcpctl_core::reach::{Change, reach};
use mcpctl_core::record::{AuthzMode, Record};
use mcpctl_core::world::World as _;

use crate::replay::replay;
use crate::town::{BASE, Town};

const POLICY: &str = "kind: policy\nname: organisation\nmaxTtl: 90d\n";

fn town() -> Town {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), POLICY).unwrap();
    town
}

#[test]
fn saying_where_the_audit_log_stood_changes_no_object_and_takes_nothing_away() {
    let mut town = town();
    let objects = |town: &Town| {
        let all = town.state.objects();
        all.map(|object| (object.meta.clone(), object.body.canonical())).collect::<Vec<_>>()
    };
    let (before, seq) = (objects(&town), town.state.seq());
    town.anchor(7);
    assert_eq!(objects(&town), before, "an edit of the policy that was begun before goes on");
    assert_eq!(town.state.seq(), seq.next());
    assert_eq!(town.state.anchored().map(|(at, anchor)| (at, anchor.size)), Some((seq.next(), 7)));
    assert!(town.state.by_uid(Uid::fixed(0)).is_none() && town.state.object_at(Uid::fixed(0), seq.next()).is_none());
    let change = Change { kind: Kind::Policy, event: "anchored", before: None, after: None };
    assert!(reach(&town.state, &change).is_nothing());
    assert_eq!(town.replayed().to_image(), town.state.to_image());
    assert_eq!(replay(&town.records).findings, []);
}

/// What is changed in a record, and how.
type Forged<'a> = (&'a str, &'a dyn Fn(&mut Record));

#[test]
fn nobody_else_says_it_and_it_says_nothing_else() {
    let mut town = town();
    let (person, policy) = (town.user("base@example.com"), town.uid(Kind::Policy, None, "organisation"));
    town.anchor(7);
    let good = town.records.last().unwrap().clone();
    let forged: [Forged<'_>; 10] = [
        ("a person", &|record| record.header.actor = person.clone()),
        ("another part", &|record| record.header.actor = Actor::system("expiry")),
        ("on behalf of somebody", &|record| record.header.on_behalf_of = Some(person.clone())),
        ("by another way", &|record| record.header.authz.mode = AuthzMode::Rbac),
        ("by a grant", &|record| record.header.authz.via = vec![Seq(1)]),
        ("without a place", &|record| record.header.audit = None),
        ("with a reason", &|record| record.header.reason = Some("because".to_owned())),
        ("of an object", &|record| record.header.object = policy),
        ("of another name", &|record| record.header.name = Name::parse(NameRule::Label, "base").unwrap()),
        ("with more in it", &|record| record.payload = [deleted().payload, vec![0]].concat()),
    ];
    for (what, forge) in forged {
        let mut records = town.records.clone();
        let last = records.last_mut().unwrap();
        forge(last);
        let tally = replay(&records);
        assert_eq!((tally.not_allowed, tally.findings[0].seq), (1, good.header.seq), "{what}");
    }
    assert_eq!(replay(&town.records).findings, []);
}
