//! Properties: the request parser against a plain one that sees all bytes at once.

use proptest::prelude::*;
use retrace::resp::parser::QueryView;
use retrace::resp::{Args, Limits, Parsed, Parser, ProtocolError};

type Commands = Vec<Vec<Vec<u8>>>;

/// The parser as the server uses it: bytes come in pieces of the given lengths, over and over.
fn incremental(input: &[u8], pieces: &[usize]) -> (Commands, Option<ProtocolError>) {
    let limits = Limits {
        bulk_len_max: 1 << 20,
        authenticated: true,
    };
    let (mut parser, mut buf, mut end) = (Parser::default(), Vec::new(), 0);
    let mut commands = Vec::new();
    let mut rest = input;
    let mut lens = pieces.iter().cycle();
    while !rest.is_empty() {
        let mut len = lens.next().map_or(1, |len| (*len).clamp(1, rest.len()));
        if let Some(space) = parser.big_space() {
            len = len.min(space.len());
            space[..len].copy_from_slice(&rest[..len]);
            parser.big_filled(len);
        } else {
            buf.truncate(end);
            buf.extend_from_slice(&rest[..len]);
            end += len;
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

/// The same grammar without a thought for speed or for bytes to come: multi-bulk requests alone, none of them wrong.
/// What is cut off at the end is left out.
fn plain(input: &[u8]) -> Commands {
    fn line(rest: &mut &[u8]) -> Option<i64> {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let number = std::str::from_utf8(&rest[1..end]).ok()?.parse().ok()?;
        *rest = &rest[end + 2..];
        Some(number)
    }
    fn command(rest: &mut &[u8]) -> Option<Vec<Vec<u8>>> {
        let count = line(rest)?;
        let mut args = Vec::new();
        for _ in 0..count {
            let len = line(rest)? as usize;
            if rest.len() < len + 2 {
                return None;
            }
            args.push(rest[..len].to_vec());
            *rest = &rest[len + 2..];
        }
        Some(args)
    }
    let (mut rest, mut commands) = (input, Vec::new());
    while let Some(args) = command(&mut rest) {
        if !args.is_empty() {
            commands.push(args);
        }
    }
    commands
}

fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 32_000usize..34_000).prop_map(|(byte, len)| vec![byte; len]),
        1 => Just(b"\r\n*1\r\n$1\r\n".to_vec()),
    ]
}

fn encoded(commands: &Commands) -> Vec<u8> {
    let mut bytes = Vec::new();
    for args in commands {
        bytes.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
    }
    bytes
}

proptest! {
    #[test]
    fn requests_are_what_was_sent_however_they_are_cut(
        commands in prop::collection::vec(prop::collection::vec(argument(), 1..6), 0..8),
        pieces in prop::collection::vec(1usize..5_000, 1..8),
        cut in 0usize..200,
    ) {
        let bytes = encoded(&commands);
        prop_assert_eq!(incremental(&bytes, &pieces), (commands, None));
        let bytes = &bytes[..bytes.len().saturating_sub(cut)];
        prop_assert_eq!(incremental(bytes, &pieces), (plain(bytes), None));
    }

    #[test]
    fn garbage_is_the_same_garbage_however_it_is_cut(
        bytes in prop::collection::vec(prop_oneof![
            3 => prop::sample::select(b"*$0123456789-\r\n\r\n \"'\\x\0".to_vec()),
            1 => any::<u8>(),
        ], 0..300),
        pieces in prop::collection::vec(1usize..50, 1..8),
    ) {
        prop_assert_eq!(incremental(&bytes, &pieces), incremental(&bytes, &[usize::MAX]));
    }
}
