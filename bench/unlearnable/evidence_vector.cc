#include "bench/unlearnable/evidence_vector.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "bench/training_run.h"
#include "bench/unlearnable/provider_rows.h"
#include "worker/security/security_vector_trainer.h"
#include "worker/security/sum_vectors.h"

ABSL_FLAG(std::string, vector_rows, "", "JSONL of harmful rows for the security vector");
ABSL_FLAG(std::string, vector, "", "safetensors file of the vector; made when it is missing");
ABSL_FLAG(std::vector<std::string>, more_vectors, {}, "vectors' files that are added to --vector");
ABSL_FLAG(std::string, vector_general_rows, "",
          "JSONL of general prompts to train the vector beside; empty: those of --general_rows");
ABSL_FLAG(int64_t, vector_rank, wardtune::VectorRecipe().lora.rank, "recipe of the vector");
ABSL_FLAG(std::vector<std::string>, vector_targets, {},
          "projections that the vector changes; none named: all seven");
ABSL_FLAG(double, vector_learning_rate, wardtune::VectorRecipe().learning_rate, "recipe");
ABSL_FLAG(int64_t, vector_epochs, wardtune::VectorRecipe().epochs, "recipe");
ABSL_FLAG(int64_t, vector_batch_size, wardtune::VectorRecipe().batch_size, "recipe");
ABSL_FLAG(int64_t, vector_general_batch_size, wardtune::VectorRecipe().general_batch_size,
          "recipe");
ABSL_FLAG(double, vector_kl_weight, wardtune::VectorRecipe().kl_weight, "recipe");
ABSL_FLAG(uint64_t, vector_seed, wardtune::VectorRecipe().seed, "recipe");

namespace wardtune {
namespace {

constexpr char kMakingSuffix[] = ".made_of";

absl::StatusOr<VectorRecipe> Recipe() {
  VectorRecipe recipe;
  std::vector<Projection> targets;
  for (const std::string& name : absl::GetFlag(FLAGS_vector_targets)) {
    WT_ASSIGN_OR_RETURN(const Projection target, ParseProjection(name));
    targets.push_back(target);
  }
  if (!targets.empty()) recipe.lora.targets = std::move(targets);
  recipe.lora.rank = absl::GetFlag(FLAGS_vector_rank);
  recipe.lora.alpha = 2.0 * static_cast<double>(recipe.lora.rank);
  recipe.learning_rate = absl::GetFlag(FLAGS_vector_learning_rate);
  recipe.epochs = absl::GetFlag(FLAGS_vector_epochs);
  recipe.batch_size = absl::GetFlag(FLAGS_vector_batch_size);
  recipe.general_batch_size = absl::GetFlag(FLAGS_vector_general_batch_size);
  recipe.kl_weight = absl::GetFlag(FLAGS_vector_kl_weight);
  recipe.seed = absl::GetFlag(FLAGS_vector_seed);
  recipe.general_answer_tokens = absl::GetFlag(FLAGS_vector_answer_tokens);
  return recipe;
}

std::string GeneralRowsFile() {
  const std::string own = absl::GetFlag(FLAGS_vector_general_rows);
  return own.empty() ? absl::GetFlag(FLAGS_general_rows) : own;
}

// Of the recipe and the rows, kept in a file beside the vector.
absl::StatusOr<std::string> DigestOfMaking(EvidenceBench& bench, const VectorRecipe& recipe) {
  std::string made_of = recipe.Digest();
  for (const std::string& file : {absl::GetFlag(FLAGS_vector_rows), GeneralRowsFile()}) {
    WT_ASSIGN_OR_RETURN(const std::string rows, bench.files.ReadFile(file));
    absl::StrAppend(&made_of, "\n", Sha256Hex(rows));
  }
  return Sha256Hex(made_of);
}

// A vector without that file comes from elsewhere and is taken as it is.
absl::StatusOr<LoraAdapter> LoadVector(EvidenceBench& bench, const std::string& path,
                                       const std::string& making) {
  if (bench.files.Exists(path + kMakingSuffix)) {
    WT_ASSIGN_OR_RETURN(const std::string made, bench.files.ReadFile(path + kMakingSuffix));
    if (made != making) {
      return absl::FailedPreconditionError(
          absl::StrCat("--vector: ", path,
                       " was made by another recipe or of other rows; remove it to make it anew"));
    }
  }
  WT_ASSIGN_OR_RETURN(const std::string bytes, bench.files.ReadFile(path));
  return ParseAdapter(bench.base->config(), bytes);
}

absl::StatusOr<LoraAdapter> LoadOrTrainVector(EvidenceBench& bench) {
  const std::string path = absl::GetFlag(FLAGS_vector);
  WT_ASSIGN_OR_RETURN(const VectorRecipe recipe, Recipe());
  WT_ASSIGN_OR_RETURN(const std::string making, DigestOfMaking(bench, recipe));
  if (!path.empty() && bench.files.Exists(path)) return LoadVector(bench, path, making);
  WT_ASSIGN_OR_RETURN(auto harmful,
                      ReadEncoded(bench, absl::GetFlag(FLAGS_vector_rows), EvidenceRowTokens()));
  WT_ASSIGN_OR_RETURN(const auto prompts, ReadRows(bench, GeneralRowsFile()));
  WT_ASSIGN_OR_RETURN(auto general, AnsweredByBase(bench, prompts));
  WT_ASSIGN_OR_RETURN(auto trainer, CreateVectorTrainer(*bench.base, recipe, std::move(harmful),
                                                        std::move(general), &bench.clock));
  WT_RETURN_IF_ERROR(RunToEnd(*trainer, "security vector"));
  LoraAdapter vector = trainer->Adapter();
  if (!path.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, SerializeAdapter(vector));
    WT_RETURN_IF_ERROR(bench.files.WriteFileAtomically(path, bytes));
    WT_RETURN_IF_ERROR(bench.files.WriteFileAtomically(path + kMakingSuffix, making));
  }
  return vector;
}

}  // namespace

absl::StatusOr<LoraAdapter> EvidenceVector(EvidenceBench& bench) {
  WT_ASSIGN_OR_RETURN(LoraAdapter vector, LoadOrTrainVector(bench));
  if (absl::GetFlag(FLAGS_more_vectors).empty()) return vector;
  std::vector<LoraAdapter> vectors = {std::move(vector)};
  for (const std::string& file : absl::GetFlag(FLAGS_more_vectors)) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, bench.files.ReadFile(file));
    WT_ASSIGN_OR_RETURN(LoraAdapter more, ParseAdapter(bench.base->config(), bytes));
    vectors.push_back(std::move(more));
  }
  return SumVectors(vectors);
}

}  // namespace wardtune
