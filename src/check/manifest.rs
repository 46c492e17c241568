//! The check of an append-only file of several parts, by the manifest that names them.
//!
//! Every part is checked, also behind a broken one. Only the last can be cut off: what was written to the parts behind
//! another would no longer follow what is before it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Wish, check_file, counted, open, shown};
use crate::persist::manifest::{AofFile, Manifest};

/// No manifest is longer: it has a line for each file.
const BYTES_MAX: u64 = 16 << 20;

/// Whether a file is a manifest, by its name and its first bytes.
pub fn is_manifest(path: &Path, head: &[u8]) -> bool {
    path.extension().is_some_and(|ext| ext == "manifest") || head.starts_with(b"file ")
}

/// Checks all parts; says whether they are sound.
pub fn check(path: &Path, size: u64, fixes: bool) -> io::Result<bool> {
    if size > BYTES_MAX {
        return Err(io::Error::other("too long for a manifest"));
    }
    say!("{}: manifest, {size} bytes", path.display());
    let manifest = match Manifest::parse(&fs::read(path)?) {
        Ok(manifest) => manifest,
        Err((line, error)) => {
            say!("broken in line {line}: {error}");
            return Ok(false);
        }
    };
    for AofFile { name, seq, .. } in &manifest.history {
        say!("history: '{}', number {seq}, not checked", shown(name));
    }
    let parts: Vec<&AofFile> = manifest.base.iter().chain(&manifest.incremental).collect();
    let mut broken = 0;
    for (index, part) in parts.iter().enumerate() {
        let file = path.with_file_name(OsStr::from_bytes(&part.name));
        let wish = match fixes {
            false => Wish::Look,
            true if index + 1 == parts.len() => Wish::Fix,
            true => Wish::FixOther,
        };
        let is_sound = match open(&file)
            .and_then(|(opened, size)| check_file(&file, opened, size, true, wish))
        {
            Ok(is_sound) => is_sound,
            Err(error) => {
                say!("{}: {error}", file.display());
                false
            }
        };
        broken += u64::from(!is_sound);
    }
    match broken {
        0 => say!("all parts are sound: {}", parts.len()),
        _ => say!("{} broken", counted(broken, "part is", "parts are")),
    }
    Ok(broken == 0)
}
