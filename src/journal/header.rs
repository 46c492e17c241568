//! The journal's header: everything that an engine starts from.

use super::varint::{Cursor, Malformed, put, put_bytes, put_signed};
use crate::border::Boot;
use crate::config::{Access, Config, PARAMS, Param};
use crate::state::UnixMicros;

/// What a run started from, in a form that does not depend on how the engine holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The version of the program that wrote the journal.
    pub program_version: String,
    /// The configuration parameters that differed from their defaults at the start.
    pub config: Vec<(String, Vec<u8>)>,
    pub config_file: Option<String>,
    pub rename_commands: Vec<(String, String)>,
    /// `user` directives: name and rules.
    pub users: Vec<Vec<Vec<u8>>>,
    /// The text of the ACL file, if one was configured.
    pub acl_file: Option<Vec<u8>>,
    pub secret: [u8; 32],
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
        let default = Config::default();
        let exact = |param: &Param, config: &Config| match param.name {
            // As CONFIG GET prints it, one letter hides another.
            "notify-keyspace-events" => config.notify_keyspace_events.letters().into_bytes(),
            _ => param.get(config),
        };
        Header {
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            config: PARAMS
                .iter()
                .map(|param| {
                    (
                        param.name.to_owned(),
                        exact(param, &boot.config),
                        exact(param, &default),
                    )
                })
                .filter(|(_, value, usual)| value != usual)
                .map(|(name, value, _)| (name, value))
                .collect(),
            config_file: boot.config_file.clone(),
            rename_commands: boot.rename_commands.clone(),
            users: boot.users.clone(),
            acl_file: boot.acl_file.clone(),
            secret: boot.secret,
            seed: boot.seed,
            now_us: boot.now.0,
            pid: boot.pid,
            executable: boot.executable.clone(),
            os: boot.os.clone(),
        }
    }

    /// What an engine starts from to do the same again.
    pub fn into_boot(self, replaying: bool) -> Result<Boot, String> {
        let mut config = Config::default();
        // What is so already stays out: not every value that is printed (`replicaof` of none) can be set.
        let pairs: Vec<(&[u8], &[u8])> = self
            .config
            .iter()
            .filter(|(name, value)| config.get(name).as_ref() != Some(value))
            .map(|(name, value)| (name.as_bytes(), value.as_slice()))
            .collect();
        config
            .set_many(&pairs, Access::Startup)
            .map_err(|error| error.to_string())?;
        Ok(Boot {
            config,
            config_file: self.config_file,
            rename_commands: self.rename_commands,
            users: self.users,
            acl_file: self.acl_file,
            secret: self.secret,
            seed: self.seed,
            now: UnixMicros(self.now_us),
            pid: self.pid,
            executable: self.executable,
            os: self.os,
            is_recorded: true,
            replaying,
        })
    }

    /// The header as a block's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, self.program_version.as_bytes());
        put_pairs(&mut out, &self.config);
        out.push(u8::from(self.config_file.is_some()));
        put_bytes(
            &mut out,
            self.config_file.as_deref().unwrap_or("").as_bytes(),
        );
        put_pairs(&mut out, &self.rename_commands);
        put(&mut out, self.users.len() as u64);
        for words in &self.users {
            put(&mut out, words.len() as u64);
            words.iter().for_each(|word| put_bytes(&mut out, word));
        }
        out.push(u8::from(self.acl_file.is_some()));
        put_bytes(&mut out, self.acl_file.as_deref().unwrap_or_default());
        out.extend_from_slice(&self.secret);
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
            config: pairs(&mut cursor, bytes)?,
            config_file: match cursor.byte()? {
                0 => cursor.text().map(|_| None)?,
                1 => Some(cursor.text()?),
                _ => return Err(Malformed),
            },
            rename_commands: pairs(&mut cursor, |cursor| cursor.text())?,
            users: list(&mut cursor, |cursor| list(cursor, bytes))?,
            acl_file: match cursor.byte()? {
                0 => bytes(&mut cursor).map(|_| None)?,
                1 => Some(bytes(&mut cursor)?),
                _ => return Err(Malformed),
            },
            secret: cursor.take(32)?.try_into().map_err(|_| Malformed)?,
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

fn put_pairs<V: AsRef<[u8]>>(out: &mut Vec<u8>, pairs: &[(String, V)]) {
    put(out, pairs.len() as u64);
    for (name, value) in pairs {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_ref());
    }
}

fn pairs<V>(
    cursor: &mut Cursor,
    value: impl Fn(&mut Cursor) -> Result<V, Malformed>,
) -> Result<Vec<(String, V)>, Malformed> {
    list(cursor, |cursor| Ok((cursor.text()?, value(cursor)?)))
}

fn list<V>(
    cursor: &mut Cursor,
    value: impl Fn(&mut Cursor) -> Result<V, Malformed>,
) -> Result<Vec<V>, Malformed> {
    let count = cursor.number()?;
    // Grown as values are read: a count out of garbage reserves nothing.
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(value(cursor)?);
    }
    Ok(values)
}

fn bytes(cursor: &mut Cursor) -> Result<Vec<u8>, Malformed> {
    cursor.bytes().map(<[u8]>::to_vec)
}
