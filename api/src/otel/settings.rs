//! Where spans go, from the variables that every OpenTelemetry SDK reads.
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::sampler::Sampler;

/// In which form spans are sent over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `http/protobuf`, which every collector takes.
    Protobuf,
    /// `http/json`.
    Json,
}

/// Where spans go and which ones.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the collector, with its path.
    pub endpoint: Url,
    /// In which form.
    pub form: Form,
    /// Sent with each request; they may hold a credential and are shown nowhere.
    pub headers: HeaderMap,
    /// Certificates in PEM that are trusted besides those of the machine.
    pub certificate: Option<PathBuf>,
    /// Name of the service.
    pub service: String,
    /// Further attributes of the resource.
    pub attributes: Vec<(String, String)>,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// How long a request to the collector may take.
    pub timeout: Duration,
    /// How long spans are gathered for one request.
    pub delay: Duration,
    /// Spans that may wait; more are dropped.
    pub waiting_max: usize,
    /// Spans of one request to the collector.
    pub batch_max: usize,
}

/// A variable that can't be followed, by its name and never with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadVariable(pub &'static str);

const BAD_TIMEOUT: BadVariable = BadVariable("OTEL_EXPORTER_OTLP_TIMEOUT is no number of milliseconds");
const BAD_DELAY: BadVariable = BadVariable("OTEL_BSP_SCHEDULE_DELAY is no number of milliseconds");

impl Settings {
    /// Reads the variables. `None`: no traces are wanted. `program` names the service where nobody else does.
    ///
    /// # Errors
    /// Names the variable that can't be followed.
    pub fn read(program: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, BadVariable> {
        let get = |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let either = |last: &str| {
            get(&format!("OTEL_EXPORTER_OTLP_TRACES_{last}")).or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{last}")))
        };
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let Some(endpoint) = either("ENDPOINT") else { return Ok(None) };
        match get("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(_) => return Err(BadVariable("OTEL_TRACES_EXPORTER is neither otlp nor none")),
        }
        let is_exact = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").is_some();
        let sampler = Sampler::named(get("OTEL_TRACES_SAMPLER").as_deref(), get("OTEL_TRACES_SAMPLER_ARG").as_deref());
        let resource = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let mut attributes: Vec<(String, String)> = pairs(&resource).flatten().collect();
        let named = attributes.iter().position(|(key, _)| key == "service.name");
        let named = named.map(|place| attributes.remove(place).1);
        let batch_max = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE is no number above 0", &get, 512)?;
        Ok(Some(Self {
            endpoint: address(&endpoint, is_exact)?,
            form: form(either("PROTOCOL").as_deref())?,
            headers: headers(&either("HEADERS").unwrap_or_default())?,
            certificate: either("CERTIFICATE").map(PathBuf::from),
            service: get("OTEL_SERVICE_NAME").or(named).unwrap_or_else(|| program.to_owned()),
            attributes,
            sampler: sampler.map_err(BadVariable)?,
            timeout: Duration::from_millis(millis(either("TIMEOUT"), 10_000, BAD_TIMEOUT)?),
            delay: Duration::from_millis(millis(get("OTEL_BSP_SCHEDULE_DELAY"), 5_000, BAD_DELAY)?),
            waiting_max: number("OTEL_BSP_MAX_QUEUE_SIZE is no number above 0", &get, 2048)?.max(batch_max),
            batch_max,
        }))
    }
}

/// The general endpoint is that of a collector, the exact one that of its traces.
fn address(text: &str, is_exact: bool) -> Result<Url, BadVariable> {
    let path = if is_exact { "" } else { "/v1/traces" };
    let base = if is_exact { text } else { text.trim_end_matches('/') };
    let url = Url::parse(&format!("{base}{path}")).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or(BadVariable("OTEL_EXPORTER_OTLP_ENDPOINT is no http or https URL"))
}

fn form(protocol: Option<&str>) -> Result<Form, BadVariable> {
    match protocol {
        None | Some("http/protobuf") => Ok(Form::Protobuf),
        Some("http/json") => Ok(Form::Json),
        Some(_) => Err(BadVariable("OTEL_EXPORTER_OTLP_PROTOCOL is neither http/protobuf nor http/json (port 4318)")),
    }
}

fn headers(text: &str) -> Result<HeaderMap, BadVariable> {
    const BAD: BadVariable = BadVariable("OTEL_EXPORTER_OTLP_HEADERS is no list of name=value");
    let header = |pair: Option<(String, String)>| {
        let (name, value) = pair.ok_or(BAD)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| BAD)?;
        value.set_sensitive(true);
        Ok((HeaderName::try_from(name).map_err(|_| BAD)?, value))
    };
    pairs(text).map(header).collect()
}

fn millis(text: Option<String>, otherwise: u64, error: BadVariable) -> Result<u64, BadVariable> {
    text.map_or(Ok(otherwise), |text| text.parse().map_err(|_| error))
}

/// A bound; the error begins with the variable's name.
fn number(error: &'static str, get: &impl Fn(&str) -> Option<String>, otherwise: usize) -> Result<usize, BadVariable> {
    let Some(text) = get(error.split(' ').next().unwrap_or_default()) else { return Ok(otherwise) };
    text.parse().ok().filter(|number| (1..=1 << 20).contains(number)).ok_or(BadVariable(error))
}

/// `name=value,name=value`, percent-encoded as baggage is; `None` for what is no pair.
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let decoded = |text: &str| {
        let pair = format!("x={}", text.trim().replace('+', "%2B").replace('&', "%26"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let all = text.split(',').filter(|pair| !pair.trim().is_empty());
    all.map(move |pair| pair.split_once('=').map(|(name, value)| (decoded(name), decoded(value))))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, BadVariable> {
        let all: HashMap<_, _> = variables.iter().copied().collect();
        Settings::read("mcpd", |name| all.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where_to() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap().is_none());
        assert!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
        let settings = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(settings.endpoint.as_str(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!((settings.form, settings.service.as_str()), (Form::Protobuf, "mcpd"));
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c.example/t/");
        assert_eq!(read(&[ENDPOINT, exact]).unwrap().unwrap().endpoint.as_str(), "https://c.example/t/");
    }

    #[test]
    fn the_service_has_the_name_that_it_is_given() {
        let resource = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=of-the-resource,deployment.environment=a%20b");
        let settings = read(&[ENDPOINT, resource]).unwrap().unwrap();
        assert_eq!(settings.service, "of-the-resource");
        assert_eq!(settings.attributes, [("deployment.environment".to_owned(), "a b".to_owned())]);
        let named = read(&[ENDPOINT, resource, ("OTEL_SERVICE_NAME", "own")]).unwrap().unwrap();
        assert_eq!((named.service.as_str(), named.attributes.len()), ("own", 1));
    }

    #[test]
    fn a_variable_that_can_not_be_followed_is_named_without_its_value() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=canary\n\u{1}"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "canary"),
            ("OTEL_TRACES_SAMPLER", "canary"),
            ("OTEL_TRACES_SAMPLER_ARG", "canary"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "canary"),
            ("OTEL_BSP_SCHEDULE_DELAY", "canary"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "canary"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "file:///canary"),
            ("OTEL_TRACES_EXPORTER", "canary"),
        ] {
            let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
            let error = read(&[ENDPOINT, ratio, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("canary"), "{name}: {error}");
        }
    }

    #[test]
    fn what_goes_to_the_collector_to_get_in_is_shown_nowhere() {
        let settings = read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=1")]).unwrap().unwrap();
        assert_eq!(
            (&settings.headers["api-key"], &settings.headers["x"]),
            (&"a b".parse().unwrap(), &"1".parse().unwrap())
        );
        assert!(settings.headers["api-key"].is_sensitive() && !format!("{settings:?}").contains("a b"));
    }

    #[test]
    fn the_variables_of_traces_come_before_those_of_everything() {
        let general = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json");
        assert_eq!(read(&[ENDPOINT, general, own]).unwrap().unwrap().form, Form::Json);
    }
}
