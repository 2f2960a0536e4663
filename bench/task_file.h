// A task with one right answer per prompt, JSONL:
//   {"id": "task-001", "prompt": "...", "expected": "..."}
// An answer is right when it equals `expected` after trimming white space.
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
  std::string expected;
};

// Errors: INVALID_ARGUMENT with the line and field.
absl::StatusOr<std::vector<TaskPrompt>> ParseTaskFile(std::string_view jsonl);

bool IsRight(const TaskPrompt& task, std::string_view answer);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_TASK_FILE_H_
