//! The journal's header: everything that an engine starts from.

use super::varint::{Cursor, Malformed, put, put_bytes, put_signed};
use crate::border::Boot;
use crate::config::Config;
use crate::state::UnixMicros;

/// What a run started from, in a form that does not depend on how the engine holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The version of the program that wrote the journal.
    pub program_version: String,
    /// Every configuration parameter with its value at the start.
    pub config: Vec<(String, String)>,
    pub loaded_file: Option<String>,
    pub rename_commands: Vec<(String, String)>,
    pub seed: u64,
    /// Microseconds since the epoch.
    pub now_us: i64,
    pub pid: u32,
    pub executable: String,
    pub os: String,
}

impl Header {
    /// Notes what an engine is about to start from.
    pub fn of(boot: &Boot) -> Header {
        Header {
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            config: boot.config.pairs(),
            loaded_file: boot.config_file.clone(),
            rename_commands: boot.rename_commands.clone(),
            seed: boot.seed,
            now_us: boot.now.0,
            pid: boot.pid,
            executable: boot.executable.clone(),
            os: boot.os.clone(),
        }
    }

    /// What an engine starts from to do the same again.
    pub fn into_boot(self) -> Result<Boot, String> {
        let mut config = Config::default();
        for (name, value) in &self.config {
            config
                .set(name, value)
                .map_err(|error| format!("{name} {value}: {error}"))?;
        }
        Ok(Boot {
            config,
            config_file: self.loaded_file,
            rename_commands: self.rename_commands,
            seed: self.seed,
            now: UnixMicros(self.now_us),
            pid: self.pid,
            executable: self.executable,
            os: self.os,
            replaying: true,
        })
    }

    /// The header as a block's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, self.program_version.as_bytes());
        put_pairs(&mut out, &self.config);
        out.push(u8::from(self.loaded_file.is_some()));
        put_bytes(
            &mut out,
            self.loaded_file.as_deref().unwrap_or("").as_bytes(),
        );
        put_pairs(&mut out, &self.rename_commands);
        out.extend_from_slice(&self.seed.to_le_bytes());
        put_signed(&mut out, self.now_us);
        put(&mut out, u64::from(self.pid));
        put_bytes(&mut out, self.executable.as_bytes());
        put_bytes(&mut out, self.os.as_bytes());
        out
    }

    /// Reads what [`Header::encode`] made.
    pub(super) fn decode(payload: &[u8]) -> Result<Header, Malformed> {
        let mut cursor = Cursor::new(payload);
        let header = Header {
            program_version: cursor.text()?,
            config: pairs(&mut cursor)?,
            loaded_file: match cursor.byte()? {
                0 => cursor.text().map(|_| None)?,
                1 => Some(cursor.text()?),
                _ => return Err(Malformed),
            },
            rename_commands: pairs(&mut cursor)?,
            seed: cursor.u64_fixed()?,
            now_us: cursor.signed()?,
            pid: cursor.u32()?,
            executable: cursor.text()?,
            os: cursor.text()?,
        };
        if cursor.is_empty() {
            Ok(header)
        } else {
            Err(Malformed)
        }
    }
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(String, String)]) {
    put(out, pairs.len() as u64);
    for (name, value) in pairs {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn pairs(cursor: &mut Cursor) -> Result<Vec<(String, String)>, Malformed> {
    let count = cursor.number()?;
    // Grown as pairs are read: a count out of garbage reserves nothing.
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((cursor.text()?, cursor.text()?));
    }
    Ok(pairs)
}
