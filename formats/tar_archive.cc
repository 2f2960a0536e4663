#include "formats/tar_archive.h"

#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"

namespace wardtune {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kMaxName = 100;
// Twelve octal digits less the closing NUL.
constexpr uint64_t kMaxSize = (uint64_t{1} << 33) - 1;

struct Field {
  size_t offset;
  size_t size;
};
constexpr Field kName = {0, kMaxName};
constexpr Field kMode = {100, 8};
constexpr Field kUid = {108, 8};
constexpr Field kGid = {116, 8};
constexpr Field kSize = {124, 12};
constexpr Field kTime = {136, 12};
constexpr Field kChecksum = {148, 8};
constexpr size_t kTypeOffset = 156;
constexpr Field kMagic = {257, 8};
constexpr std::string_view kUstar{"ustar\00000", 8};

bool IsGoodName(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || name.front() == '.') return false;
  for (const char c : name) {
    const bool alphanumeric =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!alphanumeric && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

void PutOctal(std::string& header, Field field, uint64_t value) {
  size_t position = field.offset + field.size - 1;
  header[position] = '\0';
  while (position > field.offset) {
    header[--position] = static_cast<char>('0' + (value & 7));
    value >>= 3;
  }
}

std::optional<uint64_t> GetOctal(std::string_view header, Field field) {
  uint64_t value = 0;
  bool digit_seen = false;
  for (const char c : header.substr(field.offset, field.size)) {
    if (c >= '0' && c <= '7') {
      value = value * 8 + static_cast<uint64_t>(c - '0');
      digit_seen = true;
    } else if (c == '\0' || c == ' ') {
      if (digit_seen) return value;
    } else {
      return std::nullopt;
    }
  }
  if (!digit_seen) return std::nullopt;
  return value;
}

// The sum of the header's bytes with the checksum field taken as spaces.
uint64_t Checksum(std::string_view header) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    sum += own ? static_cast<unsigned char>(' ') : static_cast<unsigned char>(header[i]);
  }
  return sum;
}

std::string Header(const std::string& name, size_t size) {
  std::string header(kBlock, '\0');
  header.replace(kName.offset, name.size(), name);
  PutOctal(header, kMode, 0644);
  PutOctal(header, kUid, 0);
  PutOctal(header, kGid, 0);
  PutOctal(header, kSize, size);
  PutOctal(header, kTime, 0);
  header[kTypeOffset] = '0';
  header.replace(kMagic.offset, kUstar.size(), kUstar);
  // Six digits, NUL, space: the traditional shape of this one field.
  PutOctal(header, {kChecksum.offset, 7}, Checksum(header));
  header[kChecksum.offset + 7] = ' ';
  return header;
}

size_t Padding(size_t size) { return (kBlock - size % kBlock) % kBlock; }

absl::Status BadArchive(std::string_view entry, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("bad archive, entry \"", std::string(entry), "\": ", std::string(what)));
}

}  // namespace

absl::StatusOr<std::string> WriteTar(const FileSet& set) {
  std::string archive;
  for (const auto& [name, bytes] : set) {
    if (!IsGoodName(name)) return BadArchive(name, "the name is not allowed");
    if (bytes.size() > kMaxSize) return BadArchive(name, "the file is larger than 8 GiB");
    archive += Header(name, bytes.size());
    archive += bytes;
    archive.append(Padding(bytes.size()), '\0');
  }
  archive.append(2 * kBlock, '\0');
  return archive;
}

absl::StatusOr<FileSet> ReadTar(std::string_view archive) {
  FileSet set;
  for (;;) {
    if (archive.size() < kBlock)
      return BadArchive("", "the archive ends without its closing blocks");
    const std::string_view header = archive.substr(0, kBlock);
    if (header.find_first_not_of('\0') == std::string_view::npos) break;
    const std::string_view field = header.substr(kName.offset, kName.size);
    const std::string name(field.substr(0, field.find('\0')));
    if (!IsGoodName(name)) return BadArchive("", "a name is not allowed");
    if (GetOctal(header, kChecksum) != Checksum(header)) return BadArchive(name, "wrong checksum");
    if (header.substr(kMagic.offset, kUstar.size()) != kUstar) return BadArchive(name, "not ustar");
    if (header[kTypeOffset] != '0') return BadArchive(name, "it is no regular file");
    const auto size = GetOctal(header, kSize);
    archive.remove_prefix(kBlock);
    if (!size || *size > archive.size() || Padding(*size) > archive.size() - *size) {
      return BadArchive(name, "its size leaves the archive");
    }
    if (!set.emplace(name, archive.substr(0, *size)).second)
      return BadArchive(name, "the name repeats");
    archive.remove_prefix(*size + Padding(*size));
  }
  if (archive.size() != 2 * kBlock || archive.find_first_not_of('\0') != std::string_view::npos) {
    return BadArchive("", "the archive does not end with two empty blocks");
  }
  return set;
}

}  // namespace wardtune
