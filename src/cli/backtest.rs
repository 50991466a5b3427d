//! Flags of `auditmill backtest` and `auditmill explain`; no behaviour.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{AddressArgs, ConfigArgs, Format, ServerArgs, ShippedArgs};
use crate::detect::detection::Severity;
use crate::event::ClusterName;

pub(super) const BACKTEST_EXAMPLES: &str = "Examples:
  auditmill backtest audit-*.log.gz
  auditmill backtest --data /var/lib/auditmill --since 30d --dir my-detections/
  auditmill backtest --data auditmill-data --since 2026-03-01 --until 2026-04-01
  auditmill backtest --data auditmill-data --detection K8A-205 --format json
  auditmill backtest --config auditmill.toml --data s3://bucket/audit --since 7d
  auditmill backtest --dir new/ --diff old/ --data auditmill-data --since 7d
      what the detections in new/ find and those in old/ do not, and the other way round
A time is RFC 3339, a day (its start, in UTC), or how long ago. Events from before `--since` are
read as far as detections look back; what they alone make is not told.
Exit codes: 0 done; 1 findings at `--fail-on`; 2 nothing to read, or a detection is wrong.";

pub(super) const EXPLAIN_EXAMPLES: &str = "Examples:
  auditmill explain 8f3c2c51-5d1e-4c0c-9f54-1a0f9d1f6a10
      asks the server on this machine for the events of that audit id
  auditmill explain --data auditmill-data 8f3c2c51-5d1e-4c0c-9f54-1a0f9d1f6a10
  auditmill explain --detection K8A-205 8f3c2c51-5d1e-4c0c-9f54-1a0f9d1f6a10 audit.log
Exit codes: 0 told; 1 there is no such event; 2 nobody there to ask, or nothing to read.";

/// `auditmill backtest`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("input").required(true).args(["data", "files"])))]
pub struct BacktestArgs {
    /// Where settings come from: of a history in a bucket `[history] url` and `options`.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Tell findings from this time on; without it, from the first event on
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Read events up to this time, which is not in it; without it, to the last event
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only this detection; may be given several times
    #[arg(long = "detection", value_name = "ID")]
    pub detections: Vec<String>,
    /// Which shipped detections run.
    #[command(flatten)]
    pub shipped: ShippedArgs,
    /// What is known of addresses.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// Folder of detections that add to the shipped ones or override them by id
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Such a folder of other versions: tell what `--dir` adds to and removes from their findings
    #[arg(long, value_name = "OLD_DIR")]
    pub diff: Option<PathBuf>,
    /// `table` for people, `json` for machines (a finding, a day or the summary per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// How many findings are shown, the worst first
    #[arg(long, value_name = "N", default_value = "5")]
    pub show: usize,
    /// Exit with 1 when a finding is at least this bad; with `--diff`, one that is added
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
    /// Name of the cluster that files are from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub cluster: ClusterName,
    /// A data directory whose history is read while no server runs on it; or a bucket by URL
    /// (`s3://bucket/path`, `gs://`, `az://`), also while a server writes there
    #[arg(long, value_name = "DIR|URL")]
    pub data: Option<PathBuf>,
    /// Audit logs in every form that `scan` reads, plain, .gz or .zst; `-` is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `auditmill explain`
#[derive(Debug, Args)]
pub struct ExplainEventArgs {
    /// Audit id of the request
    #[arg(value_name = "AUDIT_ID")]
    pub audit_id: String,
    /// Audit logs to look in, instead of asking a server or a data directory; `-` is standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["url", "token_file", "ca", "data"])]
    pub files: Vec<PathBuf>,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Only this detection, whatever came of it
    #[arg(long, value_name = "ID")]
    pub detection: Option<String>,
    /// Every detection, also those of which many conditions are not true
    #[arg(long)]
    pub all: bool,
    /// Which shipped detections are told of.
    #[command(flatten)]
    pub shipped: ShippedArgs,
    /// What is known of addresses.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// Folder of detections that add to the shipped ones or override them by id
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Name of the cluster that files are from: exceptions may be of some clusters only
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub cluster: ClusterName,
    /// `table` for people, `json` for machines (an event and a detection per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}
