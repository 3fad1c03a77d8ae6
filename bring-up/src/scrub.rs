//! Takes out of a report what is personal: the names of the machine and of its user, and folders, of which only those of
//! the system itself stay as they are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Rung;
use crate::mask::masked;
use crate::report::{Check, Outcome, Report, RungReport, Verdict};

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
        // A host's first name alone, and what a user is called in full.
        let first: Vec<_> = names.iter().filter_map(|(name, what)| Some((name.split_once('.')?.0, *what))).collect();
        let users = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
        let full = full_names(&users, user);
        let more = first.iter().map(|(name, what)| ((*name).to_owned(), *what));
        let more: Vec<_> = more.chain(full.into_iter().map(|name| (name, "USER"))).collect();
        names.extend(more);
        names.retain(|(name, _)| name.len() > 1 && !COMMON.contains(&name.to_lowercase().as_str()));
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { folders, names }
    }

    /// The free texts of a report. Its other words are its own: a user may be called `passed`.
    pub fn report(&self, report: &mut Report) {
        let mut scrub = |text: &mut String| *text = self.text(text);
        scrub(&mut report.machine.kernel);
        report.kernel_log.lines.iter_mut().for_each(&mut scrub);
        for rung in &mut report.rungs {
            self.rung(rung);
        }
    }

    fn rung(&self, rung: &mut RungReport) {
        let scrub = |text: &mut String| *text = self.text(text);
        match &mut rung.verdict {
            Verdict::TimedOut { found } | Verdict::Broken { found } => scrub(found),
            Verdict::Skipped { why } => scrub(why),
            Verdict::Passed | Verdict::Failed | Verdict::NotReached | Verdict::Begun => {}
        }
        for Check { name, outcome, .. } in &mut rung.checks {
            // Named by AMD's program, and after a model: the other names are Undertone's.
            if rung.rung == Rung::Amd.number() || rung.rung == Rung::Whisper.number() && name.contains(", ") {
                scrub(name);
            }
            match outcome {
                Outcome::Passed => {}
                Outcome::Told { found } => scrub(found),
                Outcome::Warned { found, advice } | Outcome::Failed { found, advice } => {
                    scrub(found);
                    scrub(advice);
                }
            }
        }
    }

    /// One text.
    pub fn text(&self, text: &str) -> String {
        let text = self.folders.iter().fold(text.to_owned(), |text, folder| replace(&text, folder, "…", in_folder));
        let text = ["\"", "'"].iter().fold(text, |text, quote| {
            // What is quoted is one path, spaces and all.
            let parts = text.split(quote).enumerate();
            let parts = parts.map(|(index, part)| if index % 2 == 1 { shortened(part) } else { part.to_owned() });
            parts.collect::<Vec<_>>().join(quote)
        });
        let ends = |c: char| c.is_whitespace() || ENDS.contains(&c);
        let text: String = text
            .split_inclusive(ends)
            .map(|word| {
                let path = word.trim_end_matches(ends);
                shortened(path) + &word[path.len()..]
            })
            .collect();
        let named =
            |text: String, (name, instead): &(String, &str)| replace(&text, name, instead, char::is_alphanumeric);
        masked(&self.names.iter().fold(text, named))
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

/// What stands beside a folder's name only within a longer one.
fn in_folder(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// How a user is called in full, from the lines of `/etc/passwd`: all of it, and each word.
fn full_names(users: &str, user: &str) -> Vec<String> {
    let mut fields = users.lines().map(|line| line.split(':')).filter(|fields| fields.clone().next() == Some(user));
    let full = fields.next().and_then(|mut fields| fields.nth(4)).and_then(|full| full.split(',').next());
    let full = full.unwrap_or_default().trim();
    // Initials and the like are in every text.
    full.split_whitespace().filter(|word| word.len() > 2).chain([full]).map(str::to_owned).collect()
}

/// Replaces what is called so in whatever case, where no letter that is `part` of a longer name stands beside it.
fn replace(text: &str, name: &str, instead: &str, part: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let found =
        |rest: &str| rest.as_bytes().windows(name.len()).position(|at| at.eq_ignore_ascii_case(name.as_bytes()));
    while let Some(at) = found(rest) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let alone = !before.chars().next_back().or(out.chars().next_back()).is_some_and(part)
            && !after.chars().next().is_some_and(part);
        out.push_str(before);
        out.push_str(if alone { instead } else { &rest[at..at + name.len()] });
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
            ("Ann of ANNSBOX and Annie", "USER of HOST and Annie"),
            ("exe=\"/home/ann/private proj/bin\" of ann", "exe=\"…/bin\" of USER"),
            ("/home/anna/x and /home/ann.", "…/x and …."),
            ("link 3c:7c:3f:aa:bb:cc", "link MAC"),
            ("", ""),
        ] {
            assert_eq!(scrub().text(text), expected, "{text}");
        }
    }

    #[test]
    fn words_of_the_report_itself_stay() {
        let names = ["passed", "npu", "npu4", "array", "failed", "one"];
        let scrub = Scrub { names: names.map(|name| (name.to_owned(), "USER")).to_vec(), ..Scrub::default() };
        let mut report = Report::new("npu", "npu4".into(), crate::Machine::default());
        report.kernel_log.lines = vec!["amdxdna of npu4".into()];
        let checks = vec![Check::new("the array", Outcome::Passed), Check::told("one", "of array")];
        report.add(RungReport { checks: checks.clone(), verdict: Verdict::Failed, ..crate::not_reached(Rung::Core) });
        report.add(RungReport { checks, ..crate::not_reached(Rung::Amd) });
        scrub.report(&mut report);
        assert_eq!((report.device.as_str(), report.target.as_str()), ("npu", "npu4"));
        assert_eq!(report.kernel_log.lines, ["amdxdna of USER"]);
        let names = |rung: usize| report.rungs[rung].checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>();
        assert_eq!((names(0), names(1)), (vec!["the array", "one"], vec!["the USER", "USER"]));
        assert_eq!(report.rungs[0].checks[1].outcome, Outcome::Told { found: "of USER".into() });
        assert_eq!(report.rungs[0].verdict, Verdict::Failed);
    }

    #[test]
    fn full_names_are_found() {
        let users = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann M. Miller,Room 3:/home/ann:/bin/sh\n";
        assert_eq!(full_names(users, "ann"), ["Ann", "Miller", "Ann M. Miller"]);
        assert_eq!(full_names(users, "bob"), [""]);
    }
}
