//! Fuzz: what the fuzz targets do with their bytes, as plain functions, so that a failing input can be a test as well.

use retrace::acl::{BadRule, RuleError, Terms, User, Users, file};
use retrace::border::{Boot, Input, Order, Peer, Reading, Want};
use retrace::command::Registry;
use retrace::config::Guard;
use retrace::config::{self, Config, Host};
use retrace::engine::Engine;
use retrace::journal::JournalReader;
use retrace::keyspace::entry::Entry;
use retrace::keyspace::saving::Style;
use retrace::keyspace::table::HashSeed;
use retrace::persist::rdb::{self, Decoder, Item};
use retrace::persist::reader::Reader;
use retrace::persist::value::{self, Value};
use retrace::resp::parser::QueryView;
use retrace::resp::{Args, Limits, Parsed, Parser, ProtocolError};
use retrace::state::{ConnId, UnixMicros};
use retrace::state::aof::{OPENED, WRITE_TICKET};

/// The commands, made once: that takes longer than most inputs.
fn registry() -> &'static Registry {
    static REGISTRY: std::sync::OnceLock<Registry> = std::sync::OnceLock::new();
    REGISTRY.get_or_init(|| Registry::new(&[]).expect("no command is renamed"))
}

/// Commands and the error behind them.
type Outcome = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

fn parse_in_pieces(input: &[u8], limits: Limits, mut next_len: impl FnMut() -> usize) -> Outcome {
    let (mut parser, mut buf, mut end) = (Parser::default(), Vec::new(), 0);
    let mut commands = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let mut len = next_len().clamp(1, rest.len());
        match parser.big_space() {
            Some(space) => {
                len = len.min(space.len());
                space[..len].copy_from_slice(&rest[..len]);
                parser.big_filled(len);
            }
            None => {
                buf.truncate(end);
                buf.extend_from_slice(&rest[..len]);
                end += len;
            }
        }
        rest = &rest[len..];
        loop {
            let mut argv = Vec::new();
            let mut view = QueryView::new(&mut buf, 0, end);
            let parsed = parser.parse(&mut view, &mut argv, limits);
            end = view.end();
            match parsed {
                Ok(Parsed::Command { len }) => {
                    let big = parser.take_big();
                    let args = Args::new(&buf, &argv, &big);
                    if !args.is_empty() {
                        commands.push(args.iter_from(0).map(<[u8]>::to_vec).collect());
                    }
                    buf.drain(..len);
                    end -= len;
                }
                Ok(Parsed::Incomplete) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

/// Requests are the same however their bytes are cut.
pub fn parser(data: &[u8]) {
    let [mode, input @ ..] = data else {
        return;
    };
    let limits = Limits {
        // Small enough that no input makes the parser reserve much.
        bulk_len_max: 64 * 1024,
        authenticated: mode & 1 == 0,
    };
    let whole = parse_in_pieces(input, limits, || usize::MAX);
    let mut state = u64::from(*mode) + 1;
    let pieces = parse_in_pieces(input, limits, || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 33) as usize % 37 + 1
    });
    // Limits look at what has arrived, so how bytes are cut may decide which of them is met; short inputs meet none.
    if input.len() < 16 * 1024 {
        assert_eq!(whole, pieces);
    }
}

/// A journal of any bytes is read to its end or refused.
pub fn journal(data: &[u8]) {
    if let Ok((mut reader, header)) = JournalReader::open(data) {
        let _ = header.into_boot(true);
        while let Ok(Some(_)) = reader.next() {}
        let _ = reader.tail();
    }
    // The same bytes as sound blocks, so that what they hold is reached.
    let (head, rest) = data.split_at(data.len() / 2);
    let mut file = b"RETRACEJ".to_vec();
    file.extend_from_slice(&retrace::journal::VERSION.to_le_bytes());
    for (index, block) in [head, rest].into_iter().enumerate() {
        file.extend_from_slice(&(block.len() as u32).to_le_bytes());
        file.extend_from_slice(
            &xxhash_rust::xxh3::xxh3_64_with_seed(block, index as u64).to_le_bytes(),
        );
        file.extend_from_slice(block);
    }
    if let Ok((mut reader, header)) = JournalReader::open(&file[..]) {
        let _ = header.into_boot(true);
        while let Ok(Some(_)) = reader.next() {}
    }
}

/// A configuration of any bytes is read or refused in words.
pub fn config(data: &[u8]) {
    let mut host = Host {
        read: &mut |path| match path {
            "fuzz.conf" => Ok(data.to_vec()),
            _ => Err("No such file or directory".into()),
        },
        stdin: &mut || Ok(data.to_vec()),
        enter_dir: &mut |dir| Ok(dir.to_vec()),
        is_command: &|name| name.eq_ignore_ascii_case(b"get"),
        check_user: &|words| file::check_declaration(words, registry().catalogue()),
    };
    match config::load(&[b"fuzz.conf".to_vec(), b"-".to_vec()], &mut host) {
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let words: Vec<Vec<u8>> = data.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let _ = config::load(&words, &mut host);
}

/// An entry with the value in `bytes`, a type number and what follows.
fn restored(bytes: &[u8], limits: &value::Limits) -> Option<Entry> {
    let mut reader = Reader::new(bytes);
    let kind = reader.byte().ok()?;
    Some(match value::decode(kind, &mut reader, limits).ok()? {
        Value::Int(value) => Entry::new_int(b"k", value, None, 0),
        Value::Str(bytes) => Entry::new_str(b"k", &bytes, None, 0),
        Value::Object(object) => Entry::new_object(b"k", object, None, 0),
    })
}

/// The value of a DUMP payload is refused, or it is whole: it can be used, and saved and read again.
pub fn restore(data: &[u8]) {
    let limits = value::Limits::new(&Config::default(), 1 << 30, HashSeed([7; 16]));
    let Some(entry) = restored(data, &limits) else {
        return;
    };
    let mut saved = Vec::new();
    value::encode(&entry, true, &mut saved);
    let again = restored(&saved, &limits).expect("what was saved is read");
    let copy = entry.duplicate(b"copy");
    for other in [&again, &copy] {
        assert_eq!(other.kind(), entry.kind());
        if let (Some(other), Some(object)) = (other.object(), entry.object()) {
            let digests = [other, object].map(|object| {
                let mut digest = retrace::types::digest::Digest::default();
                object.digest(&mut digest);
                digest
            });
            assert_eq!(digests[0], digests[1]);
            assert_eq!(other.len(), object.len());
            assert!(object.memory_bytes() > 0);
        }
    }
}

/// An RDB file of any bytes is read to its end or refused, the same however it is cut. A key that is read can be saved and
/// read again.
pub fn rdb(data: &[u8]) {
    let limits = value::Limits::new(&Config::default(), 0, HashSeed([7; 16]));
    let whole = rdb_in_pieces(data, usize::MAX, &limits);
    let pieces = rdb_in_pieces(data, 61, &limits);
    assert_eq!(whole, pieces);
}

/// The keys of a file that comes in pieces, as they are saved again, and whether its end was reached.
fn rdb_in_pieces(data: &[u8], len: usize, limits: &value::Limits) -> (Vec<Vec<u8>>, bool) {
    const STYLE: Style = Style {
        packs: true,
        idle_since: None,
        frequency_clock: None,
    };
    let mut decoder = Decoder::new(0, false);
    let (mut rest, mut keys) = (data, Vec::new());
    decoder.push(b"", data.len() as u64);
    loop {
        match decoder.next(limits) {
            Ok(None) => {
                let (now, later) = rest.split_at(len.min(rest.len()));
                assert!(!now.is_empty(), "it wants more than there is");
                decoder.push(now, later.len() as u64);
                rest = later;
            }
            Ok(Some(Item::End)) => return (keys, true),
            Ok(Some(Item::Key(key))) => {
                let name = key.name.into_owned();
                let entry = key.value.into_entry(&name, key.deadline_ms, 0);
                let mut saved = b"REDIS0012".to_vec();
                assert_eq!(
                    rdb::put_entry(&entry, &STYLE, 0, usize::MAX, &mut saved),
                    None
                );
                let mut again = Decoder::new(0, false);
                again.push(&saved, 0);
                assert!(again.next(limits).is_ok(), "the version is known");
                match again.next(limits) {
                    Ok(Some(Item::Key(again))) => assert_eq!(again.name, name),
                    _ => panic!("what was saved is not read"),
                }
                keys.push(saved);
            }
            Ok(Some(_)) => {}
            Err(error) => {
                assert!(error.pos <= data.len() as u64);
                return (keys, false);
            }
        }
    }
}

/// What a user may do, for all commands and some keys and channels.
fn powers(user: &User) -> Vec<bool> {
    const NAMES: [&[u8]; 6] = [b"", b"a", b"key:1", b"*", b"channel", b"get"];
    let mut powers = Vec::new();
    for selector in user.all_selectors() {
        for command in registry().all() {
            let firsts = [None, Some(&b"0"[..]), Some(b"get")];
            powers.extend(firsts.map(|first| selector.allows_command(command.id, first)));
        }
        for name in NAMES {
            let accesses = [(false, false), (true, false), (false, true), (true, true)];
            powers.extend(accesses.map(|(read, write)| {
                selector.allows_key(name, retrace::acl::KeyAccess { read, write })
            }));
            powers
                .extend([false, true].map(|is_pattern| selector.allows_channel(name, is_pattern)));
        }
    }
    powers
}

/// Rules, one a line, are applied or refused; what a user is described as makes the same user. The same bytes are read
/// as an ACL file, and as the words of a `user` directive.
pub fn acl(data: &[u8]) {
    let mut terms = Terms::new(registry().catalogue(), data.len() % 2 == 1);
    let mut user = User::new(b"u", terms.all_channels);
    for rule in data.split(|byte| *byte == b'\n') {
        let before = user.describe();
        if user.apply_all([rule], &mut terms).is_err() && rule.first() != Some(&b'(') {
            assert_eq!(user.describe(), before, "a refused rule changes nothing");
        }
    }
    let line = user.describe();
    // Rules have no quotes, so a pattern that looks like one or like the end of a selector is read as that.
    if !data.iter().any(|byte| b"()\"'\\".contains(byte)) {
        let mut again = User::new(b"u", false);
        let mut words = line.split(|byte| *byte == b' ').skip(2);
        // The pattern `%RW~*` is shown as `~*`, which makes the ones before it void and refuses those behind. The
        // real server does the same.
        let keys = user.root().describe_keys();
        let hides_patterns =
            keys != b"~*" && keys.split(|byte| *byte == b' ').any(|key| key == b"~*");
        match again.apply_all(&mut words, &mut Terms::new(registry().catalogue(), false)) {
            Err(BadRule::Rule(_, RuleError::KeysAfterAll)) if hides_patterns => {}
            Err(bad) => panic!("{line:?} is refused: {bad:?}"),
            Ok(()) => {
                assert!(hides_patterns || again.describe() == line);
                assert_eq!(powers(&again), powers(&user));
            }
        }
    }
    if let Ok(users) = file::parse(data, "fuzz.acl", &mut terms) {
        let text = file::print(&users);
        let _ = file::parse(&text, "fuzz.acl", &mut terms);
    }
    let words: Vec<Vec<u8>> = data
        .split(|byte| byte.is_ascii_whitespace())
        .map(<[u8]>::to_vec)
        .collect();
    if file::check_declaration(&words, registry().catalogue()).is_ok() {
        let mut users = Users::new(User::open_default());
        let _ = file::declare(&mut users, &[words], &mut terms);
    }
}

/// An append-only file of any bytes is loaded or refused, the same however it is cut into chunks. The input is a manifest,
/// the base and the incremental file, with [`PARTS_END`] between them; all incremental files are the same one.
pub fn aof(data: &[u8]) {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = data;
    while parts.len() < 2
        && let Some(at) = rest
            .windows(PARTS_END.len())
            .position(|bytes| bytes == PARTS_END)
    {
        parts.push(&rest[..at]);
        rest = &rest[at + PARTS_END.len()..];
    }
    parts.push(rest);
    // Scripts may run for ever, and so they do in the server.
    let has_script = rest
        .windows(4)
        .any(|word| word.eq_ignore_ascii_case(b"eval"));
    if parts.len() < 3 || has_script {
        return;
    }
    let [whole, pieces] = [usize::MAX, 61].map(|len| load_aof(&parts, len));
    assert_eq!(whole, pieces);
}

/// Stands between the files in an input of [`aof`].
const PARTS_END: &[u8] = b"\n==\n";

/// Tells the engine what it asks for, until it asks for nothing more.
fn answer_wants(engine: &mut Engine, now: UnixMicros) {
    while let Some(want) = engine.poll_want() {
        match want {
            Want::Reading => engine.handle_reading(Reading::default()),
            Want::Clock | Want::Sleep { .. } => engine.handle_clock(now),
        }
    }
}

/// What becomes of a server that finds these files, which it gets in chunks of `len` bytes at most.
fn load_aof(parts: &[&[u8]], len: usize) -> String {
    let config = Config {
        appendonly: true,
        enable_debug_command: Guard::Yes,
        // Enough for what an input can hold.
        proto_max_bulk_len: 1 << 20,
        ..Config::default()
    };
    let now = UnixMicros(1_800_000_000_000_000);
    let boot = Boot {
        config,
        now,
        ..Boot::default()
    };
    let mut engine = Engine::new(boot).expect("the configuration is sound");
    engine.handle_start();
    let mut is_ready = false;
    for turn in 0.. {
        assert!(turn < 1_000_000, "it never ends");
        answer_wants(&mut engine, now);
        let Some(order) = engine.poll_order() else {
            if is_ready {
                break;
            }
            engine.handle_time(now);
            continue;
        };
        match order {
            Order::ReadFile {
                ticket,
                path,
                pos,
                len: asked,
            } => {
                let file = match path.rsplit(|byte| *byte == b'/').next().unwrap_or_default() {
                    name if name.ends_with(b".manifest") => parts[0],
                    name if name.windows(5).any(|word| word == b".base") => parts[1],
                    _ => parts[2],
                };
                let from = usize::try_from(pos).map_or(file.len(), |pos| pos.min(file.len()));
                let bytes = &file[from..];
                let bytes = &bytes[..bytes.len().min(asked).min(len)];
                engine.handle_chunk(ticket, Some(file.len() as u64), bytes);
            }
            Order::Exit { code } => return format!("ends with {code}"),
            Order::Ready => is_ready = true,
            // The disk takes all that it is given.
            Order::OpenAof { .. } => engine.handle_done(WRITE_TICKET, Ok(OPENED.to_vec())),
            Order::MakeFolder { ticket, .. }
            | Order::WriteWhole { ticket, .. }
            | Order::Rename { ticket, .. }
            | Order::RemoveFiles { ticket, .. } => engine.handle_done(ticket, Ok(Vec::new())),
            _ => {}
        }
    }
    let peer = Peer {
        addr: "127.0.0.1:1".into(),
        local_addr: "127.0.0.1:2".into(),
        is_unix: false,
        is_local: true,
        fd: 5,
    };
    let conn = ConnId(0);
    engine.handle_accept(conn, peer);
    engine.handle(&Input::Read {
        conn,
        bytes: b"DEBUG DIGEST\r\n",
    });
    answer_wants(&mut engine, now);
    let mut slices = Vec::new();
    engine.output(conn, &mut slices);
    let said: Vec<u8> = slices
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect();
    assert!(said.starts_with(b"+"), "{}", said.escape_ascii());
    said.escape_ascii().to_string()
}
