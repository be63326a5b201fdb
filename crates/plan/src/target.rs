//! Whether a plan suits a device, field by field.

use std::fmt;

use crate::meta::Target;

/// One field in which plan and device differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The field.
    pub field: String,
    /// What the plan was built for.
    pub plan: String,
    /// What the device has.
    pub device: String,
    /// What to do about it; empty when the plan still runs, only perhaps not at its best.
    pub remedy: &'static str,
}

impl Mismatch {
    /// Whether the plan must not run.
    pub fn is_fatal(&self) -> bool {
        !self.remedy.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan was built for {} {} but this device has {}", self.field, self.plan, self.device)?;
        if self.is_fatal() { write!(f, "; {}", self.remedy) } else { Ok(()) }
    }
}

impl Target {
    /// Every difference between what the plan was made for and a device. `usable` says whether the device can run
    /// code for the plan's instruction set.
    pub fn mismatches(&self, device: &Target, usable: bool) -> Vec<Mismatch> {
        let mut list = Vec::new();
        let mut differ = |field: &str, plan: &str, device: &str, remedy| {
            if plan != device {
                let (field, plan, device) = (field.to_owned(), plan.to_owned(), device.to_owned());
                list.push(Mismatch { field, plan, device, remedy });
            }
        };
        differ("device kind", &self.kind, &device.kind, "build it again for this device");
        let remedy = if usable { "" } else { "build it again on this device" };
        differ("instruction set", &self.isa, &device.isa, remedy);
        let threads = "run it with as many threads as it was built for, or build it again";
        differ("thread count", &self.threads.to_string(), &device.threads.to_string(), threads);
        for (name, value) in &self.facts {
            let own = device.facts.get(name).map_or("nothing of the kind", String::as_str);
            differ(name, value, own, "");
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(isa: &str, threads: u64) -> Target {
        let facts = [("name".to_owned(), format!("model {threads}"))].into();
        Target { kind: "cpu".into(), isa: isa.into(), threads, facts }
    }

    #[test]
    fn every_difference_is_named() {
        let list = target("avx512", 2).mismatches(&target("avx2", 4), false);
        let text: Vec<String> = list.iter().map(Mismatch::to_string).collect();
        assert_eq!(text.len(), 3);
        assert!(text[0].contains("avx512") && text[0].contains("avx2"), "{text:?}");
        assert!(list[0].is_fatal() && list[1].is_fatal() && !list[2].is_fatal());
        assert!(target("avx2", 2).mismatches(&target("avx2", 2), true).is_empty());
        assert!(!target("avx2", 2).mismatches(&target("avx512", 2), true)[0].is_fatal());
    }
}
