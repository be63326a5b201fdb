//! What policies that know no times would have chosen, on the same measurements.

use std::collections::BTreeMap;

use tactician_ir::NodeId;
use tactician_passes::{FusionPolicy, Greedy, proposals};
use tactician_select::{Budget, Selection, select_partition};
use tactician_tactics::untuned;

use crate::error::BuildError;
use crate::regions::{Offer, served};
use crate::tuned::Tuned;

impl Tuned {
    fn offer(&self) -> Offer<'_> {
        Offer { catalogue: &self.catalogue, device: self.device.info(), options: &self.tuning }
    }

    /// The regions that a policy chooses, by number.
    fn partition(&self, policy: &dyn FusionPolicy) -> Result<Vec<usize>, BuildError> {
        let place: BTreeMap<&[NodeId], usize> =
            self.regions.iter().enumerate().map(|(i, r)| (r.nodes.as_slice(), i)).collect();
        let chosen = policy.choose(&self.graph, &proposals(&self.graph)).into_regions();
        let regions = served(&self.graph, chosen, self.offer());
        let number = |r: &tactician_ir::Region| {
            place.get(r.nodes.as_slice()).copied().ok_or_else(|| BuildError::NotMeasured {
                policy: policy.name().to_owned(),
                region: self.graph.node(r.anchor).name.clone(),
            })
        };
        regions.iter().map(number).collect()
    }

    /// The division into regions that a policy chooses, with the best tactics and layouts for it.
    ///
    /// # Errors
    /// When the policy chooses a region that was not measured, and as [`Tuned::select`].
    pub fn select_by(&self, policy: &dyn FusionPolicy, budget: Budget) -> Result<Selection, BuildError> {
        Ok(select_partition(self.instance(), &self.partition(policy)?, budget)?)
    }

    /// What one would run without measuring anything: greedy fusion, and of each region the tactic that heuristics choose
    /// within the workspace. On a CPU those are the tactics and layouts that take the least time by a guess from the sizes of
    /// problems ([`tactician_tactics::estimate`]); on a GPU the first of the list, and the best layouts for these tactics.
    ///
    /// # Errors
    /// As [`Tuned::select`].
    pub fn select_untuned(&self, budget: Budget) -> Result<Selection, BuildError> {
        // The largest number marks what is out of reach.
        let budget = Budget { workspace: budget.workspace.min(u64::MAX - 1), ..budget };
        let partition = self.partition(&Greedy)?;
        let on_cpu = self.device.info().cpu().is_some();
        if on_cpu && !self.measured {
            return Ok(select_partition(self.instance(), &partition, budget)?);
        }
        let guess = match on_cpu {
            true => Some(select_partition(&self.guessed(), &partition, budget)?),
            false => None,
        };
        let mut instance = self.instance().clone();
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        for &r in &partition {
            let all = &instance.regions[r].candidates;
            let fits = |id: &str| all.iter().any(|c| c.id == id && c.workspace <= budget.workspace);
            let key = self.problems[r].to_string();
            let guessed = guess.as_ref().and_then(|g| g.chosen.iter().find(|c| c.region == r));
            let known = guessed.map(|c| all[c.candidate].id.clone()).or_else(|| first.get(&key).cloned());
            let id = known.or_else(|| {
                let list = untuned(&self.problems[r], self.device.info());
                list.into_iter().map(|t| t.id).find(|id| fits(id))
            });
            let Some(id) = id else { continue };
            first.insert(key, id.clone());
            // The others stay in their places.
            for c in instance.regions[r].candidates.iter_mut().filter(|c| c.id != id) {
                c.workspace = u64::MAX;
            }
        }
        Ok(select_partition(&instance, &partition, budget)?)
    }
}
