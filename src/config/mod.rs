//! Stand-in until the real module is merged: texts by name.
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Config {
    values: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Config {
        let values = [
            ("bind", "* -::*"),
            ("port", "6379"),
            ("unixsocket", ""),
            ("unixsocketperm", "0"),
            ("tcp-backlog", "511"),
            ("tcp-keepalive", "300"),
            ("maxclients", "10000"),
            ("daemonize", "no"),
            ("supervised", "no"),
            ("pidfile", ""),
            ("logfile", ""),
            ("loglevel", "notice"),
            ("dir", "."),
            ("always-show-logo", "no"),
        ];
        Config {
            values: values
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }
}

impl Config {
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(())
    }
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.values
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
    pub fn rewrite(&self, before: &str) -> String {
        before.to_owned()
    }
    /// Takes the lines of a file or of a command line.
    pub fn load(&mut self, text: &str) -> Result<(), String> {
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            self.set(name, value.trim().trim_matches('"').trim_matches('\''))?;
        }
        Ok(())
    }
}
