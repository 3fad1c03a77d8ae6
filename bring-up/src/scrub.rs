//! Takes out of a report what is personal: the names of the machine and of its user, and folders, of which only those of
//! the system itself stay as they are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Folders that are the same on every machine.
const SYSTEM: [&str; 10] = ["/sys", "/dev", "/proc", "/usr", "/lib", "/lib64", "/opt/xilinx", "/etc", "/boot", "/bin"];

/// Names that a great many machines and users share.
const COMMON: [&str; 3] = ["localhost", "root", "user"];

/// What ends a path within a text.
const ENDS: &[char] = &['\'', '"', '`', ',', ';', ':', '=', '(', ')', '[', ']', '{', '}', '<', '>', '|', '*'];

/// What is personal on this machine, and what takes its place.
#[derive(Clone, Debug, Default)]
pub struct Scrub {
    // In both the longest come first.
    /// Folders that may have spaces in their names, so that no text tells where they end.
    folders: Vec<String>,
    names: Vec<(String, &'static str)>,
}

impl Scrub {
    /// What the machine below `root` and the environment say of it, and folders that a person named.
    pub fn of(root: &Path, folders: &[PathBuf]) -> Self {
        let variable = |name: &str| env::var(name).unwrap_or_default();
        let host = fs::read_to_string(root.join("proc/sys/kernel/hostname")).unwrap_or_default();
        let home = env::home_dir();
        let mut folders: Vec<String> = folders
            .iter()
            .chain(&home)
            .chain(&env::current_dir().ok())
            .chain(&env::current_exe().ok().and_then(|file| Some(file.parent()?.to_owned())))
            .filter_map(|folder| folder.to_str().map(str::to_owned))
            .collect();
        folders.retain(|folder| folder.len() > 1 && !is_system(folder));
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
        let user = home.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        let mut names = vec![(host.trim().to_owned(), "HOST"), (user.to_owned(), "USER")];
        names.extend(["HOSTNAME", "COMPUTERNAME"].map(|name| (variable(name), "HOST")));
        names.extend(["USER", "LOGNAME", "SUDO_USER", "USERNAME"].map(|name| (variable(name), "USER")));
        names.retain(|(name, _)| name.len() > 1 && !COMMON.contains(&name.as_str()));
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { folders, names }
    }

    /// All texts of a JSON value; keys are the report's own.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(map) => map.values_mut().for_each(|value| self.value(value)),
            _ => {}
        }
    }

    /// One text.
    pub fn text(&self, text: &str) -> String {
        let text = self.folders.iter().fold(text.to_owned(), |text, folder| text.replace(folder, "…"));
        let ends = |c: char| c.is_whitespace() || ENDS.contains(&c);
        let text: String = text
            .split_inclusive(ends)
            .map(|word| {
                let path = word.trim_end_matches(ends);
                shortened(path) + &word[path.len()..]
            })
            .collect();
        self.names.iter().fold(text, |text, (name, instead)| replace_word(&text, name, instead))
    }
}

/// A path without its folders, unless they are the system's; any other word as it is.
fn shortened(word: &str) -> String {
    let separator = |c: char| c == '/' || c == '\\';
    let is_path = word.starts_with(['/', '\\', '~', '…']) && !word.starts_with("//");
    let mut parts = word.trim_end_matches(separator).rsplit(separator);
    match (parts.next(), parts.next()) {
        (Some(name), Some(_)) if is_path && !is_system(word) => format!("…/{name}"),
        _ => word.to_owned(),
    }
}

fn is_system(path: &str) -> bool {
    let below = |folder: &&str| path.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    SYSTEM.iter().any(below)
}

/// Replaces a name where it stands by itself.
fn replace_word(text: &str, name: &str, instead: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
        let alone = !part(before.chars().next_back().or(out.chars().next_back())) && !part(after.chars().next());
        out.push_str(before);
        out.push_str(if alone { instead } else { name });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub() -> Scrub {
        Scrub {
            folders: vec!["/home/ann/My Notes/bundles".into(), "/home/ann".into()],
            names: vec![("annsbox".into(), "HOST"), ("ann".into(), "USER")],
        }
    }

    #[test]
    fn folders_and_names_go_and_the_system_s_stay() {
        for (text, expected) in [
            ("/home/ann/My Notes/bundles has no bundle", "… has no bundle"),
            ("/home/ann/My Notes/bundles/npu4/a.xclbin: gone", "…/a.xclbin: gone"),
            ("cannot open '/home/ann/secret/x.so'; next", "cannot open '…/x.so'; next"),
            ("/srv/private/models/base", "…/base"),
            ("at C:\\Users\\ann\\x.dll, and", "at C:…/x.dll, and"),
            (
                "/dev/accel/accel0 and /sys/bus/pci/devices/0000:c5:00.1",
                "/dev/accel/accel0 and /sys/bus/pci/devices/0000:c5:00.1",
            ),
            ("HOST: annsbox by ann", "HOST: HOST by USER"),
            ("the anniversary plan of ann.", "the anniversary plan of USER."),
            ("87380.0 op/s, and/or https://example.org/a/b", "87380.0 op/s, and/or https://example.org/a/b"),
            ("~/.local/share/xrt and /root/.local/share/xrt/2.25.00/", "…/xrt and …/2.25.00"),
            ("", ""),
        ] {
            assert_eq!(scrub().text(text), expected, "{text}");
        }
    }

    #[test]
    fn every_text_of_a_value_is_scrubbed() {
        let mut value = serde_json::json!({"a": ["ann", {"b": "/home/ann/x/y"}], "ann": 1});
        scrub().value(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["USER", {"b": "…/y"}], "ann": 1}));
    }
}
