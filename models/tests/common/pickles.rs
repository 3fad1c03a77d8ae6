//! PyTorch's containers, written opcode by opcode as `torch.save` does (protocol 2).

use std::io::{Cursor, Write as _};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{Kind, Model, bytes};

/// A pickle being written.
#[derive(Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }

    pub fn op(&mut self, opcode: u8) -> &mut Self {
        self.0.push(opcode);
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    pub fn int(&mut self, value: usize) -> &mut Self {
        match value {
            0..256 => self.0.extend([b'K', value as u8]),
            256..65_536 => {
                self.0.push(b'M');
                self.0.extend((value as u16).to_le_bytes());
            }
            _ => {
                self.0.push(b'J');
                self.0.extend((value as i32).to_le_bytes());
            }
        }
        self
    }

    pub fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.0.push(b'c');
        self.0.extend(format!("{module}\n{name}\n").as_bytes());
        self
    }

    pub fn ints(&mut self, values: &[usize]) -> &mut Self {
        self.op(b'(');
        values.iter().for_each(|value| _ = self.int(*value));
        self.op(b't')
    }

    /// A storage's identity, as `persistent_id` gives it.
    pub fn storage(&mut self, kind: Kind, key: &str, count: usize, legacy: bool) -> &mut Self {
        let class = match kind {
            Kind::F64 => "DoubleStorage",
            Kind::F32 => "FloatStorage",
            Kind::F16 => "HalfStorage",
            Kind::BF16 => "BFloat16Storage",
        };
        self.op(b'(').text("storage").global("torch", class).text(key).text("cpu").int(count);
        if legacy {
            self.op(b'N');
        }
        self.op(b't').op(b'Q')
    }

    /// A tensor, `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, OrderedDict())`; `place` is offset,
    /// size, stride.
    pub fn tensor(
        &mut self,
        storage: (Kind, &str, usize),
        place: (usize, &[usize], &[usize]),
        legacy: bool,
    ) -> &mut Self {
        let ((kind, key, count), (offset, shape, strides)) = (storage, place);
        self.global("torch._utils", "_rebuild_tensor_v2").op(b'(');
        self.storage(kind, key, count, legacy).int(offset).ints(shape).ints(strides).op(0x89);
        self.global("collections", "OrderedDict").op(b')').op(b'R');
        self.op(b't').op(b'R')
    }
}

pub fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// How the dictionary of tensors is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"dims": …, "model_state_dict": …}`, OpenAI's names.
    OpenAi { heads: [usize; 2] },
    /// The dictionary itself.
    HuggingFace,
}

/// The pickle of a model, and its storages. Every third matrix is stored transposed and read by its strides.
pub fn state(model: &Model, kind: Kind, form: Form, legacy: bool) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let mut pickle = Pickle::new();
    let mut storages = Vec::new();
    if let Form::OpenAi { heads } = form {
        // Put, and got again, as pickles do with what they memorise.
        pickle.op(b'}').op(b'q').op(0).op(b'(');
        pickle.text("dims").op(b'}').op(b'(').text("n_audio_head").int(heads[0]).text("n_text_head").int(heads[1]);
        pickle.text("n_mels").int(80).op(b'u').text("model_state_dict");
    }
    pickle.global("collections", "OrderedDict").op(b')').op(b'R').op(b'r').op(1).op(1).op(0).op(0).op(b'(');
    for (i, (name, (shape, values))) in model.iter().enumerate() {
        let name = if form == Form::HuggingFace { name.clone() } else { super::openai_name(name) };
        let transposed = i % 3 == 0 && shape.len() == 2;
        let (stored, strides) = match transposed {
            true => {
                let [rows, columns] = shape[..] else { unreachable!() };
                let stored = (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect();
                (stored, vec![1, rows])
            }
            false => (values.clone(), strides(shape)),
        };
        // What is before it in its storage is another's.
        let offset = i % 2 * 5;
        let padded = [vec![7.0; offset], stored].concat();
        let key = storages.len().to_string();
        pickle.text(&name).tensor((kind, &key, padded.len()), (offset, shape, &strides), legacy);
        storages.push((key, bytes(&padded, kind)));
    }
    pickle.op(b'u');
    // The state of an OrderedDict: `_metadata`, an OrderedDict too.
    pickle.op(b'}').text("_metadata").global("collections", "OrderedDict").op(b')').op(b'R').op(b's').op(b'b');
    if form != Form::HuggingFace {
        pickle.op(b'u');
    }
    (pickle.end(), storages)
}

/// The zip that `torch.save` writes since 1.6.
pub fn zipped(pickle: &[u8], storages: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    let mut member = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    };
    member("data.pkl", pickle);
    member("byteorder", b"little");
    storages.iter().for_each(|(key, bytes)| member(&format!("data/{key}"), bytes));
    member("version", b"3\n");
    zip.finish().unwrap().into_inner()
}

/// The file that `torch.save` wrote before.
pub fn legacy(pickle: &[u8], storages: &[(String, Vec<u8>)], kind: Kind) -> Vec<u8> {
    let size = match kind {
        Kind::F64 => 8,
        Kind::F32 => 4,
        Kind::F16 | Kind::BF16 => 2,
    };
    let magic =
        [&[0x80, 2, 0x8a, 10][..], &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19], b"."].concat();
    let version = [&[0x80, 2, b'M'][..], &1001_u16.to_le_bytes(), b"."].concat();
    let mut machine = Pickle::new();
    machine.op(b'}').op(b'(').text("protocol_version").int(1001).text("little_endian").op(0x88).op(b'u');
    let mut keys = Pickle::new();
    keys.op(b']').op(b'(');
    storages.iter().for_each(|(key, _)| _ = keys.text(key));
    keys.op(b'e');
    let mut file = [magic, version, machine.end(), pickle.to_vec(), keys.end()].concat();
    for (_, bytes) in storages {
        file.extend((bytes.len() as u64 / size).to_le_bytes());
        file.extend(bytes);
    }
    file
}
