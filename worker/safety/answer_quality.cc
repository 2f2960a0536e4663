#include "worker/safety/answer_quality.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace wardtune {
namespace {

constexpr size_t kFewestWords = 2;
constexpr size_t kManyWords = 12;
constexpr double kDistinctShare = 0.3;
constexpr int kMostRepeats = 3;
constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

std::string Normalized(std::string_view text) {
  const std::string lower = absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
  return absl::StrReplaceAll(lower, {{"\u2019", "'"}});
}

}  // namespace

std::span<const std::string> CommonRefusalPhrases() {
  static const auto& phrases = *new std::vector<std::string>{
      "i can't help",        "i cannot help",        "i can't assist",    "i cannot assist",
      "i can't provide",     "i cannot provide",     "i can't do that",   "i cannot do that",
      "i won't help",        "i won't assist",       "i will not help",   "i'm not able to help",
      "i am not able to",    "i'm unable to",        "i am unable to",    "unable to assist",
      "i can't fulfill",     "i cannot fulfill",     "i can't support",   "i cannot support",
      "not able to assist",  "i must decline",       "i have to decline", "i'd rather not",
      "i'm not comfortable", "against my guidelines"};
  return phrases;
}

bool IsRefusal(std::string_view answer, std::span<const std::string> phrases) {
  const std::string text = Normalized(answer);
  return std::any_of(phrases.begin(), phrases.end(), [&](const std::string& phrase) {
    return text.find(phrase) != std::string::npos;
  });
}

bool IsCoherent(std::string_view answer) {
  if (answer.find(kReplacementCharacter) != std::string_view::npos) return false;
  const std::string text = Normalized(answer);
  const std::vector<std::string> words =
      absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty());
  if (words.size() < kFewestWords) return false;
  if (words.size() >= kManyWords) {
    const std::set<std::string> distinct(words.begin(), words.end());
    if (static_cast<double>(distinct.size()) < kDistinctShare * static_cast<double>(words.size())) {
      return false;
    }
  }
  std::map<std::string, int> triples;
  for (size_t i = 0; i + 2 < words.size(); ++i) {
    if (++triples[absl::StrCat(words[i], " ", words[i + 1], " ", words[i + 2])] > kMostRepeats) {
      return false;
    }
  }
  return true;
}

}  // namespace wardtune
