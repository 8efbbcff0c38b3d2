//! Laws that every kind obeys.
use mcpctl_core::actor::Actor;
use mcpctl_core::kinds::Kind;
use mcpctl_core::manifest;
use mcpctl_core::world::World as _;

use crate::town::{BASE, Town};

fn with_example(kind: Kind) -> Town {
    let mut town = Town::given(BASE);
    town.apply_all(&Actor::system("test"), kind.untyped().example()).unwrap_or_else(|error| panic!("{kind}: {error}"));
    town
}

#[test]
fn the_example_of_every_kind_applies() {
    for kind in Kind::ALL {
        let town = with_example(*kind);
        assert!(town.state.all(*kind).next().is_some(), "{kind}");
    }
}

#[test]
fn applying_twice_is_one_event() {
    for kind in Kind::ALL {
        let mut town = with_example(*kind);
        let events = town.apply_all(&Actor::system("test"), kind.untyped().example()).unwrap();
        assert_eq!(events, 0, "{kind}");
    }
}

#[test]
fn an_export_applies_to_nothing() {
    for kind in Kind::ALL {
        let mut town = with_example(*kind);
        let exported: Vec<String> = Kind::ALL
            .iter()
            .flat_map(|kind| town.state.all(*kind))
            .map(|object| manifest::to_yaml(&manifest::of_object(object)))
            .collect();
        for yaml in exported {
            let events =
                town.apply_all(&Actor::system("test"), &yaml).unwrap_or_else(|error| panic!("{kind}: {error}\n{yaml}"));
            assert_eq!(events, 0, "{kind}\n{yaml}");
        }
    }
}

#[test]
fn a_replay_of_the_log_gives_the_same_state_byte_for_byte() {
    for kind in Kind::ALL {
        let town = with_example(*kind);
        assert_eq!(town.replayed().canonical(), town.state.canonical(), "{kind}");
    }
}

#[test]
fn every_kind_refuses_an_unknown_field_and_names_it() {
    for kind in Kind::ALL {
        let mut documents = manifest::documents(kind.untyped().example()).unwrap();
        let mut fields = documents.remove(0);
        fields.insert("noSuchField".into(), 1.into());
        let errors = manifest::read(fields).expect_err("an unknown field");
        assert!(errors.iter().any(|error| format!("{error:?}").contains("noSuchField")), "{kind}: {errors:?}");
    }
}

#[test]
fn every_kind_has_words_help_columns_and_a_schema_that_names_its_fields() {
    for kind in Kind::ALL {
        let untyped = kind.untyped();
        assert_eq!(Kind::from_noun(untyped.names().plural), Some(*kind));
        assert_eq!(Kind::from_noun(untyped.names().singular), Some(*kind));
        assert!(untyped.summary().ends_with('.'), "{kind}");
        assert!(!untyped.columns().is_empty(), "{kind}");
        let schema = untyped.schema();
        let properties = schema["properties"].as_object().expect("properties");
        let example = manifest::documents(untyped.example()).unwrap().remove(0);
        for field in example.keys() {
            assert!(properties.contains_key(field), "{kind}.{field}");
        }
        for (name, property) in properties.iter().filter(|(name, _)| !matches!(name.as_str(), "kind")) {
            assert!(property.get("description").is_some(), "{kind}.{name} has no description");
        }
    }
}

#[test]
fn nobody_without_a_grant_can_do_anything_with_any_kind() {
    for kind in Kind::ALL {
        let mut town = with_example(*kind);
        town.apply_all(&Actor::system("test"), "kind: user\nname: stranger@example.com\n").unwrap();
        let stranger = town.user("stranger@example.com");
        let object = town.state.all(*kind).next().cloned().expect("the example");
        let project = object.meta.project.as_ref().map(|project| project.name.to_string());
        let refused = town.delete(&stranger, *kind, project.as_deref(), object.meta.name.as_str());
        assert!(matches!(refused, Err(mcpctl_core::refusal::Refusal::Forbidden { .. })), "{kind}: {refused:?}");
        let mut town = Town::given(BASE);
        town.apply_all(&Actor::system("test"), "kind: user\nname: stranger@example.com\n").unwrap();
        let stranger = town.user("stranger@example.com");
        let refused = town.apply_all(&stranger, kind.untyped().example());
        assert!(matches!(refused, Err(mcpctl_core::refusal::Refusal::Forbidden { .. })), "{kind}: {refused:?}");
    }
}

#[test]
fn a_reference_to_what_is_not_there_is_refused_by_its_field() {
    let mut town = Town::given(BASE);
    let refused = town.apply_all(&Actor::system("test"), "kind: project\nname: web\nservers: [base, ghost]\n");
    let Err(mcpctl_core::refusal::Refusal::Invalid(errors)) = refused else { panic!("{refused:?}") };
    assert_eq!(errors[0].field, "servers[1]");
    assert!(errors[0].message.contains("ghost"));
}
