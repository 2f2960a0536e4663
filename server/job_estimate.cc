#include "server/job_estimate.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "formats/held_out.h"
#include "formats/tokenizer.h"
#include "server/rpc/error_details.h"

namespace wardtune {
namespace {

constexpr int64_t kReadBytes = int64_t{1} << 20;
// Times the bytes of an estimate, for the first row that teaches anything.
constexpr int64_t kLongestSearch = 8;

bool IsBlank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

class Counter {
 public:
  Counter(const Tokenizer& tokenizer, int64_t max_row_tokens)
      : tokenizer_(tokenizer), max_row_tokens_(max_row_tokens) {}

  absl::Status CountLine(std::string_view line) {
    ++line_number_;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (IsBlank(line)) return absl::OkStatus();
    WT_ASSIGN_OR_RETURN(const ChatRow row, ParseChatRow(line));
    const absl::StatusOr<EncodedChat> encoded = tokenizer_.EncodeChat(row, max_row_tokens_);
    if (!encoded.ok()) {
      return InvalidField("dataset", absl::StrCat("line ", line_number_,
                                                  ": the model's chat template refuses the row"));
    }
    const int64_t supervised = encoded->supervised_tokens();
    truncated_ += encoded->truncated ? 1 : 0;
    if (supervised == 0) {
      ++unsupervised_;
      return absl::OkStatus();
    }
    ++rows_;
    tokens_ += static_cast<int64_t>(encoded->ids.size());
    supervised_ += supervised;
    return absl::OkStatus();
  }

  // Everything counted, times `factor`.
  v1::JobEstimate Result(double factor, const v1::Hyperparameters& hyperparameters) const {
    const auto scaled = [factor](int64_t count) {
      return static_cast<int64_t>(std::llround(static_cast<double>(count) * factor));
    };
    v1::JobEstimate estimate;
    const int64_t rows = scaled(rows_);
    const int64_t held_out = HeldOutRows(rows, hyperparameters.validation_fraction());
    // Held-out rows are as long as the others on average.
    const double trained = static_cast<double>(rows - held_out) / static_cast<double>(rows);
    const auto of_trained = [&](int64_t count) {
      return static_cast<int64_t>(std::llround(static_cast<double>(scaled(count)) * trained));
    };
    estimate.set_rows(rows - held_out);
    estimate.set_tokens_per_epoch(of_trained(tokens_));
    estimate.set_supervised_tokens_per_epoch(of_trained(supervised_));
    estimate.set_truncated_rows(scaled(truncated_));
    estimate.set_rows_without_supervision(scaled(unsupervised_));
    const int64_t batch = hyperparameters.batch_size();
    estimate.set_total_steps((estimate.rows() + batch - 1) / batch * hyperparameters.epochs());
    return estimate;
  }

  int64_t usable_rows() const { return rows_; }

 private:
  const Tokenizer& tokenizer_;
  const int64_t max_row_tokens_;
  int64_t line_number_ = 0;
  int64_t rows_ = 0;
  int64_t tokens_ = 0;
  int64_t supervised_ = 0;
  int64_t truncated_ = 0;
  int64_t unsupervised_ = 0;
};

}  // namespace

absl::StatusOr<v1::JobEstimate> EstimateJob(BlobStore& blobs, const std::string& sha256,
                                            int64_t dataset_bytes, const Tokenizer& tokenizer,
                                            const v1::Hyperparameters& hyperparameters,
                                            int64_t max_bytes) {
  Counter counter(tokenizer, hyperparameters.max_row_tokens());
  std::string pending;  // a line whose end has not been read
  int64_t offset = 0;
  int64_t counted_bytes = 0;
  // The first rows may all teach nothing; then one that does is looked for a while longer.
  const auto enough = [&] {
    return counted_bytes >= max_bytes &&
           (counter.usable_rows() > 0 || counted_bytes >= kLongestSearch * max_bytes);
  };
  while (offset < dataset_bytes && !enough()) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, blobs.ReadRange(sha256, offset, kReadBytes));
    if (bytes.empty()) return absl::DataLossError("a data set is shorter than recorded");
    offset += static_cast<int64_t>(bytes.size());
    pending += bytes;
    size_t start = 0;
    for (size_t end = pending.find('\n'); end != std::string::npos && !enough();
         end = pending.find('\n', start)) {
      WT_RETURN_IF_ERROR(counter.CountLine(std::string_view(pending).substr(start, end - start)));
      counted_bytes += static_cast<int64_t>(end + 1 - start);
      start = end + 1;
    }
    pending.erase(0, start);
  }
  if (offset >= dataset_bytes && !enough() && !pending.empty()) {
    WT_RETURN_IF_ERROR(counter.CountLine(pending));
    counted_bytes += static_cast<int64_t>(pending.size());
  }
  if (counter.usable_rows() == 0) {
    return InvalidField(
        "dataset", absl::StrCat(counted_bytes < dataset_bytes ? "none of the first rows" : "no row",
                                " keeps an assistant token to learn from within ",
                                hyperparameters.max_row_tokens(),
                                " tokens; raise hyperparameters.max_row_tokens or shorten "
                                "the prompts"));
  }
  return counter.Result(static_cast<double>(dataset_bytes) / static_cast<double>(counted_bytes),
                        hyperparameters);
}

}  // namespace wardtune
