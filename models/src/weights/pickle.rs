//! A reader of pickles that carries nothing out. It knows the opcodes that make plain values, and of the functions that
//! a pickle may call the few with which PyTorch puts a tensor together; every other call makes a value that says
//! nothing ([`Value::Opaque`]).
//!
//! Values lie flat in tables and refer to each other by number, so that a pickle of any depth is read, and dropped,
//! without recursion. Memory is bounded by the pickle's own length. Source: CPython, `pickletools.py`; PyTorch,
//! `torch/_utils.py`.

use std::{collections::HashMap, rc::Rc};

/// A value. Containers are numbers of tables in [`Pickle`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
    /// Items that cannot change.
    Tuple(usize),
    List(usize),
    Dict(usize),
    /// A function or class, `module.name`.
    Global(Rc<str>),
    Storage(usize),
    Tensor(usize),
    /// What a call made that is not carried out, or bytes, or a float: nothing here needs them.
    Opaque,
}

/// A run of numbers that tensors lie in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// PyTorch's class: `torch.HalfStorage`.
    pub(super) class: Rc<str>,
    /// Its name in the container.
    pub(super) key: Rc<str>,
}

/// A tensor in a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredTensor {
    pub(super) storage: usize,
    /// PyTorch's name of the type, where the storage does not say it: `torch.float16`.
    pub(super) dtype: Option<Rc<str>>,
    /// In elements, as are the strides.
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<u64>,
}

/// What a pickle holds.
#[derive(Debug, Default)]
pub(super) struct Pickle {
    /// Tuples and lists.
    sequences: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<StoredTensor>,
}

impl Pickle {
    /// Items of a tuple or list.
    pub(super) fn items(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(id) | Value::List(id) => Some(&self.sequences[*id]),
            _ => None,
        }
    }

    /// Entries of a dictionary; of a key that is set twice, the last counts.
    pub(super) fn entries(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(id) => Some(&self.dicts[*id]),
            _ => None,
        }
    }

    /// An entry by its name.
    pub(super) fn get(&self, dict: &Value, key: &str) -> Option<&Value> {
        let is = |name: &Value| matches!(name, Value::Text(name) if &**name == key);
        self.entries(dict)?.iter().rev().find(|(name, _)| is(name)).map(|(_, value)| value)
    }

    /// Reads one value from the start of `bytes`; also how many bytes it took.
    ///
    /// # Errors
    /// In words: what is wrong with the pickle, and where.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(Value, usize), String> {
        let mut machine =
            Machine { pickle: self, bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        loop {
            let at = machine.at;
            let done = machine.step().map_err(|reason| format!("{reason} (byte {at} of its pickle)"))?;
            if let Some(value) = done {
                return Ok((value, machine.at));
            }
        }
    }
}

struct Machine<'p, 'b> {
    pickle: &'p mut Pickle,
    bytes: &'b [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

type Read<T> = Result<T, String>;

impl Machine<'_, '_> {
    /// Carries out one opcode; the value, if it was the last.
    fn step(&mut self) -> Read<Option<Value>> {
        let opcode = self.array::<1>()?[0];
        match opcode {
            b'.' => return self.pop().map(Some),
            // The protocol, and frames: there is nothing to do.
            0x80 => _ = self.array::<1>()?,
            0x95 => _ = self.array::<8>()?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.since_mark()?,
            b'2' => self.stack.push(self.top()?.clone()),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.integer::<1>(|b| i64::from(b[0]))?,
            b'M' => self.integer(|b| i64::from(u16::from_le_bytes(b)))?,
            b'J' => self.integer(|b| i64::from(i32::from_le_bytes(b)))?,
            0x8a => self.long::<1>()?,
            0x8b => self.long::<4>()?,
            b'G' => {
                self.array::<8>()?;
                self.stack.push(Value::Opaque);
            }
            b'I' => self.line_of_integer()?,
            0x8c => self.text::<1>()?,
            b'X' => self.text::<4>()?,
            0x8d => self.text::<8>()?,
            b'U' => self.text::<1>()?,
            b'T' => self.text::<4>()?,
            b'C' => self.raw::<1>()?,
            b'B' => self.raw::<4>()?,
            0x8e => self.raw::<8>()?,
            b')' => self.tuple(Vec::new()),
            0x85 => self.tuple_of(1)?,
            0x86 => self.tuple_of(2)?,
            0x87 => self.tuple_of(3)?,
            b't' => {
                let items = self.since_mark()?;
                self.tuple(items);
            }
            b']' => self.list(Vec::new()),
            b'l' => {
                let items = self.since_mark()?;
                self.list(items);
            }
            b'}' => self.dict(Vec::new()),
            b'd' => {
                let items = self.since_mark()?;
                let entries = pairs(items)?;
                self.dict(entries);
            }
            // Sets: nothing here needs one.
            0x8f => self.stack.push(Value::Opaque),
            0x90 => _ = self.since_mark()?,
            0x91 => {
                self.since_mark()?;
                self.stack.push(Value::Opaque);
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                let entries = pairs(items)?;
                self.set(entries)?;
            }
            b'q' => {
                let index = u32::from(self.array::<1>()?[0]);
                self.memorise(index)?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.memorise(index)?;
            }
            0x94 => self.memorise(self.memo.len() as u32)?,
            b'h' => {
                let index = u32::from(self.array::<1>()?[0]);
                self.recall(index)?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.stack.push(Value::Global(format!("{module}.{name}").into()));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err("a function without a name".to_owned());
                };
                self.stack.push(Value::Global(format!("{module}.{name}").into()));
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(&id);
                self.stack.push(storage);
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.call(&function, &arguments);
                self.stack.push(made);
            }
            // Objects of classes: made by nothing that is carried out, and their states are not looked at.
            0x81 => {
                for _ in 0..2 {
                    self.pop()?;
                }
                self.stack.push(Value::Opaque);
            }
            0x92 => {
                for _ in 0..3 {
                    self.pop()?;
                }
                self.stack.push(Value::Opaque);
            }
            b'b' => _ = self.pop()?,
            other => return Err(format!("opcode {other:#04x}, which no PyTorch file has")),
        }
        Ok(None)
    }

    fn take(&mut self, len: usize) -> Read<&[u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or("it ends too early")?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// A length of `N` bytes.
    fn length<const N: usize>(&mut self) -> Read<usize> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.array::<N>()?);
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| "a length that cannot be".to_owned())
    }

    fn line(&mut self) -> Read<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("it ends within a line")?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(line)
    }

    fn integer<const N: usize>(&mut self, value: impl Fn([u8; N]) -> i64) -> Read<()> {
        let bytes = self.array()?;
        self.stack.push(Value::Int(value(bytes)));
        Ok(())
    }

    /// Numbers in letters, of protocol 0.
    fn line_of_integer(&mut self) -> Read<()> {
        let value = match self.line()?.as_str() {
            "00" => Value::Bool(false),
            "01" => Value::Bool(true),
            number => number.parse().map(Value::Int).map_err(|_| "a number that is none")?,
        };
        self.stack.push(value);
        Ok(())
    }

    /// An integer of any number of bytes; one that does not fit says nothing.
    fn long<const N: usize>(&mut self) -> Read<()> {
        let len = self.length::<N>()?;
        let bytes = self.take(len)?;
        let value = if bytes.len() > 8 {
            Value::Opaque
        } else {
            let negative = bytes.last().is_some_and(|last| *last >= 0x80);
            let mut whole = [if negative { 0xff } else { 0 }; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(whole))
        };
        self.stack.push(value);
        Ok(())
    }

    fn text<const N: usize>(&mut self) -> Read<()> {
        let len = self.length::<N>()?;
        let text = String::from_utf8_lossy(self.take(len)?).into();
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn raw<const N: usize>(&mut self) -> Read<()> {
        let len = self.length::<N>()?;
        self.take(len)?;
        self.stack.push(Value::Opaque);
        Ok(())
    }

    fn top(&self) -> Read<&Value> {
        self.stack
            .last()
            .filter(|_| self.stack.len() > self.floor())
            .ok_or_else(|| "nothing is on the stack".to_owned())
    }

    /// What is below belongs to what was begun before the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Read<Value> {
        self.top()?;
        self.stack.pop().ok_or_else(|| "nothing is on the stack".to_owned())
    }

    fn since_mark(&mut self) -> Read<Vec<Value>> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple_of(&mut self, count: usize) -> Read<()> {
        let from = self.stack.len().checked_sub(count).filter(|from| *from >= self.floor());
        let items = self.stack.split_off(from.ok_or("too little is on the stack")?);
        self.tuple(items);
        Ok(())
    }

    fn tuple(&mut self, items: Vec<Value>) {
        self.pickle.sequences.push(items);
        self.stack.push(Value::Tuple(self.pickle.sequences.len() - 1));
    }

    fn list(&mut self, items: Vec<Value>) {
        self.pickle.sequences.push(items);
        self.stack.push(Value::List(self.pickle.sequences.len() - 1));
    }

    fn dict(&mut self, entries: Vec<(Value, Value)>) {
        self.pickle.dicts.push(entries);
        self.stack.push(Value::Dict(self.pickle.dicts.len() - 1));
    }

    fn append(&mut self, items: Vec<Value>) -> Read<()> {
        match *self.top()? {
            Value::List(id) => self.pickle.sequences[id].extend(items),
            Value::Opaque => {}
            _ => return Err("something is appended to what is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, entries: Vec<(Value, Value)>) -> Read<()> {
        match *self.top()? {
            Value::Dict(id) => self.pickle.dicts[id].extend(entries),
            Value::Opaque => {}
            _ => return Err("something is set in what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn memorise(&mut self, index: u32) -> Read<()> {
        let value = self.top()?.clone();
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Read<()> {
        let value = self.memo.get(&index).ok_or_else(|| format!("nothing was memorised as {index}"))?.clone();
        self.stack.push(value);
        Ok(())
    }

    /// `("storage", class, key, device, count, …)`.
    fn storage(&mut self, id: &Value) -> Value {
        match self.pickle.items(id) {
            Some([Value::Text(kind), Value::Global(class), Value::Text(key), ..]) if &**kind == "storage" => {
                let storage = Storage { class: Rc::clone(class), key: Rc::clone(key) };
                self.pickle.storages.push(storage);
                Value::Storage(self.pickle.storages.len() - 1)
            }
            _ => Value::Opaque,
        }
    }

    fn call(&mut self, function: &Value, arguments: &Value) -> Value {
        let Value::Global(name) = function else { return Value::Opaque };
        let Some(arguments) = self.pickle.items(arguments) else { return Value::Opaque };
        match (&**name, arguments) {
            ("collections.OrderedDict", []) => {
                self.pickle.dicts.push(Vec::new());
                Value::Dict(self.pickle.dicts.len() - 1)
            }
            ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", [tensor, ..]) => {
                tensor.clone()
            }
            (
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor_v3",
                [Value::Storage(storage), Value::Int(offset), shape, strides, rest @ ..],
            ) => {
                let dtype = match rest {
                    [_, _, Value::Global(dtype), ..] => Some(Rc::clone(dtype)),
                    _ => None,
                };
                let numbers = |value: &Value| -> Option<Vec<u64>> {
                    let number = |item: &Value| match item {
                        Value::Int(number) => u64::try_from(*number).ok(),
                        _ => None,
                    };
                    self.pickle.items(value)?.iter().map(number).collect()
                };
                let shape = numbers(shape).and_then(|sizes| {
                    sizes.into_iter().map(|size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>()
                });
                let (Some(shape), Some(strides), Ok(offset)) = (shape, numbers(strides), u64::try_from(*offset)) else {
                    return Value::Opaque;
                };
                self.pickle.tensors.push(StoredTensor { storage: *storage, dtype, offset, shape, strides });
                Value::Tensor(self.pickle.tensors.len() - 1)
            }
            _ => Value::Opaque,
        }
    }
}

fn pairs(items: Vec<Value>) -> Read<Vec<(Value, Value)>> {
    if !items.len().is_multiple_of(2) {
        return Err("a key without a value".to_owned());
    }
    let mut items = items.into_iter();
    Ok(std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect())
}
