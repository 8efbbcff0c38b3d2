//! Makes the fleet what the state asks for: a plan for every server, with its secrets resolved at this moment.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mcpctl_core::ids::Uid;
use mcpctl_core::kinds::{EnvVar, HealthCheck, Kind, Secret, Server, Transport};
use mcpctl_core::object::Object;
use mcpctl_core::world::World as _;
use mcpctl_projections::State;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::app::App;
use super::effects::sealed_store::SealedStore;
use super::effects::secret_values;
use crate::upstream::{Check, Fleet, Launch, ServerPlan, Session, SessionKey, Sessions, UpstreamError};

const SESSIONS_MAX: u32 = 16;

/// Follows the newest state until the control plane stops.
pub async fn follow(app: Arc<App>, stop: CancellationToken) {
    let (published, fleet, sealed) = (&app.published, &app.fleet, &app.sealed);
    let mut states = published.follow();
    let mut planned = None;
    loop {
        let state = states.borrow_and_update().clone();
        let wanted = fingerprint(&state);
        if planned.as_ref() != Some(&wanted) {
            fleet.apply(plans(&state, fleet, sealed)).await;
            planned = Some(wanted);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

/// What the plans depend on: the versions of servers and of the secrets that they use.
fn fingerprint(state: &State) -> Vec<(Uid, u64, Option<HealthCheck>)> {
    let check = |object: &Object| object.of::<Server>().and_then(|(spec, _)| spec.health_check.clone());
    state.all(Kind::Server).map(|object| (object.meta.uid, revision(state, object), check(object))).collect()
}

/// How a server is checked: as it says, or by listing its tools.
fn check_of(spec: &Server) -> Check {
    let Some(declared) = &spec.health_check else { return Check::default() };
    let arguments = serde_json::value::to_raw_value(&declared.arguments).expect("a JSON object is JSON");
    Check {
        tool: Some((declared.tool.as_str().into(), arguments)),
        interval: Duration::from_secs(declared.interval_seconds.into()),
        timeout: Duration::from_secs(declared.timeout_seconds.into()),
        failures_max: declared.failure_threshold,
    }
}

fn revision(state: &State, object: &Object) -> u64 {
    let secrets = object.refs.iter().filter(|reference| reference.kind == Kind::Secret);
    let of_secret = |uid: Uid| {
        state.by_uid(uid).and_then(|secret| {
            let version = secret.of::<Secret>()?.1.current.as_ref()?;
            Some(version.commitment)
        })
    };
    let mut hasher = blake3::Hasher::new();
    if let Some((spec, _)) = object.of::<Server>() {
        let launch =
            (spec.argv(), &spec.env, &spec.headers, &spec.external_url, spec.transport(), spec.allow_private_address);
        hasher.update(&serde_json::to_vec(&launch).unwrap_or_default());
        hasher.update(&spec.replicas.to_le_bytes());
        hasher.update(&spec.sessions_max.unwrap_or(SESSIONS_MAX).to_le_bytes());
    }
    for secret in secrets {
        hasher.update(&of_secret(secret.uid).unwrap_or_default().0);
    }
    let bytes = *hasher.finalize().as_bytes();
    u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

fn plans(state: &State, fleet: &Fleet, sealed: &SealedStore) -> Vec<ServerPlan> {
    let servers =
        state.all(Kind::Server).filter(|object| object.of::<Server>().is_some_and(|(spec, _)| spec.embedded.is_none()));
    servers
        .filter_map(|object| match plan(state, object, sealed) {
            Ok(plan) => {
                fleet.unregister(object.meta.uid);
                Some(plan)
            }
            Err(why) => {
                tracing::warn!(server = %object.meta.name, %why, "a server can't be started");
                let server = object.meta.name.to_string();
                fleet.register(object.meta.uid, Arc::new(Unresolved { server, why }));
                None
            }
        })
        .collect()
}

fn plan(state: &State, object: &Object, sealed: &SealedStore) -> Result<ServerPlan, String> {
    let (spec, _) = object.of::<Server>().ok_or("is no server")?;
    let launch = match (&spec.external_url, spec.transport()) {
        (None, _) => Launch::Stdio { argv: spec.argv(), env: resolve(state, &spec.env, sealed)? },
        (Some(url), transport) => {
            let url = url.parse().map_err(|error| format!("its externalUrl is no URL: {error}"))?;
            let headers = resolve(state, &spec.headers, sealed)?;
            let allow_private_address = spec.allow_private_address;
            match transport {
                Transport::Sse => Launch::Sse { url, headers, allow_private_address },
                _ => Launch::Http { url, headers, allow_private_address },
            }
        }
    };
    Ok(ServerPlan {
        uid: object.meta.uid,
        name: object.meta.name.to_string(),
        revision: revision(state, object),
        launch,
        replicas: spec.replicas,
        sessions_max: spec.sessions_max.unwrap_or(SESSIONS_MAX).max(spec.replicas),
        check: check_of(spec),
    })
}

fn resolve(
    state: &State,
    vars: &[EnvVar],
    sealed: &SealedStore,
) -> Result<BTreeMap<String, Zeroizing<String>>, String> {
    vars.iter().map(|var| Ok((var.name.clone(), value_of(state, var, sealed)?))).collect()
}

fn value_of(state: &State, var: &EnvVar, sealed: &SealedStore) -> Result<Zeroizing<String>, String> {
    let Some(from) = &var.value_from else { return Ok(Zeroizing::new(var.value.clone().unwrap_or_default())) };
    let (name, key) = (from.secret_ref.name.name(), &from.secret_ref.key);
    let secret =
        state.by_name(Kind::Secret, None, name).ok_or_else(|| format!("its secret {name:?} does not exist"))?;
    let mut values = secret_values::read(sealed, secret).map_err(|error| error.to_string())?;
    values.remove(key).ok_or_else(|| format!("its secret {name:?} has no key {key:?}"))
}

/// A server that can't be started because of something in the control plane: it says so to whoever calls it.
struct Unresolved {
    server: String,
    why: String,
}

#[async_trait]
impl Sessions for Unresolved {
    async fn session(&self, _server: Uid, _key: &SessionKey) -> Result<Arc<dyn Session>, UpstreamError> {
        Err(UpstreamError::Unavailable { server: self.server.clone(), why: self.why.clone() })
    }
    async fn end(&self, _key: &SessionKey) {}
    fn unavailable(&self) -> Option<String> {
        Some(self.why.clone())
    }
}
