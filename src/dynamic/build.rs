//! Plans for ranges of shapes.

use tactician_plan::{Plan, Profile as Served, SizeRange};
use tactician_select::{Budget, Selection};

use super::profile::{Ranges, shapes_at};
use super::recipe::Recipe;
use crate::error::BuildError;
use crate::network::Network;
use crate::tuned::Tuned;

/// A network measured at the usual shapes of its profiles.
pub struct TunedProfiles {
    pub(crate) network: Network,
    /// Of each profile the ranges of the network's inputs, and the measurements.
    pub(crate) list: Vec<(Vec<Ranges>, Tuned)>,
}

impl TunedProfiles {
    /// The measurements of each profile, in order.
    pub fn tuned(&self) -> impl Iterator<Item = &Tuned> {
        self.list.iter().map(|(_, t)| t)
    }

    /// The measurements of the first profile, whose steps are a plan's own.
    pub fn first(&self) -> &Tuned {
        &self.list[0].1
    }

    /// Makes the plan for a budget: its steps are those of the first profile.
    ///
    /// # Errors
    /// When nothing fits the budget at the usual or the largest shapes.
    pub fn plan_within(&self, budget: Budget) -> Result<Plan, BuildError> {
        let first = self.first();
        let selection = first.select(budget)?;
        self.open(first.plan_with(&selection, budget)?, &selection, budget)
    }

    /// Opens a plan of the first profile to all shapes of the profiles. `selection` is what it is the plan of.
    ///
    /// The plans for the least and the largest shapes of every profile are made too: what could not be served is found out
    /// now, and the memory of the largest is noted.
    ///
    /// # Errors
    /// As [`TunedProfiles::plan_within`].
    pub fn open(&self, plan: Plan, selection: &Selection, budget: Budget) -> Result<Plan, BuildError> {
        let inputs = self.network.inputs();
        let mut served = Vec::with_capacity(self.list.len());
        for (i, (ranges, tuned)) in self.list.iter().enumerate() {
            let choices = match i {
                0 => tuned.choices(selection),
                _ => tuned.choices(&tuned.select(budget)?),
            };
            let recipe = Recipe {
                network: self.network.clone(),
                device: tuned.device.clone(),
                precision: tuned.precision,
                tuning: tuned.tuning.clone(),
                budget,
            };
            recipe.plan_at(&shapes_at(&inputs, ranges, |r| r.min), &choices)?;
            let most = recipe.plan_at(&shapes_at(&inputs, ranges, |r| r.max), &choices)?.meta;
            let of_port = |name: &String| -> Vec<SizeRange> {
                let at = inputs.iter().position(|i| i.name == *name);
                at.map(|at| ranges[at].clone()).unwrap_or_default()
            };
            served.push(Served {
                inputs: plan.meta.inputs.iter().map(|p| of_port(&p.name)).collect(),
                arena_bytes: most.arena_bytes,
                scratch_bytes: most.scratch_bytes,
                choices,
            });
        }
        let (form, bytes) = self.network.for_plan()?;
        Ok(plan.with_profiles(served, form, bytes)?)
    }
}
