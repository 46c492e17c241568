//! Title: what `ps` shows of the process, made from `proc-title-template`.
//!
//! Linux shows the bytes between two addresses that it keeps for the process. They are pointed to memory of ours, which
//! leaves arguments and environment as they are; other systems, and kernels without that call, keep the command line.
#![allow(
    unsafe_code,
    reason = "the call that tells the kernel where a process has its command line; there is no safe interface to it"
)]

use super::settings::Listening;
use crate::config::Config;
use std::os::unix::ffi::OsStringExt;

/// The title of this process.
#[derive(Default)]
pub struct Title {
    /// As it was set, with the zero at its end. The kernel knows the address.
    shown: Option<Box<[u8]>>,
    /// The system does not let it be set.
    is_refused: bool,
}

impl Title {
    /// Makes the title what the configuration says, if that has changed.
    pub fn follow(&mut self, config: &Config, config_file: Option<&str>) {
        if !config.set_proc_title || self.is_refused {
            return;
        }
        let mut text = text(config, config_file);
        text.retain(|byte| *byte != 0);
        text.push(0);
        if self.shown.as_deref() == Some(&text) {
            return;
        }
        let text = text.into_boxed_slice();
        match show(&text) {
            // What was shown before is freed only now.
            Ok(()) => self.shown = Some(text),
            Err(why) => {
                self.is_refused = true;
                log::debug!("The process keeps its title: {why}");
            }
        }
    }
}

impl Drop for Title {
    fn drop(&mut self) {
        // The kernel may be asked for it as long as the process is there.
        if let Some(text) = self.shown.take() {
            Box::leak(text);
        }
    }
}

/// The template with everything filled in. It has passed its check.
fn text(config: &Config, config_file: Option<&str>) -> Vec<u8> {
    let listening = Listening::of(config);
    let socket = &config.unixsocket;
    let mut text = Vec::new();
    let mut rest = &config.proc_title_template[..];
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'{' {
            text.push(*byte);
        } else if let Some(tail) = tail.strip_prefix(b"{") {
            text.push(b'{');
            rest = tail;
        } else if let Some(end) = tail.iter().position(|byte| *byte == b'}') {
            rest = &tail[end + 1..];
            match &tail[..end] {
                b"title" => text.extend(std::env::args_os().next().unwrap_or_default().into_vec()),
                b"listen-addr" if listening.port == 0 => text.extend(socket),
                b"listen-addr" => {
                    let address = listening.bind.first().map_or("*", String::as_str);
                    text.extend(format!("{address}:{}", listening.port).bytes());
                }
                b"port" => text.extend(listening.port.to_string().bytes()),
                b"tls-port" => text.extend(config.tls_port.to_string().bytes()),
                b"unixsocket" => text.extend(socket),
                b"config-file" => text.extend(config_file.unwrap_or_default().bytes()),
                // A mode of its own has only what this server is not.
                _ => {}
            }
        }
    }
    text.trim_ascii().to_vec()
}

/// Has the kernel show these bytes, which must stay where they are until others are shown.
#[cfg(target_os = "linux")]
fn show(text: &[u8]) -> Result<(), String> {
    let map = memory_map(text).ok_or("its memory map cannot be read")?;
    // SAFETY: nothing is mapped or unmapped by this. All addresses are those that the kernel has, but for the command
    // line's, which is memory of ours that stays until the kernel is told of another one. Where the heap ends is rounded
    // up to its page, and is too low if another thread has made it grow since it was read. Then it cannot grow any more,
    // for which who asks has to be prepared, and takes memory elsewhere.
    let set = unsafe { rustix::process::configure_virtual_memory_map(&map) };
    set.map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn show(_: &[u8]) -> Result<(), String> {
    Err("this system has no way to set it".to_owned())
}

/// What the kernel keeps of this process' memory, with the command line at `text`.
#[cfg(target_os = "linux")]
fn memory_map(text: &[u8]) -> Option<rustix::process::PrctlMmMap> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name comes second, in brackets, and may hold anything; the third field is the first behind it.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..]
        .split_ascii_whitespace()
        .collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let start_brk = field(47)?;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let heap = maps.lines().rfind(|line| line.ends_with("[heap]"));
    let heap_end = heap.and_then(|line| line.split_once(' ')?.0.split_once('-'));
    let brk = heap_end.and_then(|(_, end)| u64::from_str_radix(end, 16).ok());
    let address = text.as_ptr().addr() as u64;
    Some(rustix::process::PrctlMmMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk,
        brk: brk.unwrap_or(start_brk),
        arg_start: address,
        arg_end: address + text.len() as u64,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: std::ptr::null_mut(),
        auxv_size: 0,
        exe_fd: -1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in() {
        let title = |port: i64, bind: &[&str], socket: &str, template: &str| {
            let config = Config {
                port,
                bind: bind
                    .iter()
                    .map(|address| address.as_bytes().to_vec())
                    .collect(),
                unixsocket: socket.as_bytes().to_vec(),
                proc_title_template: template.as_bytes().to_vec(),
                ..Config::default()
            };
            String::from_utf8(text(&config, Some("/etc/r.conf"))).expect("plain")
        };
        let all = "{listen-addr} {server-mode}|{port}|{tls-port}|{unixsocket}|{config-file}  ";
        for (port, bind, socket, want) in [
            (7, &["*", "-::*"][..], "", "*:7 |7|0||/etc/r.conf"),
            (7, &["10.0.0.1"], "/s", "10.0.0.1:7 |7|0|/s|/etc/r.conf"),
            (7, &[], "", "*:7 |7|0||/etc/r.conf"),
            (0, &["*"], "/s", "/s |0|0|/s|/etc/r.conf"),
        ] {
            assert_eq!(title(port, bind, socket, all), want);
        }
        assert_eq!(title(7, &[], "", " {{port}} {port} "), "{port}} 7");
        let own = std::env::args().next().expect("a name");
        assert_eq!(title(7, &[], "", "a {title}"), format!("a {own}"));
    }
}
