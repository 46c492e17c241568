//! Dependents: the crates of this repository as dependencies of another workspace, which sees no `[patch]` and no
//! configuration of this one. What could go wrong there is Lua, whose build looks for its sources and edits them; so
//! the workspace is one that runs a few lines of Lua. It is built without network, from what `cargo fetch` has fetched.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the workspace is made of files"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = r#"
use retrace_lua as _;

fn main() -> mlua::Result<()> {
    let lua = mlua::Lua::new();
    lua.load(r"
        local t = {}
        __host.readonly(t, true)
        local ok, why = pcall(rawset, t, 'a', 1)
        assert(not ok and why:find('readonly'), why)
        assert(not loadstring(string.dump(function() end)))
        print(_VERSION, #tostring(t) < #'table: 0x00000')
    ")
    .exec()
}
"#;

#[test]
fn another_workspace_gets_the_edited_lua() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.join("dependent");
    let lua = root.join("lua");
    let lua = lua.to_str().expect("the path is UTF-8");
    fs::create_dir_all(folder.join("src")).expect("writable");
    fs::write(folder.join("src/main.rs"), PROGRAM).expect("writable");
    // The profile is this workspace's, so that crates which are built already serve here too.
    let manifest = format!(
        "[workspace]\n[package]\nname = \"dependent\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\nretrace-lua = {{ path = '{lua}' }}\nmlua = {{ version = \"0.12.2\", features = [\"lua51\"] }}\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("writable");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("writable");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--offline", "--quiet", "--target-dir"])
        .arg(tmp.parent().expect("it lies in the target folder"))
        .current_dir(&folder)
        .output()
        .expect("cargo runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(out, "Lua 5.1\ttrue\n", "{err}");
}
