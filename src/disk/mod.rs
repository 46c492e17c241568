//! The shell's files: configuration, pid file, port file, files of data, and what is removed at the end.
//!
//! May not: decide what a file says. Whoever writes a file that others read writes it aside and renames it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the shell: files are opened here"
)]

pub mod aof;
pub mod files;

use crate::config;
use crate::engine::Engine;
use crate::os::plain;
use crate::types::glob::glob_match;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file in one step: who reads it sees the old text or the new one.
pub fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.tmp", std::process::id()));
    let aside = PathBuf::from(aside);
    let written = write_synced(&aside, text).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        remove(&aside);
    }
    written
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Tells the port that was chosen.
pub fn write_port_file(path: &Path, port: u16) -> io::Result<()> {
    write_whole(path, format!("{port}\n").as_bytes())
}

/// Removes the port file of a server that was; what is something else stays, and is an error.
pub fn clear_port_file(path: &Path) -> Result<(), String> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(plain(&error)),
    };
    if !about.is_file() || about.len() > PORT_TEXT_MAX || port_in(path).is_none() {
        return Err("what lies there is no port file, and stays as it is".to_owned());
    }
    fs::remove_file(path).map_err(|error| plain(&error))
}

/// Removes the port file, unless it names another port by now.
pub fn remove_port_file(path: &Path, port: u16) {
    if port_in(path) == Some(Some(port)) {
        remove(path);
    }
}

/// A port with its line end.
const PORT_TEXT_MAX: u64 = 6;

/// What a port file says; it says nothing while it is empty.
fn port_in(path: &Path) -> Option<Option<u16>> {
    let text = fs::read(path).ok()?;
    let text = std::str::from_utf8(&text).ok()?.trim_ascii();
    match text {
        "" => Some(None),
        _ => text.parse().ok().map(Some),
    }
}

/// Writes the process's number; readers expect it at its place at once, so it is written there.
pub fn write_pidfile(path: &Path) -> io::Result<()> {
    fs::write(path, format!("{}\n", std::process::id()))
}

/// Removes a file; one that is gone already is as good.
pub fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// The text of a configuration file; a pattern stands for all files that it finds, in order.
pub fn read_config_text(path: &str) -> Result<Vec<u8>, String> {
    let is_pattern = path.contains(['*', '?', '[']);
    if !is_pattern {
        return fs::read(path).map_err(|error| plain(&error));
    }
    let mut text = Vec::new();
    for file in files_like(Path::new(path)) {
        text.extend(fs::read(&file).map_err(|error| plain(&error))?);
        text.push(b'\n');
    }
    Ok(text)
}

/// The files whose name the last part of `pattern` finds, sorted.
fn files_like(pattern: &Path) -> Vec<PathBuf> {
    let dir = pattern.parent().filter(|dir| !dir.as_os_str().is_empty());
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let entries = fs::read_dir(dir.unwrap_or(Path::new(".")));
    let mut found: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let text = entry.file_name();
            glob_match(name.as_bytes(), text.to_string_lossy().as_bytes(), false)
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// The text of the ACL file.
pub fn read_acl_file(path: &[u8]) -> Result<Vec<u8>, String> {
    fs::read(&*String::from_utf8_lossy(path)).map_err(|error| plain(&error))
}

/// Writes the ACL file.
pub fn write_acl_file(path: &[u8], text: &[u8]) -> Result<(), String> {
    let path = String::from_utf8_lossy(path).into_owned();
    write_whole(Path::new(&path), text).map_err(|error| plain(&error))
}

/// Makes `dir` the working directory; returns its absolute path.
pub fn change_dir(dir: &[u8]) -> Result<Vec<u8>, String> {
    let path = PathBuf::from(String::from_utf8_lossy(dir).into_owned());
    let changed = std::env::set_current_dir(&path).and_then(|()| std::env::current_dir());
    changed
        .map(|dir| dir.to_string_lossy().into_owned().into_bytes())
        .map_err(|error| plain(&error))
}

/// Writes the configuration back to the file it came from, defaults too if `all` is to be written.
pub fn rewrite_config(engine: &Engine, all: bool, auto_port: Option<u16>) -> Result<(), String> {
    let Some(path) = engine.config_file() else {
        return Err("The server is running without a config file".to_owned());
    };
    let path = Path::new(path);
    let before = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(plain(&error)),
    };
    let text = config::rewrite(
        &before,
        &config::Rewrite {
            config: engine.config(),
            users: &engine.user_lines(),
            auto_port,
            force_all: all,
        },
    );
    write_whole(path, &text).map_err(|error| plain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("port");
        write_port_file(&path, 1).expect("writable");
        write_port_file(&path, 65535).expect("writable");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "65535\n");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
        assert!(write_port_file(&dir.path().join("no/port"), 1).is_err());
        remove_port_file(&path, 1);
        assert!(path.exists(), "another server's");
        remove_port_file(&path, 65535);
        assert!(!path.exists());
        for (text, is_one) in [
            ("1\n", true),
            ("", true),
            ("x", false),
            ("65536\n", false),
            ("7\n8\n9\n", false),
        ] {
            fs::write(&path, text).expect("writable");
            assert_eq!(clear_port_file(&path).is_ok(), is_one, "{text:?}");
            assert_eq!(path.exists(), !is_one, "{text:?}");
        }
        assert!(clear_port_file(dir.path()).is_err());
    }
}
