//! Commands and flags; no behaviour.

mod alert;
mod backtest;
mod detections;
mod incidents;
mod proof;
mod question;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::alert::{AlertCommand, AlertListArgs, AlertTestArgs};
pub use self::backtest::{BacktestArgs, ExplainEventArgs};
pub use self::detections::{
    AddressArgs, CoverageArgs, DetectionsCommand, ExceptionsArgs, ExceptionsCommand, ExplainArgs,
    LintArgs, ListArgs, ShippedArgs, TestArgs,
};
pub use self::incidents::{
    IncidentArgs, IncidentsArgs, IncidentsCommand, SilenceAddArgs, SilenceCommand, SilenceEndArgs,
    SilenceListArgs, TriageArgs,
};
pub use self::proof::{EvidenceArgs, VerifyArgs};
pub use self::question::{
    CheckArgs, FailOn, PeriodArgs, PlaceArgs, PolicyCommand, PostureArgs, PostureFormat,
    RbacCommand, ReportArgs, ReportFormat, SuggestArgs, SuggestFormat,
};
use crate::config::{Settings, SettingsError};
use crate::detect::detection::Severity;
use crate::event::ClusterName;

/// Kubernetes audit events in, findings out, and a history that answers questions.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done; 1 the answer is no (findings at \
    --fail-on, a test failed); 2 usage or configuration error."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive audit events and find what is wrong in them
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Look for findings in audit log files
    #[command(after_help = SCAN_EXAMPLES)]
    Scan(ScanArgs),
    /// Ask about events and findings in SQL
    #[command(after_help = SQL_EXAMPLES)]
    Sql(SqlArgs),
    /// Work on the history of events
    #[command(subcommand)]
    History(HistoryCommand),
    /// Copy a data directory, while a server uses it or not
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Make a data directory of a backup
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
    /// Tell whether the history is what was written
    #[command(after_help = proof::VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Write a finding's evidence with the proof that it is in the history
    #[command(after_help = proof::EVIDENCE_EXAMPLES)]
    Evidence(EvidenceArgs),
    /// Run the tests of detections, and look for mistakes in them
    #[command(after_help = TEST_EXAMPLES)]
    Test(TestArgs),
    /// Run detections over logs or history: what they would have found, what a change changes
    #[command(after_help = backtest::BACKTEST_EXAMPLES)]
    Backtest(BacktestArgs),
    /// Tell why an event was found by detections, or was not
    #[command(after_help = backtest::EXPLAIN_EXAMPLES)]
    Explain(ExplainEventArgs),
    /// Tell which hardening controls hold, which do not, and which nobody could tell
    #[command(after_help = question::POSTURE_EXAMPLES)]
    Posture(PostureArgs),
    /// Answer an investigator's first questions
    #[command(after_help = question::REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Make roles of what was used
    #[command(subcommand)]
    Rbac(RbacCommand),
    /// Work on audit policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show detections, and look for mistakes in them
    #[command(subcommand)]
    Detections(DetectionsCommand),
    /// Show what is exempt, who says so, until when, and what that hid
    #[command(subcommand)]
    Exceptions(ExceptionsCommand),
    /// Try sinks, and show how they stand
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Show incidents: findings of one actor, joined in time
    #[command(subcommand)]
    Incidents(IncidentsCommand),
    /// Acknowledge, assign, comment, close or open again an incident or a finding
    Triage(TriageArgs),
    /// Call nobody for some incidents while somebody works on something
    #[command(subcommand)]
    Silence(SilenceCommand),
    /// Print the settings in effect
    Config(ConfigArgs),
    /// Write the file that tells an API server where to send its audit events
    #[command(after_help = KUBECONFIG_EXAMPLES)]
    Kubeconfig(KubeconfigArgs),
    /// Make tokens for clients
    #[command(subcommand)]
    Token(TokenCommand),
}

const SERVE_EXAMPLES: &str = "Examples:
  auditmill serve
      listen on 127.0.0.1:8080, findings as JSON lines on standard output
  auditmill serve --config auditmill.toml --data /var/lib/auditmill
  AUDITMILL_DETECT_LATENESS=2m auditmill serve --listen 127.0.0.1:0";

const SCAN_EXAMPLES: &str = "Examples:
  auditmill scan /var/log/kubernetes/audit.log
  zcat audit-*.log.gz | auditmill scan --format json -
  auditmill scan --fail-on high audit.log    exits with 1 on a high finding";

const SQL_EXAMPLES: &str = "Examples:
  auditmill sql                       a conversation: `\\?` lists orders, `\\d` tables
  auditmill sql \"SELECT user_name, count(*) FROM requests GROUP BY 1 ORDER BY 2 DESC LIMIT 10\"
  auditmill sql --format csv --output pods.csv 'SELECT * FROM pod_specs WHERE privileged'
  auditmill sql --url https://auditmill.example:8443 --token-file me.token 'SHOW TABLES'
  auditmill sql --data auditmill-data 'SELECT * FROM quarantine'     while no server runs
  auditmill sql --data auditmill-data --address-lists lists \
      \"SELECT * FROM requests WHERE listed_ip(source_ip, 'tor')\"
  auditmill sql < report.sql
Exit codes: 0 answered; 1 the query is wrong or beyond a limit; 2 nobody there to ask.";

const IMPORT_EXAMPLES: &str = "Examples:
  auditmill history import --cluster prod-eu audit-2024-*.log.gz
  zstdcat archive.zst | auditmill history import --data /var/lib/auditmill -
Ask it again after a crash or when logs were added: what is in the history already is not stored
again. Findings in imported events are not looked for.";

const BACKUP_EXAMPLES: &str = "Examples:
  auditmill backup --data /var/lib/auditmill /backup/auditmill-monday
A history in a bucket is not copied, only how far it was.";

const RESTORE_EXAMPLES: &str = "Examples:
  auditmill restore /backup/auditmill-monday --data /var/lib/auditmill
  auditmill serve --data /var/lib/auditmill";

const TEST_EXAMPLES: &str = "Examples:
  auditmill test                      the shipped detections
  auditmill test my-detections/       a folder of .sql files, each with a .yaml beside it";

const KUBECONFIG_EXAMPLES: &str = "Examples:
  auditmill kubeconfig --cluster prod-eu --url https://auditmill.example:8443 --ca ca.crt \\
      --token-file prod-eu.token --output audit-webhook.kubeconfig
  auditmill kubeconfig --cluster prod-eu --url https://auditmill.example:8443 --ca ca.crt \\
      --client-certificate /etc/kubernetes/auditmill/client.crt \\
      --client-key /etc/kubernetes/auditmill/client.key
The API server takes it as --audit-webhook-config-file.";

const TOKEN_NEW_EXAMPLES: &str = "Examples:
  auditmill token new                    shows a token and its line for `[[auth.client]]`
  auditmill token new > prod-eu.token    the token in a file, only the line on the terminal";

/// Where settings come from.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// TOML file with settings; without it, defaults and AUDITMILL_* variables
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `auditmill serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Directory for what is kept on disk; created when missing
    #[arg(long, value_name = "DIR", default_value = "auditmill-data")]
    pub data: PathBuf,
    /// Address to listen on, instead of `[http] listen`; port 0 means any free port
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

/// `auditmill scan`
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Audit logs or EventList bodies, plain, .gz or .zst; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// `table` for people, `json` for machines (one finding per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Show only findings at least this bad
    #[arg(long, value_name = "SEVERITY", default_value = "informational")]
    pub min_severity: Severity,
    /// Exit with 1 when a finding at least this bad is shown
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
    /// Name of the cluster that the files are from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub cluster: ClusterName,
    /// Folder of detections that add to the shipped ones or override them by id
    #[arg(long, value_name = "DIR")]
    pub detections: Option<PathBuf>,
    /// What is known of addresses.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// Which shipped detections run.
    #[command(flatten)]
    pub shipped: ShippedArgs,
}

/// `auditmill history`
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Put the events of old logs into the history
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
}

/// `auditmill history import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Directory for what is kept on disk; created when missing. No server may use it meanwhile
    #[arg(long, value_name = "DIR", default_value = "auditmill-data")]
    pub data: PathBuf,
    /// Name of the cluster that the files are from
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub cluster: ClusterName,
    /// What wraps the events: auto, lines, eventlist, eks, gke, aks, openshift
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub format: String,
    /// Print what came of it as a line of JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Audit logs in every form that `scan` reads, plain, .gz or .zst; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `auditmill backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The data directory to copy
    #[arg(long, value_name = "DIR", default_value = "auditmill-data")]
    pub data: PathBuf,
    /// A new folder for the copy
    #[arg(value_name = "TO")]
    pub to: PathBuf,
}

/// `auditmill restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The folder that `auditmill backup` made
    #[arg(value_name = "FROM")]
    pub from: PathBuf,
    /// The data directory to make; it must be empty or not there
    #[arg(long, value_name = "DIR", default_value = "auditmill-data")]
    pub data: PathBuf,
}

/// `auditmill sql`
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// One question; without it, a conversation, or statements on standard input
    #[arg(value_name = "QUERY")]
    pub query: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What is known of addresses, with `--data`; a server knows what its own settings name.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// How the answer is written; without it, as the name of `--output` says, else as a table
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<SqlFormat>,
    /// File to write the answer to
    #[arg(long, value_name = "FILE", requires = "query")]
    pub output: Option<PathBuf>,
}

/// Whom to ask: a server, or a data directory that no server uses.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server to ask; without it the variable `AUDITMILL_URL`, else port 8080 of this machine
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// File with the token to show; without it the variable `AUDITMILL_TOKEN`
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file with the authority that signed the server's certificate
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A data directory to read while no server runs on it, instead of asking a server
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "token_file", "ca"])]
    pub data: Option<PathBuf>,
}

/// How answers to SQL are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SqlFormat {
    /// For people
    Table,
    /// An array of objects
    Json,
    /// With a header line; NULL is empty
    Csv,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
}

/// `auditmill kubeconfig`
#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    /// Name of the API server's cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: ClusterName,
    /// Where auditmill listens, as the API server sees it, such as `https://auditmill.example:8443`
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// PEM file with the authority that signed auditmill's certificate; goes into the kubeconfig.
    /// Without it, the API server's machine must know the authority
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// File with the API server's token; goes into the kubeconfig, which is then a secret
    #[arg(long, value_name = "FILE", conflicts_with = "client_certificate")]
    pub token_file: Option<PathBuf>,
    /// The API server's client certificate: a path on its machine, written down as it is
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,
    /// The certificate's private key: a path on the API server's machine, written down as it is
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
    /// A new file to write, for its owner only; without it, standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `auditmill token`
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum TokenCommand {
    /// Print a new token, and its line for `[[auth.client]]` on standard error
    #[command(after_help = TOKEN_NEW_EXAMPLES)]
    New,
}

/// How findings, detections and the like are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For machines.
    Json,
}

impl ConfigArgs {
    /// The settings in effect.
    ///
    /// # Errors
    /// When the file or a variable is wrong.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.config.as_deref(), std::env::vars())
    }
}

impl ServeArgs {
    /// The settings in effect: flags win.
    ///
    /// # Errors
    /// When the file or a variable is wrong.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let mut settings = self.config.settings()?;
        settings.http.listen = self.listen.unwrap_or(settings.http.listen);
        Ok(settings)
    }
}
