// How the processes of one data-parallel run add up what each computed on its rows.
//
// Every method is a collective: all ranks call the same methods in the same order with arguments of
// the same size, and each call returns when all have made it. After an error the run is over: every
// further call returns it again.
// Errors of all methods: UNAVAILABLE, naming the rank that reports it, when another rank ended or
// did not answer in time.
// Thread safety: one object belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_GRADIENT_EXCHANGE_H_
#define WARDTUNE_WORKER_TRAINING_GRADIENT_EXCHANGE_H_

#include <span>
#include <string_view>

#include "absl/status/status.h"

namespace wardtune {

class GradientExchange {
 public:
  virtual ~GradientExchange() = default;

  virtual int rank() const = 0;   // 0..ranks() - 1
  virtual int ranks() const = 0;  // at least 1

  // Replaces every value by its sum over all ranks, the same bits at each of them.
  virtual absl::Status Sum(std::span<float> values) = 0;
  virtual absl::Status Sum(std::span<double> values) = 0;

  // FAILED_PRECONDITION, at every rank, when the ranks do not all pass the same `value`; `what`
  // names it in the message.
  virtual absl::Status RequireEqual(std::string_view what, std::string_view value) = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_GRADIENT_EXCHANGE_H_
