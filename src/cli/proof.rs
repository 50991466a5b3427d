//! Flags of `verify` and `evidence`.

use std::path::PathBuf;

use clap::Args;

use super::{ConfigArgs, Format};

pub(super) const VERIFY_EXAMPLES: &str = "Examples:
  auditmill verify --data /var/lib/auditmill
  auditmill verify --data copy/ --key auditmill.pub --head heads.txt
  auditmill verify --print-key > auditmill.pub        to be kept where nobody here can change it
  auditmill verify --bundle evidence.json --key auditmill.pub
Exit codes: 0 all is as it was written; 1 something is not, or nothing is signed; 2 it could not be
told.";

pub(super) const EVIDENCE_EXAMPLES: &str = "Examples:
  auditmill evidence 5f0c6c7e8d9a0b1c2d3e4f5061728394 --out evidence.json
The file has the finding, its events, and the proof that they are in the history; `auditmill verify
--bundle evidence.json` checks it anywhere.";

/// `auditmill verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The data directory, also while a server uses it
    #[arg(long, value_name = "DIR", default_value = "auditmill-data")]
    pub data: PathBuf,
    /// Read only files with events since then: RFC 3339, a day, or how long ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// File with heads that were published: the history must lead to each of them
    #[arg(long, value_name = "FILE")]
    pub head: Vec<PathBuf>,
    /// The key to verify by, or a file with it; without it, that of the data directory
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Verify this bundle of evidence instead of a history
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "head"])]
    pub bundle: Option<PathBuf>,
    /// Print the key to verify by, and do nothing else
    #[arg(long, conflicts_with_all = ["since", "head", "key", "bundle"])]
    pub print_key: bool,
    /// `table` for people, `json` for machines
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill evidence`
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The data directory, also while a server uses it
    #[arg(long, value_name = "DIR", default_value = "auditmill-data")]
    pub data: PathBuf,
    /// The finding's id
    #[arg(value_name = "FINDING")]
    pub finding: String,
    /// A file to write; without it, standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
