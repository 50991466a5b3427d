//! Flags of `auditmill posture`, `report`, `rbac` and `policy`; no behaviour.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{AddressArgs, Format, ServerArgs};
use crate::event::ClusterName;

pub(super) const POSTURE_EXAMPLES: &str = "Examples:
  auditmill posture audit-*.log.gz
  auditmill posture --since 30d --format html --output posture.html
      asks the server on this machine; the page can be handed to an auditor
  auditmill posture --data auditmill-data --fail-on fail
  auditmill posture --policy audit-policy.yaml audit.log
      where the policy would have shown a deed, none in the log is as good as a pass
  auditmill posture --set trusted_registries=registry.example/ --set trusted_networks=10.0.0.0/8
A control fails when an event of the period shows it broken, also when that was mended since. Files
are read into a folder of their own below TMPDIR, which goes at the end.
Exit codes: 0 told; 1 a line is as bad as `--fail-on`; 2 nothing to read, or nobody to ask.";

pub(super) const REPORT_EXAMPLES: &str = "Examples:
  auditmill report list
  auditmill report secrets-read --since 7d
  auditmill report exec-sessions --namespace prod --format csv --output sessions.csv
  auditmill report actor --user mallory audit.log
  auditmill report actor --credential JTI=3e0c2b7c-... --data auditmill-data
  auditmill report sources --limit 20 --format json
  auditmill report sources --asn-database asn.mmdb --country-database country.mmdb audit.log
Exit codes: 0 answered; 1 the question is beyond a limit; 2 no such report, or nobody to ask.";

pub(super) const SUGGEST_EXAMPLES: &str = "Examples:
  auditmill rbac suggest --serviceaccount shop/cart --since 30d > cart.yaml
  auditmill rbac suggest --user alice --namespace dev audit-*.log.gz
  auditmill rbac suggest --user alice --format json
  kubectl apply --dry-run=server -f cart.yaml
What was allowed is covered, whether it was found or not. What was granted and not used is told as
comments, as far as roles and bindings were written in the time that is looked at.
Exit codes: 0 suggested; 1 nothing was allowed to that identity; 2 nobody to ask.";

pub(super) const CHECK_EXAMPLES: &str = "Examples:
  auditmill policy check audit-policy.yaml
  auditmill policy check --events audit.log audit-policy.yaml
      how many events and bytes a second it would record of these
  auditmill policy check --write smallest.yaml audit-policy.yaml
      the smallest policy that feeds all detections and controls
Exit codes: 0 all can be fed; 1 something never can; 2 the policy or a file cannot be read.";

/// Where events are: files, a data directory or a server.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Audit logs in every form that `scan` reads, plain, .gz or .zst; `-` is standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["url", "token_file", "ca", "data"])]
    pub files: Vec<PathBuf>,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Name of the cluster that files are from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub cluster: ClusterName,
}

/// Which time is asked about.
#[derive(Debug, Args)]
pub struct PeriodArgs {
    /// Events from this time on: 7d, 2026-03-01 or RFC 3339; without it, all
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Events up to this time, which is not in it
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// `auditmill posture`
#[derive(Debug, Args)]
pub struct PostureArgs {
    /// Which time is asked about.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// `table` for people, `json` for machines, `html` for an auditor
    #[arg(long, value_enum, default_value = "table")]
    pub format: PostureFormat,
    /// File to write to instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Only this control; may be given several times
    #[arg(long = "control", value_name = "ID")]
    pub controls: Vec<String>,
    /// The API server's audit policy
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// What only you know, such as `trusted_networks=10.0.0.0/8,192.0.2.0/24`; may be given several
    /// times. The names are with the controls that ask for them
    #[arg(long = "set", value_name = "NAME=VALUES")]
    pub known: Vec<String>,
    /// Exit with 1 when a control is as bad as this
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub fail_on: Option<FailOn>,
    /// Folder of detections that add to the shipped ones or override them by id
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What is known of addresses.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// Where events are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// How a posture is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PostureFormat {
    /// For people.
    Table,
    /// For machines: one object.
    Json,
    /// One page that needs nothing else.
    Html,
}

/// What is bad enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// A control that fails.
    Fail,
    /// A control that fails, or of which no event tells.
    NoEvidence,
}

/// `auditmill report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Which report; `list` shows them
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Which time is asked about.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// Only this user, as the API server knows it
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Only this address
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// Only this pod
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// Only this credential id, such as JTI=...
    #[arg(long, value_name = "ID")]
    pub credential: Option<String>,
    /// Only this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Rows at most
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// How the answer is written
    #[arg(long, value_enum, default_value = "table")]
    pub format: ReportFormat,
    /// File to write to instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What is known of addresses, of files and with `--data`; a server knows what its own settings
    /// name.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// Where events are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// How reports are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    Table,
    /// An array of objects.
    Json,
    /// With a header line; NULL is empty.
    Csv,
}

/// `auditmill rbac`
#[derive(Debug, Subcommand)]
pub enum RbacCommand {
    /// Write the smallest roles and bindings that cover what an identity used
    #[command(after_help = SUGGEST_EXAMPLES)]
    Suggest(SuggestArgs),
}

/// `auditmill rbac suggest`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("who").required(true).args(["user", "serviceaccount"])))]
pub struct SuggestArgs {
    /// The user, as the API server knows it
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The service account
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub serviceaccount: Option<String>,
    /// Only what was done in this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Which time is asked about.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// `yaml` to apply, `json` for machines
    #[arg(long, value_enum, default_value = "yaml")]
    pub format: SuggestFormat,
    /// Where events are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// How a suggestion is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SuggestFormat {
    /// What can be applied, with what proves it as comments.
    Yaml,
    /// One object.
    Json,
}

/// `auditmill policy`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Tell what an audit policy leaves detections and controls blind to
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
}

/// `auditmill policy check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// An audit policy, audit.k8s.io/v1
    #[arg(value_name = "POLICY")]
    pub policy: PathBuf,
    /// Audit logs to predict events and bytes a second from; may be given several times
    #[arg(long, value_name = "FILE")]
    pub events: Vec<PathBuf>,
    /// File for the smallest policy that feeds all detections and controls
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Folder of detections that add to the shipped ones or override them by id
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// `table` for people, `json` for machines
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}
