//! A graph that is compared: its file, its nodes, its layers, and which of its nodes another form of it stands for.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use undertone_models::nodes::{Nodes, nodes, with_names, with_outputs};

use super::report::Layer;
use super::structure;

/// A graph's file.
pub struct Subject {
    /// What the model calls it.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its nodes.
    pub nodes: Nodes,
    /// Its layers.
    pub layers: Vec<Layer>,
    /// For each node its layer.
    pub layer_of: Vec<Option<usize>>,
    /// Tensors within it whose accuracy is measured, with the nodes that make them.
    pub inner: Vec<(String, usize)>,
    /// The model with a name for each node, if the file's nodes lack some.
    pub named: Option<Vec<u8>>,
    /// The model with [`Subject::inner`] as outputs, and names for all nodes; `None` if there are no inner tensors.
    pub with_inner: Option<Vec<u8>>,
    places: HashMap<String, usize>,
}

impl Subject {
    /// Reads a file.
    ///
    /// # Errors
    /// If it can't be read, or is no ONNX graph.
    pub fn read(name: String, path: &Path) -> Result<Self> {
        let of = || format!("cannot read {}", path.display());
        let bytes = std::fs::read(path).with_context(of)?;
        let nodes = nodes(&bytes).with_context(of)?;
        let named = with_names(&bytes).with_context(of)?;
        let (layers, layer_of) = structure::layers(&nodes);
        let inner = structure::inner(&nodes);
        let names: Vec<String> = inner.iter().map(|(name, _)| name.clone()).collect();
        let with_inner = if names.is_empty() {
            None
        } else {
            Some(with_outputs(named.as_deref().unwrap_or(&bytes), &names).with_context(of)?)
        };
        // Of nodes with one name the first counts.
        let mut places = HashMap::new();
        nodes.nodes.iter().enumerate().for_each(|(at, node)| {
            places.entry(node.label().to_owned()).or_insert(at);
        });
        let path = path.to_owned();
        Ok(Self { name, path, nodes, layers, layer_of, inner, named, with_inner, places })
    }

    /// The node of that name. ONNX Runtime appends to the names of nodes that it joins or changes, so a longer name is
    /// that of the longest node's name that it begins with.
    pub fn node(&self, name: &str) -> Option<usize> {
        if let Some(at) = self.places.get(name) {
            return Some(*at);
        }
        let ends = name.char_indices().rev().filter(|(_, sign)| matches!(sign, '/' | '_' | '-')).map(|(at, _)| at);
        ends.into_iter().find_map(|end| self.places.get(&name[..end])).copied()
    }

    /// The layer that most of these nodes are in.
    pub fn layer(&self, nodes: &[usize]) -> Option<usize> {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        nodes.iter().filter_map(|node| self.layer_of[*node]).for_each(|layer| *counts.entry(layer).or_default() += 1);
        counts.into_iter().max_by_key(|(layer, count)| (*count, usize::MAX - layer)).map(|(layer, _)| layer)
    }

    /// For each node of `optimised`, which ONNX Runtime made of this graph, the nodes here that it stands for: those
    /// that lead to what it makes, from what it reads.
    pub fn stands_for(&self, optimised: &Nodes) -> HashMap<String, Vec<usize>> {
        let mut maker: HashMap<&str, usize> = HashMap::new();
        for (at, node) in self.nodes.nodes.iter().enumerate() {
            node.outputs.iter().for_each(|output| {
                maker.insert(output, at);
            });
        }
        let made: HashSet<&str> =
            optimised.nodes.iter().flat_map(|node| node.outputs.iter().map(String::as_str)).collect();
        let ends = |tensor: &str| made.contains(tensor) || optimised.constants.contains_key(tensor);
        let mut taken = vec![false; self.nodes.nodes.len()];
        let mut found = HashMap::new();
        for node in &optimised.nodes {
            let mut members = Vec::new();
            let mut open: Vec<&str> = node.outputs.iter().map(String::as_str).collect();
            while let Some(tensor) = open.pop() {
                let Some(at) = maker.get(tensor).copied().filter(|at| !taken[*at]) else { continue };
                taken[at] = true;
                members.push(at);
                open.extend(self.nodes.nodes[at].inputs.iter().map(String::as_str).filter(|input| !ends(input)));
            }
            members.sort_unstable();
            if !members.is_empty() {
                found.insert(node.label().to_owned(), members);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str) -> Subject {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference").join(name);
        Subject::read("x".into(), &path).unwrap()
    }

    #[test]
    fn names_that_have_grown_are_found() {
        let subject = reference("encoder_model.onnx");
        let at = subject.node("/layers.0/fc1/MatMul").unwrap();
        assert_eq!(subject.nodes.nodes[at].op_type, "MatMul");
        assert_eq!(subject.node("/layers.0/fc1/MatMul/MatMulAddFusion"), Some(at));
        assert_eq!(subject.node("/layers.0/fc1/MatMul_nchwc"), Some(at));
        assert_eq!(subject.node("Gelu"), None);
        assert_eq!(subject.layer(&[at]).map(|layer| subject.layers[layer].name.as_str()), Some("layers.0"));
        assert_eq!(subject.layer(&[]), None);
    }

    #[test]
    fn a_graph_stands_for_itself() {
        let subject = reference("encoder_model.onnx");
        let found = subject.stands_for(&subject.nodes);
        assert_eq!(found.len(), subject.nodes.nodes.len());
        assert!(found.iter().all(|(name, nodes)| nodes[..] == [subject.node(name).unwrap()]));
    }

    #[test]
    fn what_is_joined_stands_for_its_parts() {
        let subject = reference("encoder_model.onnx");
        // The product and the addition after it as one.
        let mut optimised = subject.nodes.clone();
        let product = subject.node("/layers.0/fc1/MatMul").unwrap();
        let sum = subject.node("/layers.0/fc1/Add").unwrap();
        let joined = &mut optimised.nodes[product];
        joined.outputs = subject.nodes.nodes[sum].outputs.clone();
        joined.name = "joined".into();
        optimised.nodes.remove(sum);
        assert_eq!(subject.stands_for(&optimised)["joined"], [product, sum]);
    }
}
