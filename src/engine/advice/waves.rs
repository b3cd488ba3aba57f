//! Waves that are written and do not count.

use super::super::desired::{Manifest, Problem};
use super::super::finding::{Part, Remark, Rule};
use super::super::plan::{Plan, Stage, Task, Work};
use super::super::settings::Phase;
use crate::api::annotations as keys;

/// What the annotations of a plan's manifests say of the order that is not so or makes no difference. `deletion` is the plan of the
/// Application's deletion.
pub fn notes(plan: &Plan, deletion: &Plan) -> Vec<Problem> {
    let stages = || plan.stages.iter().chain(&plan.sync_fail).chain(&deletion.stages);
    let mut notes: Vec<Problem> =
        stages().flat_map(|stage| stage.tasks.iter().filter_map(|task| moved(task, stage))).collect();
    let only_wave = |phase: &Phase| stages().filter(|stage| stage.phase == *phase).count() == 1;
    let mut told = Vec::new();
    for task in stages().filter(|stage| stage.phase != Phase::Sync).flat_map(|stage| &stage.tasks) {
        let Work::Hook(manifest) = &task.work else { continue };
        if manifest.settings.wave != 0 && manifest.settings.phases().iter().all(only_wave) {
            // A hook of two phases has two tasks.
            if !told.contains(&&manifest.position) {
                notes.extend(without_effect(manifest));
            }
            told.push(&manifest.position);
        }
    }
    notes
}

fn annotation(manifest: &Manifest, keys: &[&'static str]) -> Option<&'static str> {
    let annotations = manifest.body.pointer("/metadata/annotations")?;
    keys.iter().copied().find(|key| annotations.get(*key).is_some())
}

fn moved(task: &Task, stage: &Stage) -> Option<Problem> {
    const OF_WAVE: &[&str] = &[keys::WAVE, keys::ARGO_SYNC_WAVE, keys::HELM_HOOK_WEIGHT];
    const OF_HOOK: &[&str] = &[keys::HOOK, keys::ARGO_HOOK, keys::HELM_HOOK];
    let manifest = task.manifest()?;
    let (phase, wave) = task.moved_from?;
    // Without an annotation nobody has asked for another stage.
    let key = if phase == stage.phase { annotation(manifest, OF_WAVE) } else { None };
    let key = key.or_else(|| annotation(manifest, OF_HOOK)).or_else(|| annotation(manifest, OF_WAVE))?;
    let message = format!(
        "{} is written for {phase} wave {wave} and comes in {} wave {} already, because something there needs it",
        task.key, stage.phase, stage.wave
    );
    let remark = Remark { rule: Rule::MovedEarlier, part: Part::annotation(key), message };
    Some(remark.at(&manifest.position, None))
}

fn without_effect(manifest: &Manifest) -> Option<Problem> {
    // Helm's weights come with charts, and count for their other values.
    let key = annotation(manifest, &[keys::WAVE, keys::ARGO_SYNC_WAVE])?;
    let phases = manifest.settings.phases().iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let message = format!(
        "wave {} makes no difference: no hook of {phases} has another one; leave it out",
        manifest.settings.wave
    );
    let remark = Remark { rule: Rule::WaveWithoutEffect, part: Part::annotation(key), message };
    Some(remark.at(&manifest.position, Some(manifest.key.clone())))
}
