// Reads safetensors files (https://github.com/huggingface/safetensors#format) that nobody vouches
// for.
//
// Layout: 8 bytes little-endian header length N, N bytes of JSON, then the data. Everything is
// checked before a tensor is handed out: N <= 100 MB and inside the file; the JSON starts with '{',
// has no duplicate key and no key the format does not know; dtypes are known; the product of a
// shape does not overflow and equals the tensor's byte range; the ranges cover the data exactly,
// without overlap, hole or trailing byte; every tensor lies aligned to its element size. Stricter
// than the format: tensors without elements are refused, as no model has any. Values are not looked
// at: NaN passes here (AllFinite in safetensors_writer.h looks). Thread safety: a SafetensorsFile
// is immutable; all methods may be called from any thread.
#ifndef WARDTUNE_FORMATS_SAFETENSORS_READER_H_
#define WARDTUNE_FORMATS_SAFETENSORS_READER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/tensor_dtype.h"

namespace wardtune {

// A tensor inside somebody else's bytes, row-major and aligned to its element size.
struct TensorView {
  TensorDType dtype = TensorDType::kF32;
  std::vector<int64_t> shape;  // empty for a scalar
  std::span<const std::byte> data;
};

struct SafetensorsContent {
  std::map<std::string, TensorView, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> metadata;  // "__metadata__"
};

// Checks `file` (a whole safetensors file) and returns views into it. `file` must outlive the
// result and start on an 8-byte boundary.
// Errors: INVALID_ARGUMENT naming the tensor and the rule it breaks.
absl::StatusOr<SafetensorsContent> ParseSafetensors(std::span<const std::byte> file);

// Views and the bytes that they are of, for bytes that lie anywhere.
struct SafetensorsCopy : SafetensorsContent {
  std::vector<uint64_t> bytes;  // keeps its place when the object moves
};

// Copies `file` to where it is aligned and checks it. Errors: those of ParseSafetensors.
absl::StatusOr<SafetensorsCopy> CopySafetensors(std::string_view file);

// A mapped file. The views live as long as this object.
class SafetensorsFile {
 public:
  // Maps and checks the file; its data is not read until it is used. The file must not be truncated
  // while it is mapped (SIGBUS), so only files in folders that we own may be opened.
  // Errors: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE; INVALID_ARGUMENT as above, with the path.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::map<std::string, TensorView, std::less<>>& tensors() const { return content_.tensors; }
  const std::map<std::string, std::string, std::less<>>& metadata() const {
    return content_.metadata;
  }
  // The tensor of that name, or null.
  const TensorView* Find(std::string_view name) const;
  // Gives back the memory that reading tensors took; what is used again is read from the file
  // again.
  void ReleasePages() const;

 private:
  SafetensorsFile() = default;

  std::span<const std::byte> mapping_;
  SafetensorsContent content_;
};

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_SAFETENSORS_READER_H_
