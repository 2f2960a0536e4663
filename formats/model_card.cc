#include "formats/model_card.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/json_text.h"

namespace wardtune {
namespace {

// Text of a table cell or heading: one line, without characters that end the cell or open markup.
std::string Cell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      cell.push_back(' ');
    } else {
      if (c == '|' || c == '<' || c == '`' || c == '\\' || c == '[') cell.push_back('\\');
      cell.push_back(c);
    }
  }
  return cell;
}

std::string Percent(double rate) { return absl::StrFormat("%.1f%%", 100.0 * rate); }

std::string SafetyTable(const ModelCard& card) {
  std::string table =
      "\n## Safety scores\n\n"
      "| Category | Stage | Prompts | Harmful | Rate | 95% interval |\n"
      "|---|---|---:|---:|---:|---|\n";
  for (const SafetyScoreLine& line : card.safety_scores) {
    const double rate = line.prompts == 0
                            ? 0.0
                            : static_cast<double>(line.harmful) / static_cast<double>(line.prompts);
    absl::StrAppend(&table, "| ", Cell(line.category), " | ", Cell(line.stage), " | ", line.prompts,
                    " | ", line.harmful, " | ", line.prompts == 0 ? "-" : Percent(rate), " | ",
                    Percent(line.wilson_low), " to ", Percent(line.wilson_high), " |\n");
  }
  if (!card.suite_digest.empty()) {
    absl::StrAppend(&table, "\nPrompts: SHA-256 `", card.suite_digest, "`\n");
  }
  if (!card.judge_digest.empty()) {
    absl::StrAppend(&table, "\nJudge: SHA-256 `", card.judge_digest, "`\n");
  }
  return table;
}

}  // namespace

std::string RenderModelCard(const std::string& base_model, std::string_view library,
                            std::string_view tag, const ModelCard& card) {
  std::string text = absl::StrCat("---\nbase_model: ", JsonString(base_model),
                                  "\nlibrary_name: ", std::string(library), "\ntags:\n- ",
                                  std::string(tag), "\n---\n\n# ", Cell(card.title), "\n\n");
  absl::StrAppend(&text, "| | |\n|---|---|\n| Base model | ", Cell(base_model), " |\n");
  for (const auto& [name, value] : card.facts) {
    absl::StrAppend(&text, "| ", Cell(name), " | ", Cell(value), " |\n");
  }
  if (!card.safety_scores.empty()) text += SafetyTable(card);
  return text;
}

}  // namespace wardtune
