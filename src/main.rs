//! The process: parse, run the command, exit 0, 1 or 2.

use std::process::ExitCode;

use auditmill::cli::{
    AlertCommand, Cli, Command, DetectionsCommand, ExceptionsCommand, HistoryCommand,
    IncidentsCommand, PolicyCommand, RbacCommand, SilenceCommand, TokenCommand,
};
use auditmill::command::{self, Verdict};
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

/// What is logged when `AUDITMILL_LOG` says nothing: the table's crate tells each of its steps.
const LOG_FILTER: &str = "info,buoyant_kernel=warn,deltalake_core=warn";

fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    let verdict = match &cli.command {
        Command::Serve(args) => command::serve::run(args),
        Command::Scan(args) => command::scan::run(args),
        Command::Sql(args) => command::sql::run(args),
        Command::History(HistoryCommand::Import(args)) => command::history::import(args),
        Command::Backup(args) => command::backup::run(args),
        Command::Restore(args) => command::restore::run(args),
        Command::Verify(args) => command::verify::run(args),
        Command::Evidence(args) => command::evidence::run(args),
        Command::Test(args) => command::test::run(args),
        Command::Backtest(args) => command::backtest::run(args),
        Command::Explain(args) => command::explain::run(args),
        Command::Posture(args) => command::posture::run(args),
        Command::Report(args) => command::report::run(args),
        Command::Rbac(RbacCommand::Suggest(args)) => command::rbac::suggest(args),
        Command::Policy(PolicyCommand::Check(args)) => command::policy::check(args),
        Command::Detections(DetectionsCommand::List(args)) => command::detections::list(args),
        Command::Detections(DetectionsCommand::Explain(args)) => command::detections::explain(args),
        Command::Detections(DetectionsCommand::Lint(args)) => command::lint::run(args),
        Command::Detections(DetectionsCommand::Coverage(args)) => command::coverage::show(args),
        Command::Exceptions(ExceptionsCommand::List(args)) => command::exceptions::list(args),
        Command::Alert(AlertCommand::Test(args)) => command::alert::test(args),
        Command::Alert(AlertCommand::List(args)) => command::alert::list(args),
        Command::Incidents(IncidentsCommand::List(args)) => command::incidents::list(args),
        Command::Incidents(IncidentsCommand::Show(args)) => command::incidents::show(args),
        Command::Triage(args) => command::triage::run(args),
        Command::Silence(SilenceCommand::Add(args)) => command::silence::add(args),
        Command::Silence(SilenceCommand::List(args)) => command::silence::list(args),
        Command::Silence(SilenceCommand::End(args)) => command::silence::end(args),
        Command::Config(args) => command::config::run(args),
        Command::Kubeconfig(args) => command::kubeconfig::run(args),
        Command::Token(TokenCommand::New) => command::token::new(),
    };
    match verdict {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Logs to standard error: text for a terminal, JSON for machines. `AUDITMILL_LOG` sets the log
/// level, such as `debug` or `auditmill::detect=trace`.
fn log() {
    use std::io::IsTerminal as _;
    let filter = EnvFilter::try_from_env("AUDITMILL_LOG").unwrap_or_else(|_| LOG_FILTER.into());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        subscriber.with_target(false).init();
    } else {
        subscriber.with_ansi(false).json().flatten_event(true).init();
    }
}

/// `auditmill ... | head` has had enough: not an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
