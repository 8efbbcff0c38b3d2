//! The same gateway with its audit log and without, to see what the log costs. Without is no way to run it: only this
//! benchmark can, by a plane of its own.
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mcpctl_api::plane::{Admission, AuditEntry, AuditFailed, CallerBearer, Denial, Plane};
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::process::bind;
use mcpctl_api::upstream::Sessions;
use mcpctl_core::ids::Seq;
use serde_json::json;

/// A plane that writes nothing down.
struct Unrecorded(Arc<dyn Plane>);

#[async_trait]
impl Plane for Unrecorded {
    async fn admit(&self, bearer: &CallerBearer, project: &str) -> Result<Admission, Denial> {
        self.0.admit(bearer, project).await
    }

    fn sessions(&self, bearer: &CallerBearer) -> Arc<dyn Sessions> {
        self.0.sessions(bearer)
    }

    async fn admitted(&self, _: Option<&CallerBearer>, _: AuditEntry) -> Result<(), AuditFailed> {
        Ok(())
    }

    async fn record(&self, _: Option<&CallerBearer>, _: AuditEntry) -> Result<(), AuditFailed> {
        Ok(())
    }

    fn seq(&self) -> Seq {
        self.0.seq()
    }
}

/// Serves a data folder that `up` made as `up` does, with the audit log or without; prints a line when ready. Ends with the
/// process.
pub fn serve(data: &Path, project: &str, recorded: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let local = || bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, "--port");
        let (api, gateway) = (local().await.unwrap(), local().await.unwrap());
        let control = ControlPlane::open(data).await.unwrap();
        let plane = control.app().plane.clone();
        plane.serves_agents();
        let plane: Arc<dyn Plane> = if recorded { plane } else { Arc::new(Unrecorded(plane)) };
        let endpoint = format!("http://{}/projects/{project}/mcp", gateway.local_addr().unwrap());
        println!("{}", json!({ "endpoint": endpoint }));
        let options = mcpctl_gateway::Options::default();
        let faces =
            tokio::join!(control.serve(api), mcpctl_gateway::serve(gateway, plane, options, control.stopping()));
        faces.0.and(faces.1).unwrap();
    });
}
