//! Graphs and sessions as text, so that people read the corpus and write to it. A line is a statement of words; one that
//! says nothing that is understood is passed over.
//!
//! | line | what |
//! |---|---|
//! | `version 23` | ONNX Runtime's, 1.23 to 1.32 |
//! | `entry KEY VALUE`, `option KEY VALUE` | a configuration entry of the session, an EP option |
//! | `cache` | runs use a key-value cache that stays in the EP |
//! | `runs 2` | how often each fused node is run |
//! | `input x f32 2 n ? 4` | an input of the graph; a word is an axis of that name, `*` an unknown rank |
//! | `type y i64 2 n` | what is known of a value that a node makes |
//! | `const w f32 2 3 = 1 2 3` | an initializer; without numbers it gets some |
//! | `node MatMul@13 x w > y a=1 b=1.5 c=[1,2] d=s:text e=$w` | a node; `domain:Operator`, `_` for nothing |
//! | `output y` | an output of the graph |

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    sync::Arc,
};

use super::host::{self, Attribute, Content, Graph, Node, Session, Tensor, Type, Value};

/// Most nodes of a graph, and most elements of an initializer: enough for every pattern, and quick.
const MOST_NODES: usize = 64;
const MOST_ELEMENTS: usize = 1 << 14;

/// What a text describes.
pub fn read(text: &str) -> (Session, Arc<Graph>) {
    let mut session = Session { version: 32, entries: Vec::new(), cache: None, runs: 2 };
    let mut reader = Reader::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let _: Option<()> = match words[..] {
            ["version", version] => version.parse().ok().map(|version: u32| session.version = version.clamp(20, 40)),
            ["option", key, value] => option(&mut session, key, value),
            ["entry", key, value] => entry(&mut session, key, value),
            ["cache"] => {
                session.cache = Some(CString::default());
                Some(())
            }
            ["runs", runs] => runs.parse().ok().map(|runs: usize| session.runs = runs.min(3)),
            ["input", name, kind, ref dims @ ..] => reader.input(name, kind, dims),
            ["type", name, kind, ref dims @ ..] => reader.declare(name, kind, dims),
            ["const", name, kind, ref rest @ ..] => reader.constant(name, kind, rest),
            ["node", operator, ref rest @ ..] => reader.node(operator, rest),
            ["output", name] => {
                reader.outputs.push(name.to_owned());
                Some(())
            }
            _ => None,
        };
    }
    (session, Arc::new(reader.graph()))
}

/// Options that name files, and those that take long, are left out.
fn option(session: &mut Session, key: &str, value: &str) -> Option<()> {
    let quick = value.parse::<u32>().map_or(value != "sim" && value != "npu", |number| number < 8);
    let known = ["device", "precision", "claim", "threads", "target", "sim", "npu_commands", "odd"].contains(&key);
    (quick && known).then(|| entry(session, &format!("ep.xdnaexecutionprovider.{key}"), value))?
}

fn entry(session: &mut Session, key: &str, value: &str) -> Option<()> {
    // A packed model would be written wherever the text says.
    if key.contains("file_path") || key.ends_with(".report") || key.ends_with(".trace") {
        return None;
    }
    session.entries.push((CString::new(key).ok()?, CString::new(value).ok()?));
    Some(())
}

/// A value as far as it is known.
#[derive(Default)]
struct Known {
    kind: Option<Type>,
    constant: Option<Tensor>,
}

/// A node of names.
struct Named {
    operator: String,
    inputs: Vec<Option<String>>,
    outputs: Vec<Option<String>>,
    attributes: Vec<(String, String)>,
}

#[derive(Default)]
struct Reader {
    known: BTreeMap<String, Known>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    nodes: Vec<Named>,
    made: BTreeSet<String>,
}

impl Reader {
    fn declare(&mut self, name: &str, kind: &str, dims: &[&str]) -> Option<()> {
        self.known.entry(name.to_owned()).or_default().kind = Some(type_of(kind, dims)?);
        Some(())
    }

    fn input(&mut self, name: &str, kind: &str, dims: &[&str]) -> Option<()> {
        self.declare(name, kind, dims)?;
        if self.known[name].constant.is_none() && self.made.insert(name.to_owned()) {
            self.inputs.push(name.to_owned());
        }
        Some(())
    }

    fn constant(&mut self, name: &str, kind: &str, rest: &[&str]) -> Option<()> {
        let equals = rest.iter().position(|word| *word == "=").unwrap_or(rest.len());
        let kind = type_of(kind, &rest[..equals])?;
        let lengths = kind.dims.as_ref()?.iter().map(|dim| usize::try_from(*dim).ok());
        let lengths = lengths.collect::<Option<Vec<_>>>()?;
        let count = lengths.iter().try_fold(1_usize, |count, length| count.checked_mul(*length))?;
        if count > MOST_ELEMENTS || !self.made.insert(name.to_owned()) {
            return None;
        }
        let mut bytes = host::contents(kind.code, count, name.len());
        let size = host::element_size(kind.code);
        for (at, word) in rest.iter().skip(equals + 1).take(count).enumerate() {
            let number: f64 = word.parse().ok()?;
            let element = match kind.code {
                1 => (number as f32).to_ne_bytes().to_vec(),
                11 => number.to_ne_bytes().to_vec(),
                // Integers beyond what a double tells apart are written as they are.
                7 | 13 => word.parse().unwrap_or(number as i64).to_ne_bytes().to_vec(),
                _ => (number as i64).to_ne_bytes()[..size].to_vec(),
            };
            bytes[at * size..][..size].copy_from_slice(&element);
        }
        let known = self.known.entry(name.to_owned()).or_default();
        known.kind = Some(kind.clone());
        known.constant = Some(Tensor { kind, bytes });
        Some(())
    }

    fn node(&mut self, operator: &str, rest: &[&str]) -> Option<()> {
        if self.nodes.len() == MOST_NODES {
            return None;
        }
        let (mut inputs, mut outputs, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_result = false;
        for word in rest {
            if *word == ">" {
                is_result = true;
            } else if let Some((name, value)) = word.split_once('=') {
                attributes.push((name.to_owned(), value.to_owned()));
            } else {
                let name = (*word != "_").then(|| (*word).to_owned());
                if is_result { outputs.push(name) } else { inputs.push(name) }
            }
        }
        // Every value is made once, and before it is read: ONNX Runtime sees to that.
        let fresh = outputs.iter().flatten().all(|name| !self.made.contains(name));
        let distinct = outputs.iter().flatten().collect::<BTreeSet<_>>().len() == outputs.iter().flatten().count();
        if !fresh || !distinct || outputs.is_empty() || inputs.len() + outputs.len() > 24 {
            return None;
        }
        // What nobody has made is of a graph around this one.
        self.made.extend(inputs.iter().chain(&outputs).flatten().cloned());
        self.nodes.push(Named { operator: operator.to_owned(), inputs, outputs, attributes });
        Some(())
    }

    fn graph(self) -> Graph {
        let Self { mut known, inputs, outputs, nodes, made } = self;
        let produced: BTreeSet<&String> = nodes.iter().flat_map(|node| node.outputs.iter().flatten()).collect();
        let mut values: BTreeMap<String, Arc<Value>> = BTreeMap::new();
        for name in &made {
            let Known { kind, constant } = known.remove(name).unwrap_or_default();
            let is_outer = !produced.contains(name) && !inputs.contains(name) && constant.is_none();
            let unknown = Type { code: 1, dims: None, names: Vec::new() };
            let value = Value { name: c_string(name), kind: kind.unwrap_or(unknown), constant, is_outer };
            values.insert(name.clone(), Arc::new(value));
        }
        let find = |name: &String| values.get(name).cloned();
        let nodes = nodes.iter().enumerate().map(|(at, node)| {
            let (domain, operator) = node.operator.rsplit_once(':').unwrap_or(("", &node.operator));
            let (operator, version) = operator.split_once('@').unwrap_or((operator, "17"));
            let attribute = |(name, text): &(String, String)| attribute(name, text, |name| values.get(name).cloned());
            let of = |names: &[Option<String>]| names.iter().map(|name| name.as_ref().and_then(find)).collect();
            Arc::new(Node {
                name: c_string(&format!("node{at}")),
                op_type: c_string(operator),
                domain: c_string(domain),
                since_version: version.parse().unwrap_or(17),
                inputs: of(&node.inputs),
                outputs: of(&node.outputs),
                attributes: node.attributes.iter().filter_map(attribute).collect(),
            })
        });
        let ends = |names: &[String]| names.iter().collect::<BTreeSet<_>>().into_iter().filter_map(find).collect();
        Graph {
            nodes: nodes.collect(),
            inputs: inputs.iter().filter_map(find).collect(),
            outputs: ends(&outputs),
            path: CString::default(),
        }
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

fn type_of(word: &str, dims: &[&str]) -> Option<Type> {
    let code = match word {
        "f32" => 1,
        "u8" => 2,
        "i8" => 3,
        "u16" => 4,
        "i16" => 5,
        "i32" => 6,
        "i64" => 7,
        "text" => 8,
        "bool" => 9,
        "f16" => 10,
        "f64" => 11,
        "u32" => 12,
        "u64" => 13,
        "bf16" => 16,
        "i4" => 22,
        "none" => 0,
        _ => return None,
    };
    if dims == ["*"] {
        return Some(Type { code, dims: None, names: Vec::new() });
    }
    let length = |word: &&str| word.parse().ok().filter(|length| *length >= 0).unwrap_or(-1);
    let named = |word: &&str| if length(word) >= 0 || *word == "?" { CString::default() } else { c_string(word) };
    Some(Type { code, dims: Some(dims.iter().map(length).collect()), names: dims.iter().map(named).collect() })
}

fn attribute(name: &str, text: &str, find: impl Fn(&str) -> Option<Arc<Value>>) -> Option<Attribute> {
    let (content, is_list) = if let Some(constant) = text.strip_prefix('$') {
        (Content::Tensor(find(constant)?), false)
    } else if let Some(text) = text.strip_prefix("s:") {
        (Content::Strings(vec![c_string(text)]), false)
    } else if let Some(list) = text.strip_prefix('[') {
        let list: Vec<&str> = list.trim_end_matches(']').split(',').filter(|word| !word.is_empty()).collect();
        let integers: Option<Vec<i64>> = list.iter().map(|word| word.parse().ok()).collect();
        let content = match integers {
            Some(integers) => Content::Ints(integers),
            None => Content::Floats(list.iter().filter_map(|word| word.parse().ok()).collect()),
        };
        (content, true)
    } else if let Ok(integer) = text.parse() {
        (Content::Ints(vec![integer]), false)
    } else {
        (Content::Floats(vec![text.parse().ok()?]), false)
    };
    Some(Attribute { name: c_string(name), content, is_list })
}
