//! WATCHES the operator at its work: what is counted, whether it lives and is ready, what became of an operation as a trace.
//!
//! The acting half and the loop tell it what happens; it decides nothing, and nothing waits for it. No label, span or page carries what a
//! Secret holds, and no label what a user names: Applications, objects and messages are in status, logs and traces.

pub mod metrics;
pub mod otlp;
pub mod probes;
mod process;
pub mod server;
pub mod trace;

pub use metrics::Metrics;
pub use probes::Probes;

/// What one process tells about itself.
#[derive(Default)]
pub struct Telemetry {
    /// What is counted and measured.
    pub metrics: Metrics,
    /// Whether it lives, and whether it is ready.
    pub probes: Probes,
    /// Where traces go; nothing for nowhere.
    pub traces: Option<otlp::Exporter>,
}
