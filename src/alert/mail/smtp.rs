//! As much of SMTP as a client that sends needs: RFC 5321, STARTTLS (RFC 3207), AUTH PLAIN and
//! LOGIN (RFC 4954).

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::alert::notice::cut;
use crate::alert::tls;
use crate::config::sink::{MailSettings, MailTransport};

/// An answer has at most so many bytes; longer ones are none of a server of mail.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// So much of an answer is told.
const WORDS_MAX: usize = 200;

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server answered what it should not have, or ended.
    #[error("{0}")]
    Answer(String),
    /// The server will never take this mail.
    #[error("{0}")]
    Refused(String),
}

/// A server, and how it is reached.
pub(super) struct Server {
    address: String,
    transport: MailTransport,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// User and password.
    login: Option<(String, String)>,
}

/// What mail goes over.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A connection on which mail can be sent.
pub(super) struct Session {
    wire: BufReader<Box<dyn Wire>>,
}

/// What a server says: a code and its lines.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn trouble(&self, what: &str) -> Trouble {
        let words = self.lines.join(" ").replace(char::is_control, " ");
        Trouble::Answer(format!("{what}: {} {}", self.code, cut(&words, WORDS_MAX)))
    }

    /// Whether the server can do this, after EHLO.
    fn offers(&self, word: &str) -> bool {
        self.lines.iter().any(|line| {
            line.split(' ').next().is_some_and(|first| first.eq_ignore_ascii_case(word))
        })
    }

    fn offers_login(&self, mechanism: &str) -> bool {
        self.lines.iter().any(|line| {
            let mut words = line.split([' ', '=']);
            words.next().is_some_and(|first| first.eq_ignore_ascii_case("AUTH"))
                && words.any(|word| word.eq_ignore_ascii_case(mechanism))
        })
    }
}

impl Server {
    pub(super) fn new(settings: &MailSettings, login: Option<(String, String)>) -> Result<Self> {
        let tls = match settings.transport {
            MailTransport::Plain => None,
            MailTransport::StartTls | MailTransport::Tls => {
                let name = ServerName::try_from(settings.host().to_owned());
                let name = name.with_context(|| format!("`address`: `{}`", settings.address))?;
                Some((tls::connector(&settings.tls())?, name))
            }
        };
        Ok(Self { address: settings.address.clone(), transport: settings.transport, tls, login })
    }

    /// A connection that is encrypted as asked, and on which the server knows who we are.
    pub(super) async fn connect(&self) -> Result<Session, Trouble> {
        let stream = TcpStream::connect(&self.address).await?;
        let (mut session, offers) = match (&self.tls, self.transport) {
            (None, _) => Session::greeted(Box::new(stream)).await?,
            (Some((connector, name)), MailTransport::StartTls) => {
                let stream = turned(stream).await?;
                let stream = connector.connect(name.clone(), stream).await?;
                let mut session = Session { wire: BufReader::new(Box::new(stream)) };
                let offers = session.hello().await?;
                (session, offers)
            }
            (Some((connector, name)), _) => {
                let stream = connector.connect(name.clone(), stream).await?;
                Session::greeted(Box::new(stream)).await?
            }
        };
        if let Some((user, password)) = &self.login {
            session.log_in(&offers, user, password).await?;
        }
        Ok(session)
    }
}

/// A connection that turns to TLS next.
async fn turned(stream: TcpStream) -> Result<TcpStream, Trouble> {
    let mut wire = BufReader::new(stream);
    expect(&mut wire, None, 220, "greeting").await?;
    let offers = hello(&mut wire).await?;
    if !offers.offers("STARTTLS") {
        let why = "the server offers no STARTTLS: nothing is sent unencrypted";
        return Err(Trouble::Answer(why.to_owned()));
    }
    expect(&mut wire, Some("STARTTLS"), 220, "STARTTLS").await?;
    if !wire.buffer().is_empty() {
        // Whoever slips words in before TLS must not have them taken for the server's.
        return Err(Trouble::Answer("the server said more than it was asked".to_owned()));
    }
    Ok(wire.into_inner())
}

impl Session {
    async fn greeted(stream: Box<dyn Wire>) -> Result<(Self, Reply), Trouble> {
        let mut session = Self { wire: BufReader::new(stream) };
        expect(&mut session.wire, None, 220, "greeting").await?;
        let offers = session.hello().await?;
        Ok((session, offers))
    }

    async fn hello(&mut self) -> Result<Reply, Trouble> {
        hello(&mut self.wire).await
    }

    async fn log_in(&mut self, offers: &Reply, user: &str, password: &str) -> Result<(), Trouble> {
        if offers.offers_login("PLAIN") {
            let proof = STANDARD.encode(format!("\0{user}\0{password}"));
            let line = format!("AUTH PLAIN {proof}");
            expect(&mut self.wire, Some(&line), 235, "AUTH").await?;
        } else if offers.offers_login("LOGIN") {
            expect(&mut self.wire, Some("AUTH LOGIN"), 334, "AUTH").await?;
            expect(&mut self.wire, Some(&STANDARD.encode(user)), 334, "AUTH").await?;
            expect(&mut self.wire, Some(&STANDARD.encode(password)), 235, "AUTH").await?;
        } else {
            let why = "the server offers neither AUTH PLAIN nor AUTH LOGIN: leave `user` out";
            return Err(Trouble::Answer(why.to_owned()));
        }
        Ok(())
    }

    /// Sends a mail whose lines end in CR LF and begin with no dot; tells which recipients do not
    /// get it, and why.
    pub(super) async fn send(
        &mut self,
        sender: &str,
        recipients: &[String],
        text: &str,
    ) -> Result<Vec<Trouble>, Trouble> {
        let line = format!("MAIL FROM:<{sender}>");
        expect(&mut self.wire, Some(&line), 250, "sender").await?;
        let mut refused = Vec::new();
        for recipient in recipients {
            let reply = ask(&mut self.wire, Some(&format!("RCPT TO:<{recipient}>"))).await?;
            match reply.code {
                250 | 251 => {}
                // Not now, for one of them: later, for all.
                400..=499 => return Err(reply.trouble(recipient)),
                _ => refused.push(reply.trouble(recipient)),
            }
        }
        if refused.len() == recipients.len()
            && let Some(trouble) = refused.pop()
        {
            return Err(trouble);
        }
        expect(&mut self.wire, Some("DATA"), 354, "DATA").await?;
        self.wire.write_all(text.as_bytes()).await?;
        let reply = ask(&mut self.wire, Some(".")).await?;
        match (reply.code, reply.trouble("mail")) {
            (250, _) => Ok(refused),
            (500..=599, Trouble::Answer(why)) => Err(Trouble::Refused(why)),
            (_, trouble) => Err(trouble),
        }
    }

    /// Ends it in order. What was sent is sent, whatever the server says.
    pub(super) async fn quit(mut self) {
        let _ = ask(&mut self.wire, Some("QUIT")).await;
    }
}

async fn hello<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut BufReader<S>,
) -> Result<Reply, Trouble> {
    // An address in brackets is a name that every client has (RFC 5321, section 4.1.4).
    let reply = ask(wire, Some("EHLO [127.0.0.1]")).await?;
    if reply.code == 250 { Ok(reply) } else { Err(reply.trouble("EHLO")) }
}

async fn expect<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut BufReader<S>,
    line: Option<&str>,
    code: u16,
    what: &str,
) -> Result<(), Trouble> {
    let reply = ask(wire, line).await?;
    if reply.code == code { Ok(()) } else { Err(reply.trouble(what)) }
}

/// Says a line, if there is one, and reads what the server says.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut BufReader<S>,
    line: Option<&str>,
) -> Result<Reply, Trouble> {
    if let Some(line) = line {
        wire.write_all(format!("{line}\r\n").as_bytes()).await?;
        wire.flush().await?;
    }
    let mut limited = wire.take(ANSWER_BYTES_MAX);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        limited.read_until(b'\n', &mut line).await?;
        let line = String::from_utf8_lossy(&line);
        let is_whole = line.ends_with('\n');
        let line = line.trim_end();
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        let (true, Some(code)) = (is_whole, code) else {
            let why =
                if line.is_empty() { "the server ended" } else { "the server speaks no SMTP" };
            return Err(Trouble::Answer(why.to_owned()));
        };
        lines.push(line.get(4..).unwrap_or_default().to_owned());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(Reply { code, lines });
        }
    }
}
