//! Clients: all of them, each at the place that its connection's number names.
//!
//! The shell chooses the numbers, and none twice at a time, so there is no rule here about which place is free: a run that
//! is repeated has the numbers in its journal. They follow each other closely, which makes a vector of places the best map.
//! A place is in use while its client is taken out, because its command runs, and until what a client that has gone had
//! begun is at its end. Then the shell is told that the number may be used again.

use crate::state::{Client, ClientFlags, ConnId};

/// What stands at a place that nobody has.
const NOBODY: u64 = 0;

/// One place.
#[derive(Default)]
struct Place {
    /// The number that CLIENT ID shows of the client that is here, taken out or not; [`NOBODY`] if there is none.
    id: u64,
    client: Option<Box<Client>>,
}

/// All clients by connection. The one whose command runs is taken out meanwhile.
#[derive(Default)]
pub struct Clients {
    places: Vec<Place>,
    len: usize,
    /// Places that were left, for the shell to hear of.
    left: Vec<ConnId>,
}

impl Clients {
    /// Whether a new client can have this place: nobody is there, and it is at most the next one behind all others.
    pub fn is_free(&self, conn: ConnId) -> bool {
        let at = conn.0 as usize;
        at <= self.places.len() && !self.is_used(conn)
    }

    /// Puts a new client into its place, which must be free.
    pub fn insert(&mut self, client: Box<Client>) {
        assert!(
            self.is_free(client.conn),
            "the shell gives each number once"
        );
        let at = client.conn.0 as usize;
        if at == self.places.len() {
            self.places.push(Place::default());
        }
        self.places[at] = Place {
            id: client.id,
            client: Some(client),
        };
        self.len += 1;
    }

    /// Takes the client out for a while; its place stays in use.
    #[inline]
    pub fn take(&mut self, conn: ConnId) -> Option<Box<Client>> {
        self.places.get_mut(conn.0 as usize)?.client.take()
    }

    /// Puts a client back that was taken out.
    #[inline]
    pub fn put_back(&mut self, client: Box<Client>) {
        if let Some(place) = self.places.get_mut(client.conn.0 as usize) {
            place.client = Some(client);
        }
    }

    /// Forgets the client; its place is free again, once the shell has heard of it.
    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Client>> {
        if !self.is_used(conn) {
            return None;
        }
        let place = std::mem::take(self.places.get_mut(conn.0 as usize)?);
        self.left.push(conn);
        let is_gone = place
            .client
            .as_ref()
            .is_some_and(|client| client.flags.has(ClientFlags::GONE));
        self.len -= usize::from(!is_gone);
        place.client
    }

    /// The next place that was left.
    pub fn poll_left(&mut self) -> Option<ConnId> {
        self.left.pop()
    }

    /// The client is gone, but keeps its place until what it had begun has come to its end.
    pub fn retire(&mut self, conn: ConnId) {
        if let Some(client) = self.get_mut(conn)
            && !client.flags.has(ClientFlags::GONE)
        {
            let flags = ClientFlags::GONE.or(ClientFlags::CLOSE_ASAP);
            client.flags.set(flags, true);
            self.len -= 1;
        }
    }

    /// Whether there is such a client, taken out or not.
    pub fn is_used(&self, conn: ConnId) -> bool {
        let place = self.places.get(conn.0 as usize);
        place.is_some_and(|place| place.id != NOBODY)
    }

    /// Whether the client that had this connection is there still, taken out or not.
    pub fn is_connected(&self, conn: ConnId, id: u64) -> bool {
        let place = self.places.get(conn.0 as usize);
        place.is_some_and(|place| place.id == id && id != NOBODY)
    }

    /// The connection of a client, taken out or not, by the number that CLIENT ID shows.
    pub fn conn_of(&self, id: u64) -> Option<ConnId> {
        let mut ids = self.places.iter().map(|place| place.id);
        let at = ids.position(|of| of == id && of != NOBODY)?;
        Some(ConnId(at as u32))
    }

    /// A client that is not taken out.
    #[inline]
    pub fn get(&self, conn: ConnId) -> Option<&Client> {
        self.places.get(conn.0 as usize)?.client.as_deref()
    }

    /// A client that is not taken out.
    #[inline]
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.places.get_mut(conn.0 as usize)?.client.as_deref_mut()
    }

    /// How many are connected, those taken out included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many places there are, used or not: the bound for walking them by number.
    pub fn place_count(&self) -> usize {
        self.places.len()
    }

    /// All that are connected and not taken out, by place.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        let clients = self
            .places
            .iter()
            .filter_map(|place| place.client.as_deref());
        clients.filter(|client| !client.flags.has(ClientFlags::GONE))
    }

    /// All that are not taken out, by place, those that are gone included.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        let places = self.places.iter_mut();
        places.filter_map(|place| place.client.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::UnixMicros;

    fn client(conn: u32, id: u64) -> Box<Client> {
        Box::new(Client::new(ConnId(conn), id, UnixMicros(0)))
    }

    #[test]
    fn a_place_is_kept_while_its_client_is_taken_out_or_has_something_to_end() {
        let mut clients = Clients::default();
        assert!(clients.is_free(ConnId(0)) && !clients.is_free(ConnId(1)));
        clients.insert(client(0, 7));
        clients.insert(client(1, 8));
        let taken = clients.take(ConnId(0)).expect("it is there");
        assert!(clients.get(ConnId(0)).is_none());
        assert!(clients.is_connected(ConnId(0), 7) && !clients.is_free(ConnId(0)));
        clients.put_back(taken);
        clients.retire(ConnId(0));
        assert_eq!((clients.len(), clients.poll_left()), (1, None));
        assert!(!clients.is_free(ConnId(0)));
        assert!(clients.remove(ConnId(0)).is_some() && clients.remove(ConnId(0)).is_none());
        assert_eq!((clients.len(), clients.poll_left()), (1, Some(ConnId(0))));
        assert!(clients.is_free(ConnId(0)) && !clients.is_connected(ConnId(0), 7));
        assert_eq!(
            (clients.conn_of(8), clients.conn_of(0)),
            (Some(ConnId(1)), None)
        );
    }
}
