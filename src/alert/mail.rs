//! Incidents as mail, over SMTP (RFC 5321).
//!
//! What is told is encrypted before it leaves the machine: a server that offers no STARTTLS when
//! that is asked for gets nothing. The `Message-ID` is of the page and its revision, so that a
//! mail that comes twice is known as one; all mail of a page is one thread.
//!
//! A mail that the server refuses as such (5xx after its text) is refused for good, and one that it
//! does not take now (4xx after its text) holds up no other; a sender,
//! recipient or password that it does not like is for somebody to set right, and tried again. A
//! mail that some recipients get and others cannot is delivered, and the log says who did not.

mod message;
mod smtp;

use std::time::Duration;

use anyhow::Result;
use tracing::warn;

use self::smtp::{Server, Session, Trouble};
use super::notice::Notice;
use super::pager::Pager;
use super::secret;
use super::sink::Answer;
use crate::config::sink::MailSettings;
use crate::findings::paging::Call;

/// The sink.
pub struct Mail {
    server: Server,
    sender: String,
    recipients: Vec<String>,
    timeout: Duration,
    /// Who did not get the last mail, and why.
    strangers: Vec<String>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("sender", &self.sender).finish_non_exhaustive()
    }
}

impl Mail {
    /// A sink for these settings; nothing is sent yet.
    ///
    /// # Errors
    /// When the password, a certificate or the server's name cannot be used.
    pub fn new(settings: &MailSettings) -> Result<Self> {
        let secret = secret::read(settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
        Ok(Self {
            server: Server::new(settings, settings.user.clone().zip(secret))?,
            sender: settings.sender.clone(),
            recipients: settings.recipients.clone(),
            timeout: settings.timeout.0,
            strangers: Vec::new(),
        })
    }

    async fn send(&mut self, text: &str) -> Result<Session, Trouble> {
        let mut session = self.server.connect().await?;
        let strangers = session.send(&self.sender, &self.recipients, text).await?;
        self.say(&strangers);
        Ok(session)
    }

    /// Says once which recipients do not get what others do.
    fn say(&mut self, strangers: &[Trouble]) {
        let strangers: Vec<String> = strangers.iter().map(ToString::to_string).collect();
        if strangers != self.strangers && !strangers.is_empty() {
            warn!(?strangers, "recipients of mail are refused, others get it");
        }
        self.strangers = strangers;
    }
}

impl Pager for Mail {
    async fn page(&mut self, call: &Call) -> Answer {
        let text = message::text(&Notice::new(call), &self.sender, &self.recipients);
        let sent = tokio::time::timeout(self.timeout, self.send(&text)).await;
        match sent {
            Ok(Ok(session)) => {
                // It has the mail, however it ends.
                let _ = tokio::time::timeout(self.timeout, session.quit()).await;
                Answer::Delivered
            }
            Ok(Err(Trouble::Refused(why))) => Answer::Refused { why },
            Ok(Err(trouble)) => Answer::Retry { after: None, why: trouble.to_string() },
            Err(_) => Answer::Retry { after: None, why: "not within the time limit".to_owned() },
        }
    }
}
