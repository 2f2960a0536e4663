// The one answer for an id that is missing or another tenant's.
#ifndef WARDTUNE_STORAGE_NOT_FOUND_H_
#define WARDTUNE_STORAGE_NOT_FOUND_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace wardtune {

inline absl::Status NotFound(const char* what, const std::string& id) {
  return absl::NotFoundError(absl::StrCat(what, " ", id, " does not exist"));
}

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_NOT_FOUND_H_
