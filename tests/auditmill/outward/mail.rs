//! Mail: a server that speaks SMTP by the letter, over STARTTLS, TLS and neither.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::tls::acceptor;
use crate::cluster::pki::Pki;
use crate::events::grant;
use crate::server::{TestServer, refused};
use crate::sinks::{deliver, until};

const PASSWORD: &str = "geheim und lang";

/// How a server is, and what came to it.
#[derive(Default)]
struct Office {
    /// What it turns to TLS with.
    starttls: Option<TlsAcceptor>,
    /// TLS from the first byte.
    tls: Option<TlsAcceptor>,
    /// How it wants to know who sends; nothing: not at all.
    login: &'static str,
    /// Says so to mail whose text has this.
    refuses: Mutex<BTreeMap<&'static str, &'static str>>,
    /// Recipients that it does not know.
    strangers: Vec<&'static str>,
    mail: Mutex<Vec<Mail>>,
    /// What was not as the RFCs have it.
    errors: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Mail {
    recipients: Vec<String>,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Office {
    async fn open(self) -> (u16, Arc<Self>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let office = Arc::new(self);
        let for_task = Arc::clone(&office);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let office = Arc::clone(&for_task);
                tokio::spawn(async move {
                    if let Err(error) = office.serve(stream).await {
                        office.errors.lock().unwrap().push(error);
                    }
                });
            }
        });
        (port, office)
    }

    async fn serve(&self, stream: TcpStream) -> Result<(), String> {
        if let Some(tls) = &self.tls {
            let Ok(stream) = tls.accept(stream).await else { return Ok(()) };
            return self.talk(&mut BufReader::new(stream), true, true).await.map(drop);
        }
        let mut wire = BufReader::new(stream);
        if !self.talk(&mut wire, false, true).await? {
            return Ok(());
        }
        let tls = self.starttls.as_ref().unwrap();
        let Ok(stream) = tls.accept(wire.into_inner()).await else { return Ok(()) };
        self.talk(&mut BufReader::new(stream), true, false).await.map(drop)
    }

    /// A conversation; true when it goes on over TLS.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut BufReader<S>,
        is_encrypted: bool,
        greets: bool,
    ) -> Result<bool, String> {
        if greets {
            say(wire, "220 mail.example ESMTP").await;
        }
        let (mut is_known, mut greeted) = (self.login.is_empty(), false);
        let (mut sender, mut recipients) = (String::new(), Vec::new());
        while let Some(line) = hear(wire).await? {
            let word = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            match word.as_str() {
                "EHLO" => {
                    greeted = true;
                    say(wire, &self.offers(is_encrypted)).await;
                }
                "STARTTLS" if self.starttls.is_some() && !is_encrypted => {
                    say(wire, "220 go ahead").await;
                    return Ok(true);
                }
                "AUTH" => {
                    if !is_encrypted && self.starttls.is_some() {
                        return Err("a password for all to read".to_owned());
                    }
                    is_known = self.check(wire, &line).await?;
                    say(wire, if is_known { "235 welcome" } else { "535 5.7.8 who are you" }).await;
                }
                "MAIL" if !is_known || !greeted => say(wire, "530 5.7.0 who are you").await,
                "MAIL" => {
                    sender = address(&line, "MAIL FROM:<")?;
                    recipients.clear();
                    say(wire, "250 ok").await;
                }
                "RCPT" if sender.is_empty() => return Err("RCPT before MAIL".to_owned()),
                "RCPT" => {
                    let address = address(&line, "RCPT TO:<")?;
                    if self.strangers.contains(&address.as_str()) {
                        say(wire, "550 5.1.1 no such person").await;
                        continue;
                    }
                    recipients.push(address);
                    say(wire, "250 ok").await;
                }
                "DATA" if recipients.is_empty() => return Err("DATA before RCPT".to_owned()),
                "DATA" => {
                    let answer = self.take(wire, &recipients).await?;
                    sender.clear();
                    say(wire, answer).await;
                }
                "RSET" => say(wire, "250 ok").await,
                "QUIT" => {
                    say(wire, "221 bye").await;
                    return Ok(false);
                }
                _ => return Err(format!("`{line}`")),
            }
        }
        Ok(false)
    }

    fn offers(&self, is_encrypted: bool) -> String {
        let mut offers = "250-mail.example\r\n".to_owned();
        if self.starttls.is_some() && !is_encrypted {
            offers.push_str("250-STARTTLS\r\n");
        }
        if !self.login.is_empty() {
            offers.push_str("250-AUTH ");
            offers.push_str(self.login);
            offers.push_str("\r\n");
        }
        offers + "250 SIZE 1000000"
    }

    /// Takes a mail, and says what it says to that.
    async fn take<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut BufReader<S>,
        recipients: &[String],
    ) -> Result<&'static str, String> {
        say(wire, "354 go ahead").await;
        let mail = read_mail(wire, recipients).await?;
        let refuses = self.refuses.lock().unwrap();
        let refusal = refuses.iter().find(|(text, _)| mail.body.contains(**text));
        let answer = refusal.map_or("250 queued", |(_, answer)| answer);
        if answer.starts_with("250") {
            self.mail.lock().unwrap().push(mail);
        }
        Ok(answer)
    }

    async fn check<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut BufReader<S>,
        line: &str,
    ) -> Result<bool, String> {
        let text = |line: &str| {
            let bytes = STANDARD.decode(line).map_err(|error| error.to_string())?;
            String::from_utf8(bytes).map_err(|error| error.to_string())
        };
        if let Some(proof) = line.strip_prefix("AUTH PLAIN ") {
            return Ok(text(proof)? == format!("\0mill\0{PASSWORD}"));
        }
        if line != "AUTH LOGIN" || self.login != "LOGIN" {
            return Err(format!("`{line}`"));
        }
        say(wire, "334 VXNlcm5hbWU6").await;
        let user = text(&hear(wire).await?.unwrap_or_default())?;
        say(wire, "334 UGFzc3dvcmQ6").await;
        let password = text(&hear(wire).await?.unwrap_or_default())?;
        Ok(user == "mill" && password == PASSWORD)
    }

    fn mail(&self) -> Vec<Mail> {
        assert_eq!(*self.errors.lock().unwrap(), Vec::<String>::new());
        self.mail.lock().unwrap().clone()
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut BufReader<S>, line: &str) {
    let _ = wire.write_all(format!("{line}\r\n").as_bytes()).await;
    let _ = wire.flush().await;
}

/// What is between `before` and the closing bracket.
fn address(line: &str, before: &str) -> Result<String, String> {
    let address = line.strip_prefix(before).and_then(|line| line.strip_suffix('>'));
    address.map(str::to_owned).ok_or(format!("`{line}`"))
}

/// A line: at most 998 bytes, ended by CR LF (RFC 5321, section 4.5.3.1.6).
async fn hear<S: AsyncRead + Unpin>(wire: &mut BufReader<S>) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    match wire.read_until(b'\n', &mut line).await {
        Ok(0) | Err(_) => return Ok(None),
        Ok(_) => {}
    }
    let line = String::from_utf8(line).map_err(|_| "a line that is no ASCII")?;
    let line = line.strip_suffix("\r\n").ok_or("a line without its end")?;
    if line.len() > 998 || !line.is_ascii() || line.contains(['\r', '\n']) {
        return Err(format!("a line of {} bytes", line.len()));
    }
    Ok(Some(line.to_owned()))
}

/// A mail by RFC 5322: headers, folded lines joined, encoded words read; a body in base64.
async fn read_mail<S: AsyncRead + Unpin>(
    wire: &mut BufReader<S>,
    recipients: &[String],
) -> Result<Mail, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    let (mut last, mut body, mut is_body) = (String::new(), String::new(), false);
    loop {
        let line = hear(wire).await?.ok_or("a mail without its end")?;
        if line == "." {
            break;
        }
        let line = line.strip_prefix('.').unwrap_or(&line);
        if is_body {
            if line.len() > 76 {
                return Err("a long line of base64".to_owned());
            }
            body.push_str(line);
        } else if line.is_empty() {
            is_body = true;
        } else if let Some(folded) = line.strip_prefix(' ') {
            // White space between encoded words is none.
            headers.get_mut(&last).ok_or("a folded line first")?.push_str(&decoded(folded)?);
        } else {
            let (name, value) = line.split_once(": ").ok_or(format!("header `{line}`"))?;
            last = name.to_lowercase();
            if headers.insert(last.clone(), decoded(value)?).is_some() {
                return Err(format!("`{name}` twice"));
            }
        }
    }
    for name in ["from", "to", "date", "message-id", "subject", "mime-version"] {
        if headers.get(name).is_none_or(String::is_empty) {
            return Err(format!("no `{name}`"));
        }
    }
    let bytes = STANDARD.decode(body).map_err(|error| error.to_string())?;
    let body = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    Ok(Mail { recipients: recipients.to_vec(), headers, body })
}

fn decoded(value: &str) -> Result<String, String> {
    let word = value.strip_prefix("=?utf-8?B?").and_then(|word| word.strip_suffix("?="));
    let Some(word) = word else { return Ok(value.to_owned()) };
    if value.len() > 75 {
        return Err("a long encoded word".to_owned());
    }
    let bytes = STANDARD.decode(word).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

struct Settings {
    dir: tempfile::TempDir,
    pki: Pki,
}

impl Settings {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new(&dir.path().join("pki"));
        std::fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        Self { dir, pki }
    }

    fn text(port: u16, options: &str) -> String {
        format!(
            "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\n\
             link = \"https://mill.example\"\n[[sink]]\ntype = \"mail\"\nname = \"post\"\n\
             address = \"localhost:{port}\"\n\
             sender = \"mill@example.org\"\nrecipients = [\"a@example.org\", \"b@example.org\"]\n\
             {options}"
        )
    }

    fn login(&self) -> String {
        let password = self.dir.path().join("password");
        format!("user = \"mill\"\nsecret_file = \"{}\"\n", password.display())
    }

    fn ca(&self) -> String {
        format!("ca = \"{}\"\n", self.pki.ca_cert().display())
    }
}

#[tokio::test]
async fn mail_goes_out_encrypted_and_says_what_was_found() {
    let settings = Settings::new();
    let tls = || Some(acceptor(&settings.pki, false));
    let (starttls, ca, login) = (tls(), settings.ca(), settings.login());
    for (office, options) in [
        (Office { starttls, login: "PLAIN LOGIN", ..Office::default() }, ca.clone() + &login),
        (
            Office { tls: tls(), login: "LOGIN", ..Office::default() },
            format!("transport = \"tls\"\n{ca}{login}"),
        ),
        (Office::default(), "transport = \"plain\"\n".to_owned()),
    ] {
        let (port, office) = office.open().await;
        let server = TestServer::start(&Settings::text(port, &options));
        let mut hostile = grant(2);
        hostile["user"]["username"] = json!("eve\r\nBcc: x@example.org\r\n.\r\nQUIT\r\n\u{1f980}");
        deliver(&server, &[grant(1), hostile]).await;
        until("two mails", &server, async || office.mail().len() == 2).await;
        // More of the same is no news.
        let mut more = grant(1);
        more["auditID"] = json!("more");
        deliver(&server, &[more, grant(3)]).await;
        until("the third", &server, async || office.mail().len() == 3).await;
        until("nothing to be left", &server, async || {
            server.number("SELECT pending FROM sinks").await == 0
        })
        .await;
        let mail = office.mail();
        assert_eq!(mail.len(), 3);
        assert_eq!(mail[0].recipients, ["a@example.org", "b@example.org"]);
        assert!(mail[0].headers["subject"].starts_with("[high] east: "), "{:?}", mail[0]);
        assert!(mail[0].body.contains("https://mill.example/v1/incidents/"), "{}", mail[0].body);
        assert!(mail.iter().all(|mail| !mail.headers.contains_key("bcc")), "{mail:?}");
        assert!(mail.iter().any(|mail| mail.headers["subject"].contains('\u{1f980}')), "{mail:?}");
        assert!(!server.log().contains(PASSWORD), "the password is in the log");
    }
}

#[tokio::test]
async fn mail_that_is_refused_holds_up_no_other() {
    let strangers = vec!["b@example.org"];
    let (port, office) = Office { strangers, ..Office::default() }.open().await;
    *office.refuses.lock().unwrap() =
        BTreeMap::from([("Who: p1\r", "554 5.7.1 spam"), ("Who: p2\r", "451 4.3.0 not now")]);
    let server = TestServer::start(&Settings::text(port, "transport = \"plain\"\n"));
    deliver(&server, &[grant(1), grant(2), grant(3)]).await;
    until("the third", &server, async || office.mail().len() == 1).await;
    assert_eq!(office.mail()[0].recipients, ["a@example.org"]);
    let letters = "SELECT reason FROM dead_letters";
    until("the refusal", &server, async || {
        server.sql(letters).await == json!([{"reason": "mail: 554 5.7.1 spam"}])
    })
    .await;
    office.refuses.lock().unwrap().clear();
    until("the second", &server, async || office.mail().len() == 2).await;
}

#[tokio::test]
async fn nothing_is_sent_unencrypted_or_to_a_stranger() {
    let settings = Settings::new();
    let other = Pki::new(&settings.dir.path().join("other"));
    let trusted = || Some(acceptor(&settings.pki, false));
    for (office, options, expected) in [
        // It offers no TLS.
        (Office::default(), settings.ca(), "offers no STARTTLS"),
        // Nobody we know signed it.
        (
            Office { starttls: Some(acceptor(&other, false)), ..Office::default() },
            settings.ca(),
            "certificate",
        ),
        (Office { starttls: trusted(), ..Office::default() }, String::new(), "certificate"),
        // It wants to know who we are.
        (Office { starttls: trusted(), login: "PLAIN", ..Office::default() }, settings.ca(), "530"),
    ] {
        let (port, office) = office.open().await;
        let server = TestServer::start(&Settings::text(port, &options));
        deliver(&server, &[grant(1)]).await;
        let trouble = format!("SELECT name FROM sinks WHERE trouble LIKE '%{expected}%'");
        until(expected, &server, async || server.sql(&trouble).await != json!([])).await;
        assert_eq!(office.mail().len(), 0);
    }
    let settings = Settings::text(25, "transport = \"plain\"\n");
    let ended = refused(&settings.replace("localhost", "mail.example.org"));
    assert!(ended.stderr.contains("on this machine only"), "{}", ended.stderr);
}
