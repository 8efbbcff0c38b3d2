//! `mcpctl audit export`: hands entries to other systems, each at least once.
use std::path::PathBuf;
use std::time::Duration;

use mcpctl_core::time::parse_span_ms;

use super::audit_filters::Filters;
use crate::audit_export::{Cursor, Deliver, Form, Sink, Source, Target};
use crate::audit_follow::follow;
use crate::failure::{Done, Failure, file};
use crate::format;
use crate::out;
use crate::session::Global;

/// How long a receiver may take nothing before an export that is to end gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands entries of the audit log to a file, a collector or a SIEM, in order, each at least once
#[derive(clap::Args)]
#[command(after_help = "\
With --cursor-file an export goes on where the last one ended: the cursor moves when a batch is safe with the receiver,
so an entry may come twice, with the same id, and none is left out. Over tcp:// and tls:// a batch is safe when the receiver
ends the connection in good order after reading it; over udp:// nobody can tell. Syslog over tls:// is RFC 5425.

Examples:
  mcpctl audit export --format jsonl --sink audit.jsonl --cursor-file audit.cursor
  mcpctl audit export -f --format syslog --sink tcp://siem.example:601 --cursor-file siem.cursor
  mcpctl audit export -f --format cef --sink tls://siem.example:6514 --ca-file siem-ca.pem --cursor-file siem.cursor
  mcpctl audit export --format cef --since 7d --outcome denied
  mcpctl audit export -f --format otlp --sink https://otel.example:4318 --headers-file otel.headers --cursor-file otel.cursor")]
pub struct Export {
    /// As what
    #[arg(long, value_name = "FORMAT")]
    format: Form,
    /// Receiver: a path, - for the standard output, tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, or an http(s) address
    #[arg(long, value_name = "RECEIVER", default_value = "-")]
    sink: Target,
    /// Keeps how far it has come in this file, and begins there
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    /// Goes on with each new entry until Ctrl-C
    #[arg(short = 'f', long)]
    follow: bool,
    /// From this position on, whatever the cursor says
    #[arg(long, value_name = "POSITION")]
    position: Option<u64>,
    /// Headers of each HTTP request, `Name: value`, one a line; the file may be readable by its owner only
    #[arg(long, value_name = "FILE")]
    headers_file: Option<PathBuf>,
    /// Certificates to trust under tls://, in place of those that the machine trusts (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long to offer a batch before giving up; with -f for ever
    #[arg(long, value_name = "SPAN")]
    patience: Option<String>,
    #[command(flatten)]
    filters: Filters,
}

impl Export {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let mut filter = self.filters.of(format::now())?;
        let address = session.client.address().to_string();
        let cursor = match &self.cursor_file {
            Some(path) => Some(Cursor::open(path, &address, &self.filters.fixed()?)?),
            None => None,
        };
        let begin = self.position.or_else(|| cursor.as_ref()?.next().map(|next| next.0));
        filter.position = begin.or((!self.filters.has_begin()).then_some(1)).map(|position| position.to_string());
        let headers = self.headers_file.as_ref().map(|path| headers(path)).transpose()?.unwrap_or_default();
        let host = url::Url::parse(&address).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let mut deliver = Deliver {
            form: self.format,
            source: Source::of_host(&host),
            sink: Sink::new(self.sink.clone(), headers, self.ca_file.as_deref())?,
            cursor,
            patience: self.patience()?,
            delivered: 0,
        };
        let result = follow(&session, filter, self.follow, async |items, next| deliver.batch(items, next).await).await;
        if self.sink != Target::Stdout {
            out::note(&format!("{} entries delivered.", deliver.delivered));
        }
        result
    }

    fn patience(&self) -> Done<Duration> {
        match &self.patience {
            Some(span) => {
                let ms = parse_span_ms(span).map_err(|error| Failure::usage(error.to_string()))?;
                Ok(Duration::from_millis(ms))
            }
            None if self.follow => Ok(Duration::MAX),
            None => Ok(PATIENCE),
        }
    }
}

/// Headers, which may be secrets: so they stand in a file that nobody else can read.
fn headers(path: &std::path::Path) -> Done<Vec<(String, String)>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode =
        std::fs::metadata(path).map_err(|error| file("can't read the headers in", path, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(format!("others can read {} (mode {:o})", path.display(), mode & 0o777))
            .hint(format!("chmod 600 {}", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| file("can't read the headers in", path, &error))?;
    let line = |line: &str| {
        let header = line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        let good = header.filter(|(name, value)| {
            reqwest::header::HeaderName::try_from(name).is_ok() && reqwest::header::HeaderValue::try_from(value).is_ok()
        });
        good.ok_or_else(|| {
            Failure::usage(format!("{} has a line that is no header", path.display())).hint("Name: value")
        })
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(line).collect()
}
