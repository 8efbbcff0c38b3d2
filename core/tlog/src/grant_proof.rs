//! What proved facts say about one grant: that it was in force, to the subject itself or through a group, or that it was not.
use crate::facts::FactError;
use crate::state_root::ProvedFact;

/// What was shown about a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantShown {
    /// Whose.
    pub subject: String,
    /// What, as flags write it; `None` when nobody had that name, so that nothing was granted to it.
    pub grant: Option<String>,
    /// The fact by which it was in force, and its value; `None` when it was not.
    pub by: Option<(String, String)>,
}

/// Checks the facts of a grant against a root, and that none is left out that could say otherwise.
///
/// # Errors
/// When a proof does not hold, or a fact is missing.
pub fn judge(root: &crate::Hash, facts: &[ProvedFact]) -> Result<GrantShown, FactError> {
    use FactError::Malformed;
    for ProvedFact { fact, value, proof } in facts {
        proof.verify(root, fact, value.as_deref())?;
    }
    let mut facts = facts.iter();
    let named = facts.next().ok_or(Malformed("it says nothing"))?;
    let subject =
        named.fact.strip_prefix("subject ").ok_or(Malformed("its first fact is not about a subject"))?.to_owned();
    let Some(value) = &named.value else { return Ok(GrantShown { subject, grant: None, by: None }) };
    let uid =
        value.strip_prefix("uid:").and_then(|rest| rest.split(',').next()).ok_or(Malformed("a subject has no uid"))?;
    let own = facts.next().ok_or(Malformed("the fact of the grant is missing"))?;
    let grant =
        own.fact.strip_prefix(&format!("grant {uid} ")).ok_or(Malformed("its second fact is not about the grant"))?;
    let groups = facts.next().filter(|groups| groups.fact == format!("groups {uid}"));
    let groups = groups.ok_or(Malformed("the fact of the groups is missing"))?;
    let mut by = own.value.as_ref().map(|value| (own.fact.clone(), value.clone()));
    for group in groups.value.iter().flat_map(|groups| groups.split(' ')) {
        let group = group.strip_prefix("group:").and_then(|rest| rest.split(',').next());
        let group = group.ok_or(Malformed("a group can't be read"))?;
        let of_group = facts.next().filter(|fact| fact.fact == format!("grant {group} {grant}"));
        let of_group = of_group.ok_or(Malformed("the fact of a group is missing"))?;
        by = by.or_else(|| of_group.value.as_ref().map(|value| (of_group.fact.clone(), value.clone())));
    }
    if facts.next().is_some() {
        return Err(Malformed("it says more than it should"));
    }
    Ok(GrantShown { subject, grant: Some(grant.to_owned()), by })
}

/// The same in a sentence.
#[must_use]
pub fn said_of_grant(shown: &GrantShown) -> String {
    let GrantShown { subject, grant, by } = shown;
    match (grant, by) {
        (None, _) => format!("NOT IN FORCE: nobody was called {subject}"),
        (Some(grant), None) => {
            format!("NOT IN FORCE: {subject} did not hold {grant}, neither itself nor through a group")
        }
        (Some(grant), Some((fact, value))) => format!("IN FORCE: {subject} held {grant} ({fact} = {value})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;

    const GRANT: &str = "role:view,resource:servers";

    fn tree() -> Facts {
        let mut tree = Facts::default();
        for (fact, value) in [
            ("subject User:alice@example.com", "uid:A,enabled:true"),
            ("subject User:bob@example.com", "uid:B,enabled:true"),
            ("groups A", "group:G,seq:4 group:H,seq:5"),
            ("grant H role:view,resource:servers", "source:R,seq:6"),
        ] {
            tree.insert(fact, value);
        }
        tree
    }

    fn proved(facts: &[(&str, Option<&str>)]) -> Vec<ProvedFact> {
        let tree = tree();
        let one = |(fact, value): &(&str, Option<&str>)| ProvedFact {
            fact: (*fact).to_owned(),
            value: value.map(str::to_owned),
            proof: tree.prove(fact),
        };
        facts.iter().map(one).collect()
    }

    const ALICE: [(&str, Option<&str>); 5] = [
        ("subject User:alice@example.com", Some("uid:A,enabled:true")),
        ("grant A role:view,resource:servers", None),
        ("groups A", Some("group:G,seq:4 group:H,seq:5")),
        ("grant G role:view,resource:servers", None),
        ("grant H role:view,resource:servers", Some("source:R,seq:6")),
    ];

    #[test]
    fn a_grant_is_in_force_through_a_group_and_is_not_without_one() {
        let root = tree().root();
        let shown = judge(&root, &proved(&ALICE)).unwrap();
        assert_eq!(shown.by.unwrap().1, "source:R,seq:6");
        assert_eq!(shown.grant.as_deref(), Some(GRANT));
        let bob = [
            ("subject User:bob@example.com", Some("uid:B,enabled:true")),
            ("grant B role:view,resource:servers", None),
            ("groups B", None),
        ];
        assert_eq!(judge(&root, &proved(&bob)).unwrap().by, None);
        let nobody = [("subject User:eve@example.com", None)];
        assert_eq!(judge(&root, &proved(&nobody)).unwrap().grant, None);
    }

    /// Leaving out the fact that says otherwise is refused, as is saying it.
    #[test]
    fn a_proof_with_a_fact_left_out_changed_or_added_is_refused() {
        let root = tree().root();
        let whole = proved(&ALICE);
        for index in 0..whole.len() {
            let mut fewer = whole.clone();
            fewer.remove(index);
            assert!(judge(&root, &fewer).is_err(), "without fact {index}");
            let mut other = whole.clone();
            other[index].value = if other[index].value.is_some() { None } else { Some("source:R,seq:1".to_owned()) };
            assert!(judge(&root, &other).is_err(), "another value of fact {index}");
        }
        let mut more = whole.clone();
        more.push(whole[1].clone());
        assert!(judge(&root, &more).is_err());
        assert!(judge(&crate::record_hash(b"other"), &whole).is_err());
    }
}
