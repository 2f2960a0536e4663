// POSIX ustar archives (IEEE 1003.1) of a few flat files, with bytes that depend on the files
// alone: sorted names, mode 0644, owner 0, time 0. An adapter is downloaded as one such file.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_FORMATS_TAR_ARCHIVE_H_
#define WARDTUNE_FORMATS_TAR_ARCHIVE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "formats/peft_adapter.h"

namespace wardtune {

// Errors: INVALID_ARGUMENT for a name that is empty, longer than 100 bytes, starts with '.', or has
// other characters than letters, digits and "._-".
absl::StatusOr<std::string> WriteTar(const FileSet& set);

// Reads an archive back. Refuses everything but regular files with names as above: links, folders,
// paths, repeated names, bad checksums, missing ends.
// Errors: INVALID_ARGUMENT naming the entry.
absl::StatusOr<FileSet> ReadTar(std::string_view archive);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_TAR_ARCHIVE_H_
