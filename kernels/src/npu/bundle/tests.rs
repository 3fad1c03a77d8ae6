use super::*;
use crate::npu::trial::{Trial, TrialKind};

fn design(kernels: Kernels, m: usize) -> Design {
    Design::new(Target::Npu1, kernels, Tile { m, k: 32, n: 64 }).unwrap()
}

fn tools() -> BTreeMap<String, String> {
    BTreeMap::from([("mlir_aie".to_owned(), "none".to_owned())])
}

/// A bundle, and a change of its description: what reading says then.
fn spoilt(change: impl Fn(&mut serde_json::Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    Bundle::write(folder.path(), &design(Kernels::Int8, 48), b"container", tools()).unwrap();
    let path = folder.path().join(MANIFEST);
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(&path, json.to_string()).unwrap();
    match Bundle::read(folder.path()).and_then(|bundle| bundle.xclbin()) {
        Ok(_) => "sound".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let written = Bundle::write(folder.path(), &design(Kernels::Int8, 32), b"container", tools()).unwrap();
    let read = Bundle::read(folder.path()).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.xclbin().unwrap(), b"container");
    // SHA-256 of "container", by coreutils.
    assert_eq!(
        read.manifest().xclbin.sha256,
        "a42d519714d616e9411dbceec4b52808bd6b1ee53e6f6497a281d655357d8b71".to_owned()
    );
}

#[test]
fn damage_is_named() {
    assert_eq!(spoilt(|_| ()), "sound");
    assert!(spoilt(|json| json["format"] = 1.into()).contains("format 1, and this program reads 2"));
    assert!(spoilt(|json| json["format"] = u64::MAX.into()).contains("format 18446744073709551615"));
    assert!(spoilt(|json| json["xclbin"]["bytes"] = 8.into()).contains("its size is 9 bytes, 8 bytes was expected"));
    assert!(spoilt(|json| json["xclbin"]["sha256"] = "00".into()).contains("its SHA-256 is"));
    assert!(spoilt(|json| json["xclbin"]["name"] = "../design.xclbin".into()).contains("is no file name"));
    assert!(spoilt(|json| json["xclbin"]["name"] = "..".into()).contains("is no file name"));
    assert!(spoilt(|json| json["xclbin"]["name"] = "gone".into()).contains("(os error 2)"));
    assert!(spoilt(|json| json["objects"]["a"]["words"] = 1.into()).contains("its objects are"));
    assert!(spoilt(|json| json["objects"]["b"]["layouts"]["keys"] = "int8[1]".into()).contains("this program packs"));
    assert!(spoilt(|json| json["kernel"] = "DPU".into()).contains("DPU"));
    assert!(spoilt(|json| json["token_controller"] = 0.into()).contains("packet id 0"));
    assert!(spoilt(|json| json["arguments"] = serde_json::json!(["b", "a", "c"])).contains("not a, b, c"));
    assert!(spoilt(|json| json["design"]["tile"]["m"] = 63.into()).contains("whole micro-tiles"));
    assert!(spoilt(|json| json["design"]["target"] = "npu9".into()).contains("unknown variant `npu9`"));
    assert!(spoilt(|json| *json = serde_json::json!([])).contains(MANIFEST));
    assert!(spoilt(|json| json["surplus"] = 1.into()).contains("surplus"));
}

#[test]
fn a_folder_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    assert!(Bundles::open(&missing).unwrap_err().to_string().contains("kernels/aie/build.sh"));
    let empty = Bundles::open(folder.path()).unwrap();
    assert!(empty.find(&design(Kernels::Int8, 48)).unwrap_err().to_string().contains("none at all"));

    let mut moved = design(Kernels::Int8, 48);
    moved.a.iter_mut().for_each(|channel| channel.channel = 1);
    moved.b.iter_mut().for_each(|channel| channel.channel = 0);
    Bundle::write(&folder.path().join("one"), &moved, b"1", tools()).unwrap();
    Bundle::write(&folder.path().join("two"), &design(Kernels::Bf16, 32), b"2", tools()).unwrap();
    fs::create_dir(folder.path().join("broken")).unwrap();
    fs::write(folder.path().join("broken").join(MANIFEST), "{").unwrap();
    fs::write(folder.path().join("README"), "no bundle").unwrap();

    let bundles = Bundles::open(folder.path()).unwrap();
    assert_eq!((bundles.list().len(), bundles.broken().len()), (2, 1));
    // By what it computes; the bundle's own channels come with it.
    assert_eq!(bundles.find(&design(Kernels::Int8, 48)).unwrap().design(), &moved);
    let absent = bundles.find(&design(Kernels::Int8, 32)).unwrap_err().to_string();
    assert!(absent.contains("--target npu1 --kernels int8 --tile 32,32,64"), "{absent}");
    assert!(absent.contains("bf16 kernels for npu1, tiles 32×32×64; one that can't be used"), "{absent}");
    let other = Design::new(Target::Npu4, Kernels::Int8, Tile { m: 48, k: 32, n: 64 }).unwrap();
    assert!(bundles.find(&other).is_err());
}

#[test]
fn trial_arrays_have_bundles_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let trial = Trial::new(Target::Npu4, TrialKind::PassThrough);
    let absent = TrialBundle::find(folder.path(), &trial).unwrap_err().to_string();
    assert!(absent.contains("no npu4-pass_through. Make it: kernels/aie/build.sh --target npu4 --ladder"), "{absent}");
    // The compiler may have given the two ways each other's channels.
    let mut compiled = trial.clone();
    compiled.c.reverse();
    let written = TrialBundle { trial: compiled, xclbin: b"container".to_vec(), made: Some(vec![1, 0x0604_0100]) };
    written.write(folder.path(), tools()).unwrap();
    assert_eq!(TrialBundle::find(folder.path(), &trial).unwrap(), written);
    // Those of designs are others, and a folder may have both.
    assert!(Bundles::open(folder.path()).unwrap().list().is_empty());

    let spoilt = |from: &str, to: &str| {
        let path = folder.path().join("npu4-pass_through/trial.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let said = TrialBundle::find(folder.path(), &trial).unwrap_err().to_string();
        fs::write(&path, text).unwrap();
        said
    };
    assert!(spoilt("\"format\": 1", "\"format\": 2").contains("format is 2"));
    assert!(spoilt("npu4", "npu1").contains("it is the array that passes bytes on, on npu1"));
    assert!(spoilt("\"column\": 0", "\"column\": 1").contains("does not exist, or one twice"));
    assert!(spoilt("insts.bin", "../insts.bin").contains("is no file name"));
    assert!(spoilt("insts.bin", "gone.bin").contains("No such file"));
    assert!(spoilt("\"bytes\": 8", "\"bytes\": 4").contains("its size is 8 bytes"));
    assert!(spoilt("\"tools\"", "\"more\": 1, \"tools\"").contains("more"));
}

#[test]
fn a_part_of_an_array_is_another_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let whole = design(Kernels::Int8, 48);
    let core = Design::of_cores(Target::Npu1, Kernels::Int8, whole.tile, [1, 1]).unwrap();
    Bundle::write(&folder.path().join("whole"), &whole, b"1", tools()).unwrap();
    let bundles = Bundles::open(folder.path()).unwrap();
    let absent = bundles.find(&core).unwrap_err().to_string();
    assert!(absent.contains("tiles 48×32×64, 1×1 cores") && absent.contains("--target npu1 --ladder"), "{absent}");
    Bundle::write(&folder.path().join("a-core"), &core, b"2", tools()).unwrap();
    let bundles = Bundles::open(folder.path()).unwrap();
    assert_eq!(bundles.find(&core).unwrap().design(), &core);
    assert_eq!(bundles.find(&whole).unwrap().design(), &whole);
}
