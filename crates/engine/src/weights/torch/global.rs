//! The names of Python that a table of tensors needs. No other is known, so nothing else can be asked for.

use crate::weights::safetensors::StoredType;

/// What a name of Python stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// A table.
    OrderedDict,
    /// A tensor of a typed storage, in an older and the usual spelling.
    RebuildTensor,
    /// A tensor of an untyped storage and a type.
    RebuildTypedTensor,
    /// A tensor that was trained, which is a tensor.
    RebuildParameter,
    /// A tuple of sizes.
    Size,
    /// Where a tensor was computed with.
    Device,
    /// A kind of storage; one without a type counts bytes.
    Storage(Option<StoredType>),
    /// A type of elements.
    Type(StoredType),
}

/// All that are known: module, name, meaning.
const KNOWN: &[(&str, &str, Global)] = &[
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor", Global::RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v3", Global::RebuildTypedTensor),
    ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
    ("torch._utils", "_rebuild_parameter_with_state", Global::RebuildParameter),
    ("torch", "Size", Global::Size),
    ("torch", "device", Global::Device),
    ("torch", "UntypedStorage", Global::Storage(None)),
    ("torch.storage", "UntypedStorage", Global::Storage(None)),
    ("torch", "DoubleStorage", Global::Storage(Some(StoredType::F64))),
    ("torch", "FloatStorage", Global::Storage(Some(StoredType::F32))),
    ("torch", "HalfStorage", Global::Storage(Some(StoredType::F16))),
    ("torch", "BFloat16Storage", Global::Storage(Some(StoredType::BF16))),
    ("torch", "LongStorage", Global::Storage(Some(StoredType::I64))),
    ("torch", "IntStorage", Global::Storage(Some(StoredType::I32))),
    ("torch", "ShortStorage", Global::Storage(Some(StoredType::I16))),
    ("torch", "CharStorage", Global::Storage(Some(StoredType::I8))),
    ("torch", "ByteStorage", Global::Storage(Some(StoredType::U8))),
    ("torch", "BoolStorage", Global::Storage(Some(StoredType::BOOL))),
    ("torch", "float64", Global::Type(StoredType::F64)),
    ("torch", "float32", Global::Type(StoredType::F32)),
    ("torch", "float16", Global::Type(StoredType::F16)),
    ("torch", "bfloat16", Global::Type(StoredType::BF16)),
    ("torch", "float8_e4m3fn", Global::Type(StoredType::F8_E4M3)),
    ("torch", "float8_e5m2", Global::Type(StoredType::F8_E5M2)),
    ("torch", "int64", Global::Type(StoredType::I64)),
    ("torch", "int32", Global::Type(StoredType::I32)),
    ("torch", "int16", Global::Type(StoredType::I16)),
    ("torch", "int8", Global::Type(StoredType::I8)),
    ("torch", "uint64", Global::Type(StoredType::U64)),
    ("torch", "uint32", Global::Type(StoredType::U32)),
    ("torch", "uint16", Global::Type(StoredType::U16)),
    ("torch", "uint8", Global::Type(StoredType::U8)),
    ("torch", "bool", Global::Type(StoredType::BOOL)),
];

impl Global {
    /// The meaning of a name, if it is known.
    pub(super) fn of_name(module: &str, name: &str) -> Option<Self> {
        let known = KNOWN.iter().find(|(its_module, its_name, _)| (*its_module, *its_name) == (module, name));
        known.map(|&(_, _, global)| global)
    }
}
