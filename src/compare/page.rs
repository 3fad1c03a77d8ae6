//! A comparison as one HTML page that needs nothing else: no network, no other file. The page's script draws it out of the
//! comparison's JSON, which is in the page.

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::report::Comparison;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 13] = [
    include_str!("page/basics.js"),
    include_str!("page/beside.js"),
    include_str!("page/summary.js"),
    include_str!("page/layers.js"),
    include_str!("page/about.js"),
    include_str!("page/edges.js"),
    include_str!("page/graph.js"),
    include_str!("page/operators.js"),
    include_str!("page/timeline.js"),
    include_str!("page/curve.js"),
    include_str!("page/accuracy.js"),
    include_str!("page/left.js"),
    include_str!("page/start.js"),
];

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    now: &'a Comparison,
    old: Option<&'a Comparison>,
}

/// The page. With a `baseline`, an older comparison, both stand beside each other and what differs is marked.
///
/// # Errors
/// If the comparison cannot be written as JSON.
pub fn html(comparison: &Comparison, baseline: Option<&Comparison>) -> Result<String> {
    let data = serde_json::to_value(Data { now: comparison, old: baseline }).context("a comparison is not JSON")?;
    let title = escaped(&format!("{}: where its graphs run", comparison.model));
    // A name in a model may hold `</script>`: within JSON `<` can always be written so.
    let report = packed(data).to_string().replace('<', "\\u003c");
    let script = SCRIPTS.concat();
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + script.len() + report.len());
    // Piece by piece: what was put in is not searched for marks again.
    let mut pieces = PAGE.split("{{");
    page += pieces.next().unwrap_or_default();
    for piece in pieces {
        let (mark, rest) = piece.split_once("}}").context("a mark in the page has no end")?;
        page += match mark {
            "title" => &title,
            "style" => STYLE,
            "report" => &report,
            "script" => &script,
            _ => anyhow::bail!("the page has the mark {mark}, which is not known"),
        };
        page += rest;
    }
    Ok(page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The same in less space, for `unpacked` in the page: a list of objects is stored by columns
/// (`{"rows": 2, "columns": {"name": ["a", "b"]}}`, `null` where an object lacks the field), a list of words that
/// repeat as indices (`{"words": ["host"], "at": [0, 0]}`).
fn packed(value: Value) -> Value {
    match value {
        Value::Array(items) if items.len() > 1 && items.iter().all(Value::is_object) => by_columns(items),
        Value::Array(items) if items.len() > 1 && items.iter().all(Value::is_string) => by_words(items),
        Value::Array(items) => items.into_iter().map(packed).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, packed(value))).collect(),
        other => other,
    }
}

fn by_columns(items: Vec<Value>) -> Value {
    let rows = items.len();
    let mut columns: Map<String, Value> = Map::new();
    for (row, item) in items.into_iter().enumerate() {
        let Value::Object(fields) = item else { continue };
        for (name, value) in fields {
            let column = columns.entry(name).or_insert_with(|| Value::Array(vec![Value::Null; rows]));
            if let Some(cell) = column.get_mut(row) {
                *cell = value;
            }
        }
    }
    let columns: Map<String, Value> = columns.into_iter().map(|(name, column)| (name, packed(column))).collect();
    json!({ "rows": rows, "columns": columns })
}

fn by_words(items: Vec<Value>) -> Value {
    let mut words: Vec<&Value> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let mut at = Vec::with_capacity(items.len());
    for item in &items {
        at.push(*places.entry(item.as_str()).or_insert_with(|| {
            words.push(item);
            words.len() - 1
        }));
    }
    if words.len() * 2 > items.len() {
        return Value::Array(items);
    }
    json!({ "words": words, "at": at })
}

#[cfg(test)]
mod tests {
    use super::super::report::{GraphComparison, Node};
    use super::*;

    /// What the page's script does, in Rust.
    fn unpacked(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(unpacked).collect(),
            Value::Object(fields) if fields.contains_key("words") && fields.contains_key("at") => {
                let index = |at: &Value| at.as_u64().and_then(|at| fields["words"].get(usize::try_from(at).ok()?));
                fields["at"].as_array().unwrap().iter().map(|at| index(at).unwrap().clone()).collect()
            }
            Value::Object(fields) if fields.contains_key("columns") => {
                let rows = usize::try_from(fields["rows"].as_u64().unwrap()).unwrap();
                let mut items = vec![Map::new(); rows];
                for (name, column) in fields["columns"].as_object().unwrap() {
                    for (row, cell) in
                        unpacked(column).as_array().unwrap().iter().enumerate().filter(|(_, cell)| !cell.is_null())
                    {
                        items[row].insert(name.clone(), cell.clone());
                    }
                }
                items.into_iter().map(Value::Object).collect()
            }
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), unpacked(value))).collect(),
            other => other.clone(),
        }
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same_and_is_smaller() {
        let node = |index: usize| Node {
            name: format!("/layer.{}/{}", index / 8, index % 8),
            op_type: ["Add", "MatMul"][index % 2].to_owned(),
            layer: (index > 3).then_some(index / 8),
            within: String::new(),
        };
        let graph =
            GraphComparison { nodes: (0..64).map(node).collect(), edges: vec![[0, 1]], ..GraphComparison::default() };
        let comparison = Comparison { graphs: vec![graph], notes: vec!["one".into()], ..Comparison::default() };
        let plain = serde_json::to_value(&comparison).unwrap();
        let small = packed(plain.clone());
        assert_eq!(serde_json::from_value::<Comparison>(unpacked(&small)).unwrap(), comparison);
        assert!(small.to_string().len() * 3 < plain.to_string().len() * 2, "{small}");
        assert_eq!(
            packed(json!([{ "a": { "b": 1 } }, {}])),
            json!({ "rows": 2, "columns": { "a": [{ "b": 1 }, null] } })
        );
        assert_eq!(packed(json!(["x", "x"])), json!({ "words": ["x"], "at": [0, 0] }));
        assert_eq!(packed(json!([["x"], 1, []])), json!([["x"], 1, []]));
    }

    #[test]
    fn a_name_ends_no_script_and_fills_no_mark() {
        let comparison = Comparison {
            model: "</title><script>alert(1)</script>{{report}}".into(),
            notes: vec!["</script><!-- {{style}} & \"".into()],
            ..Comparison::default()
        };
        let page = html(&comparison, None).unwrap();
        assert_eq!(page.matches("</script>").count(), 2, "the data's and the script's own");
        assert!(page.contains("\\u003c/script>\\u003c!-- {{style}} & \\\""), "{page}");
        assert!(page.contains(
            "<title>&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{report}}: where its graphs run</title>"
        ));
        // The name of SVG is an address that nothing is fetched from.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("src="));
    }
}
