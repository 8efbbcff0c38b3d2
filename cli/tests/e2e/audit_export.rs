//! The audit log followed, listed by sessions, and exported: to parsers that others wrote, and to receivers that fail.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::http::send;
use crate::support::parts::parts;
use crate::support::process::{Owned, run};
use crate::support::up::Up;

const LIMIT: Duration = Duration::from_secs(60);

/// Texts that try to be fields, elements, lines and screens of their own.
const EVIL: [&str; 5] = [
    "a|b=c\\ act=owned cs1=x",
    "\"] [evil@1 x=\"y\"]",
    "x\nCEF:0|evil|evil|1|1|1|10|externalId=0",
    "\u{1b}[2J\r\n<0>1 - - - - - - gone\u{2028}\u{202e}",
    "naïve ユーザー",
];

/// Calls tools by these names, and by a good one.
fn called(up: &Up) {
    let bearer = format!("Bearer {}", up.token());
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let ask = |session: Option<&str>, message: Value| {
        let mut headers = headers.to_vec();
        headers.extend(session.map(|session| ("mcp-session-id", session)));
        send("POST", &up.ready.endpoint, &headers, message.to_string().into_bytes()).unwrap()
    };
    let client =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let opened = ask(None, json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client }));
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    ask(Some(&session), json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    ask(Some(&session), json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
    for (id, name) in EVIL.iter().chain(&["history"]).enumerate() {
        let params = json!({ "name": name, "arguments": {} });
        ask(Some(&session), json!({ "jsonrpc": "2.0", "id": id + 2, "method": "tools/call", "params": params }));
    }
    send("DELETE", &up.ready.endpoint, &[headers[0], ("mcp-session-id", &session)], Vec::new()).unwrap();
}

/// Signs in as nobody, by these names.
fn guessed(up: &Up) {
    for name in EVIL {
        let body = json!({ "email": name, "password": "guessed wrong" }).to_string();
        let url = format!("{}/api/v1/auth/login", up.ready.api);
        assert_ne!(send("POST", &url, &[("content-type", "application/json")], body.into_bytes()).unwrap().status, 200);
    }
}

/// Entries as the API shows them.
fn shown(up: &Up, args: &[&str]) -> Vec<Value> {
    let list = up.place.mcpctl(&[&["audit", "events", "--limit", "1000", "-o", "json"], args].concat()).ok().json();
    list["items"].as_array().unwrap().clone()
}

fn read(form: &str, file: &Path) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/scripts/read_export.py");
    let ran = run(Command::new(parts().python()).args([script, form]).arg(file), None, LIMIT);
    serde_json::from_str(&ran.ok().stdout).unwrap()
}

#[test]
fn parsers_of_others_read_what_is_exported_and_no_name_becomes_a_field() {
    let up = Up::start();
    called(&up);
    guessed(&up);
    for (kind, form) in ["call", "login"].iter().flat_map(|kind| ["cef", "syslog", "otlp"].map(|form| (*kind, form))) {
        let expected = shown(&up, &["--kind", kind]);
        assert!(expected.len() >= EVIL.len(), "{expected:?}");
        let file = up.place.path(&format!("{kind}.{form}"));
        let args = ["audit", "export", "--kind", kind, "--format", form, "--sink", file.to_str().unwrap()];
        up.place.mcpctl(&args).ok();
        let told = read(form, &file);
        let of = |all: &[Value], field: &str, id: &str| -> Vec<(String, Value)> {
            all.iter().map(|entry| (entry[id].to_string().trim_matches('"').to_owned(), entry[field].clone())).collect()
        };
        for field in ["tool", "outcome", "reason"] {
            assert_eq!(of(&told, field, "id"), of(&expected, field, "position"), "{field} of {kind} in {form}");
        }
    }
    let lines = up.place.mcpctl(&["audit", "export", "--kind", "call", "--format", "jsonl"]).ok().stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, shown(&up, &["--kind", "call"]));
}

/// Messages with their length in front.
fn unframed(mut bytes: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let Some(message) = bytes.get(space + 1..space + 1 + length) else { break };
        all.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = &bytes[space + 1 + length..];
    }
    all
}

fn ids(messages: &[String]) -> Vec<u64> {
    let id = |message: &String| message.split(" id=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    messages.iter().map(id).collect()
}

#[test]
fn a_receiver_that_drops_and_refuses_loses_nothing_and_order_is_kept() {
    let up = Up::start();
    called(&up);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = std::thread::spawn(move || {
        // The first goes away with something unread, the second at once, the third takes all.
        let (mut first, _) = listener.accept().unwrap();
        first.read_exact(&mut [0; 10]).unwrap();
        drop(first);
        drop(listener.accept().unwrap());
        drop(listener);
        // For a while nobody is there at all.
        let again = std::iter::repeat_with(|| TcpListener::bind(address)).find_map(Result::ok).unwrap();
        let mut all = Vec::new();
        let mut whole = 0;
        while whole == 0 {
            let (mut stream, _) = again.accept().unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            let messages = unframed(&bytes);
            whole += usize::from(!messages.is_empty());
            all.extend(messages);
        }
        all
    });
    let (cursor, to) = (up.place.path("siem.cursor"), format!("tcp://{address}"));
    let args = |to: &str| {
        let cursor = cursor.to_str().unwrap();
        ["audit", "export", "--format", "syslog", "--sink", to, "--cursor-file", cursor, "-p", &up.ready.project]
            .map(str::to_owned)
    };
    let all = |to: &str| args(to).iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
    let run_export = |to: &str| {
        let args = all(to);
        up.place.mcpctl(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let said = run_export(&to).ok();
    assert!(said.stderr.contains("trying again"), "{}", said.stderr);
    let expected: Vec<u64> =
        shown(&up, &["-p", &up.ready.project]).iter().map(|entry| entry["position"].as_u64().unwrap()).collect();
    // The last is the look that asked for them.
    let first = ids(&receiver.join().unwrap());
    assert_eq!(first, expected[..expected.len() - 1], "all of them, once, in order");
    // What comes later is all that the next run delivers; a receiver that is not there moves no cursor.
    called(&up);
    let before = std::fs::read(&cursor).unwrap();
    let args_now = all(&to);
    let mut vain: Vec<&str> = args_now.iter().map(String::as_str).collect();
    vain.extend(["--patience", "1s"]);
    let vain = up.place.mcpctl(&vain);
    assert!(vain.code == Some(1) && vain.stderr.contains("takes no entries"), "{vain:?}");
    assert_eq!(std::fs::read(&cursor).unwrap(), before);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", listener.local_addr().unwrap());
    let receiver = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        unframed(&bytes)
    });
    run_export(&to).ok();
    let later: Vec<u64> =
        shown(&up, &["-p", &up.ready.project]).iter().map(|entry| entry["position"].as_u64().unwrap()).collect();
    assert_eq!(ids(&receiver.join().unwrap()), later[first.len()..later.len() - 1]);
}

/// Answers one HTTP request; gives its body.
fn answered(stream: TcpStream, answer: &str) -> String {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn a_collector_that_is_busy_gets_the_same_entries_again() {
    let up = Up::start();
    called(&up);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let collector = std::thread::spawn(move || {
        let busy = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        [busy, good].map(|answer| answered(listener.accept().unwrap().0, answer))
    });
    let headers = up.place.path("headers");
    std::fs::write(&headers, "Authorization: Bearer collector\n").unwrap();
    let args = ["audit", "export", "--kind", "call", "--format", "otlp", "--sink", &to, "--headers-file"];
    let args = [&args[..], &[headers.to_str().unwrap()]].concat();
    let open = up.place.mcpctl(&args);
    assert!(open.code == Some(1) && open.stderr.contains("chmod 600"), "{open:?}");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&headers, mode).unwrap();
    up.place.mcpctl(&args).ok();
    let [first, second] = collector.join().unwrap();
    assert_eq!(first, second);
    let file = up.place.path("collected");
    std::fs::write(&file, second).unwrap();
    assert_eq!(read("otlp", &file).len(), shown(&up, &["--kind", "call"]).len());
}

#[test]
fn a_tail_tells_each_new_entry_survives_a_restart_and_leaves_nothing_behind() {
    let up = Up::start();
    let mut command = up.place.command(&["audit", "tail", "-f", "-o", "json", "-p", &up.ready.project]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut tail = Owned::new(child);
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
    let followers = |up: &Up| {
        let metrics = send("GET", &format!("{}/metrics", up.ready.api), &[], Vec::new()).unwrap().body;
        let line = metrics.lines().find(|line| line.starts_with("mcpctl_audit_tails ")).unwrap().to_owned();
        line.split(' ').nth(1).unwrap().parse::<f64>().unwrap()
    };
    crate::support::wait::wait_until("the stream is open", LIMIT, || (followers(&up) > 0.0).then_some(()));
    called(&up);
    let mut seen = Vec::new();
    while seen.last() != Some(&"DELETE".to_owned()) {
        let line: Value = serde_json::from_str(&heard.recv_timeout(LIMIT).unwrap()).unwrap();
        seen.push(line["method"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        (&*seen[0], seen.iter().filter(|method| *method == "tools/call").count()),
        ("initialize", EVIL.len() + 1)
    );
    tail.signal(Signal::INT);
    assert!(tail.wait_at_most(LIMIT).is_some());
    crate::support::wait::wait_until("the stream is closed", LIMIT, || (followers(&up) == 0.0).then_some(()));
    let sessions = up.place.mcpctl(&["audit", "sessions", "-o", "json"]).ok().json();
    let session = &sessions["items"][0];
    let told = ["ended", "calls", "refusals", "lists"].map(|field| &session[field]);
    assert_eq!(told, [&json!("closed"), &json!(EVIL.len() + 1), &json!(0), &json!(1)]);
    let id = session["id"].as_str().unwrap();
    let shown = up.place.mcpctl(&["session", "show", id]).ok().stdout;
    assert!(shown.contains("tools/list") && shown.contains("closed") && !shown.contains('\u{1b}'), "{shown}");
    let shown = up.place.mcpctl(&["session", "show", id, "-o", "json"]).ok().json();
    let list = shown["items"].as_array().unwrap().iter().find(|item| item["method"] == "tools/list").unwrap();
    assert_eq!(list["answer"].as_str().unwrap().len(), 64, "the model was shown a list, and this is its digest");
    assert_eq!(up.place.mcpctl(&["session", "show", "nobody00"]).code, Some(1));
}

/// A receiver under TLS in Python: its port, and itself.
fn tls_receiver(up: &Up, keep: &Path, manner: &str) -> (u16, Owned) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/scripts/tls_receiver.py");
    let mut command = Command::new(parts().python());
    command.arg(script).args([up.place.path("server.pem"), up.place.path("server.key")]).arg(keep).arg(manner);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (line.trim().parse().unwrap(), Owned::new(child))
}

#[test]
fn syslog_goes_over_tls_to_whom_is_trusted_and_comes_again_when_the_end_was_not_said() {
    let up = Up::start();
    called(&up);
    let roots = up.place.path("roots.pem");
    let (certificate, key) = crate::tls::certificate(&roots);
    std::fs::write(up.place.path("server.pem"), certificate.pem()).unwrap();
    std::fs::write(up.place.path("server.key"), key.serialize_pem()).unwrap();
    let (keep, cursor) = (up.place.path("received"), up.place.path("tls.cursor"));
    let (roots, cursor) = (roots.to_str().unwrap(), cursor.to_str().unwrap());
    let export = |port: u16, more: &[&str]| {
        let to = format!("tls://localhost:{port}");
        let args = ["audit", "export", "--kind", "call", "--format", "syslog", "--patience", "1s", "--sink", &to];
        up.place.mcpctl(&[&args[..], &["--cursor-file", cursor], more].concat())
    };
    let (port, mut receiver) = tls_receiver(&up, &keep, "orderly");
    let unknown = export(port, &[]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("certificate"), "{unknown:?}");
    assert!(!Path::new(cursor).exists(), "nothing was delivered");
    export(port, &["--ca-file", roots]).ok();
    assert!(receiver.wait_at_most(LIMIT).is_some());
    let expected: Vec<u64> =
        shown(&up, &["--kind", "call"]).iter().map(|entry| entry["position"].as_u64().unwrap()).collect();
    assert_eq!(ids(&unframed(&std::fs::read(&keep).unwrap())), expected, "framed by octets, whole and in order");
    // Cut off without a word, as somebody in between could: not believed to have arrived, and offered again.
    called(&up);
    let moved = std::fs::read(cursor).unwrap();
    let (port, mut receiver) = tls_receiver(&up, &keep, "rude");
    let cut_off = export(port, &["--ca-file", roots]);
    assert_eq!((cut_off.code, std::fs::read(cursor).unwrap()), (Some(1), moved), "{cut_off:?}");
    assert!(receiver.wait_at_most(LIMIT).is_some());
    let (port, mut receiver) = tls_receiver(&up, &keep, "orderly");
    export(port, &["--ca-file", roots]).ok();
    assert!(receiver.wait_at_most(LIMIT).is_some());
    let all = shown(&up, &["--kind", "call"]);
    let all: Vec<u64> = all.iter().map(|entry| entry["position"].as_u64().unwrap()).collect();
    assert_eq!(ids(&unframed(&std::fs::read(&keep).unwrap())), all[expected.len()..]);
    assert_eq!(up.place.mcpctl(&["audit", "export", "--format", "cef", "--ca-file", roots]).code, Some(2));
    assert_eq!(export(port, &["--ca-file", up.place.path("server.key").to_str().unwrap()]).code, Some(1));
}
