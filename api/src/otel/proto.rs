//! The binary form of OTLP: the few messages of protocol buffers that a request with spans has, written by hand.
//!
//! Numbers of fields are those of `opentelemetry/proto/trace/v1/trace.proto`, `common/v1`, `resource/v1` and
//! `collector/trace/v1`, which are stable.
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Attribute, Settings, Span, SpanKind};

/// A message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn number(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn fixed32(&mut self, field: u64, value: u32) -> &mut Self {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn fixed64(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn text(&mut self, field: u64, value: &str) -> &mut Self {
        self.bytes(field, value.as_bytes())
    }

    fn message(&mut self, field: u64, make: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        make(&mut inner);
        self.bytes(field, &inner.0)
    }

    /// `KeyValue`.
    fn attribute(&mut self, field: u64, key: &str, value: &Attribute) -> &mut Self {
        self.message(field, |pair| {
            pair.text(1, key).message(2, |any| {
                match value {
                    Attribute::Text(text) => any.text(1, text),
                    Attribute::Int(number) => any.number(3, number.cast_unsigned()),
                };
            });
        })
    }

    fn named(&mut self, field: u64, key: &str, value: &str) -> &mut Self {
        self.message(field, |pair| {
            pair.text(1, key).message(2, |any| {
                any.text(1, value);
            });
        })
    }
}

/// `ExportTraceServiceRequest`.
pub(super) fn request(settings: &Settings, spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let mut request = Message::default();
    request.message(1, |of_resource| {
        of_resource.message(1, |resource| {
            resource.named(1, "service.name", &settings.service).named(1, "service.version", version);
            for (key, value) in &settings.attributes {
                resource.named(1, key, value);
            }
        });
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| {
                scope.text(1, super::export::SCOPE).text(2, version);
            });
            for one in spans {
                of_scope.message(2, |message| span(message, one));
            }
        });
    });
    request.0
}

fn span(out: &mut Message, span: &Span) {
    out.bytes(1, &span.context.trace.to_be_bytes()).bytes(2, &span.context.span.to_be_bytes());
    if let Some(state) = &span.state {
        out.text(3, state);
    }
    if let Some(parent) = span.parent {
        out.bytes(4, &parent.to_be_bytes());
    }
    let kind = match span.kind {
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    };
    out.text(5, &span.name).number(6, kind);
    out.fixed64(7, nanos(span.begun)).fixed64(8, nanos(span.begun + span.took));
    for (key, value) in &span.attributes {
        out.attribute(9, key, value);
    }
    if span.failed {
        out.message(15, |status| {
            status.number(3, 2);
        });
    }
    out.fixed32(16, u32::from(span.context.sampled));
}

fn nanos(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// How many spans an `ExportTraceServiceResponse` says were refused: field 1 of field 1.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let Some(Field::Bytes(partial)) = field(answer, 1) else { return 0 };
    match field(partial, 1) {
        Some(Field::Number(count)) => count,
        _ => 0,
    }
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first field of a number, unless something before it can't be read.
fn field(mut bytes: &[u8], wanted: u64) -> Option<Field<'_>> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => Field::Bytes(bytes.split_off(..8)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Field::Bytes(bytes.split_off(..length)?)
            }
            5 => Field::Bytes(bytes.split_off(..4)?),
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some(value);
        }
    }
    None
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_many_spans_it_does_not_want() {
        let mut answer = Message::default();
        answer.message(1, |partial| {
            partial.text(2, "too old").number(1, 300);
        });
        assert_eq!(rejected(&answer.0), 300);
        assert_eq!(rejected(b""), 0);
        for cut in 0..answer.0.len() {
            rejected(&answer.0[..cut]);
        }
        rejected(&[0xff; 40]);
    }
}
