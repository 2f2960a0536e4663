#include "formats/jsonl_validator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::wardtune::testing::StatusIs;

constexpr std::string_view kGood =
    R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]})";

JsonlReport Validate(std::string_view text, JsonlOptions options = {}, size_t chunk = 0) {
  JsonlValidator validator(options);
  if (chunk == 0) chunk = text.size() + 1;
  for (size_t at = 0; at < text.size(); at += chunk) {
    // A heap copy of exactly the chunk's size lets a sanitizer see a read behind it.
    const std::vector<char> copy(
        text.begin() + static_cast<ptrdiff_t>(at),
        text.begin() + static_cast<ptrdiff_t>(std::min(at + chunk, text.size())));
    validator.Feed(std::string_view(copy.data(), copy.size()));
  }
  return validator.Finish();
}

// A message list around one assistant message with these raw fields.
std::string Row(std::string_view assistant_fields) {
  return absl::StrCat(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant",)",
                      std::string(assistant_fields), "}]}");
}

TEST(JsonlValidatorTest, CountsWhatItAccepts) {
  const std::string text =
      absl::StrCat(std::string(kGood), "\r\n\n  \n", R"({"prompt":"p","completion":"c","id":7})",
                   "\n", Row(R"("content":"x","weight":0)"));
  const JsonlReport report = Validate(text);
  EXPECT_THAT(report.errors, IsEmpty());
  EXPECT_EQ(report.rows, 3);
  EXPECT_EQ(report.messages, 6);
  EXPECT_EQ(report.assistant_turns, 3);
  EXPECT_EQ(report.supervised_turns, 2);
  EXPECT_EQ(report.blank_lines, 2);
  EXPECT_EQ(report.bytes, static_cast<int64_t>(text.size()));
  EXPECT_EQ(report.sha256, Sha256Hex(text));
  EXPECT_EQ(report.unsupervised_rows, 1);
  EXPECT_EQ(report.unsupervised_lines, std::vector<int64_t>{5});
  WT_EXPECT_OK(report.ToStatus());
}

struct BadLine {
  std::string line;
  JsonlErrorCode code;
  int64_t column;
};

std::vector<BadLine> BadLines() {
  using enum JsonlErrorCode;
  return {
      {"{", kInvalidJson, 2},
      {R"({"messages":[],})", kInvalidJson, 16},
      {R"({"a":01})", kInvalidJson, 7},
      {R"({"a":1} x)", kInvalidJson, 9},
      {"{\"a\":\"x\ty\"}", kInvalidJson, 8},
      {R"({"a":"\q"})", kInvalidJson, 8},
      {"{\"a\":\"\xFF\"}", kInvalidUtf8, 7},
      {"{\"a\":\"\xED\xA0\x80\"}", kInvalidUtf8, 7},
      {R"({"a":"\uD800x"})", kInvalidUtf8, 7},
      {R"({"a":"\uDC00"})", kInvalidUtf8, 7},
      {absl::StrCat("\xEF\xBB\xBF", std::string(kGood)), kByteOrderMark, 1},
      {std::string(100'000, '['), kTooDeep, 17},
      {R"({"a":1e400})", kNumberOutOfRange, 6},
      {R"({"a":1,"a":2})", kDuplicateKey, 8},
      {R"({"x":[{"b":1,"\u0062":2}]})", kDuplicateKey, 14},
      {"[]", kNotAnObject, 1},
      {"3", kNotAnObject, 1},
      {"{}", kMissingField, 1},
      {R"({"prompt":"p"})", kMissingField, 1},
      {R"({"messages":[{"role":"user"}]})", kMissingField, 14},
      {R"({"messages":[{"role":"user","content":"a","name":"n"}]})", kUnknownField, 43},
      {R"({"tools":[],"prompt":"p","completion":"c"})", kUnknownField, 2},
      {R"({"messages":{}})", kWrongType, 13},
      {R"({"messages":[1]})", kWrongType, 14},
      {R"({"messages":[{"role":"user","content":null}]})", kWrongType, 39},
      {R"({"prompt":"p","completion":["c"]})", kWrongType, 28},
      {R"({"messages":[{"role":"root","content":"a"}]})", kUnknownRole, 22},
      {Row(R"("content":"x","weight":0.5)"), kBadWeight, 87},
      {Row(R"("content":"x","weight":true)"), kBadWeight, 87},
      {R"({"messages":[{"role":"user","content":"a","weight":1}]})", kBadWeight, 52},
      {R"({"messages":[]})", kNoMessages, 13},
      {R"({"messages":[{"role":"user","content":"a"}]})", kNoAssistantTurn, 13},
      {Row(R"("content":" \n")"), kEmptyAssistant, 74},
      {Row(R"("content":"x\u0000")"), kNulCharacter, 74},
  };
}

TEST(JsonlValidatorTest, NamesLineColumnAndCodeOfEachFault) {
  for (const BadLine& bad : BadLines()) {
    const JsonlReport report = Validate(absl::StrCat(std::string(kGood), "\n", bad.line, "\n"));
    ASSERT_EQ(report.errors.size(), 1u) << bad.line.substr(0, 80);
    const JsonlError& error = report.errors.front();
    EXPECT_EQ(error.line, 2) << bad.line.substr(0, 80);
    EXPECT_EQ(JsonlErrorCodeName(error.code), JsonlErrorCodeName(bad.code))
        << bad.line.substr(0, 80) << ": " << error.reason;
    EXPECT_EQ(error.column, bad.column) << bad.line.substr(0, 80) << ": " << error.reason;
    EXPECT_EQ(report.rows, 1);
  }
}

TEST(JsonlValidatorTest, TheVerdictDoesNotDependOnTheChunks) {
  std::string text;
  for (const BadLine& bad : BadLines()) {
    if (bad.line.size() > 1000) continue;
    absl::StrAppend(&text, std::string(kGood), "\r\n", bad.line, "\n");
  }
  text += kGood;
  JsonlOptions options;
  options.max_errors = 100;
  options.row.max_line_bytes = 120;
  const JsonlReport whole = Validate(text, options);
  EXPECT_GT(whole.errors.size(), 25u);
  for (size_t chunk = 1; chunk <= 300; ++chunk) {
    ASSERT_EQ(Validate(text, options, chunk), whole) << "chunks of " << chunk;
  }
}

TEST(JsonlValidatorTest, TheVerdictDoesNotDependOnWhereOneCutFalls) {
  const std::string text = absl::StrCat(std::string(kGood), "\n{\"a\":\"\xC3\"}\n",
                                        "{\"prompt\":\"\xC3\xA4\",\"completion\":\"c\"}\r\n");
  const JsonlReport whole = Validate(text);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    JsonlValidator validator;
    validator.Feed(std::string_view(text).substr(0, cut));
    validator.Feed(std::string_view(text).substr(cut));
    ASSERT_EQ(validator.Finish(), whole) << "cut at " << cut;
  }
}

TEST(JsonlValidatorTest, RefusesALineWithoutEndAtTheCap) {
  JsonlOptions options;
  options.max_errors = 1;
  JsonlValidator validator(options);
  const std::string piece(64 * 1024, 'x');
  int fed = 0;
  while (!validator.stopped() && fed < 16 * 1024) {
    validator.Feed(piece);
    ++fed;
  }
  EXPECT_EQ(fed, 17);  // the first byte behind 1 MiB decides
  const JsonlReport report = validator.Finish();
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_EQ(report.errors[0].code, JsonlErrorCode::kLineTooLong);
  EXPECT_EQ(report.errors[0].column, (1 << 20) + 1);
  EXPECT_TRUE(report.truncated);
}

TEST(JsonlValidatorTest, StopsInALineThatDoesNotEnd) {
  JsonlOptions options;
  options.max_errors = 100;
  options.row.max_line_bytes = 100;
  const std::string text = absl::StrCat(std::string(1601, 'x'), "\n{\n");
  const JsonlReport whole = Validate(text, options);
  EXPECT_EQ(whole.errors.size(), 1u);
  EXPECT_TRUE(whole.truncated);
  for (size_t chunk = 1; chunk <= 300; ++chunk) ASSERT_EQ(Validate(text, options, chunk), whole);

  JsonlValidator validator(options);
  validator.Feed(std::string_view(text).substr(0, 1600));
  EXPECT_FALSE(validator.stopped());
  validator.Feed("x");
  EXPECT_TRUE(validator.stopped());
}

TEST(JsonlValidatorTest, GoesOnBehindALineThatIsTooLong) {
  JsonlOptions options;
  options.row.max_line_bytes = 100;
  const std::string text = absl::StrCat(std::string(500, 'x'), "\n", std::string(kGood), "\n{\n");
  const JsonlReport report = Validate(text, options, 7);
  ASSERT_EQ(report.errors.size(), 2u);
  EXPECT_EQ(report.errors[1].line, 3);
  EXPECT_EQ(report.rows, 1);
}

TEST(JsonlValidatorTest, StopsAtTheCapsOnRowsBytesAndErrors) {
  const std::string three =
      absl::StrCat(std::string(kGood), "\n", std::string(kGood), "\n", std::string(kGood), "\n");
  JsonlOptions rows;
  rows.max_rows = 2;
  JsonlReport report = Validate(three, rows);
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_EQ(report.errors[0].code, JsonlErrorCode::kTooManyRows);
  EXPECT_EQ(report.errors[0].line, 3);

  JsonlOptions bytes;
  bytes.max_bytes = static_cast<int64_t>(kGood.size()) + 3;
  report = Validate(three, bytes);
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_EQ(report.errors[0].code, JsonlErrorCode::kTooManyBytes);
  EXPECT_EQ(report.errors[0].line, 2);
  EXPECT_EQ(report.errors[0].column, 3);
  for (size_t chunk = 1; chunk < 100; ++chunk) ASSERT_EQ(Validate(three, bytes, chunk), report);

  JsonlOptions errors;
  errors.max_errors = 2;
  report = Validate("{\n{\n{\n{\n", errors);
  EXPECT_EQ(report.errors.size(), 2u);
  EXPECT_TRUE(report.truncated);
}

TEST(JsonlValidatorTest, RefusesADataSetThatTrainsNothing) {
  for (const std::string& text :
       {std::string(), std::string("\n \n"), Row(R"("content":"x","weight":0)")}) {
    const JsonlReport report = Validate(text);
    ASSERT_EQ(report.errors.size(), 1u);
    EXPECT_EQ(report.errors[0].code, JsonlErrorCode::kNoUsableRow);
    EXPECT_THAT(report.ToStatus(), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(JsonlValidatorTest, QuotesNoCustomerText) {
  const JsonlReport report =
      Validate(R"({"messages":[{"role":"user","content":"the secret"},{"role":"x"}]})");
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_THAT(report.errors[0].reason, ::testing::Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace wardtune
