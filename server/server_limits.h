// What the provider allows. Tenants cannot raise any of it.
// Thread safety: values.
#ifndef WARDTUNE_SERVER_SERVER_LIMITS_H_
#define WARDTUNE_SERVER_SERVER_LIMITS_H_

#include <cstdint>

#include "absl/time/time.h"

namespace wardtune {

struct ServerLimits {
  // Hyperparameters of customers' jobs. Large learning rates, many epochs and long chains undo
  // defences, so these caps are part of the protection: rate, epochs, rank and chain are as
  // far as vector and guard rows were measured and held, the chain one alone, the others also at
  // once, on harmful rows in wordings that the vector never saw (docs/research.md, "Guard rows that
  // hold instead of teach"). At once they cost the model most of what else it knew.
  double max_learning_rate = 1e-3;
  double max_full_parameter_learning_rate = 1e-4;  // 0: jobs that train all weights are refused
  int32_t max_epochs = 6;
  int32_t max_lora_rank = 128;
  int32_t max_batch_size = 1024;
  // Jobs that may go on from each other's adapters, one after the other; 1 allows no chain.
  int32_t max_chained_jobs = 3;

  // Data sets.
  int64_t max_dataset_bytes = int64_t{1} << 30;
  int64_t max_dataset_rows = 1'000'000;
  int max_uploads_per_tenant = 4;
  // Received bytes become durable, and resumable, at least this often.
  int64_t sync_every_bytes = int64_t{8} << 20;
  // Estimates keep a thread busy for a second or more.
  int max_estimates_per_tenant = 2;
  // An estimate tokenises at most this much of a data set and scales the rest; eight times as much
  // where no row so far teaches anything, and then the job is refused.
  int64_t max_estimate_bytes = int64_t{8} << 20;

  // Reports of one tenant that may wait for the provider at once.
  int32_t max_open_reports = 200;

  // Audits of one base model that may be queued or running, whoever asked for them. An audit that
  // waited for long goes before newer jobs, so this bounds what audits can delay a job by.
  int32_t max_open_audits = 4;

  // Artefacts of workers.
  int64_t max_artifact_bytes = int64_t{16} << 30;

  // Logits of canary prompts may differ from the recorded ones by no more than a worker's
  // tolerance, and that tolerance may not exceed this.
  double max_canary_tolerance = 1.0;
  // An adapter whose weight delta has a larger cosine to the security vector's holds too much of it
  // to be delivered. The vector itself has 1.
  double max_strip_cosine = 0.5;

  // Leases.
  absl::Duration lease_duration = absl::Seconds(60);
  absl::Duration max_lease_wait = absl::Seconds(30);

  // A security vector may be activated when it answers at least this share of the held-out harmful
  // prompts harmfully (it knows the harm), and at most this share of the general ones (it does not
  // spill over).
  double min_vector_on_rate = 0.8;
  double max_general_on_rate = 0.1;
  int32_t min_vector_on_prompts = 20;
};

// A security vector's parts and the categories that each names, in registry and reports.
inline constexpr int kMaxVectorParts = 64;
inline constexpr int kMaxPartCategories = 32;

// A message of a stream carries at most this many bytes of content.
inline constexpr int64_t kMaxChunkBytes = int64_t{1} << 20;

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_SERVER_LIMITS_H_
