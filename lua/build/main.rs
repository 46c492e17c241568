//! Builds Lua: the sources of the crate `lua-src`, with our edits, and `lhost.c`.

#![allow(
    clippy::disallowed_methods,
    reason = "a build reads files and is told by the environment what to build"
)]

mod apply;
mod edits;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

/// The crate that has the sources, and the folder in it.
const SOURCES: (&str, &str) = ("lua-src", "lua-5.1.5");
const OURS: [&str; 2] = ["lhost.c", "lhost.h"];

fn main() {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=c");
    let out = PathBuf::from(variable("OUT_DIR"));
    let folder = out.join("lua");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("OUT_DIR can be written");
    }
    fs::create_dir_all(&folder).expect("OUT_DIR can be written");
    copy_edited(&sources(&out), &folder);
    for name in OURS {
        fs::copy(Path::new("c").join(name), folder.join(name)).expect("our files are there");
    }
    compile(&folder);
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("a build script has {name}"))
}

/// The folder of Lua's sources. Cargo alone knows where it has put a crate, and says so for a package that depends on
/// it: one in `out` that depends on this crate. This crate itself is not asked about, because the answer would leave a
/// lock file beside it, in a folder that need not be ours.
fn sources(out: &Path) -> PathBuf {
    let here = variable("CARGO_MANIFEST_DIR");
    let asking = out.join("asking");
    fs::create_dir_all(asking.join("src")).expect("OUT_DIR can be written");
    fs::write(asking.join("src/lib.rs"), "").expect("OUT_DIR can be written");
    // A literal string of TOML has no escapes, which a path on Windows would need.
    let manifest = format!(
        "[workspace]\n[package]\nname = \"asking\"\nedition = \"2024\"\n[dependencies]\n{} = {{ path = '{here}' }}\n",
        env!("CARGO_PKG_NAME")
    );
    fs::write(asking.join("Cargo.toml"), manifest).expect("OUT_DIR can be written");
    let output = Command::new(variable("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1"])
        .arg("--manifest-path")
        .arg(asking.join("Cargo.toml"))
        // From here cargo finds the configuration that says where crates come from.
        .current_dir(&here)
        .output()
        .expect("cargo runs");
    let failure = String::from_utf8_lossy(&output.stderr);
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("cargo does not say where {} is: {failure}", SOURCES.0));
    let packages = answer["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == SOURCES.0)
        .find_map(|package| package["manifest_path"].as_str())
        .unwrap_or_else(|| panic!("cargo knows no {}: {failure}", SOURCES.0));
    Path::new(manifest).with_file_name(SOURCES.1)
}

/// Copies the files of `from` to `to`, edited.
fn copy_edited(from: &Path, to: &Path) {
    let mut names = Vec::new();
    for entry in fs::read_dir(from).expect("the sources are there") {
        let path = entry.expect("the sources can be read").path();
        let name = path.file_name().expect("an entry has a name");
        let name = name.to_str().expect("the names are ASCII").to_string();
        // A comment may hold a byte of another character set; the code is ASCII.
        let bytes = fs::read(&path).expect("the sources can be read");
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        let edited = apply::apply(&name, &text, edits::EDITS)
            .unwrap_or_else(|why| panic!("an edit of Lua cannot be applied: {why}"));
        fs::write(to.join(&name), edited).expect("OUT_DIR can be written");
        names.push(name);
    }
    for edit in edits::EDITS {
        let is_there = names.iter().any(|name| name == edit.file);
        assert!(
            is_there,
            "an edit of Lua is for {}, which is not there",
            edit.file
        );
    }
}

/// Compiles all of `folder` into one library.
fn compile(folder: &Path) {
    let system = match env::var_os("CARGO_CFG_UNIX") {
        Some(_) => "LUA_USE_POSIX",
        None => "LUA_USE_WINDOWS",
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is ours")
        .map(|entry| entry.expect("the folder is ours").path())
        .filter(|path| path.extension() == Some("c".as_ref()))
        .collect();
    files.sort();
    cc::Build::new()
        .define(system, None)
        .include(folder)
        .files(files)
        .warnings(false)
        .flag_if_supported("-fno-common")
        // All of it, wherever the linker meets it: mlua's calls may stand before it or behind it.
        .link_lib_modifier("+whole-archive")
        .compile("lua5.1");
}
