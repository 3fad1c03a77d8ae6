//! What `--compare` names: `cpu`, `host:bf16`, `sim:npu1`, …

use std::fmt;

use undertone_runner::{Device, EngineOptions, Precision, Target};

use super::report::Configuration;

/// A configuration that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where.
    pub device: Device,
    /// Which NPU; `None` on a device that is none, or the one that is there.
    pub target: Option<Target>,
    /// The precision, where it is named.
    pub precision: Option<Precision>,
}

impl Choice {
    /// Reads `DEVICE[:TARGET][:PRECISION]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split(':');
        let word = words.next().unwrap_or_default();
        let device = match word.parse() {
            Ok(Device::Auto) | Err(_) => return Err(format!("'{word}' is none of cpu, host, sim, npu")),
            Ok(device) => device,
        };
        let mut choice = Self { device, target: None, precision: None };
        for word in words {
            match (word.parse::<Target>(), word.parse::<Precision>()) {
                (Ok(target), _) if matches!(device, Device::Sim | Device::Npu) && choice.target.is_none() => {
                    choice.target = Some(target);
                }
                (_, Ok(precision)) if device != Device::Cpu && choice.precision.is_none() => {
                    choice.precision = Some(precision);
                }
                _ => return Err(format!("'{text}': '{word}' says nothing here; write {}", usage(device))),
            }
        }
        if device == Device::Sim {
            choice.target.get_or_insert(Target::Npu4);
        }
        if choice.precision == Some(Precision::F32) && matches!(device, Device::Sim | Device::Npu) {
            return Err(format!("'{text}': an NPU computes int8 and bf16; use one of these, or host:f32"));
        }
        Ok(choice)
    }

    /// With a precision, whoever leaves it out.
    pub fn or_precision(self, precision: Precision) -> Self {
        let precision = (self.device != Device::Cpu).then(|| self.precision.unwrap_or(precision));
        Self { precision, ..self }
    }

    /// What an engine is set up with: `options` for this device.
    pub fn apply(&self, options: &mut EngineOptions) {
        options.device = self.device;
        options.target = self.target.or(options.target).filter(|_| matches!(self.device, Device::Sim | Device::Npu));
        if let Some(precision) = self.precision {
            options.precision = precision;
        }
    }

    /// For the report.
    pub fn describe(&self) -> Configuration {
        let about = match self.device {
            Device::Cpu => "ONNX Runtime's CPU provider alone".to_owned(),
            Device::Sim => "an NPU's simulator; what an NPU would take is predicted".to_owned(),
            Device::Npu => "the NPU of this machine".to_owned(),
            Device::Host | Device::Auto => "the NPU kernels' arithmetic on this CPU".to_owned(),
        };
        Configuration {
            id: self.to_string(),
            device: self.device.to_string(),
            target: self.target.map(|target| target.to_string()),
            precision: self.precision.map_or_else(|| "as stored".to_owned(), |precision| precision.to_string()),
            about,
            predicted: self.device == Device::Sim,
        }
    }
}

fn usage(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Sim => "sim, sim:npu1, sim:npu4:bf16, …",
        Device::Npu => "npu, npu:bf16, …",
        Device::Host | Device::Auto => "host, host:int8, host:bf16 or host:f32",
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.device)?;
        if let Some(target) = self.target {
            write!(f, ":{target}")?;
        }
        if let Some(precision) = self.precision {
            write!(f, ":{precision}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let id = |text: &str| Choice::parse(text).unwrap().or_precision(Precision::Int8).to_string();
        let texts = ["cpu", "host", "host:bf16", "sim", "sim:npu1", "sim:bf16:npu1", "npu"];
        let ids = ["cpu", "host:int8", "host:bf16", "sim:npu4:int8", "sim:npu1:int8", "sim:npu1:bf16", "npu:int8"];
        assert_eq!(texts.map(id), ids);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (text, words) in [
            ("gpu", "'gpu' is none of"),
            ("auto", "'auto' is none of"),
            ("cpu:int8", "write cpu"),
            ("host:npu1", "'npu1' says nothing here"),
            ("host:int8:bf16", "'bf16' says nothing here"),
            ("sim:f32", "use one of these, or host:f32"),
            ("", "'' is none of"),
        ] {
            let error = Choice::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
