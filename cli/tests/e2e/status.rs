//! `mcpctl status` for scripts: its exit code and words say whether the gateway is well.
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use crate::support::process::free_port;
use crate::support::up::Up;

const WHY: &str = "its log is another one than was seen before";

/// Stands for a gateway that refuses its control plane: it answers as one does (the real one is in the `forks` tests of the
/// gateway, which have no command line).
fn refusing_gateway() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let body = format!(
                r#"{{"type":"urn:mcpctl:problem:control-plane-refused","title":"The control plane is refused","status":503,"detail":"{WHY}"}}"#
            );
            let head =
                "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nconnection: close";
            let _ = write!(&stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

#[test]
fn a_gateway_that_refuses_or_does_not_answer_makes_the_exit_code_1() {
    let up = Up::start();
    let well = up.mcpctl(&["status", "-o", "json"]).ok().json();
    assert!(well["gateway"]["trouble"].is_null() && well["gateway"]["seq"].is_u64(), "{well}");
    let context = well["context"].as_str().unwrap();
    let dead = format!("http://127.0.0.1:{}", free_port());
    for (gateway, words) in [(refusing_gateway(), WHY), (dead, "does not answer")] {
        up.mcpctl(&["config", "set-context", context, "--gateway", &gateway]).ok();
        let table = up.mcpctl(&["status"]).exits(1);
        assert!(table.stdout.contains(words) && table.stdout.contains("control plane"), "{}", table.said());
        let told = up.mcpctl(&["status", "-o", "json"]).exits(1).json();
        assert!(told["gateway"]["trouble"].as_str().unwrap().contains(words), "{told}");
    }
    let own = well["gateway"]["address"].as_str().unwrap();
    up.mcpctl(&["config", "set-context", context, "--gateway", own]).ok();
    up.mcpctl(&["status"]).ok();
}
