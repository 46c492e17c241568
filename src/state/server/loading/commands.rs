//! The commands of an append-only file, in their order, transactions as a whole.
//!
//! Lives here: what is done with one, and where a file that ends too early is cut off. May not: run a command (the engine
//! gives a function for that, and runs scripts beside it).

use super::{Loading, Stage, Step};
use crate::border::LogLevel;
use crate::persist::aof::{Commands, Flaw, Part};
use crate::persist::rdb::FileError;
use crate::state::server::Server;

/// How far a command of an append-only file came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    Whole,
    /// It is a script, which the engine runs before anything else is loaded.
    Script,
}

/// Runs the commands of an append-only file.
pub trait Run {
    /// Another file begins.
    fn begin(&mut self);

    /// Asks for the memory that the commands will touch which were read ahead.
    fn fetch(&self, server: &mut Server, commands: &Commands);

    /// Whether there is the command that a transaction is to run, or why it cannot be.
    fn check(&mut self, args: &[&[u8]]) -> Result<(), String>;

    /// Runs a command, or says why it cannot be.
    fn run(&mut self, server: &mut Server, args: &[&[u8]]) -> Result<Ran, String>;
}

/// What runs the commands of an append-only file.
pub type RunCommand<'a> = dyn Run + 'a;

impl From<Ran> for Step {
    fn from(ran: Ran) -> Step {
        match ran {
            Ran::Whole => Step::On,
            Ran::Script => Step::Script,
        }
    }
}

impl Server {
    /// The next command of an append-only file.
    pub(super) fn load_command(
        &mut self,
        loading: &mut Loading,
        run: &mut RunCommand<'_>,
    ) -> Result<Step, FileError> {
        let mut stage = std::mem::replace(&mut loading.stage, Stage::Head);
        let step = match &mut stage {
            Stage::Commands(commands) => self.load_command_of(commands, loading, run),
            _ => Ok(Step::End),
        };
        loading.stage = stage;
        step
    }

    fn load_command_of(
        &mut self,
        commands: &mut Commands,
        loading: &mut Loading,
        run: &mut RunCommand<'_>,
    ) -> Result<Step, FileError> {
        let pos = commands.pos();
        let fail = |pos: u64, what: String| Err(FileError { pos, what });
        let Some(aof) = &mut loading.aof else {
            return fail(pos, "no append-only file is loaded".to_owned());
        };
        if let Some(command) = aof.to_run.pop_front() {
            let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            return run
                .run(self, &args)
                .map_or_else(|what| fail(pos, what), |ran| Ok(ran.into()));
        }
        if commands.read_ahead() {
            run.fetch(self, commands);
        }
        let cut = match commands.next_part() {
            Ok(Some(Part::Command(places))) => {
                let args: Vec<&[u8]> = places.iter().map(|place| commands.bytes(place)).collect();
                let is = |name: &str| args[0].eq_ignore_ascii_case(name.as_bytes());
                if let Some((_, queue)) = &mut aof.open {
                    if !is("EXEC") {
                        // Before the end is looked for: what no server can run is not torn off in the middle.
                        if let Err(what) = run.check(&args) {
                            return fail(pos, what);
                        }
                        queue.push(args.iter().map(|arg| arg.to_vec()).collect());
                        return Ok(Step::On);
                    }
                    aof.to_run = std::mem::take(queue).into();
                    aof.open = None;
                    self.delay_key(loading);
                    return Ok(Step::On);
                }
                if is("MULTI") {
                    aof.open = Some((pos, Vec::new()));
                    return Ok(Step::On);
                }
                let ran = run.run(self, &args);
                self.delay_key(loading);
                return ran.map_or_else(|what| fail(pos, what), |ran| Ok(ran.into()));
            }
            Ok(Some(Part::Time(_) | Part::Note)) => return Ok(Step::On),
            Ok(None) if !commands.is_at_end() => return Ok(Step::More),
            Ok(None) => match aof.open.take() {
                None => return Ok(Step::End),
                Some((pos, _)) => {
                    let name = aof.name.escape_ascii();
                    let text =
                        format!("Revert incomplete MULTI/EXEC transaction in AOF file {name}");
                    self.log(LogLevel::Warning, text);
                    pos
                }
            },
            Err(Flaw::Cut { pos }) => aof.open.take().map_or(pos, |(begun, _)| begun),
            Err(Flaw::Format { pos }) => {
                return fail(
                    pos,
                    "Bad file format reading the append only file: no command".to_owned(),
                );
            }
        };
        let is_last = aof.left.is_empty();
        if !is_last || !self.config.aof_load_truncated {
            let what = match is_last {
                true => {
                    "Unexpected end of file reading the append only file (retrace check --fix can cut it off there)"
                }
                false => {
                    "Unexpected end of file reading the append only file, which is not the last one"
                }
            };
            return fail(cut, what.to_owned());
        }
        aof.truncate_to = Some(cut);
        let name = aof.name.escape_ascii().to_string();
        self.log(
            LogLevel::Warning,
            format!("!!! Warning: short read while loading the AOF file {name}!!!"),
        );
        self.log(
            LogLevel::Warning,
            format!("!!! Truncating the AOF {name} at offset {cut} !!!"),
        );
        self.log(
            LogLevel::Warning,
            format!("AOF {name} loaded anyway because aof-load-truncated is enabled"),
        );
        Ok(Step::End)
    }

    /// Whether everything waits for the script that was begun last.
    pub fn loading_awaits_script(&self) -> bool {
        let loading = self.persistence.loading.as_ref();
        loading.is_some_and(|loading| loading.awaits_script)
    }

    /// The script is through.
    pub fn end_loaded_script(&mut self) {
        if let Some(loading) = &mut self.persistence.loading {
            loading.awaits_script = false;
        }
    }
}
