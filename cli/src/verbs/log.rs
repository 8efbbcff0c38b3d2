//! `mcpctl log`: whether the log is whole, and what others need to see that for themselves.
use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use mcpctl_api::client::ClientError;
use mcpctl_api::server::evidence::{self, LogName, witnesses};
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::record::{AuditAnchor, Header, Record};
use mcpctl_tlog::{Checkpoint, Hash, Resource, TILE_WIDTH, Tree, bundle, consistency, record_hash};
use serde_json::{Value, json};

use crate::failure::{Done, Failure};
use crate::format::{self, Plain};
use crate::log_seen::{Looked, look};
use crate::out;
use crate::session::{Global, Session};

/// Verifies, exports and repairs the logs: of events, and of what was called
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  mcpctl log verify
  mcpctl log verify --log audit
  mcpctl log verify --log all --deep --data-dir /var/lib/mcpctl
  mcpctl log export --data-dir /var/lib/mcpctl -o log-2026
  mcpctl log repair --data-dir /var/lib/mcpctl")]
pub enum Log {
    /// Checks that nothing was changed or taken away: signature, tree, and that it goes on from what was seen before
    Verify(Verify),
    /// Writes the whole log for strangers: checkpoint, key, tiles and entries (C2SP tlog-tiles)
    Export(Export),
    /// Says which witnesses cosign the checkpoints of a data folder's logs
    #[command(subcommand)]
    Witness(Witness),
    /// Makes again what is derived and cuts off a write that nobody was told of; never touches what was acknowledged
    Repair(Repair),
}

/// Witnesses of a data folder's logs
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  mcpctl log witness keys --data-dir /var/lib/mcpctl
  mcpctl log witness add w1 https://w1.example.com w1.example.com+9a7b8c1d+BK… --data-dir /var/lib/mcpctl
  mcpctl log witness list --data-dir /var/lib/mcpctl

The policy lies in `log.policy` of the data folder (C2SP tlog-policy), and is read again within a second: nobody needs a
restart. `mcpctl status` says when a witness refuses.")]
pub enum Witness {
    /// Adds a witness, and says how many of all of them must cosign
    Add {
        /// What the policy calls it
        #[arg(value_name = "NAME")]
        name: String,
        /// Where it answers
        #[arg(value_name = "URL")]
        url: String,
        /// Its public key, as `mcpctl witness serve` prints it
        #[arg(value_name = "KEY")]
        key: String,
        /// How many of all witnesses must cosign; all of them without it
        #[arg(long, value_name = "N")]
        quorum: Option<usize>,
        /// The data folder
        #[arg(long, value_name = "FOLDER")]
        data_dir: PathBuf,
    },
    /// Shows the policy
    List {
        /// The data folder
        #[arg(long, value_name = "FOLDER")]
        data_dir: PathBuf,
    },
    /// Shows the public keys of the logs, for whoever runs a witness
    Keys {
        /// The data folder
        #[arg(long, value_name = "FOLDER")]
        data_dir: PathBuf,
    },
}

impl Witness {
    fn run(&self) -> Done {
        match self {
            Self::Add { name, url, key, quorum, data_dir } => {
                let scheme = url.split("://").next().unwrap_or_default();
                if !matches!(scheme, "http" | "https") || !url.contains("://") {
                    return Err(Failure::usage(format!("{url:?} is no address: https://…")));
                }
                let policy = witnesses::add(data_dir, name, key, Some(url), *quorum).map_err(Failure::usage)?;
                out::print(&policy)
            }
            Self::List { data_dir } => {
                let path = data_dir.join(witnesses::POLICY_FILE);
                match std::fs::read_to_string(&path) {
                    Ok(policy) => out::print(&policy),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        out::note("No witnesses: mcpctl log witness add");
                        Ok(())
                    }
                    Err(error) => Err(crate::failure::file("can't read", &path, &error)),
                }
            }
            Self::Keys { data_dir } => {
                let keys = witnesses::log_keys(data_dir).map_err(|error| failed(error.into()))?;
                keys.iter().try_for_each(|key| out::print(&format!("{}\n", key.as_str())))
            }
        }
    }
}

/// What to check.
#[derive(clap::Args)]
pub struct Verify {
    /// Which log: config (events), audit (calls, refusals, logins), state (which grants were in force after each event), or all
    #[arg(long, value_name = "LOG", default_value = "config")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(["config", "audit", "state", "all"]).map(|log| Logs::named(&log)))]
    log: Logs,
    /// Reads every event too: over HTTP their chain and the tree (takes run:audit), in a data folder that each folds, and what snapshots say
    #[arg(long)]
    deep: bool,
    /// Looks at this data folder instead of asking the control plane
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

/// One log, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logs {
    One(LogName),
    All,
}

impl Logs {
    fn named(name: &str) -> Self {
        name.parse().map_or(Self::All, Self::One)
    }
}

/// From where to where.
#[derive(clap::Args)]
pub struct Export {
    /// Which log: config (events), audit (calls, refusals, logins) or state (which grants were in force after each event)
    #[arg(long, value_name = "LOG", default_value = "config")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(["config", "audit", "state"]).map(|log| log.parse::<LogName>().unwrap_or(LogName::Config)))]
    log: LogName,
    /// The data folder
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Folder to write; made if need be
    #[arg(short = 'o', long = "output", value_name = "FOLDER")]
    output: PathBuf,
}

/// What to repair.
#[derive(clap::Args)]
pub struct Repair {
    /// Which log: config (events), audit (calls, refusals, logins) or state (which grants were in force after each event)
    #[arg(long, value_name = "LOG", default_value = "config")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(["config", "audit", "state"]).map(|log| log.parse::<LogName>().unwrap_or(LogName::Config)))]
    log: LogName,
    /// The data folder; nobody else may be using it
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
}

impl Log {
    pub async fn run(self, global: &Global) -> Done {
        match self {
            Self::Verify(verify) => verify.run(global).await,
            Self::Export(export) => {
                let done = evidence::export(&export.data_dir, export.log, &export.output).map_err(failed)?;
                out::note(&format!("Wrote {} entries of {} as {} files.", done.size, done.origin, done.files));
                out::print(&format!("{}\n", done.key))
            }
            Self::Witness(witness) => witness.run(),
            Self::Repair(repair) => {
                let done = evidence::repair(&repair.data_dir, repair.log).map_err(failed)?;
                let what = if done.repaired.is_empty() { "nothing".to_owned() } else { done.repaired.join(", ") };
                out::print(&format!("{} entries are whole; made again: {what}\n", done.records))
            }
        }
    }
}

impl Verify {
    async fn run(self, global: &Global) -> Done {
        let mut damaged = Vec::new();
        let said = match self.log {
            Logs::One(log) => self.one(global, log, &mut damaged).await?,
            Logs::All => {
                let mut all = serde_json::Map::new();
                for log in LogName::ALL {
                    all.insert(log.to_string(), self.one(global, log, &mut damaged).await?);
                }
                Value::Object(all)
            }
        };
        out::print(&match self.output {
            Plain::Json => format::json(&said),
            Plain::Yaml => format::yaml(&said),
            Plain::Table => crate::tree::tree(said.as_object().unwrap_or(&serde_json::Map::new())),
        })?;
        if damaged.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("the records are whole, and {} is damaged or missing", damaged.join(", ")))
            .hint("nothing is lost: mcpctl log repair makes it again"))
    }

    async fn one(&self, global: &Global, log: LogName, damaged: &mut Vec<String>) -> Done<Value> {
        let Some(data) = &self.data_dir else { return over_http(&global.session()?, log, self.deep).await };
        let seen = evidence::verify(data, log, self.deep).map_err(failed)?;
        let of = |what: &String| if self.log == Logs::All { format!("{what} of the {log} log") } else { what.clone() };
        damaged.extend(seen.repairable.iter().map(of));
        Ok(json!(seen))
    }
}

async fn over_http(session: &Session, log: LogName, deep: bool) -> Done<Value> {
    let looked = look(&session.client, log).await?;
    let (tree, anchor) =
        if deep { of_entries(session, log, &looked).await? } else { (of_tiles(session, log, &looked).await?, None) };
    let Looked { checkpoint, key, before } = looked;
    if tree.root() != checkpoint.root {
        return Err(Failure::new("the tree is not the one that the checkpoint signs"));
    }
    if let Some((seq, anchor)) = anchor {
        stands_as_said(session, seq, anchor).await?;
    }
    Ok(json!({
        "origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.to_string(),
        "key": key.as_str(), "seenBefore": before, "deep": deep,
        "anchor": anchor.map(|(seq, anchor)| json!({ "seq": seq, "audit": anchor.size })),
    }))
}

/// Whether the audit log goes on from where an event says that it stood.
async fn stands_as_said(session: &Session, seq: Seq, anchor: AuditAnchor) -> Done {
    let contradicts = |what: &str| {
        let AuditAnchor { size, .. } = anchor;
        Failure::new(format!("the event at seq {seq} says that the audit log had {size} entries, and it {what}"))
            .note("Entries were taken away from it, or changed.")
    };
    let audit = look(&session.client, LogName::Audit).await?;
    let shown = match session.client.log_consistency(LogName::Audit.as_str(), anchor.size).await {
        Err(ClientError::Refused(problem)) if problem.status == 404 => return Err(contradicts("has fewer")),
        shown => shown?,
    };
    let now = audit.key.open(shown.checkpoint.as_bytes()).map_err(|error| Failure::new(error.to_string()))?;
    let proof: Vec<Hash> = shown.proof.iter().filter_map(|hash| Hash::parse_hash(hash).ok()).collect();
    let then = Checkpoint { origin: now.origin.clone(), size: anchor.size, root: Hash(anchor.root.0) };
    consistency::check(&then, &now, &proof).map_err(|_| contradicts("does not go on from those"))
}

/// The tiles of a level, from left to right, with their widths.
fn tiles(size: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..size.div_ceil(TILE_WIDTH)).map(move |n| (n, (size - n * TILE_WIDTH).min(TILE_WIDTH)))
}

async fn of_tiles(session: &Session, log: LogName, looked: &Looked) -> Done<Tree> {
    let mut tree = Tree::default();
    for (n, width) in tiles(looked.checkpoint.size) {
        let tile = session.client.log_tile(log.as_str(), &Resource::Tile { level: 0, n, width }.to_string()).await?;
        for hash in tile.chunks_exact(mcpctl_tlog::HASH_BYTES) {
            let hash: [u8; mcpctl_tlog::HASH_BYTES] =
                hash.try_into().map_err(|_| Failure::new("a tile has half a hash"))?;
            let _ = tree.push(mcpctl_tlog::Hash(hash));
        }
    }
    Ok(tree)
}

/// The tree over all entries, and the last place of the audit log that an event names.
async fn of_entries(session: &Session, log: LogName, looked: &Looked) -> Done<(Tree, Option<(Seq, AuditAnchor)>)> {
    let (mut tree, mut prev, mut anchor) = (Tree::default(), Digest::default(), None);
    for (n, width) in tiles(looked.checkpoint.size) {
        let bytes = session.client.log_tile(log.as_str(), &Resource::Entries { n, width }.to_string()).await?;
        for entry in bundle::entries(&bytes).map_err(|error| Failure::new(error.to_string()))? {
            if log == LogName::Config {
                let header = follows(entry, tree.size() + 1, prev)?;
                (prev, anchor) = (Digest::blake3(entry), header.audit.map(|audit| (header.seq, audit)).or(anchor));
            }
            let _ = tree.push(record_hash(entry));
        }
    }
    Ok((tree, anchor))
}

/// The chain of hashes of events: each names the one before it.
fn follows(event: &[u8], seq: u64, prev: Digest) -> Done<Header> {
    let header = Record::load(event).map_err(|error| Failure::new(format!("the event at seq {seq}: {error}")))?.header;
    if header.seq.0 != seq || header.prev != prev {
        return Err(Failure::new(format!("the event at seq {seq} does not follow from the one before it")));
    }
    Ok(header)
}

fn failed(error: evidence::OfflineError) -> Failure {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Failure::new(text)
}
