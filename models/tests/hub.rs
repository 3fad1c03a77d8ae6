//! Downloads from a hub on the loopback interface: what is fetched and what is not, and what becomes of every kind of
//! break, refusal and damage.

#[path = "../../tests/common/hub.rs"]
mod fake;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fake::{COMMIT, Fault, Hub, Rules};
use undertone_models::hub::{self, Fetched, HubError, Repository, Settings, Snapshot, Wish};

const NAME: &str = "owner/whisper";

/// A cache of its own and the way to a hub.
struct Machine {
    home: tempfile::TempDir,
    settings: Settings,
}

impl Machine {
    fn new(hub: &Hub) -> Self {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint: hub.endpoint(),
            cache: home.path().join("hub"),
            token: None,
            offline: false,
            patience: Duration::from_millis(400),
            proxy: None,
            no_proxy: None,
            certificates: Vec::new(),
            licences: Some(home.path().join("licences")),
        };
        Self { home, settings }
    }

    fn get(&self, variant: Option<&str>) -> Result<Snapshot, HubError> {
        hub::provide(&self.settings, &repository(), variant.into(), &mut |_| ())
    }

    fn repository_folder(&self) -> PathBuf {
        self.settings.cache.join("models--owner--whisper")
    }

    fn blob(&self, bytes: &[u8]) -> PathBuf {
        self.repository_folder().join("blobs").join(fake::digest(bytes))
    }
}

fn repository() -> Repository {
    Repository::parse(NAME).unwrap()
}

/// Bytes that differ from place to place.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut noise = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| noise.u8(..)).take(length).collect()
}

/// Weights without graphs: what is fetched needs no meaning here.
fn weights() -> Vec<u8> {
    noise(1 << 20, 1)
}

fn hub_of_weights() -> Hub {
    Hub::open(
        NAME,
        &[
            ("config.json", b"{}"),
            ("tokenizer.json", &noise(5000, 2)),
            ("model.safetensors", &weights()),
            ("pytorch_model.bin", &noise(3000, 3)),
            ("README.md", b"read me"),
        ],
    )
}

fn is_whole(snapshot: &Snapshot) -> bool {
    fs::read(snapshot.folder.join("model.safetensors")).is_ok_and(|bytes| bytes == weights())
}

#[test]
fn what_is_needed_is_fetched_once_into_python_s_layout() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    let mut told: Vec<(u64, u64)> = Vec::new();
    let mut progress = |fetched: Fetched<'_>| told.push((fetched.done, fetched.total));
    let snapshot = hub::provide(&machine.settings, &repository(), Wish::Best, &mut progress).unwrap();
    assert!(is_whole(&snapshot) && !snapshot.is_onnx);
    assert_eq!(hub.taken(), ["config.json", "tokenizer.json", "model.safetensors"]);
    let all = 2 + 5000 + (1 << 20);
    assert!(told.is_sorted() && told.iter().all(|&(done, total)| done <= total && total == all), "{told:?}");
    assert_eq!(told.last(), Some(&(all, all)));
    let folder = machine.repository_folder();
    assert_eq!(snapshot.folder, folder.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    if cfg!(unix) {
        let link = fs::read_link(snapshot.folder.join("model.safetensors")).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(fake::digest(&weights())));
    }
    // Then without the network, and without asking it.
    let offline = Settings { offline: true, endpoint: "http://127.0.0.1:9".into(), ..machine.settings.clone() };
    assert_eq!(hub::provide(&offline, &repository(), Wish::Best, &mut |_| ()).unwrap(), snapshot);
    assert_eq!(machine.get(None).unwrap(), snapshot);
    assert!(hub.taken().is_empty());
    let cached = hub::cached(&machine.settings);
    assert_eq!(cached.len(), 1);
    assert_eq!((cached[0].name.as_str(), cached[0].licence.as_deref()), (NAME, Some("mit")));
    assert!((all..all + 1000).contains(&cached[0].bytes), "{}", cached[0].bytes);
}

#[test]
fn a_mirror_that_lists_names_only_is_asked_for_each_file() {
    let hub = hub_of_weights();
    hub.rules(Rules { plain_listing: true, ..Rules::default() });
    let machine = Machine::new(&hub);
    assert!(is_whole(&machine.get(None).unwrap()));
    assert!(machine.blob(&weights()).is_file());
}

#[test]
fn what_broke_off_goes_on_where_it_was() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    hub.fault("model.safetensors", Fault::Cut(300_000), 2);
    assert!(is_whole(&machine.get(None).unwrap()));
    assert_eq!(hub.taken()[2..], ["model.safetensors", "model.safetensors@300000", "model.safetensors@600000"]);
}

#[test]
fn a_download_that_stalls_ends_with_an_error_and_the_next_one_goes_on() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    hub.fault("model.safetensors", Fault::Stall(100_000), 1);
    hub.fault("model.safetensors", Fault::Stall(0), 9);
    let error = machine.get(None).unwrap_err();
    assert!(matches!(error, HubError::BrokenOff { done: 100_000, .. }), "{error}");
    let text = error.to_string();
    for word in ["model.safetensors", NAME, "100000 of 1048576", "sends nothing"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(hub::complete(&machine.settings, &repository(), Wish::Best).is_none());
    let rest = hub_of_weights();
    let settings = Settings { endpoint: rest.endpoint(), ..machine.settings.clone() };
    assert!(is_whole(&hub::provide(&settings, &repository(), Wish::Best, &mut |_| ()).unwrap()));
    assert_eq!(rest.taken(), ["model.safetensors@100000"]);
}

#[test]
fn a_slow_download_is_none_that_stalls() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    let settings = Settings { patience: Duration::from_millis(1500), ..machine.settings.clone() };
    hub.fault("model.safetensors", Fault::Slow, 1);
    // Two seconds in all.
    assert!(is_whole(&hub::provide(&settings, &repository(), Wish::Best, &mut |_| ()).unwrap()));
    assert_eq!(hub.taken().len(), 3);
}

#[test]
fn servers_that_know_no_ranges_or_say_try_again() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    hub.fault("model.safetensors", Fault::Cut(1000), 1);
    hub.fault("model.safetensors", Fault::Status(503), 1);
    hub.fault("model.safetensors", Fault::NoRanges, 1);
    assert!(is_whole(&machine.get(None).unwrap()));
}

#[test]
fn bytes_that_are_not_the_promised_ones_are_fetched_again_and_then_refused() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    hub.fault("model.safetensors", Fault::Garble, 1);
    assert!(is_whole(&machine.get(None).unwrap()));
    assert_eq!(hub.taken().iter().filter(|file| *file == "model.safetensors").count(), 2);

    let machine = Machine::new(&hub);
    hub.fault("model.safetensors", Fault::Garble, 2);
    let error = machine.get(None).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&fake::digest(&weights())), "{error}");
    assert!(!machine.blob(&weights()).exists());
    assert!(is_whole(&machine.get(None).unwrap()));

    let machine = Machine::new(&hub);
    hub.fault("model.safetensors", Fault::Longer, 9);
    let error = machine.get(None).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }) && error.to_string().contains("1048577"), "{error}");
}

#[test]
fn a_partial_file_that_is_of_something_else_is_thrown_away() {
    for present in [noise(2 << 20, 9), noise(1 << 20, 9), noise(10, 9)] {
        let hub = hub_of_weights();
        let machine = Machine::new(&hub);
        let partial = machine.blob(&weights()).with_extension("incomplete");
        fs::create_dir_all(partial.parent().unwrap()).unwrap();
        fs::write(&partial, &present).unwrap();
        assert!(is_whole(&machine.get(None).unwrap()), "{} bytes", present.len());
        assert!(!partial.exists());
    }
}

#[test]
fn a_cache_that_was_damaged_is_repaired() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    machine.get(None).unwrap();
    hub.taken();
    let blob = machine.blob(&weights());
    // The right length and other bytes: only the checksum tells.
    let mut wrong = weights();
    wrong[77] ^= 1;
    fs::write(&blob, &wrong).unwrap();
    let repaired = hub::repair(&machine.settings, &repository(), Wish::Best, &mut |_| ()).unwrap();
    assert!(is_whole(&repaired));
    assert_eq!(hub.taken(), ["model.safetensors"]);
    // A link whose bytes are gone.
    fs::remove_file(&blob).unwrap();
    assert!(is_whole(&machine.get(None).unwrap()));
    assert_eq!(hub.taken(), ["model.safetensors"]);
    // Nothing is wrong any more.
    hub::repair(&machine.settings, &repository(), Wish::Best, &mut |_| ()).unwrap();
    assert!(hub.taken().is_empty());
}

#[test]
fn a_gated_repository_says_log_in_and_a_token_opens_it() {
    let hub = hub_of_weights();
    hub.rules(Rules { gated: Some("hf_right"), ..Rules::default() });
    let mut machine = Machine::new(&hub);
    let error = machine.get(None).unwrap_err();
    assert!(matches!(error, HubError::Gated { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("log in") && text.contains("HF_TOKEN") && text.contains(&format!("/{NAME}")), "{text}");
    machine.settings.token = Some("hf_wrong".into());
    let text = machine.get(None).unwrap_err().to_string();
    assert!(text.contains("present token") && !text.contains("hf_wrong"), "{text}");
    machine.settings.token = Some("hf_right".into());
    // The fake store, another host, insists that it gets none.
    assert!(is_whole(&machine.get(None).unwrap()));
}

#[test]
fn what_is_not_there_is_said_so() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    let nobody = Repository::parse("owner/nothing").unwrap();
    let error = hub::provide(&machine.settings, &nobody, Wish::Best, &mut |_| ()).unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }) && error.to_string().contains("owner/nothing"), "{error}");
    let error = machine.get(Some("q4")).unwrap_err();
    assert!(matches!(error, HubError::NothingFits { .. }) && error.to_string().contains("q4"), "{error}");
    hub.rules(Rules { broken: Some(500), ..Rules::default() });
    let error = machine.get(None).unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("500"), "{error}");
}

#[test]
fn without_a_network_only_what_is_missing_is_named() {
    let hub = hub_of_weights();
    let mut machine = Machine::new(&hub);
    machine.settings.endpoint = "http://127.0.0.1:9".into();
    let error = machine.get(None).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }) && error.is_unreachable(), "{error}");
    for word in [NAME, "127.0.0.1:9", "is not on this machine"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    machine.settings.offline = true;
    let error = machine.get(None).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }) && error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    // One file is gone of a cache that was whole.
    machine.settings = Settings { endpoint: hub.endpoint(), offline: false, ..machine.settings.clone() };
    let snapshot = machine.get(None).unwrap();
    fs::remove_file(snapshot.folder.join("tokenizer.json")).unwrap();
    machine.settings.offline = true;
    let text = machine.get(None).unwrap_err().to_string();
    assert!(text.contains("tokenizer.json") && !text.contains("model.safetensors"), "{text}");
}

/// A field of a protobuf message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// A graph with one tensor of `length` bytes in the file `location`.
fn graph_with(location: &str, length: usize) -> Vec<u8> {
    let entry = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    let tensor = [entry("location", location), entry("length", &length.to_string())].concat();
    field(7, &field(5, &tensor))
}

#[test]
fn weights_outside_their_graphs_are_fetched_whatever_they_are_called_and_completed() {
    let sidecars = ["encoder_model.onnx_data", "decoder_model_merged.onnx.data", "more_weights"];
    let files: Vec<(String, Vec<u8>)> = [
        ("config.json".to_owned(), b"{}".to_vec()),
        ("tokenizer.json".to_owned(), b"{}".to_vec()),
        ("onnx/encoder_model.onnx".to_owned(), graph_with(sidecars[0], 4000)),
        (
            "onnx/decoder_model_merged.onnx".to_owned(),
            [graph_with(sidecars[1], 4000), graph_with(sidecars[2], 4000)].concat(),
        ),
    ]
    .into_iter()
    .chain(sidecars.iter().zip(5..).map(|(name, seed)| (format!("onnx/{name}"), noise(4000, seed))))
    .collect();
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let hub = Hub::open(NAME, &borrowed);
    let machine = Machine::new(&hub);
    let snapshot = machine.get(None).unwrap();
    assert!(snapshot.is_onnx);
    for (name, bytes) in &files {
        assert_eq!(&fs::read(snapshot.folder.join(name)).unwrap(), bytes, "{name}");
    }
    hub.taken();
    for name in sidecars {
        let path = snapshot.folder.join("onnx").join(name);
        // As a program that broke off leaves it: not there, or there and short.
        fs::remove_file(&path).unwrap();
        machine.get(None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"short").unwrap();
        machine.get(None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 4000, "{name}");
    }
    // A repository that lacks what its graph needs.
    hub.put("onnx/encoder_model.onnx", &graph_with("gone", 5));
    let error = Machine::new(&hub).get(None).unwrap_err();
    assert!(matches!(error, HubError::Incomplete { .. }) && error.to_string().contains("onnx/gone"), "{error}");
}

#[test]
fn a_proxy_is_the_way_where_one_is_named() {
    let hub = hub_of_weights();
    let mut machine = Machine::new(&hub);
    // Nobody but the proxy knows this host.
    machine.settings.endpoint = "http://hub.invalid".into();
    assert!(machine.get(None).unwrap_err().is_unreachable());
    machine.settings.proxy = Some(format!("http://127.0.0.1:{}", hub.port));
    assert!(is_whole(&machine.get(None).unwrap()));
    machine.settings = Settings { no_proxy: Some("example.org,.invalid".into()), ..Machine::new(&hub).settings };
    machine.settings.endpoint = "http://hub.invalid".into();
    machine.settings.proxy = Some(format!("http://127.0.0.1:{}", hub.port));
    assert!(machine.get(None).unwrap_err().is_unreachable());
    machine.settings.proxy = Some("http://me:secret@[".into());
    let text = machine.get(None).unwrap_err().to_string();
    assert!(text.contains("proxy") && !text.contains("secret"), "{text}");
}

#[test]
fn many_at_once_fetch_once() {
    let hub = hub_of_weights();
    let machine = Machine::new(&hub);
    hub.fault("model.safetensors", Fault::Slow, 1);
    let settings = Settings { patience: Duration::from_secs(5), ..machine.settings.clone() };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope
                .spawn(|| assert!(is_whole(&hub::provide(&settings, &repository(), Wish::Best, &mut |_| ()).unwrap())));
        }
    });
    assert_eq!(hub.taken().iter().filter(|file| file.starts_with("model.safetensors")).count(), 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let hub = hub_of_weights();
    let mut machine = Machine::new(&hub);
    let file = machine.home.path().join("file");
    fs::write(&file, "").unwrap();
    machine.settings.cache = file.clone();
    let error = machine.get(None).unwrap_err();
    assert!(matches!(error, HubError::Write { .. }) && error.to_string().contains(file.to_str().unwrap()), "{error}");
}
