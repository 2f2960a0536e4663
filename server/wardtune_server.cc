#include "server/wardtune_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <prometheus/exposer.h>
#include <prometheus/registry.h>

#include <chrono>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/thread_pool.h"
#include "server/audit_scheduler.h"
#include "server/bootstrap_keys.h"
#include "server/handlers/adapter_audit_handlers.h"
#include "server/handlers/handler_context.h"
#include "server/handlers/resource_messages.h"
#include "server/row_scan_check.h"
#include "server/rpc/call_runner.h"
#include "server/rpc/structured_log.h"
#include "server/services/services.h"
#include "storage/folder_blob_store.h"
#include "storage/sqlite_store.h"

namespace wardtune {
namespace {

constexpr char kVersion[] = "0.1.0";
// The largest request is a safety suite: 4.25 MiB by the limits of its fields.
constexpr int kMaxReceiveBytes = 5 << 20;
constexpr size_t kMaxCallMemoryBytes = size_t{512} << 20;
constexpr int kMaxConcurrentStreams = 128;
constexpr int kMaxMetadataBytes = 16 << 10;
constexpr absl::Duration kTickEvery = absl::Milliseconds(100);
constexpr absl::Duration kReapEvery = absl::Seconds(1);
constexpr absl::Duration kGaugesEvery = absl::Seconds(5);
constexpr absl::Duration kAuditsEvery = absl::Seconds(5);
constexpr absl::Duration kAnswersKeptFor = absl::Hours(24 * 7);

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials(const ServerOptions& options,
                                                                     FileSystem& files) {
  if (options.tls_cert.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions tls;
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  WT_ASSIGN_OR_RETURN(pair.cert_chain, files.ReadFile(options.tls_cert));
  WT_ASSIGN_OR_RETURN(pair.private_key, files.ReadFile(options.tls_key));
  tls.pem_key_cert_pairs.push_back(pair);
  return grpc::SslServerCredentials(tls);
}

// Whether only this machine reaches `address:port`.
bool IsLoopback(const std::string& listen) {
  return absl::StartsWith(listen, "127.") || absl::StartsWith(listen, "localhost:") ||
         absl::StartsWith(listen, "[::1]:") || absl::StartsWith(listen, "unix:");
}

// One peer cannot tie up the server: message and header sizes, streams and pings are bounded, and
// connections that are idle or dead are closed.
void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.SetResourceQuota(grpc::ResourceQuota("server").Resize(kMaxCallMemoryBytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(absl::Minutes(1)));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(absl::Seconds(20)));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(absl::Seconds(10)));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(absl::Minutes(10)));
  // A second server on the same port must fail, not share its calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

class WardtuneServer::Impl {
 public:
  Impl(const ServerOptions& options, Clock& clock, FileSystem& files, std::ostream& log)
      : options_(options),
        clock_(clock),
        files_(files),
        log_(log, clock),
        metrics_(kVersion),
        waits_(clock),
        running_(clock, metrics_),
        upload_slots_(options.limits.max_uploads_per_tenant, "concurrent uploads"),
        estimate_slots_(options.limits.max_estimates_per_tenant, "concurrent estimates"),
        limiter_(clock, {}) {}

  ~Impl() { Shutdown(); }

  absl::Status Start() {
    WT_RETURN_IF_ERROR(OpenStores());
    if (!options_.bootstrap_keys_file.empty()) {
      WT_RETURN_IF_ERROR(
          WriteBootstrapKeys(store_->tenants(), files_, options_.bootstrap_keys_file));
    }
    WT_RETURN_IF_ERROR(StartMetrics());
    WT_RETURN_IF_ERROR(StartServices());
    StartDuties();
    if (!options_.port_file.empty()) {
      WT_RETURN_IF_ERROR(files_.WriteFileAtomically(options_.port_file, absl::StrCat(port_, "\n")));
    }
    log_.Write("started", {{"version", std::string(kVersion)},
                           {"port", static_cast<int64_t>(port_)},
                           {"metrics_port", static_cast<int64_t>(metrics_port_)},
                           {"base_models", static_cast<int64_t>(models_->models().size())}});
    if (options_.tls_cert.empty() && !IsLoopback(options_.listen)) {
      log_.Write("warning", {{"detail", std::string("no TLS: keys and rows cross the network in "
                                                    "the clear; set --tls-cert and --tls-key")},
                             {"listen", options_.listen}});
    }
    return absl::OkStatus();
  }

  void Shutdown() {
    if (stopped_) return;
    stopped_ = true;
    log_.Write("stopping", {});
    if (grpc_server_ != nullptr) {
      if (auto* health = grpc_server_->GetHealthCheckService()) health->SetServingStatus(false);
      runner_->BeginDrain();
      waits_.Close();
      grpc_server_->Shutdown(std::chrono::system_clock::now() +
                             absl::ToChronoNanoseconds(options_.drain));
    }
    duties_.clear();
    if (runner_ != nullptr) runner_->Stop();
    exposer_.reset();
    grpc_server_.reset();
    services_.clear();
    models_.reset();
    blobs_.reset();
    store_.reset();
    log_.Write("stopped", {});
  }

  void RunDuties() {
    ReapLeases();
    waits_.Tick();
    ScheduleAudits();
    RefreshGauges();
  }

  int port() const { return port_; }
  int metrics_port() const { return metrics_port_; }
  MetadataStore& store() { return *store_; }
  BlobStore& blobs() { return *blobs_; }

 private:
  absl::Status OpenStores() {
    WT_RETURN_IF_ERROR(files_.CreateFolders(options_.data_dir));
    SqliteStoreOptions store;
    store.path = options_.data_dir + "/wardtune.db";
    store.max_attempts = options_.max_attempts;
    store.max_open_reports = options_.limits.max_open_reports;
    store.on_job_change = [this](const std::string& job_id, JobState state) {
      waits_.Notify(job_id);
      if (state == JobState::kQueued) waits_.Notify(kWorkTopic);
    };
    WT_ASSIGN_OR_RETURN(store_, SqliteStore::Open(store, clock_, files_));
    WT_ASSIGN_OR_RETURN(blobs_,
                        FolderBlobStore::Open(options_.data_dir + "/blobs", files_, clock_));
    WT_ASSIGN_OR_RETURN(models_, ModelCatalog::Open(files_, options_.models_dir,
                                                    options_.data_dir + "/model_digests.txt"));
    WT_RETURN_IF_ERROR(store_->models().OfferBaseModels(models_->models()));
    return store_->work().ExtendLeases(options_.limits.lease_duration);
  }

  absl::Status StartMetrics() {
    if (options_.metrics_listen.empty()) return absl::OkStatus();
    try {
      exposer_ = std::make_unique<prometheus::Exposer>(options_.metrics_listen, 1);
    } catch (const std::exception& error) {  // civetweb's only way to say so
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", options_.metrics_listen, ": ", error.what()));
    }
    exposer_->RegisterCollectable(metrics_.registry());
    metrics_port_ = exposer_->GetListeningPorts().at(0);
    return absl::OkStatus();
  }

  absl::Status StartServices() {
    authenticator_ = std::make_unique<Authenticator>(store_->tenants(), limiter_);
    runner_ = std::make_unique<CallRunner>(*authenticator_, log_, metrics_, clock_,
                                           CallRunner::Options{.threads = options_.threads});
    context_ = std::make_unique<HandlerContext>(
        HandlerContext{*store_, *blobs_, *models_, waits_, upload_slots_, estimate_slots_, running_,
                       metrics_, log_, clock_, options_.limits});
    for (const auto make : {MakeDatasetService, MakeFineTuningService, MakeAdapterService,
                            MakeModelService, MakeSecurityVectorService, MakeOutputReportService,
                            MakeAdminService, MakeWorkerService}) {
      services_.push_back(make(*context_, *runner_));
    }
    WT_ASSIGN_OR_RETURN(const auto credentials, Credentials(options_, files_));
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    SetLimits(builder);
    builder.AddListeningPort(options_.listen, credentials, &port_);
    for (const auto& service : services_) builder.RegisterService(service.get());
    grpc_server_ = builder.BuildAndStart();
    if (grpc_server_ == nullptr || port_ == 0) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.listen));
    }
    return absl::OkStatus();
  }

  void StartDuties() {
    duties_.push_back(std::make_unique<PeriodicTask>(kTickEvery, [this] { waits_.Tick(); }));
    duties_.push_back(std::make_unique<PeriodicTask>(kReapEvery, [this] { ReapLeases(); }));
    duties_.push_back(std::make_unique<PeriodicTask>(kGaugesEvery, [this] { RefreshGauges(); }));
    duties_.push_back(std::make_unique<PeriodicTask>(kAuditsEvery, [this] { ScheduleAudits(); }));
    duties_.push_back(
        std::make_unique<PeriodicTask>(options_.collect_every, [this] { Collect(); }));
  }

  void Report(const char* duty, const absl::Status& status) {
    if (status.ok()) return;
    log_.Write("failure", {{"duty", std::string(duty)}, {"detail", std::string(status.message())}});
  }

  void ReapLeases() {
    const auto expired = store_->work().ExpireLeases();
    Report("lease_reaper", expired.status());
    if (!expired.ok()) return;
    for (const JobRecord& job : *expired) {
      running_.Dropped(job.id);
      log_.Write("lease_expired", {{"job", job.id}});
      metrics_.RecordEnded(job.state, job.error_code);
      TellOfAudit(job, metrics_, log_);
      if (IsFinal(job.state)) {
        CountScannedRows(ParseStored<v1::RowScanReport>(job.row_scan), metrics_);
      }
    }
  }

  void ScheduleAudits() {
    const AuditPlan plan{options_.audit_interval, options_.limits.max_open_audits};
    Report("audits", wardtune::ScheduleAudits(*store_, plan, log_));
  }

  void RefreshGauges() {
    const auto stats = store_->work().GetQueueStats();
    Report("gauges", stats.status());
    if (!stats.ok()) return;
    std::map<std::string, int64_t> by_state;
    for (const auto& [state, count] : stats->jobs) {
      by_state[absl::AsciiStrToLower(ToString(state))] = count;
    }
    metrics_.SetJobs(by_state);
    metrics_.SetAliveWorkers(stats->alive_workers);
    metrics_.SetOldestHeartbeatAge(running_.OldestHeartbeatAge());
    RefreshSafetyGauges();
  }

  void RefreshSafetyGauges() {
    const auto counts = store_->reports().CountReports();
    Report("gauges", counts.status());
    if (!counts.ok()) return;
    for (const auto& [state, count] : *counts) {
      metrics_.SetOutputReports(absl::AsciiStrToLower(ToString(state)), count);
    }
    const auto drifted = store_->audits().CountDriftedAdapters();
    Report("gauges", drifted.status());
    if (drifted.ok()) metrics_.SetDriftedAdapters(*drifted);
  }

  // Blobs that no row names, and answers that nobody will ask for again.
  void Collect() {
    Report("answers", store_->maintenance().ForgetAnswers(kAnswersKeptFor));
    const auto live_blobs = store_->maintenance().ReferencedBlobs();
    const auto live_partials = store_->maintenance().UploadingDatasets();
    Report("collector", live_blobs.status());
    Report("collector", live_partials.status());
    if (!live_blobs.ok() || !live_partials.ok()) return;
    const auto collected =
        blobs_->CollectGarbage(*live_blobs, *live_partials, options_.collect_grace);
    Report("collector", collected.status());
    if (collected.ok() && collected->blobs + collected->partials > 0) {
      log_.Write("collected", {{"blobs", collected->blobs}, {"partials", collected->partials}});
    }
  }

  const ServerOptions options_;
  Clock& clock_;
  FileSystem& files_;
  StructuredLog log_;
  ServerMetrics metrics_;
  WaitList waits_;
  RunningWork running_;
  TenantSlots upload_slots_;
  TenantSlots estimate_slots_;
  FailureLimiter limiter_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<FolderBlobStore> blobs_;
  std::unique_ptr<ModelCatalog> models_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<CallRunner> runner_;
  std::unique_ptr<HandlerContext> context_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> grpc_server_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  std::vector<std::unique_ptr<PeriodicTask>> duties_;
  int port_ = 0;
  int metrics_port_ = 0;
  bool stopped_ = false;
};

WardtuneServer::WardtuneServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

WardtuneServer::~WardtuneServer() = default;

absl::StatusOr<std::unique_ptr<WardtuneServer>> WardtuneServer::Start(const ServerOptions& options,
                                                                      Clock& clock,
                                                                      FileSystem& files,
                                                                      std::ostream& log) {
  auto impl = std::make_unique<Impl>(options, clock, files, log);
  WT_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<WardtuneServer>(new WardtuneServer(std::move(impl)));
}

int WardtuneServer::port() const { return impl_->port(); }
int WardtuneServer::metrics_port() const { return impl_->metrics_port(); }
MetadataStore& WardtuneServer::store() { return impl_->store(); }
BlobStore& WardtuneServer::blobs() { return impl_->blobs(); }
void WardtuneServer::RunDuties() { impl_->RunDuties(); }
void WardtuneServer::Shutdown() { impl_->Shutdown(); }

}  // namespace wardtune
