//! The ranges of shapes that a plan is asked to serve.

use std::collections::BTreeMap;
use std::str::FromStr;

use tactician_plan::SizeRange;

use crate::error::BuildError;
use crate::network::{InputInfo, Shapes};

/// An optimization profile: for inputs whose sizes are open the least, the usual and the largest shape. A plan is tuned at
/// the usual one, `opt`, and runs every shape between the others.
///
/// Written as text, `x=1x3x224x224:8x3x224x224:32x3x224x224`, with commas between inputs. Of an input that is not named the
/// shape is fixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    inputs: BTreeMap<String, [Vec<usize>; 3]>,
}

impl Profile {
    /// A profile without inputs.
    pub fn new() -> Profile {
        Profile::default()
    }

    /// Gives the range of an input: the sizes of its axes at the least, where it is tuned, and at most.
    pub fn input(mut self, name: &str, min: &[usize], opt: &[usize], max: &[usize]) -> Profile {
        self.inputs.insert(name.to_owned(), [min.to_vec(), opt.to_vec(), max.to_vec()]);
        self
    }

    /// The range of each of a network's inputs, in order; those that the profile does not name have their shape from `fixed`
    /// or as they are declared.
    ///
    /// # Errors
    /// When it names an input that is not there, ranks differ, sizes are out of order, or a shape stays open.
    pub(crate) fn ranges(&self, inputs: &[InputInfo], fixed: &Shapes) -> Result<Vec<Ranges>, BuildError> {
        if let Some(name) = self.inputs.keys().find(|n| inputs.iter().all(|i| i.name != **n)) {
            let known = inputs.iter().map(|i| format!("`{}`", i.name)).collect::<Vec<_>>().join(", ");
            return Err(BuildError::NoInput { name: name.clone(), known });
        }
        inputs.iter().map(|i| self.range(i, fixed)).collect()
    }

    fn range(&self, input: &InputInfo, fixed: &Shapes) -> Result<Ranges, BuildError> {
        let fail = |problem: String| BuildError::Profile { name: input.name.clone(), problem };
        let range = |&n: &usize| SizeRange { min: n as u64, opt: n as u64, max: n as u64 };
        let Some([min, opt, max]) = self.inputs.get(&input.name) else {
            let sizes = fixed.get(&input.name).cloned().or_else(|| input.shape.sizes());
            let open = || {
                fail(format!(
                    "its shape {} is open; give it a range in the same profile (`--profile a=..,b=..`) or a shape",
                    input.shape
                ))
            };
            return Ok(sizes.ok_or_else(open)?.iter().map(range).collect());
        };
        let rank = input.shape.rank();
        if let Some(other) = [min, opt, max].into_iter().find(|s| s.len() != rank) {
            return Err(fail(format!(
                "{other:?} has rank {}, the input {} has {rank}",
                other.len(),
                input.shape
            )));
        }
        let of = |((&min, &opt), &max): ((&usize, &usize), &usize)| SizeRange {
            min: min as u64,
            opt: opt as u64,
            max: max as u64,
        };
        let ranges: Ranges = min.iter().zip(opt).zip(max).map(of).collect();
        if let Some(axis) = ranges.iter().position(|r| r.min == 0 || r.min > r.opt || r.opt > r.max) {
            let SizeRange { min, opt, max } = ranges[axis];
            return Err(fail(format!(
                "axis {axis} goes from {min} over {opt} to {max}; give sizes of at least 1, in this order"
            )));
        }
        Ok(ranges)
    }
}

/// The sizes that the axes of an input may have.
pub(crate) type Ranges = Vec<SizeRange>;

/// One of the three shapes of every input.
pub(crate) fn shapes_at(inputs: &[InputInfo], ranges: &[Ranges], of: fn(&SizeRange) -> u64) -> Shapes {
    let sizes = |r: &Ranges| r.iter().map(|r| of(r) as usize).collect();
    inputs.iter().zip(ranges).map(|(i, r)| (i.name.clone(), sizes(r))).collect()
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Profile, String> {
        let mut profile = Profile::new();
        for part in text.split(',') {
            let example = || {
                format!("give NAME=MIN:OPT:MAX such as x=1x3x224x224:8x3x224x224:32x3x224x224, not `{part}`")
            };
            let (name, shapes) = part.rsplit_once('=').filter(|(n, _)| !n.is_empty()).ok_or_else(example)?;
            let list: Option<Vec<Vec<usize>>> = shapes
                .split(':')
                .map(|s| s.split('x').map(|n| n.parse().ok()).collect::<Option<Vec<usize>>>())
                .collect();
            let [min, opt, max] =
                <[Vec<usize>; 3]>::try_from(list.ok_or_else(example)?).map_err(|_| example())?;
            if profile.inputs.insert(name.to_owned(), [min, opt, max]).is_some() {
                return Err(format!("the input `{name}` is named twice"));
            }
        }
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactician_ir::{DType, Shape};

    fn input(name: &str, shape: Shape) -> InputInfo {
        InputInfo { name: name.into(), dtype: DType::F32, shape }
    }

    #[test]
    fn text_reads_as_what_it_says() {
        let p: Profile = "x=1x3:2x3:4x3,y:0=1:1:9".parse().unwrap();
        let same = Profile::new().input("x", &[1, 3], &[2, 3], &[4, 3]).input("y:0", &[1], &[1], &[9]);
        assert_eq!(p, same);
        for bad in
            ["", "x", "x=1", "x=1:2", "x=1:2:3:4", "x=1xa:2:3", "=1:2:3", "x=1:2:3,x=1:2:3", "x=1:2:3,"]
        {
            assert!(bad.parse::<Profile>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_checked_against_the_inputs() {
        let open: Shape = ["N", "C"].into_iter().collect();
        let inputs = [input("x", open), input("s", Shape::known(&[2]))];
        let ranges = |text: &str| text.parse::<Profile>().unwrap().ranges(&inputs, &Shapes::new());
        let good = ranges("x=1x3:2x3:4x3").unwrap();
        assert_eq!(good[0][0], SizeRange { min: 1, opt: 2, max: 4 });
        assert_eq!(good[1], [SizeRange { min: 2, opt: 2, max: 2 }]);
        assert_eq!(
            shapes_at(&inputs, &good, |r| r.max),
            Shapes::from([("x".into(), vec![4, 3]), ("s".into(), vec![2])])
        );
        for (bad, what) in [
            ("x=1:2:3", "rank"),
            ("x=0x3:2x3:4x3", "axis 0"),
            ("x=1x3:2x9:4x3", "axis 1"),
            ("x=3x3:2x3:4x3", "axis 0"),
            ("z=1:2:3", "`z`"),
            ("s=2:2:2", "open"),
        ] {
            let e = ranges(bad).unwrap_err().to_string();
            assert!(e.contains(what), "{bad}: {e}");
        }
    }
}
