//! A proxy on loopback that adds a bearer to each request: the suite can't send one itself.
//!
//! Host and Origin pass untouched, since the suite tries what a server does with bad ones. Answers stream; a client that
//! hangs up ends the request on the other side too, which is how a modern client cancels.
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use url::Url;

type Answer = Response<BoxBody<Bytes, reqwest::Error>>;

/// The running proxy. Ended when it goes out of scope.
#[derive(Debug)]
pub struct Bearer {
    pub url: String,
    runtime: Option<Runtime>,
}

/// Where requests go, and what they get on the way.
#[derive(Debug)]
struct Way {
    client: reqwest::Client,
    origin: String,
    bearer: String,
}

impl Bearer {
    /// A proxy to `target` with its path.
    pub fn start(target: &str, token: &str) -> Self {
        let target = Url::parse(target).unwrap();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let origin = target.origin().ascii_serialization();
        let way = Arc::new(Way { client, origin, bearer: format!("Bearer {token}") });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}{}", listener.local_addr().unwrap(), target.path());
        runtime.spawn(serve(listener, way));
        Self { url, runtime: Some(runtime) }
    }
}

impl Drop for Bearer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, way: Arc<Way>) {
    while let Ok((stream, _)) = listener.accept().await {
        let way = Arc::clone(&way);
        let answering = service_fn(move |request| relay(request, Arc::clone(&way)));
        tokio::spawn(async move {
            // A client that hangs up is no news.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answering).await;
        });
    }
}

async fn relay(request: Request<Incoming>, way: Arc<Way>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(bad_gateway("the request broke off")) };
    let mut headers = parts.headers;
    for own in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        headers.remove(own);
    }
    headers.insert(AUTHORIZATION, way.bearer.parse().expect("a token is a valid header"));
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let sent = way.client.request(parts.method, format!("{}{path}", way.origin)).headers(headers).body(body.to_bytes());
    Ok(match sent.send().await {
        Ok(answer) => streamed(answer),
        Err(error) => bad_gateway(&error.to_string()),
    })
}

fn streamed(answer: reqwest::Response) -> Answer {
    let mut relayed = Response::new(());
    *relayed.status_mut() = answer.status();
    *relayed.headers_mut() = answer.headers().clone();
    relayed.headers_mut().remove(CONNECTION);
    relayed.headers_mut().remove(TRANSFER_ENCODING);
    let body = StreamBody::new(answer.bytes_stream().map_ok(Frame::data));
    relayed.map(|()| BodyExt::boxed(body))
}

fn bad_gateway(said: &str) -> Answer {
    let body = Full::from(said.to_owned()).map_err(|never| match never {});
    Response::builder().status(502).body(body.boxed()).expect("the status is valid")
}
