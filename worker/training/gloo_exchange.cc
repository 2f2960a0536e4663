#include "worker/training/gloo_exchange.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <csignal>
#include <string_view>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/model/torch_boundary.h"

namespace wardtune {
namespace {

constexpr int kMaxRanks = 1024;

absl::Status CheckExchangeOptions(const GlooExchangeOptions& options) {
  if (options.ranks < 1 || options.ranks > kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("ranks: must be in 1..", kMaxRanks, ", is ", options.ranks));
  }
  if (options.rank < 0 || options.rank >= options.ranks) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank: must be in 0..", options.ranks - 1, ", is ", options.rank));
  }
  if (options.timeout < absl::Milliseconds(1) || options.timeout > absl::Hours(24)) {
    return absl::InvalidArgumentError(
        absl::StrCat("timeout: must be in 1ms..24h, is ", absl::FormatDuration(options.timeout)));
  }
  return absl::OkStatus();
}

// Where the ranks leave their addresses. Throws what LibTorch throws.
absl::StatusOr<c10::intrusive_ptr<c10d::Store>> OpenStore(const GlooExchangeOptions& options) {
  const std::string& store = options.store;
  if (store.size() > 5 && store.starts_with("file:")) {
    return c10::make_intrusive<c10d::FileStore>(store.substr(5), options.ranks);
  }
  const size_t colon = store.rfind(':');
  int port = 0;
  if (store.starts_with("tcp:") && colon > 4 && absl::SimpleAtoi(store.substr(colon + 1), &port) &&
      port >= 1 && port <= 65535) {
    c10d::TCPStoreOptions tcp;
    tcp.port = static_cast<uint16_t>(port);
    tcp.isServer = options.rank == 0;
    tcp.numWorkers = options.ranks;
    tcp.timeout = absl::ToChronoMilliseconds(options.timeout);
    return c10::make_intrusive<c10d::TCPStore>(store.substr(4, colon - 4), tcp);
  }
  return absl::InvalidArgumentError("store: must be file:PATH or tcp:HOST:PORT");
}

// Gloo writes to its sockets so that a rank that has just died is a signal, not an error.
void SurviveBrokenPipes() {
  struct sigaction action = {};
  if (sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, nullptr);
  }
}

class GlooExchange final : public GradientExchange {
 public:
  explicit GlooExchange(const GlooExchangeOptions& options) : options_(options) {}

  absl::Status Connect() {
    return Guarded("meeting the other ranks", [&]() -> absl::Status {
      WT_ASSIGN_OR_RETURN(const auto store, OpenStore(options_));
      store->setTimeout(absl::ToChronoMilliseconds(options_.timeout));
      auto gloo =
          c10d::ProcessGroupGloo::Options::create(absl::ToChronoMilliseconds(options_.timeout));
      gloo->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(options_.address));
      gloo->threads = 1;  // calls come one after the other
      group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store, options_.rank, options_.ranks,
                                                           std::move(gloo));
      return absl::OkStatus();
    });
  }

  int rank() const override { return options_.rank; }
  int ranks() const override { return options_.ranks; }

  absl::Status Sum(std::span<float> values) override {
    return AllReduce("adding up gradients", View(values, at::kFloat), c10d::ReduceOp::SUM);
  }
  absl::Status Sum(std::span<double> values) override {
    return AllReduce("adding up losses", View(values, at::kDouble), c10d::ReduceOp::SUM);
  }

  absl::Status RequireEqual(std::string_view what, std::string_view value) override {
    // The largest value and the largest negated value differ in sign alone where all are equal.
    std::vector<int64_t> extremes;
    for (const char c : Sha256Hex(value)) {
      extremes.push_back(c);
      extremes.push_back(-static_cast<int64_t>(c));
    }
    WT_RETURN_IF_ERROR(AllReduce(absl::StrCat("comparing ", std::string(what)),
                                 View(std::span<int64_t>(extremes), at::kLong),
                                 c10d::ReduceOp::MAX));
    for (size_t i = 0; i < extremes.size(); i += 2) {
      if (extremes[i] != -extremes[i + 1]) {
        return absl::FailedPreconditionError(
            absl::StrCat(Name(), ": the ranks do not have the same ", std::string(what)));
      }
    }
    return absl::OkStatus();
  }

 private:
  template <typename T>
  static at::Tensor View(std::span<T> values, at::ScalarType type) {
    return at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, type);
  }

  std::string Name() const { return absl::StrCat("rank ", options_.rank, " of ", options_.ranks); }

  absl::Status AllReduce(std::string_view doing, at::Tensor tensor, c10d::ReduceOp operation) {
    return Guarded(doing, [&] {
      std::vector<at::Tensor> tensors = {std::move(tensor)};
      c10d::AllreduceOptions reduce;
      reduce.reduceOp = std::move(operation);
      group_->allreduce(tensors, reduce)->wait();
      return absl::OkStatus();
    });
  }

  // What Gloo throws is nearly always another rank's end; out of memory stays what it is.
  template <typename F>
  absl::Status Guarded(std::string_view doing, F f) {
    if (!failure_.ok()) return failure_;
    failure_ = AtTorchBoundary(doing, std::move(f));
    if (absl::IsInternal(failure_)) {
      failure_ = absl::UnavailableError(
          absl::StrCat(Name(), ": another rank ended or did not answer within ",
                       absl::FormatDuration(options_.timeout), ": ", failure_.message()));
    }
    return failure_;
  }

  const GlooExchangeOptions options_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GradientExchange>> ConnectGloo(const GlooExchangeOptions& options) {
  WT_RETURN_IF_ERROR(CheckExchangeOptions(options));
  SurviveBrokenPipes();
  auto exchange = std::make_unique<GlooExchange>(options);
  WT_RETURN_IF_ERROR(exchange->Connect());
  return exchange;
}

}  // namespace wardtune
