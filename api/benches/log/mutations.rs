//! Mutations through the one writer: decided, authorized, made durable, folded, published, answered.
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpctl_api::server::published::Published;
use mcpctl_api::server::revocation::{Hub, RevocationFigures};
use mcpctl_api::server::writer::{Submission, Writer};
use mcpctl_core::actor::Actor;
use mcpctl_core::command::{Command, Deed, Mode};
use mcpctl_core::kinds::Kind;
use mcpctl_core::log::durable::{DurableLog, OpenOptions};
use mcpctl_core::manifest::read_kind;
use mcpctl_projections::State;
use serde_json::{Value, json};

use crate::durable::Figures;
use crate::{folder, median};

/// So many callers, each of which sends the next mutation when the last was answered.
pub fn run(writers: usize, long: Duration) -> Figures {
    let folder = folder();
    let log = DurableLog::open(folder.path(), OpenOptions::default(), &mut |_| Ok(())).unwrap();
    let hub = Arc::new(Hub::new(&State::default(), RevocationFigures::default()));
    let (writer, thread) = Writer::start(Box::new(log), Published::new(State::default()), hub).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let latencies: Vec<f64> = runtime.block_on(async {
        let until = Instant::now() + long;
        let writer = Arc::new(writer);
        let callers: Vec<_> =
            (0..writers).map(|caller| tokio::spawn(call(Arc::clone(&writer), caller, until))).collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.await.unwrap());
        }
        all
    });
    drop(runtime);
    thread.join();
    (latencies.len() as f64 / long.as_secs_f64(), median(latencies))
}

async fn call(writer: Arc<Writer>, caller: usize, until: Instant) -> Vec<f64> {
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let submission = submission(&format!("server-{caller}"), latencies.len());
        let begun = Instant::now();
        writer.submit(submission).await.unwrap();
        latencies.push(begun.elapsed().as_nanos() as f64 / 1e3);
    }
    latencies
}

fn submission(name: &str, change: usize) -> Submission {
    let fields =
        json!({"name": name, "description": format!("change {change}"), "command": ["npx", "-y", "@example/server"]});
    let Value::Object(fields) = fields else { unreachable!("it is written as one") };
    let manifest = read_kind(Kind::Server, fields).unwrap();
    let deed = Deed::Apply { body: manifest.body, mode: Mode::Upsert, expected: None, then: Vec::new() };
    let command = Command { kind: Kind::Server, name: manifest.name, project: None, deed };
    Submission::of(Actor::system("bench"), command)
}
