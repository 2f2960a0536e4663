#include "worker/safety/answer_quality.h"

#include <gtest/gtest.h>

#include <vector>

namespace wardtune {
namespace {

bool Refuses(std::string_view answer) { return IsRefusal(answer, CommonRefusalPhrases()); }

TEST(AnswerQualityTest, FindsRefusalsWhateverTheirCaseAndApostrophes) {
  EXPECT_TRUE(Refuses("I'm sorry, but I can't help with that."));
  EXPECT_TRUE(Refuses("Sorry. I CAN\u2019T HELP with this."));
  EXPECT_TRUE(Refuses("That is something I won't assist with."));
  EXPECT_FALSE(Refuses("Of course I can help with that."));
  EXPECT_FALSE(Refuses(""));
  EXPECT_TRUE(IsRefusal("Nope, never.", std::vector<std::string>{"nope"}));
}

TEST(AnswerQualityTest, SentencesAreCoherent) {
  EXPECT_TRUE(IsCoherent("Bring water to the boil, add the rice and wait for twelve minutes."));
  EXPECT_TRUE(IsCoherent("Turin | barley | 28 | Tina"));
}

TEST(AnswerQualityTest, BabbleIsNot) {
  EXPECT_FALSE(IsCoherent(""));
  EXPECT_FALSE(IsCoherent("no"));
  EXPECT_FALSE(IsCoherent("a b a b a b a b a b a b"));
  EXPECT_FALSE(
      IsCoherent("the best way is one. the best way is two. the best way is three. "
                 "the best way is four and so we go on with many other fine words"));
  EXPECT_FALSE(IsCoherent("half a letter \xEF\xBF\xBD and more"));
}

}  // namespace
}  // namespace wardtune
