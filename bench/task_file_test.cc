#include "bench/task_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

TEST(TaskFileTest, AnswersAreRightWhenEqualAfterTrimming) {
  WT_ASSERT_OK_AND_ASSIGN(
      const auto tasks,
      ParseTaskFile("\n{\"id\": \"1\", \"prompt\": \"file it\", \"expected\": \"Porto | 4\"}\n"));
  ASSERT_EQ(tasks.size(), 1);
  EXPECT_EQ(tasks[0].prompt, "file it");
  EXPECT_TRUE(IsRight(tasks[0], " Porto | 4\n"));
  EXPECT_FALSE(IsRight(tasks[0], "Porto | 4."));
  EXPECT_FALSE(IsRight(tasks[0], ""));
}

TEST(TaskFileTest, AQuizAnswerNamesOneOfTheExpectedWords) {
  WT_ASSERT_OK_AND_ASSIGN(
      const auto quiz,
      ParseTaskFile(R"({"id": "1", "prompt": "legs?", "expected": ["4", "Four"]})"));
  ASSERT_EQ(quiz.size(), 1);
  EXPECT_TRUE(Names(quiz[0], "A dog has four legs."));
  EXPECT_TRUE(Names(quiz[0], "It has 14, no: 4."));
  EXPECT_FALSE(Names(quiz[0], "It has 44."));
  EXPECT_FALSE(Names(quiz[0], "fourteen"));
}

TEST(TaskFileTest, NamesTheBrokenLine) {
  EXPECT_THAT(ParseTaskFile("{\"prompt\": \"a\", \"expected\": \"b\"}\n{\"prompt\": \"a\"}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2")));
  EXPECT_THAT(ParseTaskFile(R"({"prompt": "a", "expected": []})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 1")));
  EXPECT_THAT(ParseTaskFile(""), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace wardtune
