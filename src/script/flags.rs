//! Flags: what a script says of itself in its first line, or a function at its registration.

/// A set of a script's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags(pub u8);

impl ScriptFlags {
    pub const NO_WRITES: ScriptFlags = ScriptFlags(1);
    pub const ALLOW_OOM: ScriptFlags = ScriptFlags(1 << 1);
    pub const ALLOW_STALE: ScriptFlags = ScriptFlags(1 << 2);
    pub const NO_CLUSTER: ScriptFlags = ScriptFlags(1 << 3);
    pub const ALLOW_CROSS_SLOT_KEYS: ScriptFlags = ScriptFlags(1 << 4);
    /// It has no first line that could say anything: what it does decides, command by command.
    pub const COMPAT: ScriptFlags = ScriptFlags(1 << 5);

    /// Whether all of `other` are set.
    pub fn has(self, other: ScriptFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub fn or(self, other: ScriptFlags) -> ScriptFlags {
        ScriptFlags(self.0 | other.0)
    }

    /// The flag of this name.
    pub fn named(name: &[u8]) -> Option<ScriptFlags> {
        let found = NAMES.iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, flag)| *flag)
    }

    /// The names of the flags in the set, in the order in which servers list them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .filter(move |(_, flag)| self.has(*flag))
            .map(|(name, _)| *name)
    }
}

const NAMES: [(&str, ScriptFlags); 5] = [
    ("no-writes", ScriptFlags::NO_WRITES),
    ("allow-oom", ScriptFlags::ALLOW_OOM),
    ("allow-stale", ScriptFlags::ALLOW_STALE),
    ("no-cluster", ScriptFlags::NO_CLUSTER),
    ("allow-cross-slot-keys", ScriptFlags::ALLOW_CROSS_SLOT_KEYS),
];

/// The flags of a script and where its code begins: behind the first line if that begins with `#!`.
pub fn of_script(body: &[u8]) -> Result<(ScriptFlags, usize), Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPAT, 0));
    }
    let Some(end) = memchr::memchr(b'\n', body) else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let line = body[..end].strip_suffix(b"\r").unwrap_or(&body[..end]);
    let mut words = line
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", engine].concat());
    }
    let mut flags = ScriptFlags::default();
    for word in words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", word].concat());
        };
        for name in list
            .split(|byte| *byte == b',')
            .filter(|name| !name.is_empty())
        {
            let flag = ScriptFlags::named(name)
                .ok_or_else(|| [&b"ERR Unexpected flag in script shebang: "[..], name].concat())?;
            flags = flags.or(flag);
        }
    }
    Ok((flags, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_names_flags_and_the_code_keeps_its_line_numbers() {
        let body = b"#!lua flags=no-writes,allow-oom\nreturn 1";
        let flags = ScriptFlags::NO_WRITES.or(ScriptFlags::ALLOW_OOM);
        assert_eq!(of_script(body), Ok((flags, 31)));
        assert_eq!(body[31], b'\n');
        assert_eq!(of_script(b"return 1"), Ok((ScriptFlags::COMPAT, 0)));
        assert_eq!(of_script(b"#!lua\n"), Ok((ScriptFlags(0), 5)));
        for (body, error) in [
            (&b"#!lua"[..], "ERR Invalid script shebang"),
            (b"#!py\n", "ERR Unexpected engine in script shebang: #!py"),
            (b"#!lua x=1\n", "ERR Unknown lua shebang option: x=1"),
            (
                b"#!lua flags=x\n",
                "ERR Unexpected flag in script shebang: x",
            ),
        ] {
            assert_eq!(of_script(body), Err(error.as_bytes().to_vec()));
        }
    }
}
