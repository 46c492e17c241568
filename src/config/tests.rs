//! The table against what a server of the version we follow answered, and reading and writing of whole files.
use super::*;

const RUNTIME: Access = Access::Runtime {
    protected: false,
    loading: false,
};

/// Each line: name, flags (`i`mmutable, `p`rotected, `h`idden), default, error for `zz-bogus`, error out of range.
fn observed() -> impl Iterator<Item = [&'static str; 5]> {
    include_str!("testdata/params.tsv").lines().map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        fields.try_into().expect("five fields a line")
    })
}

fn set(config: &mut Config, name: &str, value: &str) -> String {
    match config.set_many(&[(name.as_bytes(), value.as_bytes())], RUNTIME) {
        Ok(changed) => format!("{changed:?}"),
        Err(error) => error.to_string(),
    }
}

fn load_all(args: &[&str], files: &[(&str, &str)]) -> Result<Command, ConfigFileError> {
    let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    let mut read = |path: &str| {
        let found = files.iter().find(|(name, _)| *name == path);
        found
            .map(|(_, text)| text.as_bytes().to_vec())
            .ok_or("No such file or directory".to_string())
    };
    let mut stdin = || Ok(b"hz 77\n".to_vec());
    let is_command =
        |name: &[u8]| name.eq_ignore_ascii_case(b"get") || name.eq_ignore_ascii_case(b"set");
    load(
        &args,
        &mut Host {
            read: &mut read,
            enter_dir: &mut |dir| match dir {
                b"nowhere" => Err("No such file or directory".into()),
                _ => Ok(dir.to_vec()),
            },
            stdin: &mut stdin,
            is_command: &is_command,
            check_user: &|_| Ok(()),
        },
    )
}

fn loaded(args: &[&str], files: &[(&str, &str)]) -> Loaded {
    match load_all(args, files) {
        Ok(Command::Run(loaded)) => *loaded,
        other => panic!("{other:?}"),
    }
}

fn file_error(text: &str) -> String {
    load_all(&["f"], &[("f", text)])
        .unwrap_err()
        .to_string()
        .replace("\n*** FATAL CONFIG FILE ERROR (Redis 8.0.6) ***\n", "")
}

/// Parameters of newer servers than the one that was observed.
const NEWER: &[&str] = &["lookahead", "stream-idmp-duration", "stream-idmp-maxsize"];

#[test]
fn the_table_is_what_a_server_answers() {
    let config = Config::default();
    let mut names = BTreeSet::new();
    for [name, flags, default, bad, range] in observed() {
        names.insert(name);
        let param = Param::find(name.as_bytes()).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(config.get(name).unwrap(), default.as_bytes(), "{name}");
        for (letter, flag) in [
            ('i', Flags::IMMUTABLE),
            ('p', Flags::PROTECTED),
            ('h', Flags::HIDDEN),
        ] {
            assert_eq!(
                param.flags.contains(flag),
                flags.contains(letter),
                "{name} {letter}"
            );
        }
        let parse = |text: &str| param.set(&mut config.clone(), &[text.as_bytes()], Stage::Runtime);
        if !bad.is_empty() {
            // Later versions have more policies, which are named behind the others.
            let said = parse("zz-bogus").unwrap_err().to_string();
            let is_same = said == bad || name == "maxmemory-policy" && said.starts_with(bad);
            assert!(is_same, "{name}: {said}");
        }
        if let Some(bounds) = range.strip_prefix("argument must be between ") {
            let (min, max) = bounds
                .trim_end_matches(" inclusive")
                .split_once(" and ")
                .unwrap();
            let in_range = min
                .parse::<i128>()
                .is_ok_and(|min| parse(&(min - 1).to_string()).is_ok());
            assert!(!in_range, "{name} below {min}");
            if !default.is_empty()
                && name != "unixsocketperm"
                && max.parse::<i128>().unwrap() < i128::from(i64::MAX)
            {
                let above = (max.parse::<i128>().unwrap() + 1).to_string();
                assert_eq!(parse(&above).unwrap_err().to_string(), range, "{name}");
            }
            parse(min).unwrap_or_else(|error| panic!("{name} {min}: {error}"));
            parse(max).unwrap_or_else(|error| panic!("{name} {max}: {error}"));
        }
    }
    for param in PARAMS {
        assert!(
            names.contains(param.name) || NEWER.contains(&param.name),
            "{}",
            param.name
        );
        assert!(
            param.alias.is_none_or(|alias| names.contains(alias)),
            "{}",
            param.name
        );
        assert!(!param.doc().is_empty() && !param.values().is_empty());
    }
    assert!(PARAMS.is_sorted_by_key(|param| param.name));
}

#[test]
fn every_value_can_be_set_to_what_get_prints() {
    let default = Config::default();
    for param in PARAMS.iter().filter(|param| param.name != "replicaof") {
        let mut config = default.clone();
        param
            .set(&mut config, &[&param.get(&default)], Stage::Runtime)
            .unwrap_or_else(|error| panic!("{param:?}: {error}"));
        assert_eq!(config, default);
    }
}

#[test]
fn get_finds_names_aliases_and_patterns() {
    let config = Config::default();
    let names = |patterns: &[&str]| -> Vec<String> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        config
            .matching(&patterns)
            .into_iter()
            .map(|(name, _)| String::from_utf8(name).unwrap())
            .collect()
    };
    assert_eq!(names(&["MAXMEMORY"]), ["MAXMEMORY"]);
    assert_eq!(names(&["maxmemory", "MAXMEMORY"]), ["maxmemory"]);
    assert_eq!(names(&["MAXMEMORY", "max[m]emory"]), ["MAXMEMORY"]);
    assert_eq!(names(&["max[m]emory"]), ["maxmemory"]);
    assert_eq!(
        names(&["hash-max-*value"]),
        ["hash-max-listpack-value", "hash-max-ziplist-value"]
    );
    assert_eq!(names(&["key-load*"]), [""; 0]);
    assert_eq!(names(&["key-load-delay"]), ["key-load-delay"]);
    assert_eq!(names(&["nosuch"]), [""; 0]);
}

#[test]
fn set_changes_all_or_nothing() {
    let mut config = Config::default();
    let pairs: [(&[u8], &[u8]); 2] = [(b"maxmemory", b"5mb"), (b"timeout", b"zz")];
    let error = config.set_many(&pairs, RUNTIME).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer"
    );
    assert_eq!(config, Config::default());
    assert_eq!(set(&mut config, "maxmemory", "5mb"), "[maxmemory]");
    assert_eq!(set(&mut config, "maxmemory", "5mb"), "[]");
    assert_eq!(
        set(&mut config, "repl-backlog-size", "1"),
        "[repl-backlog-size]"
    );
    assert_eq!(config.repl_backlog_size, 16384);
}

#[test]
fn set_refuses_names() {
    let mut config = Config::default();
    let mut refuse = |pairs: &[(&str, &str)], access| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        config
            .set_many(&pairs, access)
            .unwrap_err()
            .to_string()
            .replace("ERR CONFIG SET failed (possibly related to argument", "@")
    };
    insta::assert_snapshot!(refuse(&[("nosuch", "1"), ("databases", "3")], RUNTIME), @"ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'");
    insta::assert_snapshot!(refuse(&[("databases", "3"), ("nosuch", "1")], RUNTIME), @"@ 'databases') - can't set immutable config");
    insta::assert_snapshot!(refuse(&[("dir", ".")], RUNTIME), @"@ 'dir') - can't set protected config");
    insta::assert_snapshot!(refuse(&[("maxmemory", "1"), ("MAXMEMORY", "1")], RUNTIME), @"@ 'MAXMEMORY') - duplicate parameter");
    insta::assert_snapshot!(refuse(&[("repl-ping-slave-period", "0")], RUNTIME), @"@ 'repl-ping-slave-period') - argument must be between 1 and 2147483647 inclusive");
    let loading = Access::Runtime {
        protected: true,
        loading: true,
    };
    insta::assert_snapshot!(refuse(&[("dir", ".")], loading), @"LOADING Redis is loading the dataset in memory");
}

#[test]
fn a_file_says_where_it_is_wrong() {
    insta::assert_snapshot!(file_error("\n# x\n  timeout zz  # c\n"), @r"
    Reading the configuration file, at line 3
    >>> 'timeout zz  # c'
    wrong number of arguments
    ");
    for (text, why) in [
        ("timeout \"abc\n", "Unbalanced quotes in configuration line"),
        (
            "timeout \"1\"x\n",
            "Unbalanced quotes in configuration line",
        ),
        (
            "sentinel monitor x\n",
            "sentinel directive while not in sentinel mode",
        ),
        ("include\n", "Bad directive or wrong number of arguments"),
        (
            "rename-command foo bar\n",
            "No such command in rename-command",
        ),
        (
            "rename-command get set\n",
            "Target command name already exists",
        ),
        ("slaveof a 70000\n", "Invalid master port"),
        ("save 1\n", "Invalid save parameters"),
        (
            "appenddirname a/b\n",
            "appenddirname can't be a path, just a dirname",
        ),
        (
            "rename-command a\n",
            "Bad directive or wrong number of arguments",
        ),
        ("dir nowhere\n", "No such file or directory"),
        (
            "loadmodule m.so\n",
            "Modules cannot be loaded: this server takes none",
        ),
        ("include f\n", "include directives are nested too deeply"),
    ] {
        assert_eq!(
            file_error(text),
            format!(
                "Reading the configuration file, at line 1\n>>> '{}'\n{why}",
                text.trim_end()
            )
        );
    }
    assert_eq!(
        file_error("cluster-enabled yes\nreplicaof a 1\n"),
        "replicaof directive not allowed in cluster mode"
    );
    assert_eq!(
        file_error("include g\n"),
        "Fatal error, can't open config file 'g': No such file or directory"
    );
}

#[test]
fn the_command_line_follows_the_file() {
    let all = loaded(
        &[
            "f",
            "--port",
            "7000",
            "--bind",
            "127.0.0.1",
            "::1",
            "--save",
            "--TIMEOUT",
            "5",
            "-",
        ],
        &[
            (
                "f",
                "port 1\nsave 900 1\nrename-command GET g\nuser bob on\nslave-read-only no\ninclude i\n",
            ),
            ("i", "maxmemory 1gb"),
        ],
    );
    let config = &all.config;
    assert_eq!(
        (config.port, config.timeout, config.hz, config.maxmemory),
        (7000, 5, 77, 1 << 30)
    );
    assert_eq!(config.get("bind").unwrap(), b"127.0.0.1 ::1");
    assert_eq!((config.save.len(), config.replica_read_only), (0, false));
    assert_eq!(
        (all.renames.len(), all.users.len(), all.file.as_deref()),
        (1, 1, Some(&b"f"[..]))
    );

    let ours = loaded(
        &[
            "--port",
            "auto",
            "--seed",
            "7",
            "--port-file",
            "p",
            "--record",
            "r",
        ],
        &[],
    )
    .options;
    assert_eq!(
        ours,
        Options {
            port_auto: true,
            port_file: Some(b"p".into()),
            seed: Some(7),
            record: Some(b"r".into())
        }
    );
    let file = "seed 1\nport auto\nport-file a\nrecord b\n";
    let both = loaded(&["f", "--seed", "2"], &[("f", file)]);
    assert_eq!(
        both.options,
        Options {
            port_auto: true,
            port_file: Some(b"a".into()),
            seed: Some(2),
            record: Some(b"b".into())
        }
    );
    let is_configured = |args: &[&str]| loaded(args, &[("f", "")]).is_configured;
    assert!(!is_configured(&["--seed", "1"]));
    assert!(
        ["f", "-", "--hz 10"]
            .iter()
            .all(|&arg| is_configured(&[arg]))
    );
    assert_eq!(load_all(&["--version"], &[]), Ok(Command::Version));
    assert_eq!(load_all(&["-h"], &[]), Ok(Command::Help));
    assert_eq!(
        loaded(&["--hz 20", "--requirepass", "--x--"], &[])
            .config
            .requirepass,
        b"--x--"
    );
    assert_eq!(
        loaded(&["f", "--save", "100", "100"], &[("f", "save 900 1")])
            .config
            .get("save")
            .unwrap(),
        b"900 1 100 100"
    );
}

#[test]
fn a_dash_reads_standard_input_where_a_real_server_does() {
    for (args, hz) in [
        (&["-"][..], 77),
        (&["-", "--hz", "20"], 20),
        (&["--hz", "20", "-"], 20),
        (&["f", "-"], 77),
        (&["f", "-", "--port", "1"], 10),
    ] {
        match load_all(args, &[("f", "")]) {
            Ok(Command::Run(loaded)) => {
                assert_eq!(
                    (loaded.config.hz, loaded.reads_stdin),
                    (hz, true),
                    "{args:?}"
                );
            }
            // In the middle it is a value without a name.
            other => assert!(hz == 10 && other.is_err(), "{args:?}: {other:?}"),
        }
    }
}

#[test]
fn unknown_names_are_told_at_once_and_with_what_was_meant() {
    let error = load_all(
        &["f", "--prot", "1", "--nothing-like-it"],
        &[
            ("f", "hz 20\nincldue x\ninclude i\n"),
            ("i", "\nrequirepas secret\n"),
        ],
    );
    let error = error.expect_err("unknown").to_string();
    assert!(!error.contains("secret"), "{error}");
    insta::assert_snapshot!(error.trim(), @r"
    *** FATAL CONFIG FILE ERROR (Redis 8.0.6) ***
    Unknown directive 'incldue' at line 2 of 'f'. Did you mean include?
    Unknown directive 'requirepas' at line 2 of 'i'. Did you mean requirepass?
    Unknown option '--prot' on the command line. Did you mean --port?
    Unknown option '--nothing-like-it' on the command line.
    Bad directive or wrong number of arguments
    ");
}

#[test]
fn the_last_folder_wins_and_each_is_entered() {
    let mut entered = Vec::new();
    let mut enter = |dir: &[u8]| {
        entered.push(String::from_utf8_lossy(dir).into_owned());
        Ok(b"/there".to_vec())
    };
    let args = [b"f".to_vec(), b"--dir".to_vec(), b"b".to_vec()];
    let command = load(
        &args,
        &mut Host {
            read: &mut |_| Ok(b"dir a\nport 1\n".to_vec()),
            enter_dir: &mut enter,
            stdin: &mut || Ok(Vec::new()),
            is_command: &|_| false,
            check_user: &|_| Ok(()),
        },
    );
    assert!(matches!(command, Ok(Command::Run(loaded)) if loaded.config.dir == b"/there"));
    assert_eq!(entered, ["a", "b"]);
}

#[test]
fn a_nul_takes_the_rest_of_its_line_with_it() {
    let config = loaded(&["f"], &[("f", "port 1\0x\n2\nhz 20\0\n")]).config;
    assert_eq!((config.port, config.hz), (12, 20));
}

#[test]
fn a_chosen_port_stays_one_when_the_file_is_written() {
    let old = b"port auto\nrecord r\n# \xff\n";
    let rewritten = |port: i64| {
        let config = Config {
            port,
            ..Config::default()
        };
        let new = Rewrite {
            config: &config,
            users: &[],
            auto_port: Some(4711),
            force_all: false,
        };
        rewrite(old, &new)
    };
    assert!(rewritten(4711).starts_with(old));
    assert!(rewritten(7000).starts_with(b"port 7000\nrecord r\n# \xff\n"));
}

#[test]
fn lines_split_at_blanks_outside_of_quotes() {
    let words = |line: &str| split_args(line.as_bytes());
    assert_eq!(
        words("a  'b c' \"\\x41\\n\"").unwrap(),
        [&b"a"[..], b"b c", b"A\n"]
    );
    assert_eq!(words("a \"\"").unwrap(), [&b"a"[..], b""]);
    assert_eq!(words("'a\\'b'").unwrap(), [b"a'b"]);
    assert_eq!(words("\"a\"b"), None);
    assert_eq!(words("'a"), None);
    assert_eq!(
        split_args(quote(b"\0\xff\"\\ x\n").as_bytes()).unwrap(),
        [b"\0\xff\"\\ x\n"]
    );
}

fn rewritten(old: &str, pairs: &[(&str, &str)]) -> String {
    let mut config = loaded(&["f"], &[("f", old), ("i", "hz 30")]).config;
    for (name, value) in pairs {
        set(&mut config, name, value);
    }
    let text = rewrite(
        old.as_bytes(),
        &Rewrite {
            config: &config,
            users: &["user default on".into()],
            auto_port: None,
            force_all: false,
        },
    );
    String::from_utf8(text).expect("as it was")
}

#[test]
fn rewrite_keeps_what_it_can() {
    let old = "# c\n\nport 17103\n\n\n\n# d\ntimeout 5\n# e\nmaxmemory 1gb\nhz 10\nsave 1 2\nsave 3 4\nbind 127.0.0.1 ::1\n# z";
    insta::assert_snapshot!(rewritten(old, &[("timeout", "0"), ("maxmemory", "1000000"), ("save", "5 6")]), @r#"
    # c

    port 17103

    # d
    timeout 0
    # e
    maxmemory 1000000
    hz 10
    save 5 6

    bind 127.0.0.1 ::1
    # z
    # Generated by CONFIG REWRITE
    dir "."
    latency-tracking-info-percentiles 50 99 99.9
    user default on
    "#);
}

#[test]
fn rewrite_uses_proper_names_and_drops_what_is_unset() {
    let old = "port 17103\nsave \"\"\nclient-output-buffer-limit normal 1 2 3\nrename-command get g\nslave-read-only no\n\
               hash-max-ziplist-entries 20\nhash-max-listpack-entries 21\ninclude i\nnotify-keyspace-events KEA\nmasterauth x\nio-threads-do-reads 1\n";
    let pairs = [
        ("client-output-buffer-limit", "pubsub 1mb 2 3"),
        ("hash-max-listpack-entries", "100"),
        ("masterauth", ""),
    ];
    insta::assert_snapshot!(rewritten(old, &pairs), @r#"
    port 17103
    save ""
    client-output-buffer-limit normal 1 2 3
    rename-command get g
    replica-read-only no
    hash-max-listpack-entries 100

    include i
    notify-keyspace-events "AKE"

    # ??? io-threads-do-reads 1

    # Generated by CONFIG REWRITE
    client-output-buffer-limit pubsub 1mb 2 3
    dir "."
    hz 30
    latency-tracking-info-percentiles 50 99 99.9
    user default on
    "#);
}

#[test]
fn a_forced_rewrite_reads_back_the_same() {
    let config = Config::default();
    let text = rewrite(
        b"",
        &Rewrite {
            config: &config,
            users: &[],
            auto_port: None,
            force_all: true,
        },
    );
    let text = String::from_utf8(text).expect("a text");
    assert_eq!(loaded(&["f"], &[("f", &text)]).config, config);
}
