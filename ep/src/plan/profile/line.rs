//! A run as events on a line of time, for ONNX Runtime's own trace or the file of the option `trace`.

use std::borrow::Cow;

use undertone_boundary::profile::Event;
use undertone_kernels::{
    DeviceKind, Precision,
    trace::{self, Span, Stage},
};

use super::{
    Noted,
    section::{described, noted},
};
use crate::{
    memory::Values,
    ops::Prepared,
    plan::layout::PlanStep,
    trace::{Event as TraceEvent, Track},
};

/// A run's events: its sections that took time, and the stages of those on an NPU.
pub(super) fn events<'s>(
    times: &[Noted],
    noted_after: &[usize],
    thread: u32,
    values: &Values<'_, '_>,
    mut sections: impl Iterator<Item = (&'s [PlanStep], &'s [Option<Prepared>])>,
) -> Vec<TraceEvent> {
    let spans = trace::take();
    let mut events = Vec::with_capacity(times.len() + spans.len());
    let mut from = 0;
    for (time, to) in times.iter().zip(noted_after) {
        let (Noted { begun, end, .. }, of_section) = (time, &spans[from..*to]);
        from = *to;
        let step = |name, about| TraceEvent { name, track: Track::Step, thread, begin: *begun, end: *end, about };
        match sections.next() {
            _ if begun == end => (),
            Some((steps, prepared)) => {
                let Some((kind, part)) = noted(values, steps, prepared, time.nanoseconds()) else { continue };
                let event = described(Event::default(), &part, values, steps, prepared);
                let name = steps.last().map(|step| step.name.clone()).unwrap_or_default();
                events.push(step(name, about(kind, event, steps, of_section)));
            }
            // Nobody asked for a choice.
            None if (*end - *begun).as_micros() == 0 => (),
            None => {
                let about = vec![("kind", "choice".into()), ("device", DeviceKind::Host.word().into())];
                events.push(step("choice".to_owned(), about));
            }
        }
        events.extend(of_section.iter().map(|span| stage(span, thread)));
    }
    events
}

/// What is known of a section, in words and numbers.
fn about(
    kind: &'static str,
    event: Event,
    steps: &[PlanStep],
    spans: &[Span],
) -> Vec<(&'static str, Cow<'static, str>)> {
    let mut about: Vec<(&str, Cow<'_, str>)> = vec![("kind", kind.into()), ("shape", event.shape.into())];
    if event.kernel {
        // What is no product is computed in fp32.
        let precision = if event.precision.is_empty() { Precision::F32.to_string() } else { event.precision };
        let device = spans.first().map_or(DeviceKind::Host, |span| span.device);
        about.extend([("precision", precision.into()), ("device", device.word().into())]);
    }
    if event.flops > 0.0 {
        about.push(("gflop", format!("{:.6}", event.flops / 1e9).into()));
    }
    if event.bytes_weights > 0 {
        about.push(("bytes_read", event.bytes_weights.to_string().into()));
    }
    if steps.len() > 1 {
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        about.push(("steps", names.join(", ").into()));
    }
    about
}

/// A stage of a kernel on an NPU.
fn stage(span: &Span, thread: u32) -> TraceEvent {
    let Span { stage, what, device, commands, bytes, begin, end } = span;
    let mut about: Vec<(&str, Cow<'_, str>)> = vec![("device", device.word().into())];
    if *stage != Stage::Packing {
        about.push(("commands", commands.to_string().into()));
    }
    if *bytes > 0 {
        about.push(("dma_bytes", bytes.to_string().into()));
    }
    TraceEvent { name: what.clone(), track: Track::Npu(*stage), thread, begin: *begin, end: *end, about }
}
