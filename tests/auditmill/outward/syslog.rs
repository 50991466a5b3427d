//! Syslog collectors: one that reads RFC 5424 by its grammar, over TCP and TLS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::tls::acceptor;
use crate::cluster::pki::Pki;
use crate::events::exec;
use crate::server::TestServer;
use crate::sinks::{deliver, until};

/// A message, taken apart.
#[derive(Clone, Debug)]
struct Message {
    priority: u16,
    host: String,
    app: String,
    id: String,
    data: BTreeMap<String, String>,
    text: String,
}

/// A message by the grammar of RFC 5424, section 6.
fn parse(message: &str) -> Result<Message, String> {
    let rest = message.strip_prefix('<').ok_or("no priority")?;
    let (priority, rest) = rest.split_once(">1 ").ok_or("no version")?;
    let priority: u16 = priority.parse().map_err(|_| "a priority is a number")?;
    if priority > 191 {
        return Err(format!("priority {priority}"));
    }
    let mut words = rest.splitn(6, ' ');
    let mut word = |longest: usize| {
        let word = words.next().unwrap_or_default();
        let is_good = (1..=longest).contains(&word.len())
            && word.bytes().all(|byte| (33..=126).contains(&byte));
        is_good.then(|| word.to_owned()).ok_or(format!("`{word}`"))
    };
    let time = word(64)?;
    let (host, app, _process, id) = (word(255)?, word(48)?, word(128)?, word(32)?);
    // At most six digits of a second, `Z` or an offset.
    let fraction = time.split_once('.').map_or(0, |(_, rest)| rest.trim_end_matches('Z').len());
    if time.parse::<jiff::Timestamp>().is_err() || fraction > 6 {
        return Err(format!("time `{time}`"));
    }
    let rest = words.next().ok_or("no structured data")?;
    let mut rest = rest.strip_prefix("[finding@32473").ok_or("no element")?;
    let mut data = BTreeMap::new();
    while let Some(parameter) = rest.strip_prefix(' ') {
        let (name, value) = parameter.split_once("=\"").ok_or("a parameter without a value")?;
        let mut text = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next().ok_or("a value without an end")? {
                (at, '"') => break at,
                (_, ']') => return Err("a bare bracket".to_owned()),
                (_, '\\') => text.push(characters.next().ok_or("an escape of nothing")?.1),
                (_, c) => text.push(c),
            }
        };
        data.insert(name.to_owned(), text);
        rest = &value[end + 1..];
    }
    let rest = rest.strip_prefix(']').ok_or("an element without an end")?;
    let text = rest.strip_prefix(' ').unwrap_or_default().to_owned();
    Ok(Message { priority, host, app, id, data, text })
}

/// Messages in the order in which they came; an error ends a connection.
#[derive(Default)]
struct Collected {
    messages: Vec<Message>,
    errors: Vec<String>,
    /// Connections yet to be broken off before they are read.
    breaks: usize,
}

/// A collector on a free port.
async fn collect(tls: Option<TlsAcceptor>) -> (u16, Arc<Mutex<Collected>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let collected: Arc<Mutex<Collected>> = Arc::default();
    let for_task = Arc::clone(&collected);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let is_broken = {
                let mut collected = for_task.lock().unwrap();
                let is_broken = collected.breaks > 0;
                collected.breaks -= usize::from(is_broken);
                is_broken
            };
            if is_broken {
                // A reset, not an end.
                stream.set_zero_linger().unwrap();
                continue;
            }
            match &tls {
                None => read(stream, &for_task).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => read(stream, &for_task).await,
                    Err(error) => for_task.lock().unwrap().errors.push(error.to_string()),
                },
            }
        }
    });
    (port, collected)
}

/// Octet counting: a length, a space, so many bytes (RFC 6587, section 3.4.1; RFC 5425, 4.3).
async fn read(mut stream: impl AsyncRead + Unpin, collected: &Mutex<Collected>) {
    loop {
        let mut length = String::new();
        loop {
            match stream.read_u8().await {
                Ok(b' ') => break,
                Ok(digit) => length.push(char::from(digit)),
                Err(_) if length.is_empty() => return,
                Err(error) => return collected.lock().unwrap().errors.push(error.to_string()),
            }
        }
        let message = match length.parse::<usize>() {
            // A length does not begin with 0.
            Ok(bytes) if !length.starts_with('0') => {
                let mut message = vec![0; bytes];
                match stream.read_exact(&mut message).await {
                    Ok(_) => String::from_utf8(message).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
            _ => Err(format!("length `{length}`")),
        };
        let mut collected = collected.lock().unwrap();
        match message.and_then(|message| parse(&message)) {
            Ok(message) => collected.messages.push(message),
            Err(error) => return collected.errors.push(error),
        }
    }
}

fn settings(port: u16, options: &str) -> String {
    format!(
        "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\n\
         [[sink]]\ntype = \"syslog\"\nname = \"siem\"\naddress = \"localhost:{port}\"\n{options}"
    )
}

fn hostile(number: u32) -> Value {
    let mut event = exec(number);
    event["user"]["username"] = json!("eve\"] <0>1 \\ \n[x");
    event
}

#[tokio::test]
async fn a_collector_reads_what_is_found_over_tcp() {
    let (port, collected) = collect(None).await;
    collected.lock().unwrap().breaks = 2;
    let server = TestServer::start(&settings(
        port,
        "transport = \"tcp\"\nhostname = \"mill 1\"\nmessage_bytes_max = \"4KiB\"\n",
    ));
    let mut long = exec(9);
    long["user"]["username"] = json!("ä".repeat(9_000));
    deliver(&server, &[exec(1), hostile(2), long]).await;
    let ids = || {
        let collected = collected.lock().unwrap();
        assert_eq!(collected.errors, Vec::<String>::new());
        let ids = collected.messages.iter().map(|message| message.data["id"].clone());
        ids.collect::<std::collections::BTreeSet<_>>()
    };
    until("three messages", &server, async || ids().len() == 3).await;
    let messages = collected.lock().unwrap().messages.clone();
    for message in &messages {
        assert_eq!((message.priority, message.host.as_str()), (13 * 8 + 6, "mill1"));
        assert_eq!((message.app.as_str(), message.id.as_str()), ("auditmill", "K8A-401"));
        assert_eq!(message.data["cluster"], "east");
    }
    // One was too long: its summary is there, in place of half a document.
    let whole = |message: &&Message| serde_json::from_str::<Value>(&message.text).is_ok();
    let (whole, cut): (Vec<_>, Vec<_>) = messages.iter().partition(whole);
    assert!(whole.len() >= 2 && !cut.is_empty(), "{messages:?}");
    assert!(cut.iter().all(|message| message.text.contains('ä')), "{cut:?}");
}

#[tokio::test]
async fn a_collector_reads_what_is_found_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let (port, collected) = collect(Some(acceptor(&pki, true))).await;
    let client = pki.client("auditmill", None);
    let server = TestServer::start(&settings(
        port,
        &format!(
            "format = \"ocsf\"\nca = \"{}\"\nclient_cert = \"{}\"\nclient_key = \"{}\"\n",
            pki.ca_cert().display(),
            client.cert.display(),
            client.key.display()
        ),
    ));
    deliver(&server, &[exec(1), hostile(2)]).await;
    until("two messages", &server, async || collected.lock().unwrap().messages.len() >= 2).await;
    let collected = collected.lock().unwrap();
    assert_eq!(collected.errors, Vec::<String>::new());
    for message in &collected.messages {
        let document: Value = serde_json::from_str(&message.text).unwrap();
        assert_eq!(document["class_uid"], 2004);
        assert_eq!(document["finding_info"]["uid"], message.data["id"].as_str());
    }
}

#[test]
fn the_collector_refuses_what_is_not_as_published() {
    let good = "<108>1 2026-03-01T00:00:01.000001Z h auditmill 7 K8A-1 [finding@32473 a=\"\\]\"] x";
    assert_eq!(parse(good).unwrap().data["a"], "]");
    for (from, to) in [
        ("<108>", "<999>"),
        (">1 ", ">2 "),
        ("000001Z", "0000001Z"),
        ("\\]", "]"),
        (" h ", "  "),
        ("K8A-1", "K8A-1-that-is-longer-than-thirty-two-letters"),
    ] {
        assert!(parse(&good.replace(from, to)).is_err(), "{to}");
    }
}
