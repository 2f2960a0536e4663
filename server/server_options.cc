#include "server/server_options.h"

#include <cmath>
#include <functional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"

namespace wardtune {
namespace {

// One flag: how it is called, what it means, and where its text goes. The setter returns false for
// text that it cannot take.
struct Flag {
  const char* name;
  const char* help;
  std::function<bool(ServerOptions&, const std::string&)> set;
};

template <typename Field>
Flag Text(const char* name, const char* help, Field field) {
  return {name, help, [field](ServerOptions& options, const std::string& text) {
            options.*field = text;
            return !text.empty();
          }};
}

template <typename Number>
bool ReadPositive(const std::string& text, Number& number) {
  if constexpr (std::is_floating_point_v<Number>) {
    return absl::SimpleAtod(text, &number) && std::isfinite(number) && number > 0;
  } else {
    return absl::SimpleAtoi(text, &number) && number > 0;
  }
}

template <typename Number>
Flag Limit(const char* name, const char* help, Number ServerLimits::* field) {
  return {name, help, [field](ServerOptions& options, const std::string& text) {
            if constexpr (std::is_same_v<Number, absl::Duration>) {
              return absl::ParseDuration(text, &(options.limits.*field)) &&
                     options.limits.*field > absl::ZeroDuration();
            } else {
              return ReadPositive(text, options.limits.*field);
            }
          }};
}

Flag Time(const char* name, const char* help, absl::Duration ServerOptions::* field) {
  return {name, help, [field](ServerOptions& options, const std::string& text) {
            return absl::ParseDuration(text, &(options.*field)) &&
                   options.*field > absl::ZeroDuration();
          }};
}

std::vector<Flag> Flags() {
  return {
      Text("data-dir", "folder of the database and the blobs (required)", &ServerOptions::data_dir),
      Text("models-dir", "folder of Hugging Face folders, each a base model named like it",
           &ServerOptions::models_dir),
      Text("listen", "address:port of the API; port 0 picks a free one", &ServerOptions::listen),
      Text("port-file", "file that receives the port once the server accepts calls",
           &ServerOptions::port_file),
      Text("metrics-listen", "address:port of /metrics; off when missing",
           &ServerOptions::metrics_listen),
      Text("bootstrap-keys-file",
           "at the first start, make a provider and a worker key and write them here (mode 0600)",
           &ServerOptions::bootstrap_keys_file),
      Text("tls-cert", "PEM certificate chain; needs --tls-key", &ServerOptions::tls_cert),
      Text("tls-key", "PEM private key", &ServerOptions::tls_key),
      Text("role", "of bootstrap-key: provider or worker", &ServerOptions::role),
      {"threads", "threads for blocking work",
       [](ServerOptions& options, const std::string& text) {
         return ReadPositive(text, options.threads) && options.threads <= 256;
       }},
      {"max-attempts", "attempts of a job that may fail in a row before it is given up",
       [](ServerOptions& options, const std::string& text) {
         return ReadPositive(text, options.max_attempts);
       }},
      Time("drain", "how long calls may take to end on SIGTERM", &ServerOptions::drain),
      Time("collect-every", "how often blobs nobody refers to are collected",
           &ServerOptions::collect_every),
      Time("collect-grace", "how long such a blob is kept", &ServerOptions::collect_grace),
      {"audit-interval",
       "how long after its last score a delivered adapter is scored again, e.g. 720h; 0, the "
       "default, never",
       [](ServerOptions& options, const std::string& text) {
         return absl::ParseDuration(text, &options.audit_interval) &&
                options.audit_interval >= absl::ZeroDuration();
       }},
      {"max-open-audits", "audits of one base model that may be queued or running",
       [](ServerOptions& options, const std::string& text) {
         return ReadPositive(text, options.limits.max_open_audits);
       }},
      Limit("lease", "how long a worker's lease lasts without a heartbeat, at most 1h",
            &ServerLimits::lease_duration),
      Limit("max-learning-rate", "cap for tenants' jobs", &ServerLimits::max_learning_rate),
      {"max-full-parameter-learning-rate",
       "cap for tenants' full-parameter jobs; 0: there are no such jobs",
       [](ServerOptions& options, const std::string& text) {
         double& cap = options.limits.max_full_parameter_learning_rate;
         return absl::SimpleAtod(text, &cap) && std::isfinite(cap) && cap >= 0;
       }},
      Limit("max-epochs", "cap for tenants' jobs", &ServerLimits::max_epochs),
      Limit("max-lora-rank", "cap for tenants' jobs", &ServerLimits::max_lora_rank),
      Limit("max-batch-size", "cap for tenants' jobs", &ServerLimits::max_batch_size),
      Limit("max-chained-jobs", "jobs of a tenant that may go on from each other's adapters",
            &ServerLimits::max_chained_jobs),
      Limit("max-dataset-bytes", "cap for one data set", &ServerLimits::max_dataset_bytes),
      Limit("max-dataset-rows", "cap for one data set", &ServerLimits::max_dataset_rows),
      Limit("max-uploads-per-tenant", "concurrent uploads of one tenant",
            &ServerLimits::max_uploads_per_tenant),
      Limit("max-open-reports", "reported outputs of one tenant that may wait to be resolved",
            &ServerLimits::max_open_reports),
      Limit("max-strip-cosine",
            "largest cosine of an adapter to its security vector that is delivered; workers "
            "deliver none above 0.5",
            &ServerLimits::max_strip_cosine),
      Limit("min-vector-on-rate", "harmful rate a security vector must reach to be activated",
            &ServerLimits::min_vector_on_rate),
      Limit("max-general-on-rate", "harmful rate on general prompts that it may not exceed",
            &ServerLimits::max_general_on_rate),
      Limit("min-vector-on-prompts", "held-out prompts that it must have been measured on",
            &ServerLimits::min_vector_on_prompts),
  };
}

absl::Status Bad(const std::string& argument, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat(argument, ": ", why, "; --help lists the flags"));
}

absl::Status Check(const ServerOptions& options) {
  if (options.data_dir.empty()) return Bad("--data-dir", "is required");
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return Bad("--tls-cert", "and --tls-key go together");
  }
  if (options.bootstrap_key && options.role != "provider" && options.role != "worker") {
    return Bad("--role", "must be provider or worker");
  }
  return absl::OkStatus();
}

}  // namespace

std::string ServerUsage() {
  std::string usage =
      "wardtune-server --data-dir DIR [flags]                runs the server\n"
      "wardtune-server bootstrap-key --data-dir DIR --role provider|worker\n"
      "                                                      prints a new key (server stopped)\n\n";
  for (const Flag& flag : Flags()) {
    absl::StrAppendFormat(&usage, "  --%-24s %s\n", flag.name, flag.help);
  }
  return usage;
}

absl::StatusOr<ServerOptions> ParseServerOptions(const std::vector<std::string>& arguments) {
  ServerOptions options;
  const std::vector<Flag> flags = Flags();
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--help" || argument == "-h") return absl::CancelledError(ServerUsage());
    if (i == 0 && argument == "bootstrap-key") {
      options.bootstrap_key = true;
      continue;
    }
    if (argument.substr(0, 2) != "--") return Bad(argument, "is no flag");
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    const Flag* flag = nullptr;
    for (const Flag& known : flags) {
      if (name == known.name) flag = &known;
    }
    if (flag == nullptr) return Bad(argument, "is unknown");
    std::string value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (++i < arguments.size()) {
      value = arguments[i];
    } else {
      return Bad(argument, "lacks its value");
    }
    if (!flag->set(options, value)) return Bad("--" + name, absl::StrCat("cannot be ", value));
  }
  WT_RETURN_IF_ERROR(Check(options));
  return options;
}

}  // namespace wardtune
