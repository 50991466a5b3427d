//! A receiver of webhooks that does what it is told, down to the bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Answers with this status, at length.
    Status(u16),
    /// 429 with `Retry-After: 1`.
    Busy,
    /// Answers with what is no HTTP.
    Garbage,
    /// 200, and half of the body that it announces.
    Half,
    /// Reads, and says nothing more.
    Hang,
    /// Reads, and closes.
    Close,
}

pub(crate) const OK: Behaviour = Behaviour::Status(200);

/// A POST as it came, and what was done with it.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) behaviour: Behaviour,
}

impl Post {
    /// The finding in it.
    pub(crate) fn finding(&self) -> Value {
        let event: Value = serde_json::from_str(&self.body).expect("a CloudEvent is JSON");
        event["data"].clone()
    }
}

type Choose = dyn Fn(&Value) -> Behaviour + Send + Sync;

/// The receiver; it is gone when dropped.
pub(crate) struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    /// For the next POSTs, one each; then `choose`.
    script: Mutex<VecDeque<Behaviour>>,
    choose: Mutex<Arc<Choose>>,
    posts: Mutex<Vec<Post>>,
}

impl Receiver {
    /// Listens on this port (0 for any); plays `script`, then answers 200.
    pub(crate) async fn start(port: u16, script: &[Behaviour]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("bind a port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            script: Mutex::new(script.iter().copied().collect()),
            choose: Mutex::new(Arc::new(|_: &Value| OK)),
            posts: Mutex::default(),
        });
        let for_connections = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&for_connections)));
            }
        });
        Self { port, shared, task }
    }

    /// Decides by the finding from now on.
    pub(crate) fn choose(&self, choose: impl Fn(&Value) -> Behaviour + Send + Sync + 'static) {
        *self.shared.choose.lock().unwrap() = Arc::new(choose);
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Every POST so far.
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }

    /// Revisions by finding's key `name`, of POSTs that were answered with 200, in order.
    pub(crate) fn taken(&self) -> BTreeMap<String, Vec<u64>> {
        let mut taken: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for post in self.posts().iter().filter(|post| post.behaviour == OK) {
            let finding = post.finding();
            let name = finding["key"]["name"].as_str().expect("a key").to_owned();
            taken.entry(name).or_default().push(finding["revision"].as_u64().expect("a number"));
        }
        taken
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Some((headers, body)) = read(&mut stream).await {
        let scripted = shared.script.lock().unwrap().pop_front();
        let mut post = Post { headers, body, behaviour: OK };
        let choose = Arc::clone(&shared.choose.lock().unwrap());
        post.behaviour = scripted.unwrap_or_else(|| choose(&post.finding()));
        let behaviour = post.behaviour;
        shared.posts.lock().unwrap().push(post);
        let answer = match behaviour {
            Behaviour::Status(status) => {
                format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 2\r\n\r\nok")
            }
            Behaviour::Busy => "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n\
                                content-length: 0\r\n\r\n"
                .to_owned(),
            Behaviour::Garbage => "\u{1}\u{2} this is not HTTP\r\n\r\n\r\n".to_owned(),
            Behaviour::Half => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(),
            Behaviour::Hang => String::new(),
            Behaviour::Close => return,
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        match behaviour {
            Behaviour::Status(_) | Behaviour::Busy => {}
            Behaviour::Hang => {
                // Until the sender gives up.
                let _ = stream.read_u8().await;
                return;
            }
            _ => return,
        }
    }
}

/// Headers (names in lower case) and body of the next request.
async fn read(stream: &mut TcpStream) -> Option<(BTreeMap<String, String>, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_owned()))
    };
    let headers: BTreeMap<String, String> = head.lines().filter_map(header).collect();
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some((headers, String::from_utf8(body).ok()?))
}
