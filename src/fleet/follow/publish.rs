//! What the follower writes to the stream: what its files have and the fleet has not, what others of the process ask for, marks, and all there is for who
//! needs it.

use std::collections::HashSet;

use futures_util::stream::FuturesUnordered;
use tracing::{error, info};

use super::{End, Flight, Follower, HELP_INTERVAL};
use crate::auth::{AppId, KeyRing};
use crate::clock;
use crate::fleet::entry::{Change, Entry, Keys};
use crate::fleet::handle::{Put, PutError, Wish};
use crate::fleet::seal::ENTRY_BYTES_MAX;
use crate::fleet::stream::{Published, Session};

impl Follower {
    /// There is nothing to follow: begins with what this node has.
    pub(super) fn found(
        &mut self,
        session: &Session,
        published: &mut FuturesUnordered<Published>,
    ) -> Result<(), End> {
        let local = || self.copy.as_ref().expect("nobody else has it now").roster();
        let roster =
            self.before.clone().map_or_else(local, Ok).map_err(|error| End::Lost(error.to_string()))?;
        let apps = roster.registry.apps().len();
        info!(apps, "the fleet's stream has no snapshot to begin with: writing what this node has");
        self.publish(&Entry::Founding(roster), Flight::Founding, session, published);
        Ok(())
    }

    /// Writes all there is for one who has begun with less, or asks for it where something is missing here.
    pub(super) fn help(&mut self, session: &Session, published: &mut FuturesUnordered<Published>) {
        let now = clock::monotonic();
        let is_wanted = self.wants_help || self.gives_help;
        if !self.is_live || !is_wanted || now.saturating_sub(self.helped_at) < HELP_INTERVAL {
            return;
        }
        self.helped_at = now;
        if std::mem::take(&mut self.wants_help) {
            let roster = self.replica.roster().expect("live").clone();
            self.publish(&Entry::Founding(roster), Flight::Founding, session, published);
        }
        if std::mem::take(&mut self.gives_help) {
            self.publish_snapshot(session, published);
        }
    }

    pub(super) fn publish_snapshot_if_due(
        &mut self,
        session: &Session,
        published: &mut FuturesUnordered<Published>,
    ) {
        let is_due = self.tail.changes >= self.options.snapshot_changes
            || self.tail.bytes >= self.options.snapshot_bytes;
        let is_under_way = self.in_flight.values().any(|flight| matches!(flight, Flight::Snapshot));
        if self.is_live && is_due && !is_under_way {
            self.publish_snapshot(session, published);
        }
    }

    fn publish_snapshot(&mut self, session: &Session, published: &mut FuturesUnordered<Published>) {
        let roster = self.replica.roster().expect("live").clone();
        let through = self.position.as_ref().expect("live").offset;
        self.metrics.snapshots.add(1);
        self.publish(&Entry::Snapshot { roster, through }, Flight::Snapshot, session, published);
    }

    /// Writes what the files have and the fleet has not.
    pub(super) fn publish_pending(&mut self, session: &Session, published: &mut FuturesUnordered<Published>) {
        if !self.is_live {
            return;
        }
        let found = self.in_flight.values().filter_map(|flight| match flight {
            Flight::Found(change) => Some(subject(change)),
            _ => None,
        });
        let under_way: HashSet<_> = found.collect();
        for change in std::mem::take(&mut self.pending) {
            if under_way.contains(&subject(&change)) {
                // Looked at again when that one is back.
                continue;
            }
            if let Change::App { app, .. } = &change
                && self.hopeless.contains(&(app.id, app.version))
            {
                continue;
            }
            self.publish(&Entry::Change(change.clone()), Flight::Found(Box::new(change)), session, published);
        }
    }

    pub(super) fn take_put(
        &mut self,
        Put { wish, answer }: Put,
        session: Option<&Session>,
        published: &mut FuturesUnordered<Published>,
    ) {
        let (Some(session), Some(roster), true) = (session, self.replica.roster(), self.is_live) else {
            let _ = answer.send(Err(PutError::Away));
            return;
        };
        let change = match wish {
            Wish::App(app) => {
                let base = roster.registry.app(app.id).map(|_| app.version.saturating_sub(1));
                Change::App { app: *app, base }
            }
            Wish::Keys { before, after } => {
                if before != roster.keys.text || KeyRing::parse(after.as_bytes()).is_err() {
                    let _ = answer.send(Err(PutError::Conflict));
                    return;
                }
                let base = roster.keys.revision;
                Change::Keys { keys: Keys { revision: base + 1, text: after }, base }
            }
        };
        self.publish(&Entry::Change(change), Flight::Put(answer), session, published);
    }

    pub(super) fn publish(
        &mut self,
        entry: &Entry,
        flight: Flight,
        session: &Session,
        published: &mut FuturesUnordered<Published>,
    ) {
        let (id, body) = entry.seal(&self.sealer);
        if body.len() > ENTRY_BYTES_MAX {
            error!(
                bytes = body.len(),
                "what the fleet has is too large for an entry: it cannot be shared any more"
            );
            return;
        }
        if matches!(flight, Flight::Mark) {
            self.marked_at = clock::monotonic();
        }
        self.in_flight.insert(id, flight);
        published.push(session.publish(body));
    }
}

/// What a change is of.
fn subject(change: &Change) -> Option<AppId> {
    match change {
        Change::App { app, .. } => Some(app.id),
        Change::Keys { .. } => None,
    }
}
