//! What tests of files of data share: waiting for saves, rewrites and loads, copies of what a server left.

use super::{Client, RETRACE, Server, wait_for};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// One line of INFO.
pub fn info(client: &mut Client, name: &str) -> String {
    let text = client.run("INFO everything").text();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| *key == name);
    found.map_or_else(String::new, |(_, value)| value.to_owned())
}

/// A connection to a server that has loaded its data.
pub fn loaded(server: &Server) -> Client {
    let mut client = server.connect();
    wait_for("the data", || {
        (client.run("PING").error().is_none() && info(&mut client, "loading") == "0").then_some(())
    });
    client
}

pub fn wait_for_save(client: &mut Client) {
    wait_for("the end of the save", || {
        (info(client, "rdb_bgsave_in_progress") == "0").then_some(())
    });
}

/// Waits for the end of a rewrite, whatever came of it.
pub fn wait_for_rewrite_end(client: &mut Client) {
    wait_for("the end of the rewrite", || {
        // Both from one reply: what was scheduled may begin between two.
        let text = client.run("INFO persistence").text();
        let is_over = ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]
            .iter()
            .all(|line| text.lines().any(|of| of == *line));
        is_over.then_some(())
    });
}

/// Waits for the end of a rewrite, which must have succeeded.
pub fn wait_for_rewrite(client: &mut Client) {
    wait_for_rewrite_end(client);
    assert_eq!(info(client, "aof_last_bgrewrite_status"), "ok");
}

/// Copies what a server left, but for what the test itself has put there.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "port" && entry.file_name() != "log" {
            match fs::copy(entry.path(), target) {
                // What the server is about to remove, or has just removed, it does not leave: a link to a device among it.
                Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
                }
                copied => assert!(copied.is_ok(), "{:?}: {copied:?}", entry.path()),
            }
        }
    }
}

/// A copy of a server's folder of append-only files, in a new folder.
pub fn copy_aof(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    copy(
        &from.join("appendonlydir"),
        &dir.path().join("appendonlydir"),
    );
    dir
}

/// Starts a server on a snapshot that it must refuse, which stays as it is; the result is its log.
pub fn log_of_refusal(snapshot: &[u8]) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("dump.rdb");
    fs::write(&path, snapshot).expect("a file");
    let output = Command::new(RETRACE)
        .args(["--port", "auto"])
        .current_dir(dir.path())
        .output()
        .expect("it runs");
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert_eq!(fs::read(&path).expect("it is still there"), snapshot);
    log
}
