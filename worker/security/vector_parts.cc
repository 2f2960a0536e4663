#include "worker/security/vector_parts.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace wardtune {
namespace {

absl::Status DamagedParts(const char* why) {
  return absl::DataLossError(absl::StrCat("security vector: its parts ", why));
}

// Ranks [from, from + rank) of matrices of `whole` ranks.
LoraMatrices Slice(const LoraMatrices& matrices, size_t whole, size_t from, size_t rank) {
  LoraMatrices slice;
  if (matrices.empty()) return slice;
  const size_t in = matrices.a.size() / whole;
  const size_t out = matrices.b.size() / whole;
  const auto a = matrices.a.begin() + static_cast<std::ptrdiff_t>(from * in);
  slice.a.assign(a, a + static_cast<std::ptrdiff_t>(rank * in));
  for (size_t o = 0; o < out; ++o) {
    const auto b = matrices.b.begin() + static_cast<std::ptrdiff_t>(o * whole + from);
    slice.b.insert(slice.b.end(), b, b + static_cast<std::ptrdiff_t>(rank));
  }
  return slice;
}

}  // namespace

absl::StatusOr<std::vector<LoraAdapter>> SplitIntoParts(const LoraAdapter& vector,
                                                        std::span<const VectorPart> parts) {
  int64_t ranks = 0;
  for (const VectorPart& part : parts) {
    if (part.rank < 1 || part.rank > vector.spec.rank) return DamagedParts("have impossible ranks");
    ranks += part.rank;
  }
  if (ranks != vector.spec.rank) return DamagedParts("do not add up to its rank");
  std::vector<LoraAdapter> adapters;
  size_t from = 0;
  for (const VectorPart& part : parts) {
    LoraAdapter adapter;
    adapter.spec = vector.spec;
    adapter.spec.rank = part.rank;
    adapter.spec.alpha = vector.spec.scale() * static_cast<double>(part.rank);
    adapter.layers.resize(vector.layers.size());
    for (size_t l = 0; l < vector.layers.size(); ++l) {
      for (size_t p = 0; p < vector.layers[l].size(); ++p) {
        adapter.layers[l][p] = Slice(vector.layers[l][p], static_cast<size_t>(vector.spec.rank),
                                     from, static_cast<size_t>(part.rank));
      }
    }
    from += static_cast<size_t>(part.rank);
    adapters.push_back(std::move(adapter));
  }
  return adapters;
}

std::vector<std::string> CategoriesOf(std::span<const VectorPart> parts) {
  std::set<std::string> names;
  for (const VectorPart& part : parts) {
    names.insert(part.categories.begin(), part.categories.end());
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> CategoriesOfNewPart(std::vector<std::string> stated,
                                             const std::vector<std::string>& suite,
                                             std::span<const VectorPart> older) {
  if (!stated.empty()) {
    std::sort(stated.begin(), stated.end());
    return stated;
  }
  const std::vector<std::string> known = CategoriesOf(older);
  std::vector<std::string> fresh;
  std::set_difference(suite.begin(), suite.end(), known.begin(), known.end(),
                      std::back_inserter(fresh));
  return fresh.empty() ? suite : fresh;
}

std::string FormatParts(std::span<const VectorPart> parts) {
  std::string text;
  for (const VectorPart& part : parts) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", part.rank);
    // Escaped, a category holds neither tab nor line feed.
    for (const std::string& category : part.categories) {
      absl::StrAppend(&text, "\t", absl::CEscape(category));
    }
  }
  return text;
}

absl::StatusOr<std::vector<VectorPart>> ParseParts(const std::string& text) {
  std::vector<VectorPart> parts;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    VectorPart part;
    if (!absl::SimpleAtoi(fields[0], &part.rank))
      return DamagedParts("have a rank that is no number");
    for (size_t i = 1; i < fields.size(); ++i) {
      std::string category;
      if (!absl::CUnescape(fields[i], &category)) return DamagedParts("have a damaged category");
      part.categories.push_back(std::move(category));
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace wardtune
