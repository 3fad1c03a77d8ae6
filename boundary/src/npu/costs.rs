//! What single operations take on an NPU where that was measured: the object `core_costs` of a report of
//! `undertone npu bring-up`, which the cost model takes in place of its own numbers.

use serde::{Deserialize, Serialize};

/// Measured costs of one NPU. What is left out keeps the cost model's own number.
///
/// Costs of operations are cycles of one core for one value, when the operation is repeated over vectors that do not
/// wait for each other: 13 cycles for an fp32 product of 16 values are 0.8125.
///
/// ```
/// use undertone_boundary::npu::CoreCosts;
///
/// let text = r#"{ "target": "npu4", "product": 0.41, "dispatch": 82e-6 }"#;
/// let costs: CoreCosts = serde_json::from_str(text)?;
/// assert_eq!((costs.target.as_str(), costs.product, costs.exp2), ("npu4", Some(0.41), None));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreCosts {
    /// Of which NPU: a word of [`crate::options::Target`].
    pub target: String,
    /// An fp32 product as exact as the compiler makes it: `multiply` of the cores' code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<f64>,
    /// A product of two bf16 values, added to an fp32 sum: a sixth of an fp32 product by two parts of each factor, with
    /// what its operations wait for each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<f64>,
    /// An addition or subtraction, of fp32 or int32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<f64>,
    /// The larger or the smaller of two fp32 values, a comparison, or a selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<f64>,
    /// fp32 to bf16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convert: Option<f64>,
    /// All of a probability's exp2, in place of the sum of its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp2: Option<f64>,
    /// All of the epilogue's GELU, in place of the sum of its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gelu: Option<f64>,
    /// Multiply-accumulates that a core does in a cycle with int8 tiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_macs: Option<f64>,
    /// The same with bf16 tiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bf16_macs: Option<f64>,
    /// Bytes a second of all shims together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// Seconds of a command by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch: Option<f64>,
    /// Seconds of a command in a long list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<f64>,
}

impl CoreCosts {
    /// Each number that is there, by its name.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [
            ("product", self.product),
            ("mac", self.mac),
            ("add", self.add),
            ("compare", self.compare),
            ("convert", self.convert),
            ("exp2", self.exp2),
            ("gelu", self.gelu),
            ("int8_macs", self.int8_macs),
            ("bf16_macs", self.bf16_macs),
            ("memory", self.memory),
            ("dispatch", self.dispatch),
            ("listed", self.listed),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json_and_nothing_unknown_is_taken() {
        let costs = CoreCosts { target: "npu1".into(), gelu: Some(3.5), memory: Some(2e10), ..CoreCosts::default() };
        let text = serde_json::to_string(&costs).unwrap();
        assert_eq!(text, r#"{"target":"npu1","gelu":3.5,"memory":20000000000.0}"#);
        assert_eq!(serde_json::from_str::<CoreCosts>(&text).unwrap(), costs);
        let names = |costs: &CoreCosts| -> Vec<String> {
            let serde_json::Value::Object(object) = serde_json::to_value(costs).unwrap() else { unreachable!() };
            object.keys().filter(|name| *name != "target").cloned().collect()
        };
        // Each field is given under its own name.
        for (name, value) in costs.given() {
            assert_eq!(serde_json::to_value(&costs).unwrap()[name], value);
        }
        assert_eq!(names(&costs).len(), costs.given().count());
        assert!(serde_json::from_str::<CoreCosts>(r#"{"target":"npu1","products":1}"#).is_err());
        assert!(serde_json::from_str::<CoreCosts>(r#"{"product":1}"#).is_err(), "of which NPU?");
    }
}
