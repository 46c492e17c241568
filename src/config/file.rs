//! File: configuration files and the command line, `retrace [FILE] [-] [--directive value ...]`.
//!
//! Lives here: splitting lines into arguments, directives that are no parameters, and the start-up report.
//! May not: open files; the `Host` that the caller passes does.
//!
//! The file, standard input and the command line are one text, in this order, so that the last one wins; the
//! command line's `--name value` becomes the line `name "value"`. Line numbers in reports count in that text.

use std::collections::BTreeSet;

use super::kinds::{parse_integer, quote};
use super::suggest::{DIRECTIVES, OWN_OPTIONS, WITHDRAWN, is_named, nearest};
use super::{Config, Param, Stage, ValueError};

/// The version of Redis whose configuration and messages these are.
pub const REDIS_VERSION: &str = "8.0.6";

/// The same as a number, a byte for each part.
pub const REDIS_VERSION_NUM: u32 = 0x0008_0006;

const USER_TWICE: &str = "Duplicate user found. A user can only be defined once in config files";

/// How deep files may include each other; a file that includes itself ends here.
const INCLUDE_DEPTH_MAX: usize = 64;

/// Judges the words of a `user` directive.
pub type CheckUser<'a> = dyn Fn(&[Vec<u8>]) -> Result<(), String> + 'a;

/// Enters a folder; the error is the system's text.
pub type EnterDir<'a> = dyn FnMut(&[u8]) -> Result<Vec<u8>, String> + 'a;

/// What reading a configuration needs of the world.
pub struct Host<'a> {
    /// The text of a file, or of all files that a pattern finds, one after the other; the error is the system's text.
    pub read: &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    /// The whole of standard input; asked for only when the command line says `-`.
    pub stdin: &'a mut dyn FnMut() -> Result<Vec<u8>, String>,
    /// Makes a folder the working directory; answers with its absolute path.
    pub enter_dir: &'a mut EnterDir<'a>,
    /// Whether a command has this name, in any case.
    pub is_command: &'a dyn Fn(&[u8]) -> bool,
    /// What is wrong with the name and the rules of a `user` directive, apart from commands that are unknown.
    pub check_user: &'a CheckUser<'a>,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Run(Box<Loaded>),
    Version,
    Help,
}

/// Everything that file and command line say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    pub config: Config,
    pub options: Options,
    /// The configuration file as named on the command line.
    pub file: Option<Vec<u8>>,
    /// Standard input was read.
    pub reads_stdin: bool,
    /// Something was configured: there was a file, or a parameter on the command line.
    pub is_configured: bool,
    /// `rename-command OLD NEW`, in order; an empty `NEW` removes the command.
    pub renames: Vec<(Vec<u8>, Vec<u8>)>,
    /// `user NAME rule...`: name and rules, in order; commands in them may be unknown.
    pub users: Vec<Vec<Vec<u8>>>,
}

/// Options of ours that are no parameters, in files and on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `--port auto`: take any free port.
    pub port_auto: bool,
    /// `--port-file PATH`: write the port there once it is open.
    pub port_file: Option<Vec<u8>>,
    /// `--seed N`: seed of all randomness.
    pub seed: Option<u64>,
    /// `--record FILE`: record every input there.
    pub record: Option<Vec<u8>>,
}

/// Why the server can't start with this configuration; `Display` is what it prints before it exits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFileError {
    /// For standard error.
    #[error("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n{place}{why}")]
    Bad { place: Place, why: DirectiveError },
    /// All names that nobody knows, for standard error.
    #[error(
        "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n{}\n\
         Bad directive or wrong number of arguments",
        .0.iter().map(Unknown::to_string).collect::<Vec<_>>().join("\n")
    )]
    Unknown(Vec<Unknown>),
    /// For the log.
    #[error("Fatal error, can't open config file '{path}': {why}")]
    Open { path: String, why: String },
}

/// Where the error is; prints nothing when it is in no one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Option<(usize, String)>);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some((number, line)) => writeln!(
                f,
                "Reading the configuration file, at line {number}\n>>> '{line}'"
            ),
            None => Ok(()),
        }
    }
}

/// Where a line comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    CommandLine,
    Stdin,
    File(String),
}

/// A directive that nobody knows. Its value is not told: it may be a password with a mistyped name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    pub name: String,
    pub origin: Origin,
    /// Within its origin, from 1.
    pub line: usize,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unknown { name, line, .. } = self;
        let meant = nearest(name);
        let dashes = match &self.origin {
            Origin::CommandLine if name.starts_with('-') => {
                write!(f, "Unknown option '{name}' on the command line.")?;
                "--"
            }
            Origin::CommandLine => {
                write!(f, "Unknown option '--{name}' on the command line.")?;
                "--"
            }
            Origin::Stdin => {
                write!(
                    f,
                    "Unknown directive '{name}' at line {line} of standard input."
                )?;
                ""
            }
            Origin::File(path) => {
                write!(f, "Unknown directive '{name}' at line {line} of '{path}'.")?;
                ""
            }
        };
        match meant {
            Some(meant) => write!(f, " Did you mean {dashes}{meant}?"),
            None => Ok(()),
        }
    }
}

/// What is wrong with one directive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    #[error("Unbalanced quotes in configuration line")]
    Quotes,
    #[error("Bad directive or wrong number of arguments")]
    Directive,
    #[error("No such command in rename-command")]
    RenameUnknown,
    #[error("Target command name already exists")]
    RenameTaken,
    #[error("Error in user declaration '{name}': {why}")]
    User { name: String, why: String },
    #[error("sentinel directive while not in sentinel mode")]
    Sentinel,
    #[error("replicaof directive not allowed in cluster mode")]
    ReplicaInCluster,
    #[error("include directives are nested too deeply")]
    IncludeDepth,
    #[error("Modules cannot be loaded: this server takes none")]
    NoModules,
    /// A folder that cannot be entered; the system says why.
    #[error("{0}")]
    Dir(String),
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// Reads the command line (without the program's name) and the files it names.
pub fn load(args: &[Vec<u8>], host: &mut Host) -> Result<Command, ConfigFileError> {
    match args.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") => return Ok(Command::Version),
        Some(b"-h" | b"--help") => return Ok(Command::Help),
        _ => {}
    }
    let line = CommandLine::parse(args);
    let mut text = Text::default();
    if let Some(path) = &line.file {
        let origin = Origin::File(String::from_utf8_lossy(path).into_owned());
        text.push(origin, &read_file(host, path)?);
    }
    if line.stdin {
        let read = (host.stdin)().map_err(|why| ConfigFileError::Open {
            path: "-".into(),
            why,
        })?;
        text.push(Origin::Stdin, &as_c_text(&read));
    }
    if !line.options.is_empty() {
        text.bytes.push(b'\n');
        text.push(Origin::CommandLine, &line.options);
    }
    let mut loader = Loader {
        seen: BTreeSet::new(),
        unknown: Vec::new(),
        loaded: Loaded {
            is_configured: line.file.is_some() || line.stdin,
            file: line.file,
            reads_stdin: line.stdin,
            ..Loaded::default()
        },
        host,
    };
    loader.load_text(&text, 0)?;
    loader.finish().map(|loaded| Command::Run(Box::new(loaded)))
}

/// Lines, and where they come from.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// Which line is the first of each origin, from 0.
    origins: Vec<(usize, Origin)>,
}

impl Text {
    fn push(&mut self, origin: Origin, bytes: &[u8]) {
        let lines = self.bytes.iter().filter(|byte| **byte == b'\n').count();
        self.origins.push((lines, origin));
        self.bytes.extend(bytes);
    }

    /// Where a line comes from, and its number there, from 1.
    fn origin(&self, index: usize) -> (&Origin, usize) {
        let origins = self.origins.iter().rev();
        let mut behind = origins.filter(|(first, _)| *first <= index);
        let (first, origin) = behind.next().expect("the first origin begins with line 0");
        (origin, index - first + 1)
    }
}

/// The command line, its options turned into configuration lines.
struct CommandLine {
    file: Option<Vec<u8>>,
    stdin: bool,
    options: Vec<u8>,
}

impl CommandLine {
    fn parse(args: &[Vec<u8>]) -> CommandLine {
        let mut line = CommandLine {
            file: None,
            stdin: false,
            options: Vec::new(),
        };
        let mut rest = args;
        if let Some((first, tail)) = args.split_first()
            && first.first() != Some(&b'-')
        {
            line.file = Some(first.clone());
            rest = tail;
        }
        let mut name_may_follow = true; // false behind a name that still lacks its value
        while let Some((arg, tail)) = rest.split_first() {
            rest = tail;
            let is_first = tail.len() + 1 == args.len();
            if arg == b"-" && (is_first || tail.is_empty()) {
                line.stdin = true;
            } else if let Some(name) = arg.strip_prefix(b"--").filter(|_| name_may_follow) {
                name_may_follow = line.push_name(name, tail.first());
            } else {
                line.options.extend(quote(arg).into_bytes());
                line.options.push(b' ');
                name_may_follow = true;
            }
        }
        line
    }

    /// Begins a line with the option `name`; returns whether it may do without a further value.
    fn push_name(&mut self, name: &[u8], next: Option<&Vec<u8>>) -> bool {
        if !self.options.is_empty() {
            self.options.push(b'\n');
        }
        self.options.extend(name);
        self.options.push(b' ');
        let has_value = split_args(name).is_none_or(|words| words.len() != 1);
        let name_follows = next.is_none_or(|next| next.starts_with(b"--"));
        if name.eq_ignore_ascii_case(b"save") && name_follows {
            self.options.extend(b"\"\""); // `--save` alone turns snapshots off
            return true;
        }
        has_value || (name.eq_ignore_ascii_case(b"sentinel") && name_follows)
    }
}

/// Reads directives line by line into `loaded`.
struct Loader<'a, 'h> {
    host: &'a mut Host<'h>,
    loaded: Loaded,
    /// Parameters that had a line already.
    seen: BTreeSet<&'static str>,
    /// Names that nobody knows are told all at once.
    unknown: Vec<Unknown>,
}

impl Loader<'_, '_> {
    /// What was read, when nothing is wrong with the whole of it.
    fn finish(mut self) -> Result<Loaded, ConfigFileError> {
        let bad = |why| ConfigFileError::Bad {
            place: Place(None),
            why,
        };
        if !self.unknown.is_empty() {
            return Err(ConfigFileError::Unknown(self.unknown));
        }
        if !self.seen.contains("dir") {
            self.enter_dir().map_err(bad)?;
        }
        let config = &mut self.loaded.config;
        if config.cluster_enabled && config.replicaof.is_some() {
            return Err(bad(DirectiveError::ReplicaInCluster));
        }
        if config.cluster_enabled {
            config.databases = 1;
        }
        config.hz = config.hz.clamp(1, 500);
        Ok(self.loaded)
    }

    fn load_text(&mut self, text: &Text, depth: usize) -> Result<(), ConfigFileError> {
        for (index, raw) in text.bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = trim(raw);
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            self.load_line(line, text.origin(index), depth)
                .map_err(|error| match error {
                    LineError::Directive(why) => {
                        let place = Place(Some((
                            index + 1,
                            String::from_utf8_lossy(line).into_owned(),
                        )));
                        ConfigFileError::Bad { place, why }
                    }
                    LineError::Included(error) => error,
                })?;
        }
        Ok(())
    }

    fn load_line(
        &mut self,
        line: &[u8],
        (origin, number): (&Origin, usize),
        depth: usize,
    ) -> Result<(), LineError> {
        let words = split_args(line).ok_or(DirectiveError::Quotes)?;
        let Some((name, args)) = words.split_first() else {
            return Ok(());
        };
        if *origin == Origin::CommandLine && name.eq_ignore_ascii_case(b"sentinel") {
            return Err(DirectiveError::Sentinel.into()); // `--sentinel` asks for another program
        }
        if self.take_option(name, args)? {
            return Ok(());
        }
        if let Some(param) = Param::find(name) {
            return Ok(self.set_param(param, args)?);
        }
        if is_named(name, &WITHDRAWN) && args.len() == 1 {
            return Ok(());
        }
        if is_named(name, &DIRECTIVES) || is_named(name, &WITHDRAWN) {
            return self.directive(name, args, depth);
        }
        self.unknown.push(Unknown {
            name: String::from_utf8_lossy(name).into_owned(),
            origin: origin.clone(),
            line: number,
        });
        Ok(())
    }

    fn set_param(&mut self, param: &'static Param, args: &[Vec<u8>]) -> Result<(), DirectiveError> {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let first = self.seen.insert(param.name);
        self.loaded.is_configured = true;
        if param.name == "port" {
            self.loaded.options.port_auto = false;
        }
        param.set(&mut self.loaded.config, &args, Stage::Startup { first })?;
        match param.name {
            "dir" => self.enter_dir(),
            _ => Ok(()),
        }
    }

    /// Goes to the working directory as it is configured by now: the next one may be told from there.
    fn enter_dir(&mut self) -> Result<(), DirectiveError> {
        let entered = (self.host.enter_dir)(&self.loaded.config.dir);
        self.loaded.config.dir = entered.map_err(DirectiveError::Dir)?;
        Ok(())
    }

    /// Takes one of our own options; says whether it was one.
    fn take_option(&mut self, name: &[u8], args: &[Vec<u8>]) -> Result<bool, DirectiveError> {
        let options = &mut self.loaded.options;
        let name = name.to_ascii_lowercase();
        match (name.as_slice(), args) {
            (b"port", [auto]) if auto.eq_ignore_ascii_case(b"auto") => options.port_auto = true,
            (b"port-file", [path]) => options.port_file = Some(path.clone()),
            (b"record", [path]) => options.record = Some(path.clone()),
            (b"seed", [seed]) => {
                let seed = parse_integer(seed).and_then(|seed| u64::try_from(seed).ok());
                options.seed = Some(seed.ok_or(ValueError::NotInteger)?);
            }
            (name, _) if is_named(name, &OWN_OPTIONS) => return Err(ValueError::ArgCount.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A directive that is no parameter.
    fn directive(&mut self, name: &[u8], args: &[Vec<u8>], depth: usize) -> Result<(), LineError> {
        match (name.to_ascii_lowercase().as_slice(), args) {
            (b"include", [path]) => return self.include(path, depth),
            (b"rename-command", [old, new]) => self.rename(old, new)?,
            (b"user", [user, ..]) => {
                let is_known = self.loaded.users.iter().any(|known| known[0] == *user);
                let checked = match is_known {
                    true => Err(USER_TWICE.to_owned()),
                    false => (self.host.check_user)(args),
                };
                checked.map_err(|why| DirectiveError::User {
                    name: String::from_utf8_lossy(user).into_owned(),
                    why,
                })?;
                self.loaded.users.push(args.to_vec());
            }
            (b"loadmodule", [_, ..]) => return Err(DirectiveError::NoModules.into()),
            (b"sentinel", []) => {}
            (b"sentinel", _) => return Err(DirectiveError::Sentinel.into()),
            _ => return Err(DirectiveError::Directive.into()),
        }
        Ok(())
    }

    fn include(&mut self, path: &[u8], depth: usize) -> Result<(), LineError> {
        if depth == INCLUDE_DEPTH_MAX {
            return Err(DirectiveError::IncludeDepth.into());
        }
        let mut text = Text::default();
        let read = read_file(self.host, path).map_err(LineError::Included)?;
        text.push(
            Origin::File(String::from_utf8_lossy(path).into_owned()),
            &read,
        );
        self.load_text(&text, depth + 1)
            .map_err(LineError::Included)
    }

    fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), DirectiveError> {
        if !self.is_command(old) {
            return Err(DirectiveError::RenameUnknown);
        }
        if !new.is_empty() && self.is_command(new) {
            return Err(DirectiveError::RenameTaken);
        }
        self.loaded.renames.push((old.to_vec(), new.to_vec()));
        Ok(())
    }

    /// Whether a command goes by `name` after the renames so far; the last one that mentions it decides.
    fn is_command(&self, name: &[u8]) -> bool {
        for (old, new) in self.loaded.renames.iter().rev() {
            if name.eq_ignore_ascii_case(new) {
                return true;
            }
            if name.eq_ignore_ascii_case(old) {
                return false;
            }
        }
        (self.host.is_command)(name)
    }
}

/// An error of the line itself, or one that an included file reports for itself.
enum LineError {
    Directive(DirectiveError),
    Included(ConfigFileError),
}

impl From<DirectiveError> for LineError {
    fn from(error: DirectiveError) -> LineError {
        LineError::Directive(error)
    }
}

fn read_file(host: &mut Host, path: &[u8]) -> Result<Vec<u8>, ConfigFileError> {
    let path = String::from_utf8_lossy(path);
    let read = (host.read)(&path).map_err(|why| ConfigFileError::Open {
        path: path.into_owned(),
        why,
    })?;
    Ok(as_c_text(&read))
}

/// A text as C reads it, line by line into a buffer: what stands behind a NUL is lost up to the end of its line, the
/// end included, or of the buffer.
pub(super) fn as_c_text(text: &[u8]) -> Vec<u8> {
    const BUFFER_BYTES: usize = 1024;
    if !text.contains(&0) {
        return text.to_vec();
    }
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let reads = lines.flat_map(|line| line.chunks(BUFFER_BYTES));
    let strings = reads.map(|read| read.split(|byte| *byte == 0).next().unwrap_or_default());
    strings.collect::<Vec<_>>().concat()
}

pub(super) fn trim(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

/// Splits a line at blanks; `"..."` knows `\n \r \t \b \a \xHH` and `\` before any other byte, `'...'` only `\'`.
/// `None` when a quote does not close or something is glued to a closing one.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    // To C the text ends with a NUL.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut rest = skip_blanks(line);
    while !rest.is_empty() {
        let (word, tail) = split_word(rest)?;
        words.push(word);
        rest = skip_blanks(tail);
    }
    Some(words)
}

/// A blank to C: the vertical tab is one too.
fn is_blank(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || *byte == 0x0b
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let len = text.iter().take_while(|byte| is_blank(byte)).count();
    &text[len..]
}

/// The first word of `rest`, which begins with no blank, and what follows it.
fn split_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Some((word, rest)),
            // Fewer bytes end a word than stand between two.
            [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest)),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                rest = split_quoted(*quote, tail, &mut word)?;
                let closed = rest.first().is_none_or(is_blank);
                return closed.then_some((word, rest));
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

/// Adds the quoted text at the start of `rest` to `word`; returns what follows the closing quote.
fn split_quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match (quote, rest) {
            (_, []) => return None,
            (_, [byte, tail @ ..]) if *byte == quote => return Some(tail),
            (b'"', [b'\\', b'x', high, low, tail @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = tail;
            }
            (b'"', [b'\\', escaped, tail @ ..]) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            (b'\'', [b'\\', b'\'', tail @ ..]) => {
                word.push(b'\'');
                rest = tail;
            }
            (_, [byte, tail @ ..]) => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

/// The value of a digit that is known to be hexadecimal.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
