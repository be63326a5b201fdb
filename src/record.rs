//! The record in a plan of how it came about: a report's data, as compressed JSON.

use tactician_plan::Plan;
use tactician_report::ReportData;
use thiserror::Error;

/// Longest record that is unpacked, in bytes of JSON.
const MAX_RECORD: usize = 256 << 20;

/// Effort of compressing, of 10.
const LEVEL: u8 = 6;

/// A plan's record cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There is none.
    #[error("the plan has no record of how it came about; build it again")]
    Missing,
    /// It does not unpack, or is no record.
    #[error("the plan's record of how it came about does not read: {reason}; build it again")]
    Broken {
        /// Why.
        reason: String,
    },
}

/// A record's bytes.
pub(crate) fn packed(data: &ReportData) -> Vec<u8> {
    let json = serde_json::to_vec(data).unwrap_or_default();
    miniz_oxide::deflate::compress_to_vec(&json, LEVEL)
}

/// How a plan came about.
///
/// # Errors
/// When the plan has no record, or it is broken.
pub fn record_of(plan: &Plan) -> Result<ReportData, RecordError> {
    if plan.record().is_empty() {
        return Err(RecordError::Missing);
    }
    let broken = |reason: String| RecordError::Broken { reason };
    let json = miniz_oxide::inflate::decompress_to_vec_with_limit(plan.record(), MAX_RECORD)
        .map_err(|e| broken(e.to_string()))?;
    serde_json::from_slice(&json).map_err(|e| broken(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::TuneOptions;
    use crate::{Builder, zoo};

    fn plan() -> Plan {
        let mut options = TuneOptions { gate: false, ..TuneOptions::default() };
        options.timing.rounds = 1;
        Builder::new().threads(1).tuning(options).exhaustive(true).build(&zoo::tiny(1)).unwrap()
    }

    /// Every step has its chosen tactic and all others of its problem, each with a verdict.
    #[test]
    fn a_plan_says_how_it_came_about() {
        let plan = Plan::from_bytes(plan().to_bytes().unwrap()).unwrap();
        let data = record_of(&plan).unwrap();
        assert_eq!(data.steps.len(), plan.meta.steps.len());
        for (told, step) in data.steps.iter().zip(&plan.meta.steps) {
            assert_eq!((&told.name, &told.tactic), (&step.name, &step.tactic));
            let chosen: Vec<_> = told.candidates.iter().filter(|c| c.id == step.tactic).collect();
            assert_eq!(chosen.len(), 1, "{told:?}");
            assert!(told.candidates.iter().all(|c| !c.verdict.is_empty()), "{told:?}");
        }
        let fused = data.steps.iter().find(|s| s.fused.len() > 1).unwrap();
        assert!(fused.why.contains("us as one step"), "{fused:?}");
        assert!(!data.curve.workspace.is_empty());
        // A view runs nothing.
        let idle = |op: &str| ["input", "reshape", "flatten"].contains(&op);
        assert!(data.graph.nodes.iter().all(|n| n.step.is_some() || idle(&n.op)), "{:?}", data.graph);
    }

    #[test]
    fn broken_records_are_told() {
        let plan = plan();
        let read = |record: Vec<u8>| record_of(&plan.clone().with_record(record));
        assert!(matches!(read(vec![]), Err(RecordError::Missing)));
        assert!(matches!(read(b"nonsense".to_vec()), Err(RecordError::Broken { .. })));
        let mut cut = plan.record().to_vec();
        cut.truncate(cut.len() / 2);
        assert!(matches!(read(cut), Err(RecordError::Broken { .. })));
        let number = miniz_oxide::deflate::compress_to_vec(b"7", 6);
        assert!(matches!(read(number), Err(RecordError::Broken { .. })));
    }
}
