//! A client that says what it is told to, also what no honest client would.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::program::LIMIT;
use crate::server::TestServer;

/// A session.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    /// What a request to cancel must name.
    pub(super) key: Vec<u8>,
}

/// What came of a query.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Vec<Option<String>>>,
    pub(super) tag: String,
    /// The code of an error.
    pub(super) code: Option<String>,
    pub(super) message: String,
}

/// A connection, nothing said yet.
pub(super) fn open(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.postgres()).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("set a limit");
    stream.set_write_timeout(Some(LIMIT)).expect("set a limit");
    stream
}

/// The message that begins a session.
pub(super) fn start() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0ann\0database\0auditmill\0\0";
    let length = u32::try_from(body.len() + 4).expect("a short message");
    [&length.to_be_bytes()[..], body].concat()
}

impl Client {
    pub(super) fn connect(server: &TestServer) -> Self {
        Self::try_connect(server).expect("a session")
    }

    /// A session, or why there is none.
    pub(super) fn try_connect(server: &TestServer) -> Result<Self, Answer> {
        let mut stream = open(server);
        stream.write_all(&start()).expect("begin a session");
        let mut client = Self { stream, key: Vec::new() };
        let answer = client.until(b"ZE");
        if answer.code.is_some() { Err(answer) } else { Ok(client) }
    }

    /// Asks another connection to stop what the session of this key does.
    pub(super) fn cancel(server: &TestServer, key: &[u8]) {
        let mut stream = open(server);
        let message = [&b"\0\0\0\x10\x04\xD2\x16\x2E"[..], key].concat();
        stream.write_all(&message).expect("ask to cancel");
        // It is closed when it was heard.
        let _ = stream.read_to_end(&mut Vec::new());
    }

    pub(super) fn send(&mut self, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).expect("a short message");
        let message = [&[kind][..], &length.to_be_bytes(), body].concat();
        self.stream.write_all(&message).expect("send a message");
    }

    pub(super) fn send_query(&mut self, sql: &str) {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat());
    }

    pub(super) fn query(&mut self, sql: &str) -> Answer {
        self.send_query(sql);
        self.answer()
    }

    /// All up to the end of a query.
    pub(super) fn answer(&mut self) -> Answer {
        self.until(b"Z")
    }

    /// All up to the first message of one of these kinds.
    pub(super) fn until(&mut self, kinds: &[u8]) -> Answer {
        let mut answer = Answer::default();
        loop {
            let Some((kind, body)) = self.message() else {
                answer.message += " (closed)";
                return answer;
            };
            match kind {
                b'D' => answer.rows.push(values(&body)),
                b'C' => answer.tag = text(&body),
                b'K' => self.key.clone_from(&body),
                b'E' => {
                    for field in body.split(|byte| *byte == 0) {
                        match field.split_first() {
                            Some((b'C', code)) => answer.code = Some(text(code)),
                            Some((b'M', message)) => answer.message = text(message),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
            if kinds.contains(&kind) {
                return answer;
            }
        }
    }

    /// The next message; none when the connection has ended.
    pub(super) fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
        let mut body = vec![0; usize::try_from(length).expect("a length") - 4];
        self.stream.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn values(body: &[u8]) -> Vec<Option<String>> {
    let (mut rest, mut values) = (&body[2..], Vec::new());
    while !rest.is_empty() {
        let length = i32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
        rest = &rest[4..];
        values.push(usize::try_from(length).ok().map(|length| {
            let (value, after) = rest.split_at(length);
            rest = after;
            String::from_utf8_lossy(value).into_owned()
        }));
    }
    values
}
