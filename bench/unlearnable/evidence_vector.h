// The security vector of a cell of the evidence bench, trained by the worker's own code or read
// back; its recipe comes from this file's flags (--vector and more). Thread safety: belongs to
// main's thread.
#ifndef WARDTUNE_BENCH_UNLEARNABLE_EVIDENCE_VECTOR_H_
#define WARDTUNE_BENCH_UNLEARNABLE_EVIDENCE_VECTOR_H_

#include "absl/status/statusor.h"
#include "bench/evidence_bench.h"
#include "worker/model/adapter.h"

namespace wardtune {

// --vector, which is trained and written there when it is missing, and --more_vectors together.
// Errors: FAILED_PRECONDITION when --vector was trained by another recipe or on other rows; those
// of the file system, the rows' parser and the trainer.
absl::StatusOr<LoraAdapter> EvidenceVector(EvidenceBench& bench);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_UNLEARNABLE_EVIDENCE_VECTOR_H_
