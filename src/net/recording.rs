//! Recording: where the journal of a run goes. What lies there already is never written over.

use super::settings;
use crate::config::Loaded;
use crate::disk::files::path_of;
use crate::journal::{Header, MAGIC, Recorder};
use crate::os::plain;
use log::info;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A recording holds what clients sent, passwords too: it is its owner's alone.
const MODE: u32 = 0o600;

/// Begins a recording at `path`, or beside it where an older one is kept.
pub fn begin(path: &Path, header: &Header) -> Result<Recorder, String> {
    let (file, at) = open(path)?;
    let recorder = Recorder::start(Box::new(file), header)
        .map_err(|error| format!("Can't record to {}: {}", at.display(), plain(&error)))?;
    if at == path {
        info!("This run is recorded to {}", at.display());
    } else {
        info!(
            "{} holds an older recording, which is kept: this run is recorded to {}",
            path.display(),
            at.display()
        );
    }
    Ok(recorder)
}

/// What lies at a path.
enum Found {
    /// Bytes can go there: an empty file, or no file at all but a device or a pipe.
    Room,
    Recording,
    Other,
}

fn open(path: &Path) -> Result<(File, PathBuf), String> {
    let mut at = path.to_owned();
    for number in 1.. {
        let failed =
            |error: io::Error| format!("Can't record to {}: {}", at.display(), plain(&error));
        let mut options = OpenOptions::new();
        options.write(true).mode(MODE);
        match options.clone().create_new(true).open(&at) {
            Ok(file) => return Ok((file, at)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        match look(&at).map_err(failed)? {
            Found::Room => {
                let file = options.open(&at).map_err(failed)?;
                if file.metadata().is_ok_and(|about| about.is_file()) {
                    file.set_permissions(Permissions::from_mode(MODE))
                        .map_err(failed)?;
                }
                return Ok((file, at));
            }
            Found::Recording => {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{number}"));
                at = PathBuf::from(name);
            }
            Found::Other => {
                return Err(format!(
                    "Can't record to {}: what lies there is no recording, and stays as it is",
                    at.display()
                ));
            }
        }
    }
    Err(format!(
        "Can't record to {}: no name is free",
        path.display()
    ))
}

fn look(path: &Path) -> io::Result<Found> {
    let about = std::fs::metadata(path)?;
    if about.is_dir() {
        return Ok(Found::Other);
    }
    if !about.is_file() || about.len() == 0 {
        return Ok(Found::Room);
    }
    let mut head = Vec::new();
    let len = MAGIC.len() as u64;
    File::open(path)?.take(len).read_to_end(&mut head)?;
    Ok(match head == MAGIC {
        true => Found::Recording,
        false => Found::Other,
    })
}

/// Refuses names of ours that stand for a file which something else is written to or read from.
pub fn check_names(loaded: &Loaded) -> Result<(), String> {
    let (config, options) = (&loaded.config, &loaded.options);
    let ours = [
        ("record", &options.record),
        ("port-file", &options.port_file),
    ];
    let mut others = vec![
        ("pidfile", settings::pidfile(config)),
        ("logfile", settings::logfile(config)),
        ("unixsocket", settings::unix_socket(config)),
        ("dbfilename", Some(path_of(&config.dbfilename))),
        ("aclfile", Some(path_of(&config.aclfile))),
        (
            "the configuration file",
            loaded.file.as_deref().map(path_of),
        ),
    ];
    for (name, path) in ours {
        let Some(path) = path.as_deref().map(path_of) else {
            continue;
        };
        let same = others.iter().find(|(_, other)| {
            let other = other
                .as_deref()
                .filter(|other| !other.as_os_str().is_empty());
            other.is_some_and(|other| place(other) == place(&path))
        });
        if let Some((other, _)) = same {
            return Err(format!(
                "{name} and {other} name the same file: {}",
                path.display()
            ));
        }
        others.push((name, Some(path)));
    }
    Ok(())
}

/// Where a path leads, as far as that can be told of a file which is still to be made.
fn place(path: &Path) -> PathBuf {
    if let Ok(place) = path.canonicalize() {
        return place;
    }
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = whole.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, whole.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run");
        let name = |at: PathBuf| {
            at.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let next = || open(&path).map(|(_, at)| name(at).expect("a name"));
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes);
        assert_eq!(next().as_deref(), Ok("run"));
        assert_eq!(next().as_deref(), Ok("run"), "there is nothing in it yet");
        write("run", MAGIC).expect("written");
        assert_eq!(next().as_deref(), Ok("run.1"));
        write("run.1", &[MAGIC.as_slice(), b"more"].concat()).expect("written");
        assert_eq!(next().as_deref(), Ok("run.2"));
        write("run.2", b"RETRACE").expect("written");
        assert!(next().is_err_and(|text| text.contains("run.2: what lies there is no recording")));
        write("run", b"REDIS0012").expect("written");
        assert!(next().is_err());
        assert!(open(dir.path()).is_err(), "a folder");
        assert!(open(Path::new("/dev/null")).is_ok());
    }
}
