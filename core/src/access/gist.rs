//! What of a permission can be told in eight bytes.
use super::decision::answers;
use super::{Ask, Grant, Permission, Verb};

/// Enough of a permission to pass over it when it can't answer a question: most of what somebody holds is about other
/// names, and a grant is twelve times as large. Where two names look alike here, the grant itself is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gist {
    verbs: u8,
    /// Whether it is about one name, and not about all.
    named: bool,
    name: u32,
}

/// Stands beside the bits of the five verbs.
const OPERATION: u8 = 1 << 7;

impl Gist {
    /// The gist of a permission.
    #[must_use]
    pub fn of(permission: &Permission) -> Self {
        match permission {
            Permission::Operation { action, .. } => {
                Self { verbs: OPERATION, named: action != "*", name: spread(action) }
            }
            Permission::Resource { role, name, .. } => {
                let verbs = role.verbs().iter().fold(0, |verbs, verb| verbs | bit(*verb));
                Self { verbs, named: name.is_some(), name: name.as_ref().map_or(0, |name| spread(name.as_str())) }
            }
        }
    }

    fn of_ask(ask: &Ask<'_>) -> Self {
        match ask {
            Ask::Operation(action) => Self { verbs: OPERATION, named: true, name: spread(action) },
            Ask::Object { verb, name, .. } => {
                Self { verbs: bit(*verb), named: name.is_some(), name: name.map_or(0, |name| spread(name.as_str())) }
            }
        }
    }

    const fn may_answer(self, ask: Self) -> bool {
        self.verbs & ask.verbs != 0 && (!self.named || (ask.named && self.name == ask.name))
    }
}

/// A question that is put to many grants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The question.
    pub ask: &'a Ask<'a>,
    gist: Gist,
}

impl<'a> Wanted<'a> {
    /// The question, ready to be put.
    #[must_use]
    pub fn of(ask: &'a Ask<'a>) -> Self {
        Self { ask, gist: Gist::of_ask(ask) }
    }

    /// Whether a permission answers it with yes.
    #[must_use]
    pub fn by(&self, permission: &Permission) -> bool {
        answers(permission, self.ask)
    }

    /// The first of some grants that answers it with yes. The gists are those of the grants, in their order.
    #[must_use]
    pub fn first<'g>(&self, grants: &'g [Grant], gists: &[Gist]) -> Option<&'g Grant> {
        debug_assert_eq!(grants.len(), gists.len());
        let near = gists.iter().zip(grants).filter(|(gist, _)| gist.may_answer(self.gist)).map(|(_, grant)| grant);
        near.into_iter().find(|grant| self.by(&grant.permission))
    }
}

const fn bit(verb: Verb) -> u8 {
    1 << verb as u8
}

/// FNV-1a of a name, in 32 bits: names are short, and one that collides on purpose is only looked at once more.
fn spread(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::{OPERATIONS, ResourceName, Role};
    use crate::kinds::Kind;
    use crate::name::{Name, NameRule};

    fn name() -> impl Strategy<Value = Option<Name>> {
        let label = |text: &str| Name::parse(NameRule::Label, text).expect("a label");
        prop::option::of(prop::sample::select(vec![label("a"), label("b"), label("a-longer-one")]))
    }

    fn action() -> impl Strategy<Value = String> {
        let all = OPERATIONS.iter().copied().chain(["*"]).map(str::to_owned);
        prop::sample::select(all.collect::<Vec<_>>())
    }

    fn permission() -> impl Strategy<Value = Permission> {
        let roles = vec![Role::View, Role::Create, Role::Delete, Role::Edit, Role::Run];
        let kinds = vec![ResourceName::Any, ResourceName::Kind(Kind::Server), ResourceName::Kind(Kind::Secret)];
        let resource = (prop::sample::select(roles), prop::sample::select(kinds), name())
            .prop_map(|(role, resource, name)| Permission::Resource { role, resource, name });
        prop_oneof![
            resource,
            action().prop_map(|action| format!("role:run,action:{action}").parse().expect("a binding"))
        ]
    }

    proptest! {
        #[test]
        fn the_first_grant_that_answers_is_found_whatever_is_passed_over(
            held in prop::collection::vec(permission(), 0..12), verb in prop::sample::select(Verb::ALL.to_vec()),
            kind in prop::sample::select(vec![Kind::Server, Kind::Secret]), name in name(), operation in prop::option::of(action()),
        ) {
            let ask = match &operation {
                Some(operation) => Ask::Operation(operation),
                None => Ask::Object { verb, resource: ResourceName::Kind(kind), project: None, name: name.as_ref(), uid: None },
            };
            let actor = crate::actor::Actor::system("test");
            let grant = |(seq, permission): (u64, &Permission)| {
                let seq = crate::ids::Seq(seq);
                Grant { permission: permission.clone(), seq, source: actor.uid, grantor: actor.clone() }
            };
            let grants: Vec<Grant> = (0..).zip(&held).map(grant).collect();
            let gists: Vec<Gist> = held.iter().map(Gist::of).collect();
            let found = Wanted::of(&ask).first(&grants, &gists);
            prop_assert_eq!(found, grants.iter().find(|grant| answers(&grant.permission, &ask)));
        }
    }

    #[test]
    fn what_is_about_another_name_or_verb_is_passed_over() {
        let gist = |text: &str| Gist::of(&text.parse().expect("a permission"));
        let name = Name::parse(NameRule::Label, "mine").expect("a label");
        let ask = Gist::of_ask(&Ask::named(Verb::Edit, Kind::Server, None, &name));
        for (held, near) in [
            ("role:edit,resource:servers,name:mine", true),
            ("role:edit,resource:servers", true),
            ("role:edit,resource:servers,name:other", false),
            ("role:view,resource:servers,name:mine", false),
            ("role:run,action:*", false),
        ] {
            assert_eq!(gist(held).may_answer(ask), near, "{held}");
        }
        assert!(!gist("role:run,action:logs").may_answer(Gist::of_ask(&Ask::Operation("audit"))));
    }
}
