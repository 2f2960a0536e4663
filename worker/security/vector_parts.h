// The vectors that a security vector is the sum of, each with the categories of harm that it was
// trained for, so that what one of them explains can be named.
// Thread safety: plain data and pure functions.
#ifndef WARDTUNE_WORKER_SECURITY_VECTOR_PARTS_H_
#define WARDTUNE_WORKER_SECURITY_VECTOR_PARTS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/adapter.h"

namespace wardtune {

// A sum of more is not trained: a report of all parts must stay small.
inline constexpr size_t kMaxVectorParts = 64;

struct VectorPart {
  int64_t rank = 0;  // how many of the sum's ranks are the part's, behind those of the parts before
  std::vector<std::string> categories;  // sorted
};

// The inverse of SumVectors: the adapters whose sum `vector` is.
// Errors: DATA_LOSS when the parts' ranks are not above 0 or do not add up to the vector's.
absl::StatusOr<std::vector<LoraAdapter>> SplitIntoParts(const LoraAdapter& vector,
                                                        std::span<const VectorPart> parts);

// Of all parts, sorted, without repeats.
std::vector<std::string> CategoriesOf(std::span<const VectorPart> parts);

// What a part that is added to `older` was trained for: the categories `stated`, or without any
// those of the suite that no older part has, or all of the suite's where none is left.
std::vector<std::string> CategoriesOfNewPart(std::vector<std::string> stated,
                                             const std::vector<std::string>& suite,
                                             std::span<const VectorPart> older);

// For a file's metadata: a line a part.
std::string FormatParts(std::span<const VectorPart> parts);
// Errors: DATA_LOSS when FormatParts did not write it.
absl::StatusOr<std::vector<VectorPart>> ParseParts(const std::string& text);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_VECTOR_PARTS_H_
