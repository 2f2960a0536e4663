#include "bench/task_file.h"

#include <simdjson.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace wardtune {
namespace {

absl::string_view Trimmed(std::string_view text) {
  return absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
}

}  // namespace

absl::StatusOr<std::vector<TaskPrompt>> ParseTaskFile(std::string_view jsonl) {
  std::vector<TaskPrompt> tasks;
  simdjson::dom::parser parser;
  int64_t number = 0;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(jsonl.data(), jsonl.size()), '\n')) {
    ++number;
    const std::string text(absl::StripAsciiWhitespace(line));
    if (text.empty()) continue;
    simdjson::dom::object object;
    std::string_view prompt;
    std::string_view expected;
    if (parser.parse(text).get(object) != simdjson::SUCCESS ||
        object["prompt"].get(prompt) != simdjson::SUCCESS ||
        object["expected"].get(expected) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError(
          absl::StrCat("task file: line ", number,
                       ": must be an object with the texts 'prompt' and 'expected'"));
    }
    tasks.push_back({std::string(prompt), std::string(expected)});
  }
  if (tasks.empty()) return absl::InvalidArgumentError("task file: it holds no prompt");
  return tasks;
}

bool IsRight(const TaskPrompt& task, std::string_view answer) {
  return Trimmed(answer) == Trimmed(task.expected);
}

}  // namespace wardtune
