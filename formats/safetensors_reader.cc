#include "formats/safetensors_reader.h"

#include <fcntl.h>
#include <simdjson.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace wardtune {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are handed out as they lie");

using simdjson::dom::element;
using simdjson::dom::object;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr int kMaxDepth = 4;  // header, tensor, shape; one to spare

absl::Status Bad(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("not a valid safetensors file: ", std::string(what)));
}

absl::Status BadTensor(std::string_view name, std::string_view what) {
  return Bad(
      absl::StrCat("tensor \"", std::string(name.substr(0, 200)), "\": ", std::string(what)));
}

// Reads [begin, end) of data_offsets; each a non-negative integer.
bool ReadOffsets(element value, uint64_t& begin, uint64_t& end) {
  simdjson::dom::array array;
  if (value.get(array) != simdjson::SUCCESS || array.size() != 2) return false;
  return array.at(0).get(begin) == simdjson::SUCCESS && array.at(1).get(end) == simdjson::SUCCESS;
}

// Multiplies the extents; fails on overflow, on an extent below 1 and on other types.
absl::StatusOr<uint64_t> ReadShape(std::string_view name, element value, TensorView& tensor) {
  simdjson::dom::array array;
  if (value.get(array) != simdjson::SUCCESS) return BadTensor(name, "shape is not an array");
  uint64_t bytes = DTypeSize(tensor.dtype);
  for (element item : array) {
    int64_t extent = 0;
    if (item.get(extent) != simdjson::SUCCESS || extent < 0) {
      return BadTensor(name, "shape holds something else than sizes");
    }
    if (extent == 0) return BadTensor(name, "it has no elements");
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) {
      return BadTensor(name, "the product of its shape overflows");
    }
    tensor.shape.push_back(extent);
  }
  return bytes;
}

absl::StatusOr<TensorView> ReadTensor(std::string_view name, element value,
                                      std::span<const std::byte> data) {
  object fields;
  if (value.get(fields) != simdjson::SUCCESS) return BadTensor(name, "it is not an object");
  if (fields.size() != 3) return BadTensor(name, "it needs dtype, shape and data_offsets only");
  TensorView tensor;
  std::string_view dtype_name;
  if (fields["dtype"].get(dtype_name) != simdjson::SUCCESS) return BadTensor(name, "no dtype");
  const auto dtype = DTypeFromName(dtype_name);
  if (!dtype) return BadTensor(name, "unknown dtype");
  tensor.dtype = *dtype;

  element shape;
  if (fields["shape"].get(shape) != simdjson::SUCCESS) return BadTensor(name, "no shape");
  WT_ASSIGN_OR_RETURN(const uint64_t bytes, ReadShape(name, shape, tensor));

  element offsets;
  uint64_t begin = 0;
  uint64_t end = 0;
  if (fields["data_offsets"].get(offsets) != simdjson::SUCCESS ||
      !ReadOffsets(offsets, begin, end)) {
    return BadTensor(name, "data_offsets is not a pair of sizes");
  }
  if (begin > end || end > data.size()) return BadTensor(name, "data_offsets leave the file");
  if (end - begin != bytes) return BadTensor(name, "data_offsets do not fit dtype and shape");
  tensor.data = data.subspan(begin, bytes);
  return tensor;
}

absl::Status ReadMetadata(element value, SafetensorsContent& content) {
  object fields;
  if (value.get(fields) != simdjson::SUCCESS) return Bad("__metadata__ is not an object");
  for (auto [key, item] : fields) {
    std::string_view text;
    if (item.get(text) != simdjson::SUCCESS)
      return Bad(
          "__metadata__ maps to something else "
          "than a string");
    if (!content.metadata.emplace(key, text).second) return Bad("a key of __metadata__ repeats");
  }
  return absl::OkStatus();
}

// The ranges must follow each other from 0 to the end.
absl::Status CheckCover(const SafetensorsContent& content, std::span<const std::byte> data) {
  std::vector<std::pair<const std::string*, const TensorView*>> order;
  for (const auto& [name, tensor] : content.tensors) order.emplace_back(&name, &tensor);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.second->data.data() < b.second->data.data();
  });
  const std::byte* position = data.data();
  for (const auto& [name, tensor] : order) {
    if (tensor->data.data() < position) return BadTensor(*name, "it overlaps another tensor");
    if (tensor->data.data() > position) return BadTensor(*name, "there is a hole before it");
    position += tensor->data.size();
    if (reinterpret_cast<uintptr_t>(tensor->data.data()) % DTypeSize(tensor->dtype) != 0) {
      return BadTensor(*name,
                       "it is not aligned to its element size; save the file again with a "
                       "current safetensors release");
    }
  }
  if (position != data.data() + data.size()) return Bad("bytes behind the last tensor");
  return absl::OkStatus();
}

absl::Status ErrnoStatus(int error, const std::string& path) {
  const std::string message =
      absl::StrCat("cannot open ", path, ": ", std::generic_category().message(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

absl::StatusOr<std::span<const std::byte>> MapFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, path);
  const absl::Cleanup close_fd = [fd] { ::close(fd); };
  struct stat info;
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, path);
  if (!S_ISREG(info.st_mode)) return Bad(absl::StrCat(path, " is not a regular file"));
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return Bad(absl::StrCat(path, " is empty"));
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) return ErrnoStatus(errno, path);
  return std::span<const std::byte>(static_cast<const std::byte*>(address), size);
}

}  // namespace

absl::StatusOr<SafetensorsContent> ParseSafetensors(std::span<const std::byte> file) {
  if (file.size() < kLengthBytes) return Bad("shorter than its header length");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes) return Bad("the header is longer than 100 MB");
  if (header_bytes > file.size() - kLengthBytes) return Bad("the header leaves the file");
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + kLengthBytes,
                                header_bytes);
  if (header.empty() || header.front() != '{') return Bad("the header does not start with '{'");
  const std::span<const std::byte> data = file.subspan(kLengthBytes + header_bytes);

  simdjson::dom::parser parser;
  if (parser.allocate(header.size(), kMaxDepth) != simdjson::SUCCESS) {
    return absl::ResourceExhaustedError("no memory to parse a safetensors header");
  }
  object root;
  if (const auto error = parser.parse(simdjson::padded_string(header)).get(root)) {
    return Bad(absl::StrCat("the header is not JSON: ", simdjson::error_message(error)));
  }
  SafetensorsContent content;
  bool metadata_seen = false;
  for (auto [name, value] : root) {
    if (name == "__metadata__") {
      if (std::exchange(metadata_seen, true)) return Bad("__metadata__ repeats");
      WT_RETURN_IF_ERROR(ReadMetadata(value, content));
      continue;
    }
    WT_ASSIGN_OR_RETURN(TensorView tensor, ReadTensor(name, value, data));
    if (!content.tensors.emplace(name, std::move(tensor)).second) {
      return BadTensor(name, "the name repeats");
    }
  }
  WT_RETURN_IF_ERROR(CheckCover(content, data));
  return content;
}

absl::StatusOr<SafetensorsCopy> CopySafetensors(std::string_view file) {
  SafetensorsCopy copy;
  copy.bytes.resize((file.size() + sizeof(uint64_t) - 1) / sizeof(uint64_t));
  std::memcpy(copy.bytes.data(), file.data(), file.size());
  WT_ASSIGN_OR_RETURN(
      static_cast<SafetensorsContent&>(copy),
      ParseSafetensors(std::as_bytes(std::span<const uint64_t>(copy.bytes)).first(file.size())));
  return copy;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile());
  WT_ASSIGN_OR_RETURN(file->mapping_, MapFile(path));
  auto content = ParseSafetensors(file->mapping_);
  if (!content.ok()) {
    return absl::Status(content.status().code(),
                        absl::StrCat(path, ": ", content.status().message()));
  }
  file->content_ = *std::move(content);
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (!mapping_.empty()) ::munmap(const_cast<std::byte*>(mapping_.data()), mapping_.size());
}

void SafetensorsFile::ReleasePages() const {
  // A hint: that it could not be followed changes nothing but the memory in use.
  (void)::madvise(const_cast<std::byte*>(mapping_.data()), mapping_.size(), MADV_DONTNEED);
}

const TensorView* SafetensorsFile::Find(std::string_view name) const {
  const auto found = content_.tensors.find(name);
  return found == content_.tensors.end() ? nullptr : &found->second;
}

}  // namespace wardtune
