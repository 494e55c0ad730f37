//! What operators want to know of what happened, and what they want to hear nothing of.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::message::admin::{AdminRequest, AdminResponse, HealthLevel, MuteFinding, ReadEvents};
use dfs_wire::message::health::{HEALTH_CODES, HEALTH_CODES_NEVER_MUTED, MUTE_MAX};
use dfs_wire::status::{Status, StatusCode};

use super::dispatch::{Asked, CoordinatorService, refused};
use super::forget::called;
use super::jobs::asked_by;
use crate::coordinator::events::{EventsMsg, Happening};
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};
use crate::supervisor::AskError;

impl CoordinatorService {
    /// What is asked about events and mutes.
    pub(super) async fn about_events(
        self: &Arc<Self>,
        asked: &Asked,
        request: AdminRequest,
    ) -> Result<AdminResponse, Status> {
        match request {
            AdminRequest::MuteFinding(word) => self.mute(asked, word).await,
            AdminRequest::Events(word) => self.read_events(asked, word).await,
            _ => {
                let mutes = self.parts.events.ask(EventsMsg::Mutes, self.left(asked)).await;
                mutes.map(AdminResponse::Mutes).map_err(|error| refused("the keeper of events", error))
            }
        }
    }

    async fn read_events(self: &Arc<Self>, asked: &Asked, word: ReadEvents) -> Result<AdminResponse, Status> {
        let wall_ms = self.parts.time.moment().wall_ms;
        let read = move |_: &Self, reader: &MetadataReader| reader.events(&word, wall_ms);
        self.apart(ReadFor::Health, asked, read).await.map(AdminResponse::Events)
    }

    async fn mute(&self, asked: &Asked, mut word: MuteFinding) -> Result<AdminResponse, Status> {
        if !HEALTH_CODES.contains(&word.code.as_str()) {
            let text = format!("no finding has the code '{}'", word.code);
            return Err(Status::new(StatusCode::InvalidArgument, text)
                .hint("`dfsctl health` shows the codes of what needs attention"));
        }
        let most = u64::try_from(MUTE_MAX.as_millis()).unwrap_or(u64::MAX);
        if word.for_ms > most {
            let days = MUTE_MAX.as_secs() / Duration::from_secs(86_400).as_secs();
            let text = format!("{} s are longer than {days} days", word.for_ms / 1000);
            return Err(
                Status::new(StatusCode::InvalidArgument, text).hint("mute it for less, and again then")
            );
        }
        if word.for_ms > 0 && HEALTH_CODES_NEVER_MUTED.contains(&word.code.as_str()) {
            let text =
                format!("{} says that something cannot be read or written: it is always heard", word.code);
            return Err(
                Status::new(StatusCode::PreconditionFailed, text).hint("`dfsctl health` says what ends it")
            );
        }
        // A mute of a node that was forgotten meanwhile can be ended all the same.
        if word.for_ms > 0 && !word.subject.is_empty() {
            word.subject = called(&self.view(), &word.subject)?.1;
        }
        let by = asked_by(asked);
        let muted = self.parts.events.ask(|reply| EventsMsg::Mute(word, by, reply), self.left(asked)).await;
        let unanswered = |error: AskError| match error.had_no_effect() {
            true => refused("the keeper of events", error),
            false => {
                let text = format!("the keeper of events was asked, but {error}");
                Status::new(StatusCode::OutcomeUnknown, text)
                    .hint("`dfsctl health mutes` shows what became of it; asking again changes nothing more")
            }
        };
        muted.map_err(unanswered)?.map(AdminResponse::Mutes)
    }

    /// An operator did something; for people to read later.
    pub(super) fn happened(&self, asked: &Asked, what: &str, node: &str) {
        let text = format!("{} {what}", asked_by(asked));
        self.came_to_pass(Happening::new("operator", HealthLevel::Ok, text).about(node));
    }

    /// Has the keeper of events note something.
    pub(super) fn came_to_pass(&self, happening: Happening) {
        if let Err(error) = self.parts.events.try_send(EventsMsg::Note(happening)) {
            tracing::warn!(%error, "what happened could not be kept");
        }
    }
}
