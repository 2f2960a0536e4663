// The digest that names a base model: jobs, security vectors and scores refer to it.
//
// SHA-256 over one line per file, sorted by name: "<sha256 of the file>  <name>\n". Covered are the
// files that decide what the model computes (*.safetensors, *.json, *.jinja, *.model, *.txt), not
// README, LICENSE* or dot-files, and no sub-folders.
// Thread safety: re-entrant.
#ifndef WARDTUNE_FORMATS_FOLDER_DIGEST_H_
#define WARDTUNE_FORMATS_FOLDER_DIGEST_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/file_system.h"

namespace wardtune {

// Whether the digest covers a file of this name.
bool IsCoveredByFolderDigest(std::string_view name);

// Reads every covered file once: about a second per gigabyte.
// Errors: NOT_FOUND when the folder is missing or lacks config.json; those of FileSystem.
absl::StatusOr<std::string> ModelFolderDigest(FileSystem& files, const std::string& folder);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_FOLDER_DIGEST_H_
