//! One trace over three programs: the agent, the gateway as a process of its own, and the control plane behind it.
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use mcpctl_api::server::bootstrap::first_start;
use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::process::bind;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::collector::Collector;
use crate::{Mcplocal, modern};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_trace_through_gateway_and_control_plane_and_is_flushed_when_they_stop() {
    let collector = Collector::start(&[]).await;
    // Nothing is sent before the end.
    let late = ("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let traces = collector.traces(&[late]);
    let data = tempfile::tempdir().unwrap();
    let listener = bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, "--port").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let control = ControlPlane::open(data.path()).await.unwrap();
    control.trace_with(traces.tracer());
    let first = first_start(control.app()).await.map_err(|answer| answer.0).unwrap().expect("a first start");
    let token = first.token.expose().to_owned();
    let stop = control.stopping();
    let serving = tokio::spawn(async move {
        control.serve(listener).await.unwrap();
        control.shutdown().await;
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcplocal"));
    command.args(["serve", "--port", "0"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint);
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json").env(late.0, late.1);
    let mut gateway = Mcplocal::start_by(command, &api);

    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "traceparent": format!("00-{TRACE}-{PARENT}-01"),
    });
    let call = json!({ "name": "whoami", "arguments": {}, "_meta": meta });
    let (status, called) = modern(&gateway.address, &token, "tools/call", call).await;
    assert!(status == 200 && called.to_string().contains("first"), "{status} {called}");
    assert!(collector.spans().is_empty());

    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || gateway.child.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{ended}");
    stop.cancel();
    serving.await.unwrap();
    traces.finish().await;

    let spans: Vec<Value> = collector.spans().into_iter().filter(|span| span["traceId"] == TRACE).collect();
    let find = |name: &str, parent: &Value| -> Value {
        let found = spans.iter().find(|span| span["name"] == name && span["parentSpanId"] == *parent);
        found.unwrap_or_else(|| panic!("no {name} within {parent} in {spans:#?}"))["spanId"].clone()
    };
    let request = find("tools/call whoami", &json!(PARENT));
    let to_the_control_plane = find("tools/call whoami", &request);
    let at_the_control_plane = find("POST /api/v1/mcp/proxy", &to_the_control_plane);
    find("tools/call whoami", &at_the_control_plane);
    let said = Value::from(collector.spans()).to_string();
    assert!(!said.contains(&token) && !said.contains("mcpctl_pat_"), "{said}");
}
