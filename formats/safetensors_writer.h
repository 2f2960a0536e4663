// Writes safetensors files whose bytes depend on the tensors alone, not on their order.
//
// Header keys are sorted by name ("__metadata__" first), the header is padded with spaces to 8
// bytes, and the data is sorted by falling element size, then by name, so that every tensor is
// aligned: the order of the format's reference writer.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_FORMATS_SAFETENSORS_WRITER_H_
#define WARDTUNE_FORMATS_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_system.h"
#include "formats/tensor_dtype.h"

namespace wardtune {

// A tensor to be written; `data` is row-major, little-endian and owned by the caller.
struct NamedTensor {
  std::string name;
  TensorDType dtype = TensorDType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

struct SafetensorsWriteOptions {
  std::map<std::string, std::string> metadata;
  // Refuses a floating-point tensor that holds NaN or infinity.
  bool require_finite = false;
};

// True when no element of a floating-point tensor is NaN or infinite; true for other dtypes.
bool AllFinite(TensorDType dtype, std::span<const std::byte> data);

// Appends the file to `file` without copying the data; the caller syncs.
// Errors: INVALID_ARGUMENT for an empty or repeated name, a shape that does not fit the data, or a
// NaN where finite values are required, always before the first byte is written; those of
// WritableFile::Append.
absl::Status WriteSafetensors(std::vector<NamedTensor> tensors,
                              const SafetensorsWriteOptions& options, WritableFile& file);

// The same bytes as a string.
absl::StatusOr<std::string> SerializeSafetensors(std::vector<NamedTensor> tensors,
                                                 const SafetensorsWriteOptions& options = {});

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_SAFETENSORS_WRITER_H_
