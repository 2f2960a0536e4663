#include "bench/task_file.h"

#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace wardtune {
namespace {

absl::string_view Trimmed(std::string_view text) {
  return absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
}

// Empty where there is no text.
std::vector<std::string> Expected(const simdjson::dom::object& object) {
  std::string_view one;
  if (object["expected"].get(one) == simdjson::SUCCESS) return {std::string(one)};
  simdjson::dom::array several;
  std::vector<std::string> texts;
  if (object["expected"].get(several) != simdjson::SUCCESS) return texts;
  for (const simdjson::dom::element element : several) {
    if (element.get(one) != simdjson::SUCCESS) return {};
    texts.emplace_back(one);
  }
  return texts;
}

bool StandsAsWord(const std::string& text, const std::string& word) {
  const auto ends_word = [&](size_t i) {
    return i >= text.size() || !absl::ascii_isalnum(static_cast<unsigned char>(text[i]));
  };
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    if ((at == 0 || ends_word(at - 1)) && ends_word(at + word.size())) return true;
  }
  return false;
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
    std::vector<std::string> expected;
    if (parser.parse(text).get(object) == simdjson::SUCCESS) expected = Expected(object);
    if (expected.empty() || object["prompt"].get(prompt) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError(
          absl::StrCat("task file: line ", number,
                       ": must be an object with the text 'prompt' and 'expected', a text or a "
                       "list of texts"));
    }
    tasks.push_back({std::string(prompt), std::move(expected)});
  }
  if (tasks.empty()) return absl::InvalidArgumentError("task file: it holds no prompt");
  return tasks;
}

bool IsRight(const TaskPrompt& task, std::string_view answer) {
  return std::any_of(task.expected.begin(), task.expected.end(), [&](const std::string& expected) {
    return Trimmed(answer) == Trimmed(expected);
  });
}

bool Names(const TaskPrompt& task, std::string_view answer) {
  const std::string text = absl::AsciiStrToLower(absl::string_view(answer.data(), answer.size()));
  return std::any_of(task.expected.begin(), task.expected.end(), [&](const std::string& expected) {
    return StandsAsWord(text, absl::AsciiStrToLower(expected));
  });
}

}  // namespace wardtune
