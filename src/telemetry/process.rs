//! What the kernel says of this process, read from `/proc` when it is asked for; nothing where there is no `/proc`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::metrics::Described;

/// The collector.
#[derive(Debug)]
pub(super) struct Process;

/// Name, whether it only grows, and help: the names that Prometheus' own clients use.
const METRICS: [(&str, bool, &str); 7] = [
    ("process_cpu_seconds", true, "Processor time that the process has used, in user and system mode"),
    ("process_resident_memory_bytes", false, "Memory that is in use"),
    ("process_virtual_memory_bytes", false, "Address space"),
    ("process_open_fds", false, "Open file descriptors"),
    ("process_max_fds", false, "How many file descriptors may be open"),
    ("process_threads", false, "Threads"),
    ("process_start_time_seconds", false, "When the process started, in seconds since 1970"),
];

impl Process {
    pub(super) fn described() -> impl Iterator<Item = Described> {
        METRICS.into_iter().map(|(name, grows, help)| Described {
            name: if grows { format!("{name}_total") } else { name.to_owned() },
            kind: if grows { "counter" } else { "gauge" },
            labels: Vec::new(),
            help,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let values = read().unwrap_or_default();
        for ((name, grows, help), value) in METRICS.into_iter().zip(values) {
            let Some(value) = value else { continue };
            let kind = if grows { MetricType::Counter } else { MetricType::Gauge };
            let metric = encoder.encode_descriptor(name, help, None, kind)?;
            if grows {
                ConstCounter::new(value).encode(metric)?;
            } else {
                ConstGauge::new(value).encode(metric)?;
            }
        }
        Ok(())
    }
}

/// The values in the order of [`METRICS`].
#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
fn read() -> Option<[Option<f64>; 7]> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in brackets and may hold anything; the fields after it are numbers. The first of them is the third.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let booted = std::fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|stat| stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok()));
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let max_fds =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    Some([
        field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks),
        field(24).map(|pages| pages * rustix::param::page_size() as f64),
        field(23),
        std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64),
        max_fds,
        field(20),
        field(22).zip(booted).map(|(start, booted)| booted + start / ticks),
    ])
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_process_is_plausible() {
        let [cpu, resident, size, open, most, threads, started] = read().unwrap().map(Option::unwrap);
        assert!(cpu >= 0.0 && resident > 1e6 && size > resident);
        assert!(open >= 3.0 && most >= open && threads >= 1.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(started <= now + 1.0 && started > now - 86_400.0, "{started} {now}");
    }
}
