#include "formats/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "formats/json_text.h"

namespace wardtune {
namespace {

// True when a pattern of `exponent` bits, all set, occurs: NaN or infinity of an IEEE format.
template <typename Word>
bool NoneHasFullExponent(std::span<const std::byte> data, Word exponent) {
  for (size_t offset = 0; offset + sizeof(Word) <= data.size(); offset += sizeof(Word)) {
    Word word;
    std::memcpy(&word, data.data() + offset, sizeof(Word));
    if ((word & exponent) == exponent) return false;
  }
  return true;
}

absl::Status CheckTensor(const NamedTensor& tensor, bool require_finite) {
  if (tensor.name.empty() || tensor.name == "__metadata__") {
    return absl::InvalidArgumentError("a tensor needs a name other than __metadata__");
  }
  uint64_t bytes = DTypeSize(tensor.dtype);
  for (const int64_t extent : tensor.shape) {
    if (extent < 1 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", tensor.name, ": the shape is empty, negative or overflows"));
    }
  }
  if (bytes != tensor.data.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", tensor.name, ": ", tensor.data.size(),
                                                   " bytes given, the shape has ", bytes));
  }
  if (require_finite && !AllFinite(tensor.dtype, tensor.data)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", tensor.name, " holds NaN or infinity"));
  }
  return absl::OkStatus();
}

// The length field and the padded header. REQUIRES: `tensors` in the order of their data.
std::string Header(const std::vector<NamedTensor>& tensors,
                   const SafetensorsWriteOptions& options) {
  std::map<std::string_view, std::string> entries;
  uint64_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    const uint64_t end = offset + tensor.data.size();
    entries[tensor.name] = absl::StrCat("{\"dtype\":\"", std::string(DTypeName(tensor.dtype)),
                                        "\",\"shape\":[", absl::StrJoin(tensor.shape, ","),
                                        "],\"data_offsets\":[", offset, ",", end, "]}");
    offset = end;
  }
  std::vector<std::string> members;
  if (!options.metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : options.metadata) {
      pairs.push_back(absl::StrCat(JsonString(key), ":", JsonString(value)));
    }
    members.push_back(absl::StrCat("\"__metadata__\":{", absl::StrJoin(pairs, ","), "}"));
  }
  for (const auto& [name, entry] : entries) {
    members.push_back(absl::StrCat(JsonString(name), ":", entry));
  }
  std::string json = absl::StrCat("{", absl::StrJoin(members, ","), "}");
  json.append((8 - json.size() % 8) % 8, ' ');
  const uint64_t length = json.size();
  std::string header(sizeof(length), '\0');
  std::memcpy(header.data(), &length, sizeof(length));
  return header + json;
}

// Checks all tensors and puts them into the order of the file.
absl::Status Prepare(std::vector<NamedTensor>& tensors, const SafetensorsWriteOptions& options) {
  std::sort(tensors.begin(), tensors.end(), [](const NamedTensor& a, const NamedTensor& b) {
    const size_t a_size = DTypeSize(a.dtype);
    const size_t b_size = DTypeSize(b.dtype);
    return a_size != b_size ? a_size > b_size : a.name < b.name;
  });
  std::map<std::string_view, int> seen;
  for (const NamedTensor& tensor : tensors) {
    WT_RETURN_IF_ERROR(CheckTensor(tensor, options.require_finite));
    if (++seen[tensor.name] > 1) {
      return absl::InvalidArgumentError(absl::StrCat("two tensors are named ", tensor.name));
    }
  }
  return absl::OkStatus();
}

std::string_view AsText(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace

bool AllFinite(TensorDType dtype, std::span<const std::byte> data) {
  switch (dtype) {
    case TensorDType::kF64:
      return NoneHasFullExponent<uint64_t>(data, 0x7FF0'0000'0000'0000);
    case TensorDType::kF32:
      return NoneHasFullExponent<uint32_t>(data, 0x7F80'0000);
    case TensorDType::kF16:
      return NoneHasFullExponent<uint16_t>(data, 0x7C00);
    case TensorDType::kBF16:
      return NoneHasFullExponent<uint16_t>(data, 0x7F80);
    case TensorDType::kF8E5M2:
      return NoneHasFullExponent<uint8_t>(data, 0x7C);
    case TensorDType::kF8E4M3:  // no infinity; NaN is all ones but the sign
      return NoneHasFullExponent<uint8_t>(data, 0x7F);
    default:
      return true;
  }
}

absl::Status WriteSafetensors(std::vector<NamedTensor> tensors,
                              const SafetensorsWriteOptions& options, WritableFile& file) {
  WT_RETURN_IF_ERROR(Prepare(tensors, options));
  WT_RETURN_IF_ERROR(file.Append(Header(tensors, options)));
  for (const NamedTensor& tensor : tensors) WT_RETURN_IF_ERROR(file.Append(AsText(tensor.data)));
  return absl::OkStatus();
}

absl::StatusOr<std::string> SerializeSafetensors(std::vector<NamedTensor> tensors,
                                                 const SafetensorsWriteOptions& options) {
  WT_RETURN_IF_ERROR(Prepare(tensors, options));
  std::string bytes = Header(tensors, options);
  for (const NamedTensor& tensor : tensors) bytes.append(AsText(tensor.data));
  return bytes;
}

}  // namespace wardtune
