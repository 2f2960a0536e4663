#include "formats/folder_digest.h"

#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace wardtune {
namespace {

constexpr std::array<std::string_view, 5> kCoveredEndings = {".safetensors", ".json", ".jinja",
                                                             ".model", ".txt"};

}  // namespace

bool IsCoveredByFolderDigest(std::string_view name) {
  if (name.starts_with('.') || name.starts_with("LICENSE")) return false;
  for (const std::string_view ending : kCoveredEndings) {
    if (name.ends_with(ending)) return true;
  }
  return false;
}

absl::StatusOr<std::string> ModelFolderDigest(FileSystem& files, const std::string& folder) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(folder));
  Sha256 digest;
  bool has_config = false;
  for (const std::string& name : names) {  // List() sorts
    if (!IsCoveredByFolderDigest(name)) continue;
    has_config |= name == "config.json";
    WT_ASSIGN_OR_RETURN(const std::string file_digest, Sha256OfFile(folder + "/" + name));
    digest.Update(absl::StrCat(file_digest, "  ", name, "\n"));
  }
  if (!has_config) {
    return absl::NotFoundError(absl::StrCat(folder, " is no model folder: it has no config.json"));
  }
  return digest.HexDigest();
}

}  // namespace wardtune
