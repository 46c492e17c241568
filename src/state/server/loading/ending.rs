//! Ending: what follows when all is loaded, or when it cannot be.

use super::parts::AofParts;
use super::{Figures, Loading, Stage};
use crate::border::{LogLevel, Order};
use crate::state::CommandError;
use crate::state::aof::AofState;
use crate::state::restraint::Restraint;
use crate::state::server::Server;
use crate::state::waiter::{Answer, Then};

impl Server {
    pub(super) fn end_loading(&mut self, loading: &mut Loading) {
        self.persistence.loaded = loading.figures;
        let secs = self.now.since(loading.started) as f64 / 1e6;
        match &loading.aof {
            None => {
                self.note_keys(loading);
                if loading.then == Then::Start {
                    let text = format!("DB loaded from disk: {secs:.3} seconds");
                    self.log(LogLevel::Notice, text);
                }
            }
            Some(aof) if loading.then == Then::Start && aof.manifest.files().next().is_some() => {
                let text = format!("DB loaded from append only file: {secs:.3} seconds");
                self.log(LogLevel::Notice, text);
            }
            Some(_) => {}
        }
        let aof = loading.aof.take();
        self.loading_is_over(loading.then, aof, Ok(()));
    }

    pub(super) fn loading_failed(&mut self, loading: &Loading, why: &str) {
        let path = loading.path.escape_ascii();
        if matches!(loading.stage, Stage::Rdb(_)) && self.logs(LogLevel::Verbose) {
            let Figures {
                keys,
                expired,
                empty,
            } = loading.figures;
            let text = format!(
                "Loading of {path} ends behind {keys} keys, {expired} expired and {empty} empty ones -> {why}."
            );
            self.log(LogLevel::Verbose, text);
        }
        match loading.then {
            Then::Start => {
                let kind = match (&loading.stage, &loading.aof) {
                    (Stage::Manifest(_) | Stage::Listing(_), _) => "AOF manifest",
                    (_, Some(_)) => "AOF",
                    (_, None) => "rdb",
                };
                let text = format!(
                    "Fatal error loading the DB: {path} cannot be loaded: {why}. Terminating server after {kind} file \
                     reading failure. Exiting."
                );
                self.log(LogLevel::Warning, text);
                self.orders.push_back(Order::Exit { code: 1 });
            }
            Then::Reload(_) | Then::LoadAof(_) => {
                let text = format!("Error loading the DB: {path} cannot be loaded: {why}.");
                self.log(LogLevel::Warning, text);
                let text = match loading.then {
                    Then::LoadAof(_) => {
                        "ERR Error trying to load the AOF files, check server logs."
                    }
                    _ => "ERR Error trying to load the RDB dump, check server logs.",
                };
                self.loading_is_over(loading.then, None, Err(CommandError::text(text)));
            }
        }
    }

    pub(super) fn loading_is_over(
        &mut self,
        then: Then,
        aof: Option<AofParts>,
        result: Result<(), CommandError>,
    ) {
        self.restraint.set(Restraint::LOADING, false);
        self.expire_paused = false;
        match then {
            Then::Start => {
                self.effects.dirty = 0;
                match aof {
                    Some(aof) if self.config.appendonly => {
                        let bytes = (aof.base_bytes, aof.bytes, aof.last_bytes);
                        // Clients are served as soon as there is a file to append to.
                        return self.resume_aof(aof.manifest, bytes, aof.truncate_to);
                    }
                    // It was switched on meanwhile.
                    None if self.config.appendonly => {
                        self.start_aof(None, false);
                    }
                    _ => {}
                }
                self.orders.push_back(Order::Ready);
            }
            Then::Reload(waiter) => {
                if result.is_ok() {
                    self.log(LogLevel::Notice, "DB reloaded by DEBUG RELOAD");
                }
                let answer = result.map_or_else(Answer::Error, |()| Answer::Ok);
                self.persistence.answers.push((waiter, answer));
            }
            Then::LoadAof(waiter) => {
                if result.is_ok() {
                    // While nothing is appended, the manifest that was read is all that is known of the files.
                    if let Some(aof) = aof
                        && self.aof.state == AofState::Off
                    {
                        self.aof.manifest = aof.manifest;
                    }
                    self.effects.dirty = 0;
                    let text = "Append Only File loaded by DEBUG LOADAOF";
                    self.log(LogLevel::Notice, text);
                }
                let answer = result.map_or_else(Answer::Error, |()| Answer::Ok);
                self.persistence.answers.push((waiter, answer));
            }
        }
    }
}
