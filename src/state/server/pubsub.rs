//! Pub/Sub: who hears which channels.
//!
//! Two views of one relation: by name, who listens, for publishing; by client, to which names, for a client that
//! unsubscribes or goes. Both are ordered maps, so that no step grows with how many others there are. Names are
//! shared between the views. Lives here: the relation, and publishing. May not: reply to who subscribes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::KeyspaceEvents;
use crate::resp::Reply;
use crate::state::client::Client;
use crate::state::effects::Event;
use crate::state::push::Message;
use crate::state::subscriptions::{Name, Scope};
use crate::state::{ConnId, Server};
use crate::types::glob::glob_match;

/// Who listens to what.
#[derive(Default)]
pub struct PubSub {
    listeners: [BTreeMap<Name, BTreeSet<ConnId>>; 3],
    clients: usize,
}

impl PubSub {
    /// Whether nobody listens to anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.clients == 0
    }

    /// How many clients listen to something.
    pub fn client_len(&self) -> usize {
        self.clients
    }

    /// How many names of this scope are listened to.
    pub fn len(&self, scope: Scope) -> usize {
        self.listeners[scope as usize].len()
    }

    /// The names of this scope that are listened to, in order.
    pub fn names(&self, scope: Scope) -> impl Iterator<Item = &[u8]> {
        self.listeners[scope as usize].keys().map(|name| &name[..])
    }

    /// How many clients listen to a name.
    pub fn listener_len(&self, scope: Scope, name: &[u8]) -> usize {
        self.listeners[scope as usize]
            .get(name)
            .map_or(0, BTreeSet::len)
    }

    /// The client listens to a name from now on, if it did not already.
    pub fn subscribe(&mut self, client: &mut Client, scope: Scope, name: &[u8]) {
        if client.subscriptions.is_none() {
            self.clients += 1;
        }
        let of_client = client.subscriptions.get_or_insert_default();
        if of_client.names[scope as usize].contains(name) {
            return;
        }
        let listeners = &mut self.listeners[scope as usize];
        let name = match listeners.get_key_value(name) {
            Some((known, _)) => Arc::clone(known),
            None => Name::from(name),
        };
        listeners
            .entry(Arc::clone(&name))
            .or_default()
            .insert(client.conn);
        of_client.names[scope as usize].insert(name);
    }

    /// The client no longer listens to a name.
    pub fn unsubscribe(&mut self, client: &mut Client, scope: Scope, name: &[u8]) {
        let Some(of_client) = &mut client.subscriptions else {
            return;
        };
        if of_client.names[scope as usize].remove(name) {
            self.drop_listener(client.conn, scope, name);
        }
        if of_client.is_empty() {
            client.subscriptions = None;
            self.clients -= 1;
        }
    }

    /// The client no longer listens to anything.
    pub fn unsubscribe_all(&mut self, client: &mut Client) {
        let Some(of_client) = client.subscriptions.take() else {
            return;
        };
        for scope in [Scope::Channel, Scope::Pattern, Scope::Shard] {
            for name in of_client.names(scope) {
                self.drop_listener(client.conn, scope, name);
            }
        }
        self.clients -= 1;
    }

    fn drop_listener(&mut self, conn: ConnId, scope: Scope, name: &[u8]) {
        let listeners = &mut self.listeners[scope as usize];
        if let Some(conns) = listeners.get_mut(name) {
            conns.remove(&conn);
            if conns.is_empty() {
                listeners.remove(name);
            }
        }
    }
}

impl Server {
    /// Sends a message to those who listen to a channel, then to those who listen to patterns that it matches;
    /// says how many receivers that were.
    pub fn publish(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        if self.pubsub.is_empty() {
            return 0;
        }
        let pubsub = std::mem::take(&mut self.pubsub);
        let mut receivers = 0;
        if let Some(conns) = pubsub.listeners[Scope::Channel as usize].get(channel) {
            receivers += self.publish_to(conns, b"message", channel, payload);
        }
        for (pattern, conns) in &pubsub.listeners[Scope::Pattern as usize] {
            if glob_match(pattern, channel, false) {
                let mut message = Message::new(|reply: &mut Reply| {
                    reply.push(4);
                    reply.bulk(b"pmessage");
                    reply.bulk(pattern);
                    reply.bulk(channel);
                    reply.bulk(payload);
                });
                for conn in conns {
                    self.send(*conn, &mut message);
                }
                receivers += conns.len();
            }
        }
        self.pubsub = pubsub;
        receivers
    }

    /// Sends a message to those who listen to a shard channel; says how many receivers that were.
    pub fn publish_shard(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let pubsub = std::mem::take(&mut self.pubsub);
        let conns = pubsub.listeners[Scope::Shard as usize].get(channel);
        let receivers = conns.map(|conns| self.publish_to(conns, b"smessage", channel, payload));
        self.pubsub = pubsub;
        receivers.unwrap_or(0)
    }

    /// Publishes what happened to a key, if its class of events is asked for: on the key's channel, on the event's.
    pub fn publish_event(&mut self, dbid: u32, key: &[u8], event: Event) {
        let wanted = self.config.notify_keyspace_events;
        if self.pubsub.is_empty() || !wanted.contains(event.class.flag()) {
            return;
        }
        if wanted.contains(KeyspaceEvents::KEYSPACE) {
            let channel = [format!("__keyspace@{dbid}__:").as_bytes(), key].concat();
            self.publish(&channel, event.name.as_bytes());
        }
        if wanted.contains(KeyspaceEvents::KEYEVENT) {
            let channel = format!("__keyevent@{dbid}__:{}", event.name);
            self.publish(channel.as_bytes(), key);
        }
    }

    fn publish_to(
        &mut self,
        conns: &BTreeSet<ConnId>,
        kind: &[u8],
        channel: &[u8],
        payload: &[u8],
    ) -> usize {
        let mut message = Message::new(|reply: &mut Reply| {
            reply.push(3);
            reply.bulk(kind);
            reply.bulk(channel);
            reply.bulk(payload);
        });
        for conn in conns {
            self.send(*conn, &mut message);
        }
        conns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::UnixMicros;

    #[test]
    fn both_views_tell_the_same_until_the_last_has_gone() {
        let mut pubsub = PubSub::default();
        let mut clients: Vec<Client> = (0..3)
            .map(|n| Client::new(ConnId(n), u64::from(n) + 1, UnixMicros(0)))
            .collect();
        for client in &mut clients {
            for name in [&b"a"[..], b"b", b"a"] {
                pubsub.subscribe(client, Scope::Channel, name);
            }
        }
        pubsub.subscribe(&mut clients[0], Scope::Shard, b"a");
        pubsub.unsubscribe(&mut clients[0], Scope::Pattern, b"a");
        pubsub.unsubscribe(&mut clients[0], Scope::Channel, b"a");
        let of_first = clients[0].subscriptions.as_ref().expect("b, and shard a");
        assert_eq!(
            (of_first.len(Scope::Channel), of_first.len(Scope::Shard)),
            (1, 1)
        );
        assert_eq!(pubsub.listener_len(Scope::Channel, b"a"), 2);
        assert_eq!((pubsub.len(Scope::Channel), pubsub.client_len()), (2, 3));
        pubsub.unsubscribe(&mut clients[0], Scope::Shard, b"a");
        pubsub.unsubscribe(&mut clients[0], Scope::Channel, b"b");
        assert!(clients[0].subscriptions.is_none());
        assert_eq!(pubsub.client_len(), 2);
        for client in &mut clients {
            pubsub.unsubscribe_all(client);
        }
        assert!(pubsub.is_empty() && pubsub.names(Scope::Channel).next().is_none());
    }
}
