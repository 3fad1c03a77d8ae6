//! Costs that were measured on a machine, read from a file: a report of `undertone npu bring-up`, or the object
//! `core_costs` of one by itself.

use std::path::Path;

use serde_json::Value;
use undertone_boundary::{npu::CoreCosts, options};

use crate::npu::plain_file;

/// No report has nearly as many bytes.
const MOST_BYTES: u64 = 4 << 20;

/// The object of a report that has them.
const OBJECT: &str = "core_costs";

/// The costs in a file. What the error says begins with what is wrong, not with the file's name.
///
/// # Errors
/// It cannot be read, is not such JSON, or holds a number that no operation takes.
pub fn read(path: &Path) -> Result<CoreCosts, String> {
    let text = plain_file::text(path, MOST_BYTES).map_err(|error| error.to_string())?;
    let mut json: Value = serde_json::from_str(&text).map_err(|error| format!("it is not JSON: {error}"))?;
    let object = match json.get_mut(OBJECT).map(Value::take) {
        Some(object) => object,
        None if json.get("rungs").is_some() => {
            return Err("this report measured no costs: rungs 2 and 4 have to have passed on an NPU".into());
        }
        None if json.get("target").is_some() => json,
        None => return Err(format!("it has no object \"{OBJECT}\", as `undertone npu bring-up` writes it")),
    };
    let costs: CoreCosts = serde_json::from_value(object).map_err(|error| format!("{OBJECT}: {error}"))?;
    let _: options::Target = costs.target.parse().map_err(|error| format!("{OBJECT}: {error}"))?;
    if let Some((name, number)) = costs.given().find(|(_, number)| !(number.is_finite() && *number > 0.0)) {
        return Err(format!("{OBJECT}: {name} is {number}: measure again, or leave it out"));
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(text: &str) -> Result<CoreCosts, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn a_report_s_object_and_the_object_alone() {
        let expected = CoreCosts { target: "npu4".into(), gelu: Some(2.5), ..CoreCosts::default() };
        assert_eq!(of(r#"{"rungs": [], "core_costs": {"target": "npu4", "gelu": 2.5}}"#).unwrap(), expected);
        assert_eq!(of(r#"{"target": "npu4", "gelu": 2.5}"#).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("", "not JSON"),
            ("{}", "no object \"core_costs\""),
            ("[]", "no object \"core_costs\""),
            (r#"{"rungs": [], "device": "sim", "target": "npu4"}"#, "measured no costs: rungs 2 and 4"),
            (r#"{"core_costs": {"target": "npu4", "gelus": 1}}"#, "core_costs: unknown field `gelus`"),
            (r#"{"core_costs": {"gelu": 1}}"#, "core_costs: missing field `target`"),
            (r#"{"target": "npu2"}"#, "npu1, npu4"),
            (r#"{"target": "npu1", "mac": 0}"#, "mac is 0"),
            (r#"{"target": "npu1", "mac": -1}"#, "mac is -1"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(read(Path::new("there/is/no/such/file")).is_err());
    }
}
