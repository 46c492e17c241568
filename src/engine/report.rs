//! Report: what a report of a crash tells of the engine.
//!
//! Each question stands for itself: something has gone wrong, so any of them may end in a panic, which the one who asks
//! has to expect. Nothing of what is asked matters any more afterwards. May not: write anything.

use crate::border::Reading;
use crate::command::client::{describe, own_line};
use crate::command::info;
use crate::command::slowlog::is_secret;
use crate::command::{CommandId, Ctx};
use crate::config::{Config, Flags as ParamFlags, PARAMS};
use crate::engine::Engine;
use crate::engine::loaded::loading_client;
use crate::resp::{Args, OwnedArgs};
use crate::state::Client;

/// What stands for what is not to be told.
const REDACTED: &str = "*redacted*";

/// Bytes of an argument that are shown, and arguments.
const SHOWN_BYTES_MAX: usize = 128;
const SHOWN_ARGS_MAX: usize = 32;

/// Where the command that runs is to be found, for who may look there.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// The addresses of its client and of its arguments.
    at: Option<(usize, usize)>,
    /// What was told of a command when a panic broke it off.
    broken_off: Option<String>,
}

impl Seat {
    /// This command runs now; what did before.
    #[inline]
    pub fn take(&mut self, client: &Client, args: &Args<'_>) -> Option<(usize, usize)> {
        let client = std::ptr::from_ref(client).expose_provenance();
        let args = std::ptr::from_ref(args).expose_provenance();
        self.at.replace((client, args))
    }

    /// What ran before runs again.
    #[inline]
    pub fn give_back(&mut self, outer: Option<(usize, usize)>) {
        self.at = outer;
    }
}

/// A command that runs, for the end that a panic makes of it: what there is to tell of it is gone behind that.
pub(super) struct Seated<'a> {
    pub engine: &'a mut Engine,
    pub client: &'a mut Client,
    pub args: Args<'a>,
    /// Around which other command it runs.
    pub outer: Option<(usize, usize)>,
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.engine.report_request(self.client, self.args)
        }));
        // The innermost one comes first.
        let seat = &mut self.engine.seat;
        if seat.broken_off.is_none() {
            seat.broken_off = told.ok();
        }
        seat.give_back(self.outer);
    }
}

impl Engine {
    /// The addresses of the client and of the arguments of the command that runs, if one does: they hold as long as the
    /// engine is in the middle of it.
    pub fn running_at(&self) -> Option<(usize, usize)> {
        self.seat.at
    }

    /// INFO, with everything that there is.
    pub fn report_info(&mut self, reading: Reading) -> String {
        self.server.reading = reading;
        let mut asking = loading_client(self.server.now);
        let mut args = OwnedArgs::default();
        args.push(b"info");
        args.push(b"everything");
        let mut ctx = Ctx {
            server: &mut self.server,
            client: &mut asking,
            registry: &self.registry,
            command: CommandId(0),
            first_key: None,
        };
        info::text(&mut ctx, args.args())
    }

    /// A line for each client but the one whose command runs.
    pub fn report_clients(&self) -> String {
        let clients = self.server.clients.iter();
        let lines = clients.map(|client| describe(&self.server, client, &self.registry));
        lines.collect()
    }

    /// The client whose command runs, and that command. What it names is left out if the log is to know no data.
    pub fn report_request(&self, client: &Client, args: Args<'_>) -> String {
        let line = own_line(&self.server, client, &self.registry, args);
        line + &self.report_args(client.last_command, args)
    }

    /// The same of a command that a panic has broken off.
    pub fn broken_off(&self) -> Option<&str> {
        self.seat.broken_off.as_deref()
    }

    /// The script that stands still while something else happens: what was called.
    pub fn report_script(&self) -> Option<String> {
        let running = self.server.scripting.running.as_ref()?;
        let args = running.argv.args();
        let id = self.registry.find(args).ok().map(|command| command.id);
        Some(self.report_args(id, args))
    }

    fn report_args(&self, id: Option<CommandId>, args: Args<'_>) -> String {
        let hides_data = self.server.config.hide_user_data_from_log;
        let name = id.map_or("", |id| self.registry.get(id).full_name.as_str());
        let mut text = format!("argc: '{}'\n", args.len());
        for (at, arg) in args.iter_from(0).enumerate().take(SHOWN_ARGS_MAX) {
            let shown = match arg.len() {
                _ if at > 0 && hides_data || is_secret(name, args, at) => REDACTED.to_owned(),
                len if len > SHOWN_BYTES_MAX => format!(
                    "\"{}\"... ({} more bytes)",
                    arg[..SHOWN_BYTES_MAX].escape_ascii(),
                    len - SHOWN_BYTES_MAX
                ),
                _ => format!("\"{}\"", arg.escape_ascii()),
            };
            text += &format!("argv[{at}]: '{shown}'\n");
        }
        text
    }

    /// Parameters that do not have their default, but for secrets.
    pub fn report_config(&self) -> String {
        let default = Config::default();
        let mut text = String::new();
        for param in PARAMS {
            let value = param.get(&self.server.config);
            if param.flags.contains(ParamFlags::SENSITIVE) || value == param.get(&default) {
                continue;
            }
            text += &format!("{} {}\n", param.name, value.escape_ascii());
        }
        text
    }
}
