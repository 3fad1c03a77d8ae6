//! Files that are cut short, lie about sizes or are made to harm: each is an error that names the file, with no panic,
//! and no more memory than the file has.

mod common;

use std::path::Path;

use common::{CTranslate2, Kind, Matrices, blocks, pickles};
use proptest::prelude::*;
use undertone_models::{ConvertError, ConvertOptions, convert, recognise, weights};
use zip::CompressionMethod;

const VOCABULARY: usize = 40;

/// One file of each container, by name.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let model = common::model(VOCABULARY, 1);
    let openai = pickles::Form::OpenAi { heads: [2, 4] };
    let (pickle, storages) = pickles::state(&model, Kind::F16, openai, false);
    let (old, old_storages) = pickles::state(&model, Kind::F16, openai, true);
    vec![
        ("model.safetensors", common::safetensors(&model, Kind::F16)),
        ("model.bin", CTranslate2::file(&model, 6, Matrices::Int8, [2, 4])),
        ("zipped.pt", pickles::zipped(&pickle, &storages, CompressionMethod::Stored)),
        ("legacy.pt", pickles::legacy(&old, &old_storages, Kind::F16)),
        ("ggml.bin", blocks::ggml(&model, &[b"a".to_vec()], blocks::Matrices::Blocks(blocks::Block::Q5_0), [2, 4]).0),
    ]
}

/// Reads a file and, if that goes well, all of its tensors.
fn read(path: &Path) -> Result<(), ConvertError> {
    let checkpoint = weights::open(path)?;
    checkpoint.tensors().try_for_each(|(_, tensor)| tensor.read().map(|_| ()))
}

fn names_the_file(error: &ConvertError, name: &str) {
    let text = error.to_string();
    assert!(text.contains(name), "{text}");
}

#[test]
fn whole_files_are_read() {
    let home = tempfile::tempdir().unwrap();
    for (name, bytes) in files() {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert!(recognise(&path).is_some(), "{name}");
        read(&path).unwrap();
    }
}

#[test]
fn a_file_that_is_cut_short_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    for (name, bytes) in files() {
        let path = home.path().join(name);
        let lengths = (0..40).map(|i| bytes.len() * i / 40).chain(bytes.len().saturating_sub(70)..bytes.len());
        for length in lengths {
            std::fs::write(&path, &bytes[..length]).unwrap();
            // CTranslate2's last bytes are an alias, without which the file says the same.
            let error = read(&path).expect_err(&format!("{name} of {length} bytes in place of {}", bytes.len()));
            names_the_file(&error, name);
        }
    }
}

#[test]
fn broken_bytes_are_no_panic() {
    let home = tempfile::tempdir().unwrap();
    let files = files();
    // Bytes of headers matter most: half of the changes are in the first kilobytes, and many make numbers very large.
    let change =
        (any::<prop::sample::Index>(), any::<bool>(), prop_oneof![Just(0xff), Just(0), Just(0x7f), any::<u8>()]);
    let changes = prop::collection::vec(change, 1..6);
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(file in 0..files.len(), changes in changes)| {
        let (name, bytes) = &files[file];
        let mut bytes = bytes.clone();
        for (index, near, byte) in &changes {
            let within = if *near { bytes.len().min(3000) } else { bytes.len() };
            let at = index.index(within);
            bytes[at] = *byte;
        }
        let path = home.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = read(&path) {
            prop_assert!(error.to_string().contains(name), "{error}");
        }
    });
}

/// A pickle alone in PyTorch's zip, and what reading it says.
fn pickle_says(pickle: Vec<u8>) -> String {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("hostile.pt");
    std::fs::write(&path, pickles::zipped(&pickle, &[], CompressionMethod::Stored)).unwrap();
    weights::open(&path).unwrap_err().to_string()
}

#[test]
fn a_pickle_that_calls_something_calls_nothing() {
    let home = tempfile::tempdir().unwrap();
    let witness = home.path().join("called");
    for (module, function) in [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("subprocess", "getoutput")]
    {
        let mut pickle = pickles::Pickle::new();
        pickle.global(module, function).text(&format!("touch {}", witness.display())).op(0x85).op(b'R');
        pickle_says(pickle.end());
    }
    assert!(!witness.exists());
}

#[test]
fn a_pickle_as_deep_as_it_is_long_is_read() {
    let deep = |open: u8, close: &[u8]| {
        let mut pickle = pickles::Pickle::new();
        (0..2_000_000).for_each(|_| _ = pickle.op(open));
        (0..1_999_999).for_each(|_| pickle.0.extend(close));
        pickle.end()
    };
    // A list in a list in a list …, likewise of tuples, and a list that holds itself.
    for pickle in [
        deep(b']', b"a"),
        {
            let mut pickle = pickles::Pickle::new();
            pickle.op(b')');
            (0..2_000_000).for_each(|_| _ = pickle.op(0x85));
            pickle.end()
        },
        {
            let mut pickle = pickles::Pickle::new();
            pickle.op(b']').op(b'q').op(0).op(b'h').op(0).op(b'a');
            pickle.end()
        },
    ] {
        let text = pickle_says(pickle);
        assert!(text.contains("dictionary of tensors"), "{text}");
    }
}

#[test]
fn pickles_that_are_none_say_where() {
    let says = |bytes: &[u8]| pickle_says([&[0x80, 2], bytes].concat());
    for (bytes, words) in [
        (&b"."[..], "nothing is on the stack"),
        (b"h\x07.", "nothing was memorised as 7"),
        (b"t.", "no mark"),
        (b"Na.", "nothing is on the stack"),
        (b"NNa.", "no list"),
        (b"N(0.", "nothing is on the stack"),
        (b"X\xff\xff\xff\xffab", "too early"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", "too early"),
        (b"cno newline", "within a line"),
        (b"}(Nu.", "a key without a value"),
        (b"P1\n.", "opcode"),
        (b"", "too early"),
    ] {
        let text = says(bytes);
        assert!(text.contains(words) && text.contains("hostile.pt"), "{bytes:?}: {text}");
    }
}

#[test]
fn tensors_that_do_not_fit_their_storage_are_refused() {
    let name = "model.encoder.conv1.weight";
    for (shape, strides, offset) in [
        (vec![64, 80, 3], vec![240, 3, 1], 1),
        (vec![1 << 40, 1 << 40], vec![1, 1], 0),
        (vec![1 << 62], vec![0], 0),
        (vec![64, 80, 4], vec![320, 4, 1], 0),
        (vec![2, 2], vec![usize::MAX / 2, 1], 0),
        (vec![2], vec![1], usize::MAX / 4),
        (vec![2, 2], vec![1], 0),
    ] {
        let mut pickle = pickles::Pickle::new();
        let number = |pickle: &mut pickles::Pickle, value: usize| {
            pickle.0.extend([0x8a, 8]);
            pickle.0.extend((value as u64).to_le_bytes());
        };
        pickle.op(b'}').text(name).global("torch._utils", "_rebuild_tensor_v2").op(b'(');
        pickle.storage(Kind::F16, "0", 64 * 240, false);
        number(&mut pickle, offset);
        for list in [&shape, &strides] {
            pickle.op(b'(');
            list.iter().for_each(|value| number(&mut pickle, *value));
            pickle.op(b't');
        }
        pickle.op(0x89).op(b'N').op(b't').op(b'R').op(b's');
        let storages = [("0".to_owned(), vec![0; 2 * 64 * 240])];
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lying.pt");
        std::fs::write(&path, pickles::zipped(&pickle.end(), &storages, CompressionMethod::Stored)).unwrap();
        let text = weights::open(&path).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("lying.pt"), "{shape:?}: {text}");
    }
}

#[test]
fn lying_sizes_take_no_memory() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("lying.bin");
    // ggml: a vocabulary of 2³² tokens; tokens of 2³² bytes; filters of 2⁶⁴ numbers.
    let start = [0x6767_6d6c_u32.to_le_bytes().to_vec(), vec![1; 44]].concat();
    for tail in [
        [&0_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &u32::MAX.to_le_bytes()].concat(),
        [&0_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &1_u32.to_le_bytes(), &u32::MAX.to_le_bytes()].concat(),
        vec![0xff; 8],
    ] {
        std::fs::write(&path, [start.clone(), tail].concat()).unwrap();
        names_the_file(&read(&path).unwrap_err(), "lying.bin");
    }
    let path = home.path().join("lying.safetensors");
    for (length, header) in [
        (u64::MAX, String::new()),
        (99_999_999, String::new()),
        (2, "{}".to_owned()),
        (70, format!("{:70}", r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#)),
        (80, format!("{:80}", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0]}}"#)),
        (80, format!("{:80}", r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#)),
    ] {
        std::fs::write(&path, [&length.to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
        let error = weights::open(&path).unwrap_err();
        names_the_file(&error, "lying.safetensors");
    }
}

#[test]
fn an_index_reaches_no_file_outside_its_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(home.path().join("secret.safetensors"), common::safetensors(&common::model(40, 1), Kind::F16))
        .unwrap();
    for name in ["../secret.safetensors", "/etc/passwd", "..", ""] {
        let index = serde_json::json!({"weight_map": {"model.encoder.conv1.weight": name}});
        common::write_json(&folder.join("model.safetensors.index.json"), &index);
        let text = weights::open(&folder).unwrap_err().to_string();
        assert!(text.contains("no file of its folder"), "{text}");
    }
}

#[test]
fn what_is_not_read_says_what_it_is() {
    let home = tempfile::tempdir().unwrap();
    let says = |name: &str, bytes: Vec<u8>| {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        weights::open(&path).unwrap_err().to_string()
    };
    assert!(says("text.bin", b"hello".to_vec()).contains("holds no weights"));
    assert!(says("empty.pt", Vec::new()).contains("holds no weights"));
    let model = common::model(40, 1);
    // A tensor is missing, or is of another size.
    let mut less = model.clone();
    less.remove("model.decoder.layers.1.encoder_attn.v_proj.bias");
    let text = says("less.safetensors", common::safetensors(&less, Kind::F32));
    assert!(text.contains("model.decoder.layers.1.encoder_attn.v_proj.bias"), "{text}");
    let mut other = model.clone();
    other.insert("model.decoder.layers.0.fc2.bias".to_owned(), (vec![3], vec![0.0; 3]));
    let text = says("other.safetensors", common::safetensors(&other, Kind::F32));
    assert!(text.contains("model.decoder.layers.0.fc2.bias is [3] where the others want [64]"), "{text}");
    // ggml's other types, and its old blocks.
    let (file, _) = blocks::ggml(&model, &[], blocks::Matrices::Blocks(blocks::Block::Q4_0), [2, 4]);
    let mut old = file.clone();
    old[44..48].copy_from_slice(&1002_u32.to_le_bytes());
    assert!(says("old.bin", old).contains("version 1"));
    let mut config = common::config(40);
    config["model_type"] = "wav2vec2".into();
    common::write_json(&home.path().join("config.json"), &config);
    assert!(says("model.safetensors", common::safetensors(&model, Kind::F32)).contains("wav2vec2"));
}

#[test]
fn a_broken_conversion_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("model.safetensors");
    std::fs::write(&source, common::safetensors(&common::model(40, 1), Kind::F16)).unwrap();
    // Forty tokens are no vocabulary of OpenAI's, and there is no tokenizer.
    let out = home.path().join("out");
    let error = convert(&source, &out, &ConvertOptions::default(), &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("40 token ids"), "{error}");
    std::fs::create_dir(&out).unwrap();
    let error = convert(&source, &out, &ConvertOptions::default(), &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, ConvertError::Exists(_)), "{error}");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
