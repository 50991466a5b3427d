//! From a connection to a session: TLS, who it is, what it is told first.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::catalog::DATABASE;
use super::failure::Failure;
use super::function;
use super::message::{self, First, Message};
use super::reply::{self, Transaction};
use super::wire::{Ended, Wire};
use crate::query::asker::Asker;

/// The first byte of TLS: a client that does not ask for it first.
const TLS_BYTE: u8 = 0x16;

/// Longest password.
const PASSWORD_BYTES_MAX: usize = 4 << 10;

/// The configuration of TLS as it is now.
pub type TlsNow = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// Who is let in by a password, by a verified certificate in DER, or as it is.
pub type Admits = Arc<dyn Fn(Option<&[u8]>, Option<&[u8]>) -> Option<Asker> + Send + Sync>;

/// What a connection is for.
pub(super) enum Purpose {
    /// A session.
    Session { wire: Wire, certificate: Option<Vec<u8>>, start: Start },
    /// To stop somebody's query.
    Cancel { session: i32, secret: Bytes },
}

/// What a client says about itself first.
pub(super) struct Start {
    minor: u16,
    parameters: Vec<(String, String)>,
}

impl Start {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The parameters that a session keeps.
    pub(super) fn application_name(&self) -> Option<&str> {
        self.get("application_name")
    }
}

/// Finds out what a connection is for, in TLS where that is asked for.
pub(super) async fn purpose(stream: TcpStream, tls: Option<&TlsNow>) -> Result<Purpose, Ended> {
    let mut first_byte = [0];
    let direct =
        stream.peek(&mut first_byte).await.is_ok_and(|read| read == 1) && first_byte == [TLS_BYTE];
    if direct {
        let Some(tls) = tls else { return Err(Ended::Left) };
        return encrypted(stream, tls).await;
    }
    let mut wire = Plain { stream };
    // A client may ask for GSSAPI, then for TLS, then go on without.
    for _ in 0..3 {
        match wire.first().await? {
            First::Ssl => {
                let Some(tls) = tls else {
                    wire.say(b'N').await?;
                    continue;
                };
                wire.say(b'S').await?;
                return encrypted(wire.stream, tls).await;
            }
            First::Gss => wire.say(b'N').await?,
            First::Cancel { session, secret } => return Ok(Purpose::Cancel { session, secret }),
            First::Start { minor, parameters } => {
                let wire = Wire::new(wire.stream);
                if tls.is_some() {
                    let message = "this server is spoken to in TLS only";
                    let failure = Failure::fatal("28000", message).hint("set sslmode=require");
                    wire.close(Some(&failure)).await;
                    return Err(Ended::Left);
                }
                let start = Start { minor, parameters };
                return Ok(Purpose::Session { wire, certificate: None, start });
            }
        }
    }
    Err(Ended::Left)
}

/// A connection before TLS: it reads not a byte more than the message that is asked for, so that
/// nothing that was sent in the clear is taken for a part of what is encrypted.
struct Plain {
    stream: TcpStream,
}

impl Plain {
    async fn first(&mut self) -> Result<First, Ended> {
        use tokio::io::AsyncReadExt as _;
        let length = self.stream.read_u32().await.map_err(|_| Ended::Left)?;
        let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
        let body = body.filter(|body| (4..10_000).contains(body)).ok_or(Ended::Left)?;
        let mut bytes = vec![0; body];
        self.stream.read_exact(&mut bytes).await.map_err(|_| Ended::Left)?;
        match message::first(&bytes.into()) {
            Ok(first) => Ok(first),
            Err(error) => {
                let mut out = bytes::BytesMut::new();
                reply::error(&mut out, &error.into());
                let _ = self.stream.write_all(&out).await;
                Err(Ended::Left)
            }
        }
    }

    async fn say(&mut self, byte: u8) -> Result<(), Ended> {
        self.stream.write_all(&[byte]).await.map_err(|_| Ended::Left)
    }
}

async fn encrypted(stream: TcpStream, tls: &TlsNow) -> Result<Purpose, Ended> {
    let stream = TlsAcceptor::from(tls()).accept(stream).await.map_err(|_| Ended::Left)?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.map(|certificate| certificate.to_vec());
    let mut wire = Wire::new(stream);
    let first = wire.first().await.and_then(|body| Ok(message::first(&body)?));
    match first {
        Ok(First::Start { minor, parameters }) => {
            Ok(Purpose::Session { wire, certificate, start: Start { minor, parameters } })
        }
        Ok(First::Cancel { session, secret }) => Ok(Purpose::Cancel { session, secret }),
        Err(Ended::Told(failure)) => {
            wire.close(Some(&failure)).await;
            Err(Ended::Left)
        }
        Ok(First::Ssl | First::Gss) | Err(Ended::Left) => Err(Ended::Left),
    }
}

/// Lets a client in, as whom it is known, or says why not.
pub(super) async fn admit(
    wire: &mut Wire,
    certificate: Option<&[u8]>,
    start: &Start,
    admits: &Admits,
    patience: Duration,
) -> Result<Asker, Ended> {
    if start.get("replication").is_some_and(|value| !matches!(value, "false" | "off" | "no" | "0"))
    {
        return Err(Failure::fatal("0A000", "there is nothing to replicate").into());
    }
    let unknown: Vec<&str> = start
        .parameters
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with("_pq_."))
        .collect();
    if start.minor > 0 || !unknown.is_empty() {
        reply::version(&mut wire.out, &unknown);
    }
    let mut asker = admits(None, certificate);
    if asker.is_none() {
        reply::ask_password(&mut wire.out);
        wire.flush().await?;
        let Some((kind, body)) = wire.message(patience, PASSWORD_BYTES_MAX).await? else {
            return Err(Ended::Left);
        };
        let Message::Password(body) = Message::read(kind, body)? else {
            return Err(Failure::fatal("08P01", "a password was asked for").into());
        };
        asker = admits(Some(message::password(&body)?), certificate);
    }
    let Some(asker) = asker else {
        let message = "the password is no token of this server that may ask";
        let hint = "the password is the token of an `[[auth.client]]` with the role viewer, \
                    responder or admin";
        return Err(Failure::fatal("28P01", message).hint(hint).into());
    };
    // After the password: who may not come in learns no names.
    let database = start.get("database").or_else(|| start.get("user")).unwrap_or_default();
    if database != DATABASE {
        let failure = Failure::fatal("3D000", format!("database \"{database}\" does not exist"));
        return Err(failure.hint(format!("the only database is `{DATABASE}`")).into());
    }
    Ok(asker)
}

/// Says what a new session is told first; `key` is what a request to cancel must name.
pub(super) fn welcome(wire: &mut Wire, start: &Start, key: (i32, [u8; 4])) {
    let out = &mut wire.out;
    reply::known(out);
    for name in [
        "server_version",
        "server_encoding",
        "client_encoding",
        "DateStyle",
        "IntervalStyle",
        "TimeZone",
        "integer_datetimes",
        "standard_conforming_strings",
        "is_superuser",
        "in_hot_standby",
        "default_transaction_read_only",
    ] {
        if let Some((name, value)) = function::setting(name) {
            reply::parameter(out, name, value);
        }
    }
    reply::parameter(out, "application_name", start.application_name().unwrap_or_default());
    reply::parameter(out, "session_authorization", start.get("user").unwrap_or_default());
    reply::key(out, key.0, key.1);
    reply::ready(out, Transaction::Idle);
}
