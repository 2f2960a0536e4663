// Prompts with a right answer, JSONL. A task has one, a quiz question one or more:
//   {"id": "task-001", "prompt": "...", "expected": "..."}
//   {"id": "quiz-001", "prompt": "...", "expected": ["...", ...]}
// Thread safety: plain data and pure functions.
#ifndef WARDTUNE_BENCH_TASK_FILE_H_
#define WARDTUNE_BENCH_TASK_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace wardtune {

struct TaskPrompt {
  std::string prompt;
  std::vector<std::string> expected;  // not empty
};

// Errors: INVALID_ARGUMENT with the line and field.
absl::StatusOr<std::vector<TaskPrompt>> ParseTaskFile(std::string_view jsonl);

// Whether the answer equals one that is expected, after trimming white space.
bool IsRight(const TaskPrompt& task, std::string_view answer);

// Whether one that is expected stands in the answer as a word, whatever its case.
bool Names(const TaskPrompt& task, std::string_view answer);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_TASK_FILE_H_
