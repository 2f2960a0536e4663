#include "bench/train/token_rows.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "simdjson.h"

namespace wardtune {
namespace {

template <typename T>
bool ReadNumbers(simdjson::dom::element line, const char* key, std::vector<T>& to) {
  simdjson::dom::array list;
  if (line[key].get(list) != simdjson::SUCCESS) return false;
  for (const auto element : list) {
    int64_t value = 0;
    if (element.get(value) != simdjson::SUCCESS) return false;
    to.push_back(static_cast<T>(value));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::vector<TrainingRow>> ParseTokenRows(std::string_view jsonl) {
  std::vector<TrainingRow> rows;
  simdjson::dom::parser parser;
  const absl::string_view text(jsonl.data(), jsonl.size());
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    simdjson::dom::element object;
    TrainingRow row;
    if (parser.parse(line.data(), line.size()).get(object) != simdjson::SUCCESS ||
        !ReadNumbers(object, "ids", row.ids) || !ReadNumbers(object, "mask", row.loss_mask) ||
        row.ids.size() != row.loss_mask.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", rows.size(), ": must hold ids and mask of one length"));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace wardtune
