//! cuDNN's descriptors, owned.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use tactician_cudnn_sys::{
    AttributeName, AttributeType, Cudnn, DataType, DescriptorType, RawDescriptor, Status,
};
use tactician_device::DeviceError;

/// The library.
///
/// # Errors
/// When it, or something that it needs, is missing.
pub(crate) fn library() -> Result<&'static Cudnn, DeviceError> {
    Cudnn::get().map_err(|e| DeviceError::Failed { call: "loading cuDNN".to_owned(), reason: e.to_string() })
}

/// An error unless `status` is success. `call` says what was tried.
pub(super) fn check(cudnn: &Cudnn, status: Status, call: impl FnOnce() -> String) -> Result<(), DeviceError> {
    if status == Status::SUCCESS {
        return Ok(());
    }
    // SAFETY: returns a string that lives as long as the library, for any value.
    let name = unsafe { (cudnn.get_error_string)(status) };
    let mut reason = match name.is_null() {
        true => format!("status {}", status.0),
        // SAFETY: not null, and ended by a zero as C strings are.
        false => unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned(),
    };
    let mut buffer: [c_char; 512] = [0; 512];
    // SAFETY: writes at most the given number of bytes, the closing zero included.
    unsafe { (cudnn.get_last_error_string)(buffer.as_mut_ptr(), buffer.len()) };
    let text: Vec<u8> = buffer.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    if !text.is_empty() {
        reason = format!("{reason}: {}", String::from_utf8_lossy(&text).trim());
    }
    Err(DeviceError::Failed { call: format!("cuDNN: {}", call()), reason })
}

/// Types whose values an attribute can hold.
///
/// # Safety
/// `TYPE` names the C type of the same size and layout, every value of which is valid here.
pub(crate) unsafe trait Attribute: Copy {
    const TYPE: AttributeType;
}

macro_rules! attributes {
    ($($rust:ty => $c:ident,)*) => {
        $(
            // SAFETY: the C type has this size, and every bit pattern is valid.
            unsafe impl Attribute for $rust {
                const TYPE: AttributeType = AttributeType::$c;
            }
        )*
    };
}

attributes! {
    i64 => INT64,
    i32 => INT32,
    f32 => FLOAT,
    f64 => DOUBLE,
    u8 => CHAR,
    DataType => DATA_TYPE,
    RawPointer => VOID_PTR,
    tactician_cudnn_sys::ConvolutionMode => CONVOLUTION_MODE,
    tactician_cudnn_sys::HeuristicMode => HEUR_MODE,
    tactician_cudnn_sys::KnobType => KNOB_TYPE,
    tactician_cudnn_sys::NanPropagation => NAN_PROPAGATION,
    tactician_cudnn_sys::NumericalNote => NUMERICAL_NOTE,
    tactician_cudnn_sys::BehaviorNote => BEHAVIOR_NOTE,
    tactician_cudnn_sys::NormMode => NORM_MODE,
    tactician_cudnn_sys::NormPhase => NORM_FWD_PHASE,
    tactician_cudnn_sys::PaddingMode => PADDING_MODE,
    tactician_cudnn_sys::PointwiseMode => POINTWISE_MODE,
    tactician_cudnn_sys::ReductionOperator => REDUCTION_OPERATOR_TYPE,
    tactician_cudnn_sys::ResampleMode => RESAMPLE_MODE,
    CBool => BOOLEAN,
}

/// A C++ `bool`, as any byte.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct CBool(pub(crate) u8);

/// A device address.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct RawPointer(pub(crate) *mut c_void);

/// A descriptor under construction or finalized, destroyed on drop.
pub(crate) struct Descriptor {
    cudnn: &'static Cudnn,
    raw: RawDescriptor,
    kind: DescriptorType,
}

// SAFETY: cuDNN binds descriptors to no thread; one is only ever used by the thread that has it.
unsafe impl Send for Descriptor {}

impl Descriptor {
    pub(crate) fn new(cudnn: &'static Cudnn, kind: DescriptorType) -> Result<Descriptor, DeviceError> {
        let mut raw = ptr::null_mut();
        // SAFETY: writes the new descriptor's address to `raw`.
        let status = unsafe { (cudnn.backend_create_descriptor)(kind, &mut raw) };
        check(cudnn, status, || format!("creating a descriptor of {}", kind_name(kind)))?;
        Ok(Descriptor { cudnn, raw, kind })
    }

    /// Sets an attribute to values.
    pub(crate) fn set<T: Attribute>(&mut self, name: AttributeName, values: &[T]) -> Result<(), DeviceError> {
        // SAFETY: cuDNN reads `values.len()` values of the C type that `T` stands for.
        unsafe { self.set_raw(name, T::TYPE, values.len(), values.as_ptr().cast()) }
    }

    /// Sets an attribute to descriptors, which cuDNN copies or shares: they may be dropped after.
    pub(crate) fn link(&mut self, name: AttributeName, to: &[&Descriptor]) -> Result<(), DeviceError> {
        let raw: Vec<RawDescriptor> = to.iter().map(|d| d.raw).collect();
        // SAFETY: cuDNN reads this many addresses of live descriptors.
        unsafe { self.set_raw(name, AttributeType::BACKEND_DESCRIPTOR, raw.len(), raw.as_ptr().cast()) }
    }

    /// # Safety
    /// `values` points to `count` values of the C type that `kind` names.
    unsafe fn set_raw(
        &mut self,
        name: AttributeName,
        kind: AttributeType,
        count: usize,
        values: *const c_void,
    ) -> Result<(), DeviceError> {
        // SAFETY: the descriptor is live; the caller answers for the values.
        let status =
            unsafe { (self.cudnn.backend_set_attribute)(self.raw, name, kind, count as i64, values) };
        check(self.cudnn, status, || {
            format!("setting attribute {} of {}", attribute_name(name), kind_name(self.kind))
        })
    }

    /// cuDNN's pointer, live as long as this.
    pub(super) fn raw(&self) -> RawDescriptor {
        self.raw
    }

    pub(crate) fn finalize(&mut self) -> Result<(), DeviceError> {
        // SAFETY: the descriptor is live.
        let status = unsafe { (self.cudnn.backend_finalize)(self.raw) };
        check(self.cudnn, status, || format!("finalizing {}", kind_name(self.kind)))
    }

    /// The values of an attribute, at most `most`.
    pub(crate) fn get<T: Attribute>(
        &self,
        name: AttributeName,
        most: usize,
        fill: T,
    ) -> Result<Vec<T>, DeviceError> {
        let mut values = vec![fill; most];
        // SAFETY: room for `most` values of the C type that `T` stands for.
        let found = unsafe { self.get_raw(name, T::TYPE, most, values.as_mut_ptr().cast())? };
        values.truncate(found);
        Ok(values)
    }

    /// How many values an attribute has.
    pub(crate) fn count(&self, name: AttributeName, kind: AttributeType) -> Result<usize, DeviceError> {
        let mut found = 0;
        // SAFETY: no room is promised, so nothing is written but the count.
        let status = unsafe {
            (self.cudnn.backend_get_attribute)(self.raw, name, kind, 0, &mut found, ptr::null_mut())
        };
        check(self.cudnn, status, || {
            format!("counting attribute {} of {}", attribute_name(name), kind_name(self.kind))
        })?;
        Ok(usize::try_from(found).unwrap_or(0))
    }

    /// The descriptors of an attribute, at most `most`, each of `kind`.
    pub(crate) fn get_descriptors(
        &self,
        name: AttributeName,
        kind: DescriptorType,
        most: usize,
    ) -> Result<Vec<Descriptor>, DeviceError> {
        let mut list = Vec::with_capacity(most);
        for _ in 0..most {
            list.push(Descriptor::new(self.cudnn, kind)?);
        }
        let mut raw: Vec<RawDescriptor> = list.iter().map(|d| d.raw).collect();
        // SAFETY: cuDNN fills in the descriptors whose addresses it reads; there are `most`.
        let found =
            unsafe { self.get_raw(name, AttributeType::BACKEND_DESCRIPTOR, most, raw.as_mut_ptr().cast())? };
        list.truncate(found);
        Ok(list)
    }

    /// # Safety
    /// `values` has room for `most` values of the C type that `kind` names; for descriptors it holds their addresses.
    unsafe fn get_raw(
        &self,
        name: AttributeName,
        kind: AttributeType,
        most: usize,
        values: *mut c_void,
    ) -> Result<usize, DeviceError> {
        let mut found = 0;
        // SAFETY: the descriptor is live; the caller answers for the room.
        let status = unsafe {
            (self.cudnn.backend_get_attribute)(self.raw, name, kind, most as i64, &mut found, values)
        };
        check(self.cudnn, status, || {
            format!("reading attribute {} of {}", attribute_name(name), kind_name(self.kind))
        })?;
        Ok(usize::try_from(found).unwrap_or(0).min(most))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: created by `new` and destroyed once. A failure to destroy cannot be helped.
        let _ = unsafe { (self.cudnn.backend_destroy_descriptor)(self.raw) };
    }
}

fn kind_name(kind: DescriptorType) -> String {
    let named = DescriptorType::NAMED.iter().find(|(_, k)| *k == kind);
    named.map_or_else(
        || format!("descriptor type {}", kind.0),
        |(n, _)| format!("CUDNN_BACKEND_{n}_DESCRIPTOR"),
    )
}

fn attribute_name(name: AttributeName) -> String {
    let named = AttributeName::NAMED.iter().find(|(_, a)| *a == name);
    named.map_or_else(|| name.0.to_string(), |(n, _)| format!("CUDNN_ATTR_{n}"))
}

const _: () = assert!(size_of::<c_int>() == 4 && size_of::<CBool>() == 1);
