// Where a bench program's report goes. Thread safety: re-entrant.
#ifndef WARDTUNE_BENCH_REPORT_FILE_H_
#define WARDTUNE_BENCH_REPORT_FILE_H_

#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "base/file_system.h"

namespace wardtune {

// Writes the report to `path`, or to standard output when it is empty.
// Errors: those of the file system.
inline absl::Status WriteReport(FileSystem& files, const std::string& path,
                                const std::string& report) {
  if (!path.empty()) return files.WriteFileAtomically(path, report);
  std::cout << report;
  return absl::OkStatus();
}

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_REPORT_FILE_H_
