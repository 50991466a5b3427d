//! An HTTP receiver that judges what it gets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) body: Value,
    /// Of the body.
    pub(crate) bytes: usize,
}

/// What it answers: a status, headers, a body.
pub(crate) struct Reply(pub(crate) u16, pub(crate) &'static str, pub(crate) String);

impl Reply {
    pub(crate) fn ok(body: &str) -> Self {
        Self(200, "", body.to_owned())
    }
}

type Rule = dyn Fn(&Request) -> Reply + Send + Sync;

/// The receiver; it is gone when dropped.
pub(crate) struct Judge {
    pub(crate) port: u16,
    rule: Arc<Mutex<Arc<Rule>>>,
    seen: Arc<Mutex<Vec<(Request, u16)>>>,
    task: JoinHandle<()>,
}

impl Judge {
    /// Listens on a free port.
    pub(crate) async fn start(
        tls: Option<TlsAcceptor>,
        rule: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind a port");
        let port = listener.local_addr().expect("it is bound").port();
        let rule: Arc<Mutex<Arc<Rule>>> = Arc::new(Mutex::new(Arc::new(rule)));
        let seen = Arc::default();
        let (for_rule, for_seen) = (Arc::clone(&rule), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (rule, seen) = (Arc::clone(&for_rule), Arc::clone(&for_seen));
                let tls = tls.clone();
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &rule, &seen).await,
                        Some(tls) => {
                            // Who does not trust us, or is not trusted, goes away here.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &rule, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, rule, seen, task }
    }

    /// Judges by another rule from now on.
    pub(crate) fn rule(&self, rule: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Arc::new(rule);
    }

    /// Every request so far with the status of its answer.
    pub(crate) fn seen(&self) -> Vec<(Request, u16)> {
        self.seen.lock().unwrap().clone()
    }

    /// Bodies of those that were taken.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let seen = self.seen().into_iter();
        seen.filter(|(_, status)| *status < 300).map(|(request, _)| request.body).collect()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    rule: &Mutex<Arc<Rule>>,
    seen: &Mutex<Vec<(Request, u16)>>,
) {
    while let Some(request) = read(&mut stream).await {
        let judge = Arc::clone(&rule.lock().unwrap());
        let Reply(status, headers, body) = judge(&request);
        seen.lock().unwrap().push((request, status));
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Whatever\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    };
    let headers: BTreeMap<String, String> = head.lines().filter_map(header).collect();
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    let (bytes, body) = (body.len(), serde_json::from_slice(&body).unwrap_or(Value::Null));
    Some(Request { path, body, bytes })
}
