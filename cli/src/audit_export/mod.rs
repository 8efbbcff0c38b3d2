//! Entries of the audit log in the forms that others take, and handed to them so that none is lost.
mod cef;
mod cursor;
mod deliver;
mod event;
mod otlp;
mod sink;
mod syslog;

pub use cursor::Cursor;
pub use deliver::Deliver;
pub use event::Source;
pub use sink::{Sink, Target};

use mcpctl_api::client::AuditItem;

/// A form of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One JSON object a line
    Jsonl,
    /// ArcSight Common Event Format, one event a line; within syslog where it goes over TCP or UDP
    Cef,
    /// Syslog messages (RFC 5424)
    Syslog,
    /// OpenTelemetry logs, as JSON of an export request
    Otlp,
}

impl Form {
    /// One entry, without the end of a line. For OTLP a whole request with one record.
    pub fn one(self, source: &Source, item: &AuditItem) -> String {
        match self {
            Self::Jsonl => serde_json::to_string(item).unwrap_or_default(),
            Self::Cef => cef::event(item),
            Self::Syslog => syslog::message(source, item),
            Self::Otlp => otlp::request(source, std::slice::from_ref(item)),
        }
    }

    /// One entry as a message of a connection or a datagram of its own.
    pub fn message(self, source: &Source, item: &AuditItem) -> String {
        match self {
            Self::Cef => syslog::around(source, item, &cef::event(item)),
            other => other.one(source, item),
        }
    }

    /// Many entries as one document.
    pub fn many(self, source: &Source, items: &[AuditItem]) -> String {
        if self == Self::Otlp {
            return otlp::request(source, items) + "\n";
        }
        items.iter().flat_map(|item| [self.one(source, item), "\n".to_owned()]).collect()
    }

    /// The media type of a document.
    pub const fn media(self) -> &'static str {
        match self {
            Self::Jsonl => "application/x-ndjson",
            Self::Cef | Self::Syslog => "text/plain; charset=utf-8",
            Self::Otlp => "application/json",
        }
    }

    /// Whether messages on a connection say their length in front (RFC 6587, RFC 5425).
    pub const fn counts_octets(self) -> bool {
        matches!(self, Self::Cef | Self::Syslog)
    }
}
