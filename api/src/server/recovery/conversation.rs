//! One connection of somebody at the machine: who is it, what do they say, what are they told.
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::actor::Actor;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::administrator;
use crate::local::{Answered, Key, LINE_BYTES_MAX, Recover};
use crate::server::app::App;
use crate::server::login_audit;

/// How long a question may take to arrive, and an answer to be taken.
const TALK_WAIT: Duration = Duration::from_secs(5);

/// Answers one question and hangs up.
pub(super) async fn hold(mut stream: UnixStream, key: &Key, app: &Arc<App>) {
    let answered = match peer(&stream) {
        Ok(by) => match tokio::time::timeout(TALK_WAIT, question(&mut stream)).await {
            Ok(Ok(question)) => answer(app, key, by, question).await,
            Ok(Err(why)) => refused(app, Some(by), &why, "use `mcpctl recover admin`"),
            Err(_) => refused(app, Some(by), "the question did not arrive in time", "use `mcpctl recover admin`"),
        },
        Err(why) => refused(app, None, &why, "run this as the owner of the data folder"),
    };
    let Ok(line) = serde_json::to_vec(&answered).map(zeroize::Zeroizing::new) else { return };
    let said = async {
        stream.write_all(&line).await?;
        stream.shutdown().await
    };
    if tokio::time::timeout(TALK_WAIT, said).await.is_err() {
        tracing::debug!("a local answer was not taken");
    }
}

/// Who is at the other end, as the system says.
fn peer(stream: &UnixStream) -> Result<Actor, String> {
    let peer = stream.peer_cred().map_err(|error| format!("the system does not say who asks: {error}"))?;
    if crate::local::is_trusted(peer.uid()) {
        Ok(Actor::local(peer.uid()))
    } else {
        Err(format!("user id {} is not the owner of this control plane", peer.uid()))
    }
}

async fn question(stream: &mut UnixStream) -> Result<Recover, String> {
    let mut line = zeroize::Zeroizing::new(Vec::new());
    let mut bounded = BufReader::new(stream.take(LINE_BYTES_MAX as u64));
    let read = bounded.read_until(b'\n', &mut line).await;
    read.map_err(|error| error.to_string())?;
    // The parser's message may quote the input, and the input holds the key.
    serde_json::from_slice(&line).map_err(|_| "the question can't be read".to_owned())
}

async fn answer(app: &Arc<App>, key: &Key, by: Actor, asked: Recover) -> Answered {
    let Recover { key: said, user } = asked;
    if !key.is(&zeroize::Zeroizing::new(said)) {
        return refused(app, Some(by), "the key is wrong", "the key file was replaced: restart the control plane");
    }
    match administrator::recover(app, &by, user).await {
        Ok(recovered) => Answered::Recovered(recovered),
        Err(answer) => {
            login_audit::recovery_refused(app, Some(by), &answer.0.detail);
            Answered::Refused { detail: answer.0.detail, hint: answer.0.hint }
        }
    }
}

fn refused(app: &App, by: Option<Actor>, why: &str, hint: &str) -> Answered {
    login_audit::recovery_refused(app, by, why);
    Answered::Refused { detail: why.to_owned(), hint: Some(hint.to_owned()) }
}
