//! Findings as mail, over SMTP (RFC 5321).
//!
//! What is told is encrypted before it leaves the machine: a server that offers no STARTTLS when
//! that is asked for gets nothing. The `Message-ID` is of the finding and its revision, so that a
//! mail that comes twice is known as one; all mail of a finding is one thread. Repeats that only
//! count more events are not sent.
//!
//! A mail that the server refuses as such (5xx after its text) is refused for good, and one that it
//! does not take now (4xx after its text) holds up no other; a sender,
//! recipient or password that it does not like is for somebody to set right, and tried again. A
//! mail that some recipients get and others cannot is delivered, and the log says who did not.

mod message;
mod smtp;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tracing::warn;

use self::smtp::{Server, Trouble};
use super::notice::Notice;
use super::secret;
use super::sink::{Answer, Sink};
use super::told::Told;
use crate::config::sink::{MailSettings, SinkUrl};
use crate::findings::record::FindingRecord;

const BATCH_MAX: usize = 8;

/// The sink.
pub struct Mail {
    server: Server,
    sender: String,
    recipients: Vec<String>,
    timeout: Duration,
    link: Option<SinkUrl>,
    told: Told,
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
    pub fn new(settings: &MailSettings, link: Option<&SinkUrl>) -> Result<Self> {
        let secret = secret::read(settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
        Ok(Self {
            server: Server::new(settings, settings.user.clone().zip(secret))?,
            sender: settings.sender.clone(),
            recipients: settings.recipients.clone(),
            timeout: settings.timeout.0,
            link: link.cloned(),
            told: Told::default(),
            strangers: Vec::new(),
        })
    }

    /// Sends one after the other over one connection; `answers` has those that are sent.
    async fn send(
        &mut self,
        notices: &[&Notice],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Trouble> {
        let mut session = self.server.connect().await?;
        for notice in notices {
            let text = message::text(notice, &self.sender, &self.recipients);
            match session.send(&self.sender, &self.recipients, &text).await {
                Ok(strangers) => {
                    answers.push(Answer::Delivered);
                    self.say(&strangers);
                    continue;
                }
                Err(Trouble::Refused(why)) => answers.push(Answer::Refused { why }),
                Err(Trouble::Later(why)) => answers.push(Answer::Retry { after: None, why }),
                Err(trouble) => return Err(trouble),
            }
            session.reset().await?;
        }
        session.quit().await;
        Ok(())
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

impl Sink for Mail {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    async fn deliver(&mut self, findings: &[Arc<FindingRecord>]) -> Vec<Answer> {
        let link = self.link.as_ref();
        let notices = findings.iter().map(|finding| Notice::of_finding(finding, link));
        let notices: Vec<Notice> = notices.collect();
        self.tell(&notices).await
    }

    async fn tell(&mut self, notices: &[Notice]) -> Vec<Answer> {
        let news: Vec<&Notice> = notices.iter().filter(|n| !self.told.knows(n)).collect();
        let mut answers = Vec::new();
        if !news.is_empty() {
            let limit = self.timeout;
            let sent = tokio::time::timeout(limit, self.send(&news, &mut answers)).await;
            let why = match sent {
                Ok(Ok(())) => String::new(),
                Ok(Err(trouble)) => trouble.to_string(),
                Err(_) => "not within the time limit".to_owned(),
            };
            answers.resize_with(news.len(), || Answer::Retry { after: None, why: why.clone() });
        }
        let mut answers = answers.into_iter();
        let mut all = Vec::with_capacity(notices.len());
        for notice in notices {
            if self.told.knows(notice) {
                all.push(Answer::Delivered);
                continue;
            }
            let missing = || Answer::Retry { after: None, why: "not sent".to_owned() };
            let answer = answers.next().unwrap_or_else(missing);
            if answer == Answer::Delivered {
                self.told.remember(notice);
            }
            all.push(answer);
        }
        all
    }
}
