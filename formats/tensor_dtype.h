// The element types of a safetensors file.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_FORMATS_TENSOR_DTYPE_H_
#define WARDTUNE_FORMATS_TENSOR_DTYPE_H_

#include <cstddef>
#include <optional>
#include <string_view>

namespace wardtune {

enum class TensorDType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
};

// Bytes of one element: 1, 2, 4 or 8.
size_t DTypeSize(TensorDType dtype);
// The format's spelling: "F32", "BF16", "BOOL", ...
std::string_view DTypeName(TensorDType dtype);
// The inverse; nothing for a name the format does not know.
std::optional<TensorDType> DTypeFromName(std::string_view name);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_TENSOR_DTYPE_H_
