//! Who answers: a server over HTTP, or the files of a data directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use datafusion::catalog::TableProvider;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::{Certificate, Client, Response, StatusCode};
use serde_json::Value as Json;
use url::Url;

use super::gathered::Folder;
use crate::cli::{AddressArgs, ServerArgs};
use crate::clock::now_micros;
use crate::command::{BadDetections, parts};
use crate::detect::catalog::Catalog;
use crate::detect::in_use::InUse;
use crate::findings::quarantine::Quarantine;
use crate::findings::questions::QuestionLog;
use crate::findings::store::{Store, StoreSettings};
use crate::history::flush::History;
use crate::history::hot::Hot;
use crate::history::location::Location;
use crate::query::asker::Asker;
use crate::query::format::Format;
use crate::query::questions::questions_table;
use crate::query::service::{Limits, QueryError, QueryService};
use crate::query::tables::{Tables, tables};

const URL: &str = "http://127.0.0.1:8080";
/// How long a server may take to be there; its own limits say how long an answer may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer's bytes as they come. An error is the last part.
pub(super) type Parts = BoxStream<'static, Result<Bytes, AskError>>;

/// Why there is no answer, or no whole one.
#[derive(Debug)]
pub(in crate::command) enum AskError {
    /// The question is at fault, or more than may be asked now.
    Wrong(String),
    /// It could not be asked, or the answer not be read or written.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for AskError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<QueryError> for AskError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Broken => Self::Failed(error.into()),
            _ => Self::Wrong(error.to_string()),
        }
    }
}

/// Who answers.
pub(super) enum Source {
    Server { client: Client, url: Url, token: Option<String> },
    Data { service: QueryService, _lock: File },
    Files { service: QueryService, _folder: Folder },
}

impl Source {
    /// What the arguments and `AUDITMILL_URL`, `AUDITMILL_TOKEN` name.
    pub(super) fn open(args: &ServerArgs) -> Result<Self> {
        Self::open_patiently(args, Limits::default())
    }

    /// As [`Self::open`]; where nobody else asks, with these limits.
    pub(super) fn open_patiently(args: &ServerArgs, limits: Limits) -> Result<Self> {
        if let Some(data) = &args.data {
            return open_data(data, limits);
        }
        let Server { client, base, token } = Server::of(args)?;
        let path = format!("{}/v1/sql", base.path().trim_end_matches('/'));
        let mut url = base;
        url.set_path(&path);
        Ok(Self::Server { client, url, token })
    }

    /// The events of files, in a history of their own.
    pub(super) fn files(folder: Folder, history: &History, limits: Limits) -> Result<Self> {
        let tables: Tables = vec![
            ("events", Arc::new(history.table())),
            ("events_per_minute", Arc::new(history.minutes())),
        ];
        let service = QueryService::new(tables, limits).context("set up SQL")?;
        Ok(Self::Files { service, _folder: folder })
    }

    /// Lets questions know this of addresses. A server knows what its own settings name.
    ///
    /// # Errors
    /// When it cannot be read, or a server is to be told.
    pub(super) fn supply(&self, args: &AddressArgs) -> Result<()> {
        match self {
            Self::Data { service, .. } | Self::Files { service, .. } => {
                service.supply(&args.files().read().map_err(BadDetections)?);
            }
            Self::Server { .. } => {
                if let Some(flag) = args.given() {
                    bail!("a server knows what its own settings name: leave `{flag}` out");
                }
            }
        }
        Ok(())
    }

    /// Asks; the answer stops, and the query with it, when it is dropped.
    pub(super) async fn ask(&self, query: &str, format: Format) -> Result<Parts, AskError> {
        match self {
            Self::Data { service, .. } | Self::Files { service, .. } => {
                let parts = service.ask(&Asker::local(), query, format).await?.into_parts();
                Ok(parts.map(|part| part.map_err(AskError::from)).boxed())
            }
            Self::Server { client, url, token } => {
                let question = serde_json::json!({ "query": query, "format": format.name() });
                let mut request = client.post(url.clone()).json(&question);
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                let response = request.send().await.with_context(|| format!("ask {url}"))?;
                if response.status() != StatusCode::OK {
                    return Err(refusal(response).await);
                }
                Ok(parts(response))
            }
        }
    }
}

/// A server and how it is talked to.
struct Server {
    client: Client,
    base: Url,
    token: Option<String>,
}

impl Server {
    /// What the arguments and `AUDITMILL_URL`, `AUDITMILL_TOKEN` name.
    fn of(args: &ServerArgs) -> Result<Self> {
        let text = args.url.clone().or_else(|| variable("AUDITMILL_URL"));
        let text = text.unwrap_or_else(|| URL.to_owned());
        let fail = || format!("`{text}` is not a URL such as {URL}");
        let base = Url::parse(&text).with_context(fail)?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            bail!(fail());
        }
        let token = match &args.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.with_context(|| format!("read token `{}`", path.display()))?;
                Some(text.trim().to_owned())
            }
            None => variable("AUDITMILL_TOKEN"),
        };
        if token.is_some() && base.scheme() == "http" && !is_this_machine(&base) {
            bail!("a token is not sent unencrypted to another machine: use an https:// URL");
        }
        // An error says that somebody did this before: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder().connect_timeout(CONNECT_TIMEOUT);
        if let Some(path) = &args.ca {
            let read = std::fs::read(path).map_err(anyhow::Error::from);
            let authorities = read.and_then(|pem| Ok(Certificate::from_pem_bundle(&pem)?));
            let fail = || format!("read certificates `{}`", path.display());
            client = client.tls_certs_merge(authorities.with_context(fail)?);
        }
        let client = client.build().context("set up HTTPS")?;
        Ok(Self { client, base, token })
    }
}

/// Asks a server something by its path below the server's URL, as one part each; gives status and
/// answer.
///
/// # Errors
/// When there is no server to ask, or its answer is no JSON.
pub(in crate::command) fn call(
    args: &ServerArgs,
    method: &str,
    path: &[&str],
    body: Option<&Json>,
) -> Result<(u16, Json)> {
    if args.data.is_some() {
        bail!("a running server is asked for this: leave `--data` out");
    }
    let Server { client, mut base, token } = Server::of(args)?;
    let failure = anyhow!("`{base}` cannot have a path");
    base.path_segments_mut().map_err(|()| failure)?.pop_if_empty().extend(path);
    let mut request = client.request(method.parse()?, base.clone());
    if let Some(body) = body {
        request = request.json(body);
    }
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let response = request.send().await.with_context(|| format!("ask {base}"))?;
        let status = response.status().as_u16();
        let answer = response.bytes().await.with_context(|| format!("read from {base}"))?;
        let json = serde_json::from_slice(&answer);
        Ok((status, json.with_context(|| format!("{base} answered {status} without JSON"))?))
    })
}

fn parts(response: Response) -> Parts {
    const CUT: &str = "the answer was cut short: the server's log says why";
    response.bytes_stream().map(|part| Ok(part.context(CUT)?)).boxed()
}

async fn refusal(response: Response) -> AskError {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let answer: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let message = answer.as_ref().and_then(|answer| answer.get("error")?.as_str());
    let message = message.map_or_else(|| format!("the server answered {status}"), str::to_owned);
    match status.as_u16() {
        400 | 408 | 413 | 429 => AskError::Wrong(message),
        401 => AskError::Failed(anyhow!(
            "{message}: give its token by `--token-file` or AUDITMILL_TOKEN"
        )),
        _ => AskError::Failed(anyhow!(message)),
    }
}

fn open_data(data: &Path, limits: Limits) -> Result<Source> {
    if !data.is_dir() {
        bail!("`{}` is not a data directory", data.display());
    }
    let lock = parts::lock(data).context("a running server is asked by `--url`")?;
    let service = QueryService::new(open_tables(data)?, limits).context("set up SQL")?;
    Ok(Source::Data { service, _lock: lock })
}

/// What is kept in a data directory, by its name in SQL. Events that were on their way to the
/// history when the last server was killed are not among them.
fn open_tables(data: &Path) -> Result<Tables> {
    let folder = data.join("history");
    if !folder.is_dir() {
        bail!("`{}` has no history: start a server on it once", data.display());
    }
    // Nothing is written: no name is needed.
    let history = History::open(Location::folder(&folder)?, "", Arc::new(Hot::new(0)))?;
    let settings = StoreSettings { findings_max: u64::MAX, keep: i64::MAX };
    let store = Store::open(&data.join("findings.db"), settings)?;
    let path = data.join("quarantine");
    let quarantine = Quarantine::open(&path, u64::MAX)
        .with_context(|| format!("open quarantine `{}`", path.display()))?;
    // Nothing runs.
    let in_use = InUse::new(Catalog::load(None).map_err(BadDetections)?, BTreeMap::new());
    let asked = QuestionLog::open(&data.join(QuestionLog::FILE), i64::MAX, now_micros)?;
    let (store, quarantine) = (Arc::new(store), Arc::new(quarantine));
    let both: [Arc<dyn TableProvider>; 2] =
        [Arc::new(history.table()), Arc::new(history.minutes())];
    let mut tables = tables(both, &store, &quarantine, &Arc::new(in_use), now_micros)?;
    tables.push(questions_table(&Arc::new(asked)));
    Ok(tables)
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
