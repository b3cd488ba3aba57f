//! What Applications and tasks contribute to gauges as long as they are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use super::{OfHealth, OfReason, State};
use crate::api::{HealthStatus, SyncStatus};
use crate::engine::report::Wait;
use crate::telemetry::Telemetry;

/// What one Application contributes to the gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sync and health, once they are known.
    pub state: Option<(SyncStatus, HealthStatus)>,
    /// Whether its condition Stalled is true.
    pub stalled: bool,
    /// Whether an operation runs or waits.
    pub running: bool,
    /// Its objects by health; `None` for kinds without.
    pub objects: BTreeMap<Option<HealthStatus>, i64>,
    /// The tasks of its operation by what they wait for.
    pub waits: BTreeMap<Wait, i64>,
}

/// The share of one Application in the gauges; dropping it takes the share out.
pub struct Share {
    telemetry: Arc<Telemetry>,
    figures: Figures,
}

impl Share {
    /// Nothing yet.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry, figures: Figures::default() }
    }

    /// The share is this now.
    pub fn set(&mut self, figures: Figures) {
        if figures != self.figures {
            self.add(-1);
            self.figures = figures;
            self.add(1);
        }
    }

    fn add(&self, sign: i64) {
        let Self { telemetry, figures } = self;
        let metrics = &telemetry.metrics;
        if let Some((sync, health)) = figures.state {
            let state = State { sync: sync.as_str(), health: health.as_str() };
            metrics.applications.get_or_create(&state).inc_by(sign);
        }
        metrics.stalled.inc_by(sign * i64::from(figures.stalled));
        metrics.running.inc_by(sign * i64::from(figures.running));
        for (health, count) in &figures.objects {
            let health = health.map_or("none", HealthStatus::as_str);
            metrics.objects.get_or_create(&OfHealth { health }).inc_by(sign * count);
        }
        for (wait, count) in &figures.waits {
            metrics.waits.get_or_create(&OfReason { reason: wait.as_str() }).inc_by(sign * count);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.add(-1);
    }
}

/// Counts something as long as it is kept.
pub struct Held(Gauge);

impl Held {
    /// One more.
    pub fn one(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(page: &str, series: &str) -> Option<f64> {
        page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    #[test]
    fn an_application_that_goes_leaves_nothing_behind_in_the_gauges() {
        let telemetry = Arc::new(Telemetry::default());
        let mut share = Share::new(telemetry.clone());
        let figures = Figures {
            state: Some((SyncStatus::Synced, HealthStatus::Healthy)),
            stalled: true,
            running: true,
            objects: BTreeMap::from([(None, 3), (Some(HealthStatus::Healthy), 2)]),
            waits: BTreeMap::from([(Wait::Health, 2)]),
        };
        share.set(figures.clone());
        share.set(figures);
        let of = |series: &str| sample(&telemetry.metrics.exposition(true).unwrap(), series);
        assert_eq!(of("swell_applications{sync=\"Synced\",health=\"Healthy\"}"), Some(1.0));
        assert_eq!(of("swell_managed_objects{health=\"none\"}"), Some(3.0));
        assert_eq!(of("swell_waits{reason=\"health\"}"), Some(2.0));
        share.set(Figures::default());
        assert_eq!(of("swell_waits{reason=\"health\"}"), Some(0.0));
        share.set(Figures { running: true, ..Figures::default() });
        drop(share);
        assert_eq!(of("swell_operations_running"), Some(0.0));
        assert_eq!(of("swell_applications{sync=\"Synced\",health=\"Healthy\"}"), Some(0.0));
    }
}
