//! The HTTP side: era, `/calls`, and rmcp's service for `/mcp`.
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use crate::board::Board;
use crate::era::{Era, Refusal};
use crate::session::Session;

type Answer = Response<BoxBody<Bytes, Infallible>>;
type Mcp = StreamableHttpService<Session, LocalSessionManager>;

/// Serves until the process is killed.
pub async fn serve(listener: TcpListener, era: Era) {
    let board = Arc::new(Board::new());
    let mcp = service(&board);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (board, mcp) = (Arc::clone(&board), mcp.clone());
        let answering = service_fn(move |request| answer(request, era, Arc::clone(&board), mcp.clone()));
        tokio::spawn(async move {
            // A client that hangs up is no news.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answering).await;
        });
    }
}

fn service(board: &Arc<Board>) -> Mcp {
    let board = Arc::clone(board);
    // No priming events (`sse_retry`): a popular client dies of them.
    let config = StreamableHttpServerConfig::default().with_sse_retry(None);
    StreamableHttpService::new(move || Ok(Session::new(Arc::clone(&board))), Arc::default(), config)
}

async fn answer(request: Request<Incoming>, era: Era, board: Arc<Board>, mcp: Mcp) -> Result<Answer, Infallible> {
    match request.uri().path() {
        "/calls" => Ok(json(200, serde_json::to_vec(&board.calls()).unwrap())),
        "/mcp" => Ok(answer_mcp(request, era, mcp).await),
        _ => Ok(json(404, Vec::new())),
    }
}

async fn answer_mcp(request: Request<Incoming>, era: Era, mcp: Mcp) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return json(400, Vec::new()) };
    let body = body.to_bytes();
    match era.refuse(&parts.method, &parts.headers, &body) {
        Some(Refusal { status, body }) => json(status, body.map(|b| b.to_string().into_bytes()).unwrap_or_default()),
        None => mcp.handle(Request::from_parts(parts, Full::new(body))).await,
    }
}

fn json(status: u16, body: Vec<u8>) -> Answer {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::from(body).boxed()).expect("status and header are valid")
}
