//! Finds every `Ref<K>` in a spec, with the path of its field: a serializer that writes nothing.
use serde::ser::{self, Serialize};

use crate::kinds::Kind;
use crate::name::{Name, NameRule};
use crate::reference::RefUse;

/// All references of a spec, in field order.
#[must_use]
pub fn refs_of<T: Serialize>(spec: &T) -> Vec<RefUse> {
    let mut found = Vec::new();
    // The walk itself has no way to fail; a spec whose own Serialize fails has no references that could be stored.
    let _ = spec.serialize(Walk { path: String::new(), found: &mut found });
    found
}

struct Walk<'a> {
    path: String,
    found: &'a mut Vec<RefUse>,
}

impl Walk<'_> {
    fn down(&mut self, step: &str) -> Walk<'_> {
        let path = match (self.path.is_empty(), step.starts_with('[')) {
            (true, _) => step.to_owned(),
            (false, true) => format!("{}{step}", self.path),
            (false, false) => format!("{}.{step}", self.path),
        };
        Walk { path, found: self.found }
    }
}

/// Never made: the walk can't fail.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Never(String);
impl ser::Error for Never {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

struct Steps<'a> {
    walk: Walk<'a>,
    index: usize,
    key: String,
}

impl<'a> Steps<'a> {
    const fn new(walk: Walk<'a>) -> Self {
        Self { walk, index: 0, key: String::new() }
    }
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        let step = format!("[{}]", self.index);
        self.index += 1;
        value.serialize(self.walk.down(&step))
    }
    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Never> {
        value.serialize(self.walk.down(key))
    }
}

macro_rules! nothing {
    ($($method:ident: $type:ty),* $(,)?) => { $(
        fn $method(self, _: $type) -> Result<(), Never> { Ok(()) }
    )* };
}

impl<'a> ser::Serializer for Walk<'a> {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Steps<'a>;
    type SerializeTuple = Steps<'a>;
    type SerializeTupleStruct = Steps<'a>;
    type SerializeTupleVariant = Steps<'a>;
    type SerializeMap = Steps<'a>;
    type SerializeStruct = Steps<'a>;
    type SerializeStructVariant = Steps<'a>;

    nothing! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str,
    }
    fn serialize_none(self) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_unit(self) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        value.serialize(self)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, mark: &'static str, value: &T) -> Result<(), Never> {
        let Some(kind) = Kind::ALL.iter().copied().find(|kind| kind.ref_mark() == mark) else {
            return value.serialize(self);
        };
        if let Ok(serde_json::Value::String(text)) = serde_json::to_value(value)
            && let Ok(name) = Name::parse(NameRule::Label, &text).or_else(|_| Name::parse(NameRule::Email, &text))
        {
            self.found.push(RefUse { field: self.path, kind, name });
        }
        Ok(())
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        value.serialize(self)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Steps<'a>, Never> {
        Ok(Steps::new(self))
    }
    fn serialize_tuple(self, _: usize) -> Result<Steps<'a>, Never> {
        Ok(Steps::new(self))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Steps<'a>, Never> {
        Ok(Steps::new(self))
    }
    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Steps<'a>, Never> {
        Ok(Steps::new(self))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Steps<'a>, Never> {
        Ok(Steps::new(self))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Steps<'a>, Never> {
        Ok(Steps::new(self))
    }
    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Steps<'a>, Never> {
        Ok(Steps::new(self))
    }
}

macro_rules! sequence {
    ($($trait:ident $method:ident),*) => { $(
        impl ser::$trait for Steps<'_> {
            type Ok = ();
            type Error = Never;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> { self.element(value) }
            fn end(self) -> Result<(), Never> { Ok(()) }
        }
    )* };
}
sequence!(SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field);

macro_rules! structure {
    ($($trait:ident),*) => { $(
        impl ser::$trait for Steps<'_> {
            type Ok = ();
            type Error = Never;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Never> {
                self.field(key, value)
            }
            fn end(self) -> Result<(), Never> { Ok(()) }
        }
    )* };
}
structure!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Steps<'_> {
    type Ok = ();
    type Error = Never;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        self.key = match serde_json::to_value(key) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(other) => other.to_string(),
            Err(_) => String::new(),
        };
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        let key = std::mem::take(&mut self.key);
        self.field(&key, value)
    }
    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Server;
    use crate::reference::Ref;

    #[test]
    fn references_are_found_at_any_depth_with_their_path() {
        #[derive(serde::Serialize)]
        struct Deep {
            list: Vec<Option<Ref<Server>>>,
            inner: std::collections::BTreeMap<String, Ref<Server>>,
        }
        let name = |text| Name::parse(NameRule::Label, text).expect("valid");
        let deep =
            Deep { list: vec![None, Some(Ref::to(name("a")))], inner: [("k".to_owned(), Ref::to(name("b")))].into() };
        let found: Vec<String> = refs_of(&deep).iter().map(|r| format!("{}={}/{}", r.field, r.kind, r.name)).collect();
        assert_eq!(found, ["list[1]=server/a", "inner.k=server/b"]);
    }
}
