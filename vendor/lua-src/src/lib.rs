//! Builds the Lua in `lua-5.1.5`; see `README.md`. It has the part of the crate `lua-src` that `mlua-sys` uses.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The versions that can be built: one.
#[derive(Debug, PartialEq, Eq)]
pub enum Version {
    Lua51,
}
pub use self::Version::*;

const LIBRARY: &str = "lua5.1";
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lua-5.1.5");

/// A build, with its settings from cargo's environment.
#[derive(Default)]
pub struct Build;

/// What a build has made.
pub struct Artifacts {
    include_dir: PathBuf,
    lib_dir: PathBuf,
}

impl Build {
    /// A build from within a build script.
    pub fn new() -> Build {
        Build
    }

    /// Compiles the library; a build script has no better answer to a failure than to panic.
    pub fn build(&self, Lua51: Version) -> Artifacts {
        let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("a build script has OUT_DIR"));
        let target = env::var("TARGET").expect("a build script has TARGET");
        let (lib_dir, include_dir) = (out_dir.join("lib"), out_dir.join("include"));
        fs::create_dir_all(&include_dir).expect("OUT_DIR can be written");
        let mut config = cc::Build::new();
        let is_unix = env::var_os("CARGO_CFG_UNIX").is_some();
        config
            .define(
                if is_unix {
                    "LUA_USE_POSIX"
                } else {
                    "LUA_USE_WINDOWS"
                },
                None,
            )
            .include(SOURCES)
            .warnings(false)
            .cargo_metadata(false)
            .target(&target)
            .flag_if_supported("-fno-common")
            .out_dir(&lib_dir);
        for entry in fs::read_dir(SOURCES).expect("the sources are there") {
            let path = entry.expect("the sources can be read").path();
            if path.extension() == Some("c".as_ref()) {
                config.file(path);
            }
        }
        config.compile(LIBRARY);
        for header in ["lauxlib.h", "lua.h", "luaconf.h", "lualib.h"] {
            let from = Path::new(SOURCES).join(header);
            fs::copy(from, include_dir.join(header)).expect("OUT_DIR can be written");
        }
        println!("cargo:rerun-if-changed={SOURCES}");
        Artifacts {
            include_dir,
            lib_dir,
        }
    }
}

impl Artifacts {
    /// Tells cargo where the library is.
    pub fn print_cargo_metadata(&self) {
        println!("cargo:rustc-link-search=native={}", self.lib_dir.display());
        println!("cargo:rustc-link-lib=static={LIBRARY}");
        println!("cargo:include={}", self.include_dir.display());
        println!("cargo:lib={}", self.lib_dir.display());
    }
}
