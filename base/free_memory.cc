#include "base/free_memory.h"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace wardtune {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// What a group's files are called. The counts are those of the group and all below it.
struct GroupFiles {
  const char* limit;
  const char* used;
  const char* unused_file_pages;  // a line of memory.stat
};
constexpr GroupFiles kVersion1 = {"/memory.limit_in_bytes", "/memory.usage_in_bytes",
                                  "total_inactive_file"};
constexpr GroupFiles kVersion2 = {"/memory.max", "/memory.current", "inactive_file"};

// The first whole number of a file; false when it holds none ("max" means no limit).
bool ReadNumber(const std::string& path, int64_t& value) {
  std::ifstream file(path);
  std::string word;
  return static_cast<bool>(file >> word) && absl::SimpleAtoi(word, &value);
}

// The number behind `name` at the beginning of a line; 0 when there is none.
int64_t ReadLine(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    int64_t value = 0;
    if (word == name && file >> value) return value;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

int64_t LeftIn(const std::string& group, const GroupFiles& files) {
  int64_t limit = 0;
  int64_t used = 0;
  if (!ReadNumber(group + files.limit, limit) || !ReadNumber(group + files.used, used)) {
    return kNoLimit;
  }
  used -= ReadLine(group + "/memory.stat", files.unused_file_pages);
  return std::max<int64_t>(0, limit - used);
}

// Of a group and all above it. In a container the path may be the host's, and then only the root is
// there, which is the container's own group.
int64_t LeftAlong(const std::string& root, std::string path, const GroupFiles& files) {
  int64_t left = LeftIn(root, files);
  while (path.size() > 1) {
    left = std::min(left, LeftIn(root + path, files));
    path.resize(path.rfind('/'));
  }
  return left;
}

int64_t LeftInGroups(const SystemFolders& folders) {
  int64_t left = kNoLimit;
  std::ifstream groups(folders.proc + "/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // id:controllers:path; version 2 names no controllers.
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3 || parts[2].empty() || parts[2][0] != '/') continue;
    if (parts[1].empty()) {
      left = std::min(left, LeftAlong(folders.control_groups, parts[2], kVersion2));
    }
    for (const absl::string_view controller : absl::StrSplit(parts[1], ',')) {
      if (controller != "memory") continue;
      left = std::min(left, LeftAlong(folders.control_groups + "/memory", parts[2], kVersion1));
    }
  }
  return left;
}

}  // namespace

absl::StatusOr<int64_t> FreeHostMemory(const SystemFolders& folders) {
#if defined(__GLIBC__)
  malloc_trim(0);  // what was freed and is still held would count as used
#endif
  const int64_t kilobytes = ReadLine(folders.proc + "/meminfo", "MemAvailable:");
  const int64_t free = std::min(kilobytes > 0 ? kilobytes * 1024 : kNoLimit, LeftInGroups(folders));
  if (free == kNoLimit) {
    return absl::UnavailableError("the system does not say how much memory is free");
  }
  return free;
}

}  // namespace wardtune
