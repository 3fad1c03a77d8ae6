//! `undertone npu fetch`: releases that `kernels/aie/manifest.py` made, as a folder, as an archive, and over HTTP, whole
//! and with every fault; and that what was fetched is found without an option.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::hub::{COMMIT, Fault, Hub};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Bundles as `package.py` describes them, around containers that no NPU would load.
const BUNDLES: &str = r#"
import json, pathlib, sys, describe, package
for target in describe.COLUMNS:
    for kernels, tile in (("int8", (48, 64, 64)), ("bf16", (48, 32, 64))):
        design = describe.Design(target, kernels, *tile)
        folder = pathlib.Path(sys.argv[1]) / design.name
        folder.mkdir(parents=True)
        file = folder / "design.xclbin"
        file.write_bytes(design.name.encode() * 1000)
        description = package.manifest(design, file, None, {"stand-in": "for a test"})
        (folder / "bundle.json").write_text(json.dumps(description))
"#;

/// What `undertone npu bring-up` begins with on npu4.
const LADDER: &str = r#"
import json, pathlib, sys, describe, package
designs = [describe.Trial("npu4", kind) for kind in ("pass_through", "core")]
for cores in ((1, 1), (4, 1)):
    for kernels, tile in (("int8", (48, 64, 64)), ("bf16", (48, 32, 64))):
        designs.append(describe.Design("npu4", kernels, *tile, cores=cores))
for design in designs:
    folder = pathlib.Path(sys.argv[1]) / design.name
    folder.mkdir()
    file = folder / "design.xclbin"
    file.write_bytes(b"container")
    name = "trial.json" if isinstance(design, describe.Trial) else "bundle.json"
    (folder / name).write_text(json.dumps(package.manifest(design, file, None, {"stand-in": "for a test"})))
"#;

const NAMES: [&str; 4] = ["npu1-bf16-48x32x64", "npu1-int8-48x64x64", "npu4-bf16-48x32x64", "npu4-int8-48x64x64"];

fn python(arguments: &[&dyn AsRef<std::ffi::OsStr>]) {
    let mut command = Command::new("python3");
    command.arg("-B").args(arguments.iter().map(AsRef::as_ref));
    command.env("PYTHONPATH", common::root().join("kernels/aie/designs"));
    common::stdout_of(&mut command);
}

/// A release, and a machine that has fetched none.
struct Case(TempDir);

impl Case {
    fn new() -> Self {
        let case = Self(tempfile::tempdir().unwrap());
        python(&[&"-c", &BUNDLES, &case.folder()]);
        case.list();
        case
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("release")
    }

    fn archive(&self) -> PathBuf {
        self.0.path().join("bundles.zip")
    }

    /// Where bundles are put.
    fn root(&self) -> PathBuf {
        self.0.path().join("cache/npu")
    }

    fn container(&self) -> PathBuf {
        self.folder().join(NAMES[3]).join("design.xclbin")
    }

    /// Changes the words of a bundle's description; the list knows.
    fn describe(&self, from: &str, to: &str) {
        let path = self.folder().join(NAMES[3]).join("bundle.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
        self.list();
    }

    /// Makes the list and the archive of what is in the folder now.
    fn list(&self) {
        let script = common::root().join("kernels/aie/manifest.py");
        python(&[&script, &self.folder(), &"--archive", &self.archive()]);
    }

    fn undertone(&self, arguments: &[&str]) -> Command {
        let mut command = common::undertone();
        command.args(arguments).env("UNDERTONE_BUNDLES", self.root()).env_remove("HF_HUB_OFFLINE");
        command.env("HF_HUB_DOWNLOAD_TIMEOUT", "0.5");
        for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(variable);
        }
        command
    }

    fn fetch(&self, from: &str) -> Command {
        self.undertone(&["npu", "fetch", from])
    }

    /// The error of a fetch that has to fail, with nothing put in place.
    fn refused(&self, from: &Path) -> String {
        let line = common::bad::error_line(&mut self.fetch(from.to_str().unwrap()));
        assert_eq!(self.present(), BTreeMap::new(), "{line}");
        line
    }

    /// The error of a fetch over the network, behind the line that says what is fetched.
    fn failed(&self, url: &str) -> String {
        let output = common::run(&mut self.fetch(url));
        let said = common::text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("fetching http")).collect();
        assert!(lines.len() == 1 && lines[0].starts_with("error: ") && lines[0].contains(url), "{said}");
        assert_eq!(self.present(), BTreeMap::new(), "{said}");
        lines[0].to_owned()
    }

    /// The bundles that are in place: names and contents of their files.
    fn present(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for folder in fs::read_dir(self.root()).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            for file in fs::read_dir(folder.path()).unwrap().flatten() {
                let name = format!("{}/{}", folder.file_name().display(), file.file_name().display());
                files.insert(name, fs::read(file.path()).unwrap());
            }
        }
        files
    }

    fn assert_whole(&self) {
        let present = self.present();
        let names: Vec<String> =
            NAMES.iter().flat_map(|name| [format!("{name}/bundle.json"), format!("{name}/design.xclbin")]).collect();
        assert_eq!(present.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
        for (name, bytes) in present {
            assert_eq!(bytes, fs::read(self.folder().join(&name)).unwrap(), "{name}");
        }
        // Beside the bundles only locks.
        let others = fs::read_dir(self.root()).unwrap().flatten().map(|entry| entry.file_name());
        let others: Vec<_> = others.filter(|name| !NAMES.iter().any(|bundle| name == *bundle)).collect();
        assert!(others.iter().all(|name| name.to_string_lossy().ends_with(".lock")), "{others:?}");
    }

    /// The address of the archive at a server that has it.
    fn served(&self) -> (Hub, String) {
        let bytes = fs::read(self.archive()).unwrap();
        let hub = Hub::open("undertone/bundles", &[("bundles.zip", &bytes)]);
        // Sends elsewhere, as releases do.
        let url = format!("{}/undertone/bundles/resolve/{COMMIT}/bundles.zip", hub.endpoint());
        (hub, url)
    }
}

#[test]
fn a_folder_an_archive_and_an_address_give_the_same() {
    let case = Case::new();
    let (_hub, url) = case.served();
    for from in [case.folder().to_str().unwrap(), case.archive().to_str().unwrap(), &url] {
        let text = common::stdout_of(&mut case.fetch(from));
        for name in NAMES {
            assert!(text.contains(case.root().join(name).to_str().unwrap()), "{name}: {text}");
        }
        assert!(text.contains("npu4 int8 48×64×64 on 4×8 cores"), "{text}");
        case.assert_whole();
        // What is there is left as it is; damage is mended.
        fs::write(case.root().join(NAMES[0]).join("design.xclbin"), "damaged").unwrap();
        common::stdout_of(&mut case.fetch(from));
        case.assert_whole();
        fs::remove_dir_all(case.root()).unwrap();
    }
    // The same files make the same archive.
    let first = fs::read(case.archive()).unwrap();
    case.list();
    assert_eq!(fs::read(case.archive()).unwrap(), first);
}

#[test]
fn what_was_fetched_is_found_without_an_option() {
    let case = Case::new();
    let said = |arguments: &[&str]| common::stdout_of(&mut case.undertone(arguments));
    let plan = ["npu", "plan", "--target", "npu4", "--no-measure"];
    assert!(said(&plan).contains("none is here: `undertone npu fetch FROM`"));
    assert!(said(&["npu", "fetch", "--list"]).starts_with("No compiled NPU kernels in "));
    assert!(said(&["devices"]).contains("NPU's kernels       none (`undertone npu fetch FROM`)"));
    common::stdout_of(&mut case.fetch(case.folder().to_str().unwrap()));
    let home = case.root().join("npu4-int8-48x64x64");
    // The execution provider has looked: the command names it no folder.
    let text = said(&plan);
    assert!(text.contains(&format!("tiles 48×64×64: {}", home.display())), "{text}");
    let text = said(&["npu", "fetch", "--list"]);
    let (bundles, ladder): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.contains(home.parent().unwrap().to_str().unwrap()));
    let lacking = "npu4, for `undertone npu bring-up`: there is no pass_through, no core, no int8 48×64×64 on 1×1 cores, \
                   no int8 48×64×64 on 4×1 cores, no bf16 48×32×64 on 1×1 cores, no bf16 48×32×64 on 4×1 cores";
    assert_eq!((bundles.len(), &ladder[..]), (4, &[&*lacking.replace("npu4", "npu1"), lacking][..]));
    assert!(text.contains(&format!("{}  npu4 int8 48×64×64", home.display())), "{text}");
    let devices = said(&["devices"]);
    assert!(
        devices.contains("npu4 bf16 48×32×64 on 4×8 cores, npu4 int8 48×64×64 on 4×8 cores, 6 lacking"),
        "{devices}"
    );
    // One that is named is taken instead.
    let elsewhere = case.0.path().to_str().unwrap();
    assert!(said(&[&plan[..], &["--bundle-dir", elsewhere]].concat()).contains("missing"));
    // What is damaged later is said.
    fs::write(home.join("design.xclbin"), "damaged").unwrap();
    let text = said(&["npu", "fetch", "--list"]);
    assert!(text.contains("of no use: ") && text.contains("its size is 7 bytes"), "{text}");
}

#[test]
fn the_ladder_s_arrays_are_told_from_those_of_sessions() {
    let case = Case::new();
    python(&[&"-c", &LADDER, &case.folder()]);
    case.list();
    let text = common::stdout_of(&mut case.fetch(case.folder().to_str().unwrap()));
    let ends: Vec<&str> = text.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    for end in ["npu4 pass_through", "npu4 core", "npu4 int8 48×64×64 on 1×1 cores", "npu4 bf16 48×32×64 on 4×1 cores"]
    {
        assert!(ends.contains(&end), "{end}: {text}");
    }
    assert!(text.contains("npu4, for `undertone npu bring-up`: complete\n"), "{text}");
    assert!(text.contains("npu1, for `undertone npu bring-up`: there is no pass_through"), "{text}");
    assert_eq!(common::stdout_of(&mut case.undertone(&["npu", "fetch", "--list"])), text);
    let devices = common::stdout_of(&mut case.undertone(&["devices"]));
    for words in ["npu4 int8 48×64×64 on 4×1 cores", "npu4 core", "complete for `undertone npu bring-up` of npu4"] {
        assert!(devices.contains(words), "{words}: {devices}");
    }
}

#[test]
fn faults_of_a_release_are_named_and_nothing_is_put_in_place() {
    type Change = fn(&Case);
    let faults: [(&str, Change, &[&str]); 12] = [
        ("a changed container", |case| fs::write(case.container(), "other").unwrap(), &["design.xclbin", "is damaged"]),
        (
            "a missing container",
            |case| fs::remove_file(case.container()).unwrap(),
            &["lacks npu4-int8", "fetch it again"],
        ),
        (
            "a container that was never there",
            |case| {
                fs::remove_file(case.container()).unwrap();
                case.list();
            },
            &["cannot use them", "design.xclbin", "No such file"],
        ),
        (
            "no list",
            |case| fs::remove_file(case.folder().join("SHA256SUMS")).unwrap(),
            &["has no SHA256SUMS", "manifest.py"],
        ),
        (
            "a list one folder below",
            |case| {
                let inner = case.folder().join("inner");
                fs::create_dir(&inner).unwrap();
                fs::rename(case.folder().join("SHA256SUMS"), inner.join("SHA256SUMS")).unwrap();
            },
            &["has no SHA256SUMS at its top: give its folder inner"],
        ),
        (
            "what a workflow keeps",
            |case| {
                fs::remove_file(case.folder().join("SHA256SUMS")).unwrap();
                fs::copy(case.archive(), case.folder().join("bundles.zip")).unwrap();
            },
            &["has no SHA256SUMS at its top: unpack its bundles.zip, and give that"],
        ),
        (
            "a trial array without a description",
            |case| {
                let folder = case.folder().join("npu1-pass_through");
                fs::create_dir(&folder).unwrap();
                fs::write(folder.join("trial.json"), "{}").unwrap();
                case.list();
            },
            &["cannot use them", "npu1-pass_through/trial.json", "missing field"],
        ),
        (
            "a bundle that is not on the list",
            |case| {
                let other = case.folder().join("other");
                fs::create_dir(&other).unwrap();
                fs::write(other.join("bundle.json"), "{}").unwrap();
            },
            &["has other/bundle.json", "does not name", "manifest.py again"],
        ),
        (
            "a list that leads elsewhere",
            |case| {
                let path = case.folder().join("SHA256SUMS");
                let list = fs::read_to_string(&path).unwrap();
                fs::write(&path, list.replacen("npu1-bf16-48x32x64/bundle", "../bundle", 1)).unwrap();
            },
            &["SHA256SUMS", "line 1", "leads out of the folder"],
        ),
        (
            "another format",
            |case| case.describe("\"format\": 2", "\"format\": 3"),
            &["format 3, and this program reads 2"],
        ),
        ("another packing", |case| case.describe("control[16]", "control[8]"), &["this program packs"]),
        ("a description that is none", |case| case.describe("{", ""), &["cannot use them", "bundle.json"]),
    ];
    for (what, change, words) in faults {
        let case = Case::new();
        change(&case);
        let line = case.refused(&case.folder());
        assert!(words.iter().all(|word| line.contains(word)), "{what}: {line}");
        // A person knows the release, not where it was looked at.
        assert!(!line.contains(".fetching") && line.contains(case.folder().to_str().unwrap()), "{what}: {line}");
    }
}

#[test]
fn a_fault_leaves_what_was_there() {
    let case = Case::new();
    common::stdout_of(&mut case.fetch(case.folder().to_str().unwrap()));
    let before = case.present();
    fs::write(case.folder().join(NAMES[0]).join("design.xclbin"), "other").unwrap();
    common::bad::error_line(&mut case.fetch(case.folder().to_str().unwrap()));
    assert_eq!(case.present(), before);
}

#[test]
fn archives_that_are_none_or_lead_elsewhere() {
    let case = Case::new();
    let bytes = fs::read(case.archive()).unwrap();
    let other = case.0.path().join("other.zip");
    fs::write(&other, &bytes[..bytes.len() / 2]).unwrap();
    assert!(case.refused(&other).contains("is no zip archive, or a part of one"));
    fs::write(&other, "text").unwrap();
    assert!(case.refused(&other).contains("is no zip archive"));
    assert!(case.refused(&other).contains("it has to be a folder or a .zip"));
    assert!(case.refused(&case.0.path().join("none.zip")).contains("cannot read"));
    for from in ["nosuch", "github.com/bundles.zip"] {
        assert!(case.refused(from.as_ref()).contains("or an address that begins with https://"), "{from}");
    }
    assert!(case.refused("ftp://host/bundles.zip".as_ref()).contains("name an address (https://… or http://…)"));
    assert!(case.refused(&case.folder().join(NAMES[0])).contains("it is a single bundle: give the folder"));
    for name in ["../outside", "/outside", "a/../../outside", "a\\..\\outside"] {
        let mut archive = ZipWriter::new(File::create(&other).unwrap());
        for (name, bytes) in [(name, &b"evil"[..]), ("SHA256SUMS", b"")] {
            archive.start_file(name, SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap();
        let line = case.refused(&other);
        assert!(line.contains("leads out of its folder") && line.contains("nothing was taken"), "{name}: {line}");
        assert!(!case.0.path().join("outside").exists() && !case.0.path().join("cache/outside").exists());
    }
    let sum = common::hub::sha256(&bytes);
    let with_sum = |sum: &str| case.undertone(&["npu", "fetch", case.archive().to_str().unwrap(), "--sha256", sum]);
    let line = common::bad::error_line(&mut with_sum(&sum.replace(['0', '1'], "2")));
    assert!(line.contains(&format!("has the SHA-256 {sum}")), "{line}");
    assert!(common::bad::error_line(&mut with_sum("12")).contains("64 hexadecimal digits"));
    common::stdout_of(&mut with_sum(&sum.to_uppercase()));
    case.assert_whole();
}

#[test]
fn downloads_go_on_where_they_broke_off() {
    let case = Case::new();
    let (hub, url) = case.served();
    hub.fault("bundles.zip", Fault::Cut(700), 1);
    common::stdout_of(&mut case.fetch(&url));
    assert_eq!(hub.taken(), ["bundles.zip", "bundles.zip@700"]);
    case.assert_whole();
    fs::remove_dir_all(case.root()).unwrap();
    // Given up, and taken up by the next call.
    hub.fault("bundles.zip", Fault::Cut(900), 1);
    hub.fault("bundles.zip", Fault::Cut(0), 2);
    let line = case.failed(&url);
    assert!(line.contains("broke off at 900 of") && line.contains("goes on from there"), "{line}");
    hub.taken();
    common::stdout_of(&mut case.fetch(&url));
    assert_eq!(hub.taken(), ["bundles.zip@900"]);
    case.assert_whole();
}

#[test]
fn downloads_that_cannot_be_had() {
    let case = Case::new();
    let (hub, url) = case.served();
    hub.fault("bundles.zip", Fault::Garble, 1);
    assert!(case.failed(&url).contains("invalid Zip archive"));
    assert!(case.failed(&url.replace("bundles.zip", "none.zip")).contains("404"));
    hub.fault("bundles.zip", Fault::Longer, 1);
    assert!(case.failed(&url).contains("and the server promised"));
    assert!(case.failed("http://127.0.0.1:9/bundles.zip").contains("cannot be reached"));
    let line = common::bad::error_line(case.fetch(&url).env("HF_HUB_OFFLINE", "1"));
    assert!(line.contains("HF_HUB_OFFLINE"), "{line}");
    // Nothing of it stayed: the next one is whole.
    hub.taken();
    common::stdout_of(&mut case.fetch(&url));
    assert_eq!(hub.taken(), ["bundles.zip"]);
    case.assert_whole();
}

/// An answer to all requests of one server.
type Answer = fn(method: &str, path: &str) -> String;

/// A server of answers without bytes.
fn server(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let _ = reader.read_line(&mut line);
            let mut words = line.split(' ');
            let head = answer(words.next().unwrap_or_default(), words.next().unwrap_or_default());
            // All of the request is read before the connection is closed, or the answer may be lost.
            while line.trim_end() != "" {
                line.clear();
                let _ = reader.read_line(&mut line);
            }
            let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
        }
    });
    format!("http://{place}")
}

#[test]
fn what_servers_answer_is_said_without_secrets() {
    let case = Case::new();
    let url = server(|method, path| match path {
        "/huge.zip" => format!("200 OK\r\nContent-Length: {}", 1_u64 << 60),
        "/once.zip?token=secret" if method == "HEAD" => "405 No\r\nContent-Length: 0".to_owned(),
        "/file.zip" => "302 Found\r\nContent-Length: 0\r\nLocation: file:///etc/passwd".to_owned(),
        "/busy.zip" => "429 Busy\r\nContent-Length: 0".to_owned(),
        _ => "500 Broken\r\nContent-Length: 0".to_owned(),
    });
    for (name, words) in [
        ("huge.zip", "not more than 1073741824 are taken"),
        ("file.zip", "sends to file:///etc/passwd, which is no address"),
        ("busy.zip", "429 Too Many Requests when asked for"),
        ("busy.zip", "try again later"),
        // GET has been tried.
        ("once.zip?token=secret", "500 Internal Server Error when asked for"),
    ] {
        let url = url.replace("http://", "HTTP://me:secret@");
        let line = common::bad::error_line(&mut case.fetch(&format!("{url}/{name}")));
        assert!(line.contains(words) && !line.contains("secret") && line.contains("http://…@127.0.0.1"), "{line}");
    }
    for from in ["", "ftp://me:secret@host/a.zip", "file:///a.zip"] {
        let line = common::bad::error_line(&mut case.fetch(from));
        assert!(line.contains("nothing to fetch from: name an address") && !line.contains("secret"), "{line}");
    }
}

#[test]
fn names_and_sizes_that_no_release_has() {
    let list = |case: &Case, names: &[&str]| {
        let sum = common::hub::sha256(b"");
        let path = case.folder().join("SHA256SUMS");
        let lines = names.iter().map(|name| format!("{sum}  {name}\n"));
        let text = fs::read_to_string(&path).unwrap() + &lines.collect::<String>();
        fs::write(path, text).unwrap();
    };
    for name in ["fetch.lock", "x.partial", "CON", "npu4.", "NPU4-int8-48x64x64", "a\u{202e}b"] {
        let case = Case::new();
        list(&case, &[&format!("{name}/bundle.json")]);
        let line = case.refused(&case.folder());
        assert!(line.contains("SHA256SUMS") && line.contains("nothing was taken"), "{name}: {line}");
    }
    let case = Case::new();
    // They take no place on the disk.
    let large: Vec<String> = (0..5).map(|number| format!("{}/large{number}", NAMES[0])).collect();
    for name in &large {
        File::create(case.folder().join(name)).unwrap().set_len(250 << 20).unwrap();
    }
    list(&case, &large.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(case.refused(&case.folder()).contains("has more than 1024 MiB"));
    let mut archive = ZipWriter::new(File::create(case.archive()).unwrap());
    for number in 0..201 {
        archive.start_file(format!("a/{number}"), SimpleFileOptions::default()).unwrap();
    }
    archive.finish().unwrap();
    assert!(case.refused(&case.archive()).contains("has more than 200 files"));
}

#[cfg(unix)]
#[test]
fn what_is_no_plain_file_is_not_waited_for() {
    let case = Case::new();
    let pipe = case.0.path().join("pipe");
    let make = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    make(&pipe);
    for place in [pipe.as_path(), Path::new("/dev/zero")] {
        assert!(case.refused(place).contains("it is no plain file"));
    }
    let line = common::bad::error_line(&mut case.undertone(&["partition", pipe.to_str().unwrap()]));
    assert!(line.contains(pipe.to_str().unwrap()), "{line}");
    fs::remove_file(case.container()).unwrap();
    make(&case.container());
    assert!(case.refused(&case.folder()).contains("it is no plain file"));
}

#[test]
fn what_stands_in_a_bundle_s_place() {
    let case = Case::new();
    let fetch = || common::run(&mut case.fetch(case.folder().to_str().unwrap()));
    fs::create_dir_all(case.root()).unwrap();
    let home = case.root().join(NAMES[3]);
    fs::write(&home, "text").unwrap();
    let said = common::text(&fetch().stderr);
    assert!(said.contains(&format!("{} is a file where a bundle belongs", home.display())), "{said}");
    assert_eq!((case.present(), fs::read_to_string(&home).unwrap()), (BTreeMap::new(), "text".to_owned()));
    fs::remove_file(&home).unwrap();
    fs::create_dir(&home).unwrap();
    fs::write(home.join("bundle.json"), "mine").unwrap();
    let said = common::text(&fetch().stderr);
    assert!(said.contains(&format!("note: {} held something else, and was replaced", home.display())), "{said}");
    case.assert_whole();
    assert!(!common::text(&fetch().stderr).contains("replaced"));
}

#[test]
fn an_archive_is_kept_where_it_is_not_to_blame() {
    let case = Case::new();
    let (hub, url) = case.served();
    fs::create_dir_all(case.root()).unwrap();
    fs::write(case.root().join(NAMES[0]), "text").unwrap();
    let line = case.failed(&url);
    assert!(line.contains("is a file where a bundle belongs: move it away"), "{line}");
    assert!(line.contains("came whole and is kept"), "{line}");
    fs::remove_file(case.root().join(NAMES[0])).unwrap();
    assert_eq!(hub.taken(), ["bundles.zip"]);
    common::stdout_of(&mut case.fetch(&url));
    assert_eq!(hub.taken(), [""; 0]);
    case.assert_whole();
}

#[test]
fn one_that_waits_for_another_says_so() {
    let case = Case::new();
    fs::create_dir_all(case.root()).unwrap();
    let path = case.root().join("fetch.lock");
    fs::write(&path, "not ours").unwrap();
    let lock = File::open(&path).unwrap();
    lock.lock().unwrap();
    let mut command = case.fetch(case.folder().to_str().unwrap());
    let mut fetch = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(fetch.stderr.take().unwrap());
    let mut said = String::new();
    errors.read_line(&mut said).unwrap();
    assert!(said.contains("waiting for another `undertone npu fetch`"), "{said}");
    lock.unlock().unwrap();
    assert!(fetch.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&path).unwrap(), "not ours");
    case.assert_whole();
}

#[test]
fn without_an_argument_it_says_that_there_is_no_release() {
    let case = Case::new();
    let line = common::bad::error_line(&mut case.undertone(&["npu", "fetch"]));
    for word in ["no release", "public yet", "undertone npu fetch FROM", "kernels/aie/build.sh"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(!case.root().exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let case = Case::new();
    fs::create_dir_all(case.root().parent().unwrap()).unwrap();
    fs::write(case.root(), "a file").unwrap();
    let line = common::bad::error_line(&mut case.fetch(case.folder().to_str().unwrap()));
    assert!(line.contains("UNDERTONE_BUNDLES") && line.contains(case.root().to_str().unwrap()), "{line}");
    let line = common::bad::error_line(&mut case.undertone(&["npu", "fetch", "--list"]));
    assert!(line.contains("cannot read") && line.contains(case.root().to_str().unwrap()), "{line}");
}
