//! Weights in files beside the model.

use std::fs::File;
use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::ImportError;
use crate::proto::{GraphProto, ModelProto, TensorProto};
use crate::tensor;

type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Puts data that lie in other files into the model; returns whether there were some.
pub(crate) fn embed(model: &mut ModelProto, folder: Option<&Path>) -> Result<bool, ImportError> {
    let mut found = false;
    let mut graphs: Vec<&mut GraphProto> = model.graph.iter_mut().collect();
    while let Some(graph) = graphs.pop() {
        let mut tensors: Vec<&mut TensorProto> = graph.initializer.iter_mut().collect();
        for a in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
            tensors.extend(&mut a.t);
            graphs.extend(&mut a.g);
        }
        for t in tensors.into_iter().filter(|t| t.data_location == 1) {
            t.raw_data = Some(tensor::convert(t, folder)?.bytes().to_vec().into());
            t.data_location = 0;
            t.external_data.clear();
            found = true;
        }
    }
    Ok(found)
}

/// Maps the file that holds a tensor's data and finds the tensor in it. The file must lie in the model's folder.
pub(crate) fn map(
    t: &TensorProto,
    folder: Option<&Path>,
    len: u64,
) -> Result<(Owner, Range<usize>), ImportError> {
    let fail = |problem: String| ImportError::External { name: t.name.clone(), problem };
    let Some(folder) = folder else {
        return Err(fail("a model given as bytes has no folder to look in; give the model as a file".into()));
    };
    let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let location = entry("location").ok_or_else(|| fail("it names no location".into()))?;
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(v) => {
            v.parse::<u64>().map(Some).map_err(|_| fail(format!("its {key} is `{v}`, expected a number")))
        }
    };
    let relative = Path::new(location);
    let escapes =
        || fail(format!("`{location}` leads out of the model's folder; move the file beside the model"));
    if location.is_empty()
        || !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
    {
        return Err(escapes());
    }
    let path = folder.join(relative);
    let missing =
        |e: std::io::Error| fail(format!("could not read {}: {e}; it belongs to the model", path.display()));
    let real = path.canonicalize().map_err(missing)?;
    // A link may point anywhere.
    if !real.starts_with(folder.canonicalize().map_err(missing)?) {
        return Err(escapes());
    }
    let file = File::open(&real).map_err(missing)?;
    let size = file.metadata().map_err(missing)?.len();
    let offset = number("offset")?.unwrap_or(0);
    if let Some(given) = number("length")?
        && given != len
    {
        return Err(fail(format!("its length is {given} bytes, the tensor takes {len}")));
    }
    let end = offset.checked_add(len).filter(|&e| e <= size);
    let Some(end) = end else {
        return Err(fail(format!(
            "{} has {size} bytes, the tensor needs {len} from {offset} on",
            path.display()
        )));
    };
    // SAFETY: mapped for reading; a file changed by others while it is mapped gives wrong values, as documented.
    let map = unsafe { Mmap::map(&file) }.map_err(missing)?;
    Ok((Arc::new(map), offset as usize..end as usize))
}
