//! Exact values of a problem's output, and comparing with them on the host.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tactician_device::{Device, DeviceError, Memory, Span, Stream};
use tactician_ir::{Problem, Tensor};
use tactician_reference::{self as reference, Exact, ReferenceError};
use tactician_tactics::layout;
use tactician_types::{Growth, Layout};

/// What must come out: exact values of floats with bounds of errors, else the bits.
pub(crate) enum Expected {
    Float(Box<Exact>, Mutex<Orders>),
    Bits(Tensor),
}

/// Exact values and their bounds in the orders of elements that tactics write, made when first asked for.
#[derive(Default)]
pub(crate) struct Orders {
    values: BTreeMap<Layout, Arc<[f64]>>,
    bounds: Vec<(Growth, Layout, Arc<[f64]>)>,
    /// The same on the device.
    values_there: BTreeMap<Layout, Box<dyn Memory>>,
    bounds_there: Vec<(Growth, Layout, Box<dyn Memory>)>,
}

impl Expected {
    pub(crate) fn of(problem: &Problem, operands: &[Tensor]) -> Result<Expected, String> {
        let list: Vec<&Tensor> = operands.iter().collect();
        if problem.output.dtype.is_float() {
            let exact = Exact::new(problem, &list).map_err(|e| e.to_string())?;
            Ok(Expected::Float(Box::new(exact), Mutex::default()))
        } else {
            reference::eval_problem(problem, &list).map(Expected::Bits).map_err(|e| e.to_string())
        }
    }

    /// How many values there are, where they are floats.
    pub(crate) fn values(&self) -> Option<u64> {
        match self {
            Expected::Float(exact, _) => Some(exact.values().len() as u64),
            Expected::Bits(_) => None,
        }
    }

    /// Exact values and bounds on the device in an order of elements, where they live as long as this; `None` where they are
    /// no floats.
    pub(crate) fn on_device(
        &self,
        device: &dyn Device,
        stream: &mut dyn Stream,
        order: Layout,
        growth: Growth,
    ) -> Result<Option<[Span; 2]>, DeviceError> {
        let Expected::Float(exact, orders) = self else { return Ok(None) };
        let mut orders = locked(orders);
        let there = orders.bounds_there.iter().find(|(g, l, _)| *g == growth && *l == order);
        if let (Some(values), Some((.., bounds))) = (orders.values_there.get(&order), there) {
            return Ok(Some([values.span(), bounds.span()]));
        }
        // What cannot be had is told when the host compares.
        let Ok((values, bounds)) = orders.of(exact, order, growth) else { return Ok(None) };
        let mut bring = |list: &[f64]| -> Result<Box<dyn Memory>, DeviceError> {
            let memory = device.alloc(size_of_val(list) as u64)?;
            // SAFETY: freshly allocated, and as long as the list.
            unsafe { stream.write(memory.span(), bytemuck::cast_slice(list))? };
            Ok(memory)
        };
        let bounds = bring(&bounds)?;
        let values = match orders.values_there.entry(order) {
            Entry::Occupied(there) => there.get().span(),
            Entry::Vacant(place) => place.insert(bring(&values)?).span(),
        };
        let spans = [values, bounds.span()];
        orders.bounds_there.push((growth, order, bounds));
        Ok(Some(spans))
    }

    /// Compares an output whose elements are in this order.
    pub(crate) fn compare(&self, got: &Tensor, order: Layout, growth: Growth) -> Result<(f64, f64), String> {
        match self {
            Expected::Bits(want) => {
                let sizes = got.sizes();
                let plain = match order {
                    Layout::Plain => None,
                    l => Some(layout::to_plain(got.bytes(), got.dtype().size(), sizes, l)),
                };
                let found = plain.as_deref().unwrap_or(got.bytes());
                // The images of a large batch repeat.
                let same = |part: &[u8]| want.bytes().starts_with(part);
                if found.chunks(want.bytes().len().max(1)).all(same) {
                    Ok((0.0, 0.0))
                } else {
                    Err("its integer output differs from the reference".into())
                }
            }
            Expected::Float(exact, orders) => {
                let (values, bound) = locked(orders).of(exact, order, growth).map_err(|e| e.to_string())?;
                let v = reference::compare_repeated(got, &values, &bound);
                if v.ratio <= 1.0 {
                    return Ok((v.ratio, v.relative_l2));
                }
                Err(format!(
                    "element {} is {} where the reference has {}: {:.3} times the error bound",
                    v.index, v.found, v.expected, v.ratio
                ))
            }
        }
    }
}

impl Orders {
    /// The values in an order of elements, and their bounds.
    fn of(
        &mut self,
        exact: &Exact,
        order: Layout,
        growth: Growth,
    ) -> Result<(Arc<[f64]>, Arc<[f64]>), ReferenceError> {
        let ordered = |plain: &[f64]| -> Arc<[f64]> {
            match order {
                Layout::Plain => plain.into(),
                l => {
                    let bytes = bytemuck::cast_slice(plain);
                    let stored = layout::from_plain(bytes, size_of::<f64>(), exact.sizes(), l);
                    stored.as_chunks().0.iter().map(|b| f64::from_ne_bytes(*b)).collect()
                }
            }
        };
        let values = self.values.entry(order).or_insert_with(|| ordered(exact.values())).clone();
        let known = self.bounds.iter().find(|(g, l, _)| *g == growth && *l == order);
        if let Some((.., bound)) = known {
            return Ok((values, bound.clone()));
        }
        let bound = ordered(&exact.bound(growth)?);
        self.bounds.push((growth, order, bound.clone()));
        Ok((values, bound))
    }
}

fn locked(orders: &Mutex<Orders>) -> MutexGuard<'_, Orders> {
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}
