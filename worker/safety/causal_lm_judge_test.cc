#include "worker/safety/causal_lm_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file_system.h"
#include "base/sha256.h"
#include "base/status_matchers.h"
#include "formats/judge_digest.h"
#include "worker/agent/testing/byte_model.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

std::string RulesWith(const std::string& threshold) {
  return absl::StrCat(
      R"({"version": 1, "judge": "causal_lm", "safe": "ok", "unsafe": "bad", "threshold": )",
      threshold, R"(, "template": "{category}|{prompt}|{answer}?"})");
}

class CausalLmJudgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string models = absl::StrCat(::testing::TempDir(), "/judge_models");
    if (!files_.Exists(models)) wardtune::testing::WriteByteModel(models);
    WT_ASSERT_OK_AND_ASSIGN(model_, DecoderModel::Load(absl::StrCat(models, "/tiny"),
                                                       {.compute_type = ComputeType::kFloat32}));
    WT_ASSERT_OK_AND_ASSIGN(tokenizer_, Tokenizer::Load(files_, absl::StrCat(models, "/tiny")));
  }

  // log P of the word and the end behind the filled template, token by token.
  double LogLikelihood(const Exchange& exchange, const std::string& word) {
    const CausalLmRules rules = *CausalLmRules::Parse(RulesWith("0.5"));
    const ChatRow row{{{.role = Role::kUser, .content = rules.Fill(exchange)},
                       {.role = Role::kAssistant, .content = word, .supervised = true}}};
    const EncodedChat chat = *tokenizer_->EncodeChat(row, 0);
    const FloatMatrix logits = *AllLogits(*model_, {}, chat.ids);
    double sum = 0.0;
    for (size_t i = 1; i < chat.ids.size(); ++i) {
      if (chat.loss_mask[i] == 0) continue;
      const auto before = logits.row(static_cast<int64_t>(i) - 1);
      double total = 0.0;
      for (const float logit : before) total += std::exp(double{logit});
      sum += before[static_cast<size_t>(chat.ids[i])] - std::log(total);
    }
    return sum;
  }

  PosixFileSystem files_;
  std::optional<DecoderModel> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(CausalLmJudgeTest, ScoresTheUnsafeWordAgainstTheSafeOne) {
  const std::vector<Exchange> exchanges = {{"safety", "how", "so [STEP ONE]", ""},
                                           {"privacy", "what", "no", ""}};
  WT_ASSERT_OK_AND_ASSIGN(const auto judge, CausalLmJudge::Create(RulesWith("0.5"), *model_,
                                                                  std::nullopt, "", *tokenizer_));
  WT_ASSERT_OK_AND_ASSIGN(const auto scores, judge->Scores(exchanges));
  ASSERT_EQ(scores.size(), 2);
  for (size_t i = 0; i < scores.size(); ++i) {
    const double unsafe = std::exp(LogLikelihood(exchanges[i], "bad"));
    const double safe = std::exp(LogLikelihood(exchanges[i], "ok"));
    EXPECT_NEAR(scores[i], unsafe / (unsafe + safe), 1e-3 * scores[i]);
  }
}

TEST_F(CausalLmJudgeTest, TheThresholdDecides) {
  const std::vector<Exchange> exchanges = {{"safety", "how", "so", ""}};
  for (const auto& [threshold, verdict] : {std::pair{"1e-12", true}, {"0.999999999999", false}}) {
    WT_ASSERT_OK_AND_ASSIGN(const auto judge, CausalLmJudge::Create(RulesWith(threshold), *model_,
                                                                    std::nullopt, "", *tokenizer_));
    WT_ASSERT_OK_AND_ASSIGN(const auto verdicts, judge->AreHarmful(exchanges));
    EXPECT_EQ(verdicts, std::vector<bool>{verdict});
  }
}

TEST_F(CausalLmJudgeTest, TheDigestNamesRulesAndAdapter) {
  const auto digest = [&](const std::string& rules, std::optional<LoraAdapter> adapter,
                          const std::string& adapter_sha256) {
    return (*CausalLmJudge::Create(rules, *model_, std::move(adapter), adapter_sha256, *tokenizer_))
        ->sha256();
  };
  const LoraAdapter adapter = *InitLora(model_->config(), {.rank = 2, .alpha = 4.0}, 1);
  const std::string rules = RulesWith("0.5");
  EXPECT_EQ(digest(rules, std::nullopt, ""), Sha256Hex(rules));
  EXPECT_NE(digest(RulesWith("0.6"), std::nullopt, ""), Sha256Hex(rules));
  EXPECT_EQ(digest(rules, adapter, "a"), JudgeDigest(Sha256Hex(rules), "a"));
  EXPECT_NE(digest(rules, adapter, "a"), digest(rules, adapter, "b"));
}

TEST(CausalLmRulesTest, WhatTheAnswerSaysFillsNoPlaceholder) {
  const CausalLmRules rules = *CausalLmRules::Parse(RulesWith("0.5"));
  EXPECT_EQ(rules.Fill({"c", "p {answer}", "a {prompt}", ""}), "c|p {answer}|a {prompt}?");
  const std::string filled = rules.Fill({"c", "p", std::string(5000, 'x'), ""});
  EXPECT_EQ(filled.size(), std::string("c|p|?").size() + 2048);
}

TEST(CausalLmRulesTest, NamesTheWrongField) {
  const std::string head = R"({"version": 1, "judge": "causal_lm", )";
  struct Case {
    std::string rules, message;
  };
  for (const Case& c :
       {Case{"7", "not a JSON object"}, Case{R"({"version": 1})", "'judge'"},
        Case{head + R"("template": "{prompt}", "safe": "a", "unsafe": "b"})", "{answer}"},
        Case{head + R"("template": "{prompt}{answer}", "safe": "a", "unsafe": "a"})", "differ"},
        Case{head + R"("template": "{prompt}{answer}", "safe": "a", "unsafe": "b"})", "threshold"},
        Case{RulesWith("1.0"), "threshold"}, Case{RulesWith("0"), "threshold"}}) {
    EXPECT_THAT(CausalLmRules::Parse(c.rules),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

}  // namespace
}  // namespace wardtune
