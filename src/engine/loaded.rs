//! The commands of an append-only file: in whose name they run, and what is asked of memory before they do.
//!
//! May not: know files and transactions (`state/loading.rs`), nor run the scripts among them (the engine does).

use crate::command::{Ctx, Registry};
use crate::keyspace::entry::Entry;
use crate::keyspace::object::ObjectRef;
use crate::persist::aof::{AHEAD_MAX, Commands};
use crate::resp::OwnedArgs;
use crate::state::loading::{Ran, Run};
use crate::state::{Client, ClientFlags, ConnId, Server, UnixMicros};

/// The number that stands for what is loaded, in place of a connection's.
pub(crate) const LOADER: ConnId = ConnId(u32::MAX);

/// In whose name the commands of an append-only file run: nobody reads the replies, and nothing waits.
pub(super) fn loading_client(now: UnixMicros) -> Box<Client> {
    let mut client = Box::new(Client::new(LOADER, 0, now));
    client.flags.set(ClientFlags::IN_EXEC, true);
    client.reply.set_muted(true);
    client
}

/// Runs the commands of an append-only file.
pub(super) struct Runner<'a> {
    pub registry: &'a Registry,
    pub client: &'a mut Client,
    /// Kept for its memory.
    pub owned: OwnedArgs,
}

impl Run for Runner<'_> {
    fn begin(&mut self) {
        self.client.dbid = 0;
    }

    fn fetch(&self, server: &mut Server, commands: &Commands) {
        let seed = server.hash_seed;
        let db = server.db(self.client.dbid);
        let mut last: Option<(&[u8], Option<usize>, Option<usize>)> = None;
        // Each command's key with its hash, and the element of it that it is about.
        let mut wanted = [None; AHEAD_MAX];
        for (args, wanted) in commands.ahead().zip(&mut wanted) {
            let arg = |at: usize| args.get(at).map(|place| commands.bytes(place));
            let name = arg(0).unwrap_or_default();
            // Files mostly repeat a few commands.
            let (key_at, element_at) = match last {
                Some((known, key_at, element_at)) if known == name => (key_at, element_at),
                _ => {
                    let command = self.registry.by_name(name);
                    let key_at = command.and_then(|command| command.first_key);
                    let element_at = command.and_then(|command| command.element);
                    (key_at.map(usize::from), element_at.map(usize::from))
                }
            };
            last = Some((name, key_at, element_at));
            if let Some(key) = key_at.and_then(arg) {
                let hash = seed.hash(key);
                db.table.prefetch_bucket(hash);
                *wanted = Some((key, hash, element_at.and_then(arg)));
            }
        }
        for (_, hash, _) in wanted.iter().flatten() {
            db.table.prefetch_element(*hash);
        }
        let mut last = None;
        let mut elements = [None; AHEAD_MAX];
        for ((key, hash, element), found) in wanted.iter().flatten().zip(&mut elements) {
            let Some(element) = element else {
                continue;
            };
            let table = match last {
                Some((known, table)) if known == *key => table,
                _ => db
                    .get(*hash, key)
                    .and_then(Entry::object)
                    .and_then(ObjectRef::elements),
            };
            last = Some((*key, table));
            *found = table.map(|table| (table, seed.hash(element)));
            if let Some((table, hash)) = found {
                table.prefetch_bucket(*hash);
            }
        }
        for (table, hash) in elements.iter().flatten() {
            table.prefetch_element(*hash);
        }
    }

    fn check(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let name = words.first().copied().unwrap_or_default();
        let command = self.registry.by_name(name);
        // Of a container the subcommand counts as well.
        if command.is_some_and(|command| command.subcommands.is_empty()) {
            return Ok(());
        }
        self.owned.clear();
        if !words.iter().all(|word| self.owned.push(word)) {
            return Err("A command that is too large".to_owned());
        }
        match self.registry.find(self.owned.args()) {
            Ok(_) => Ok(()),
            Err(_) => Err(unknown(name)),
        }
    }

    /// That a command's reply is an error means nothing, as when it was written.
    fn run(&mut self, server: &mut Server, words: &[&[u8]]) -> Result<Ran, String> {
        self.owned.clear();
        if !words.iter().all(|word| self.owned.push(word)) {
            return Err("A command that is too large".to_owned());
        }
        let args = self.owned.args();
        let command = match self.registry.find(args) {
            Ok(command) if command.spec.accepts(args.len()) => command,
            Ok(command) => {
                return Err(format!(
                    "Wrong number of arguments for '{}' reading the append only file",
                    command.full_name
                ));
            }
            Err(_) => return Err(unknown(args.bytes(0))),
        };
        self.client.last_command = Some(command.id);
        let handler = command.spec.handler;
        let mut ctx = Ctx {
            server,
            client: self.client,
            registry: self.registry,
            command: command.id,
            first_key: None,
        };
        let _ = handler(&mut ctx, args);
        self.client.stop_waiting();
        Ok(match server.scripting.prepared {
            Some(_) => Ran::Script,
            None => Ran::Whole,
        })
    }
}

fn unknown(name: &[u8]) -> String {
    let name = name[..name.len().min(128)].escape_ascii();
    format!("Unknown command '{name}' reading the append only file")
}
