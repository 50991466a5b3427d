//! Commands and flags about incidents and triage; no behaviour.

use clap::{Args, Subcommand};

use super::{Format, ServerArgs};
use crate::detect::detection::Severity;

const LIST_EXAMPLES: &str = "Examples:
  auditmill incidents list
  auditmill incidents list --all --format json | jq -r .id
  auditmill incidents list --data auditmill-data        while no server runs";

const TRIAGE_EXAMPLES: &str = "Examples:
  auditmill triage 4c1f... --ack --comment 'looking'
  auditmill triage 4c1f... --assign bob
  auditmill triage 4c1f... --close false-positive --comment 'the nightly backup'
      prints an entry for exceptions.yaml, filled in
  auditmill triage 4c1f... --reopen";

/// `auditmill incidents`
#[derive(Debug, Subcommand)]
pub enum IncidentsCommand {
    /// Show incidents, the latest first, a line each
    #[command(after_help = LIST_EXAMPLES)]
    List(IncidentsArgs),
    /// Show the whole story of one: who, what, from where, what to do
    Show(IncidentArgs),
}

/// `auditmill incidents list`
#[derive(Debug, Args)]
pub struct IncidentsArgs {
    /// Who is asked.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Also those that are closed, and those that became a part of another
    #[arg(long)]
    pub all: bool,
    /// `table` for people, `json` for machines (one incident per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill incidents show`
#[derive(Debug, Args)]
pub struct IncidentArgs {
    /// Id of the incident
    #[arg(value_name = "ID")]
    pub id: String,
    /// Who is asked; a server must run.
    #[command(flatten)]
    pub server: ServerArgs,
    /// `table` for people, `json` for machines
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill triage`
#[derive(Debug, Args)]
#[command(after_help = TRIAGE_EXAMPLES)]
pub struct TriageArgs {
    /// Id of an incident or a finding; of a finding that opened an incident, the incident is meant
    /// unless `--finding` says otherwise
    #[arg(value_name = "ID")]
    pub id: String,
    /// The id is a finding's
    #[arg(long)]
    pub finding: bool,
    /// Say that somebody looks at it
    #[arg(long, conflicts_with_all = ["close", "reopen"])]
    pub ack: bool,
    /// Say who looks after it; an empty name for nobody
    #[arg(long, value_name = "NAME")]
    pub assign: Option<String>,
    /// Say something about it
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Say that it is over: `resolved` or `false-positive`
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "resolved",
        conflicts_with = "reopen")]
    pub close: Option<String>,
    /// Say that it is not over
    #[arg(long)]
    pub reopen: bool,
    /// Who you are; without it the variable `USER`
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Who is asked; a server must run.
    #[command(flatten)]
    pub server: ServerArgs,
}

const SILENCE_EXAMPLES: &str = "Examples:
  auditmill silence add --owner platform --reason 'nodes are replaced' --expires 2h \\
      --cluster prod-eu --detection 'K8A-4*'
Findings and incidents are there all the same; the ledger counts what was kept quiet.";

/// `auditmill silence`
#[derive(Debug, Subcommand)]
pub enum SilenceCommand {
    /// Call nobody for some incidents, for a while
    #[command(after_help = SILENCE_EXAMPLES)]
    Add(SilenceAddArgs),
    /// Show the silences that hold
    List(SilenceListArgs),
    /// End a silence before its time
    End(SilenceEndArgs),
}

/// `auditmill silence add`
#[derive(Debug, Args)]
pub struct SilenceAddArgs {
    /// Who answers for it
    #[arg(long, value_name = "NAME")]
    pub owner: String,
    /// Why nobody is to be called
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Until when, as a time or a duration such as `2h`; 30 days at most
    #[arg(long, value_name = "WHEN")]
    pub expires: String,
    /// Its name; one of the same name is replaced
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only this severity; may be given several times, as all that follow, which may have `*`
    #[arg(long, value_name = "SEVERITY")]
    pub severity: Vec<Severity>,
    /// Only this cluster
    #[arg(long, value_name = "GLOB")]
    pub cluster: Vec<String>,
    /// Only this namespace
    #[arg(long, value_name = "GLOB")]
    pub namespace: Vec<String>,
    /// Only this detection
    #[arg(long, value_name = "GLOB")]
    pub detection: Vec<String>,
    /// Only this user
    #[arg(long, value_name = "GLOB")]
    pub user: Vec<String>,
    /// Who is asked; a server must run.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `auditmill silence list`
#[derive(Debug, Args)]
pub struct SilenceListArgs {
    /// Who is asked; a server must run.
    #[command(flatten)]
    pub server: ServerArgs,
    /// `table` for people, `json` for machines (one silence per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill silence end`
#[derive(Debug, Args)]
pub struct SilenceEndArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Who is asked; a server must run.
    #[command(flatten)]
    pub server: ServerArgs,
}
