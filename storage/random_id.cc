#include "storage/random_id.h"

#include <sys/random.h>

#include <string_view>

#include "absl/status/status.h"
#include "base/status_macros.h"

namespace wardtune {

absl::StatusOr<std::string> RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < count) {
    const ssize_t got = ::getrandom(bytes.data() + filled, count - filled, 0);
    if (got <= 0) return absl::UnavailableError("getrandom gave no random bytes");
    filled += static_cast<size_t>(got);
  }
  return bytes;
}

absl::StatusOr<std::string> RandomId() {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
  constexpr size_t kLength = 20;
  WT_ASSIGN_OR_RETURN(std::string id, RandomBytes(kLength));
  for (char& c : id) c = kAlphabet[static_cast<unsigned char>(c) % kAlphabet.size()];
  // The first character out of 16 letters, so that the id never looks like a number.
  id[0] = kAlphabet[kAlphabet.find(id[0]) % 16];
  return id;
}

}  // namespace wardtune
