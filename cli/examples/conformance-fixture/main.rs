//! An MCP server with everything that the official conformance suite asks for, in both protocol eras, over HTTP.
//!
//! Listens on a port of loopback that the system chooses, prints its URL, serves until it is killed. With
//! `--era legacy` or `--era modern` it refuses the other era the way servers of one era do. `GET /calls` tells how often
//! each method and name arrived: some checks of the suite pass when nothing arrives at all.
#![allow(missing_docs, deprecated, clippy::unwrap_used, clippy::print_stdout)]

mod ask;
mod board;
mod content;
mod era;
mod handler;
mod http;
mod input_required;
mod prompts;
mod resources;
mod schemas;
mod session;
mod talk;
mod tasks;
mod tools;
mod trigger;

use era::Era;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let era = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Era::Dual,
        ["--era", "legacy"] => Era::Legacy,
        ["--era", "modern"] => Era::Modern,
        _ => panic!("usage: conformance-fixture [--era legacy|modern]"),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}/mcp", listener.local_addr().unwrap());
    http::serve(listener, era).await;
}
