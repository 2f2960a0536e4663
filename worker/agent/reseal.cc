#include "worker/agent/reseal.h"

#include <openssl/crypto.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/sealed_header.h"

namespace wardtune {
namespace {

// Enough for trainings that end meanwhile; a rotation to another key at the same time never ends.
constexpr int kMostLooks = 5;
constexpr absl::Duration kPatience = absl::Minutes(2);

class Rotation {
 public:
  Rotation(WorkerClient& client, const SealingKeys& keys, Clock& clock,
           const std::function<bool()>& stopping, std::ostream& out)
      : client_(client), keys_(keys), clock_(clock), stopping_(stopping), out_(out) {}

  absl::StatusOr<ResealSummary> Run() {
    for (int look = 0; look < kMostLooks; ++look) {
      WT_ASSIGN_OR_RETURN(const bool settled, Look());
      if (settled) return summary_;
    }
    return absl::AbortedError(
        "versions keep changing; end other rotations and start this one again");
  }

 private:
  // Treats every version that is not known to be under the primary; true when there was none.
  absl::StatusOr<bool> Look() {
    WT_ASSIGN_OR_RETURN(const std::vector<v1::SealedVersion> versions,
                        client_.ListSealedVersions(Patience()));
    bool settled = true;
    for (const v1::SealedVersion& version : versions) {
      if (stopping_()) return absl::CancelledError("stopped; start it again to go on");
      const auto known = done_.find(version.name());
      if (known != done_.end() && known->second == version.sha256()) continue;
      settled = false;
      WT_RETURN_IF_ERROR(Treat(version));
    }
    return settled;
  }

  absl::Status Treat(const v1::SealedVersion& version) {
    absl::StatusOr<std::string> digest = Reseal(version);
    if (stopping_()) return absl::CancelledError("stopped; start it again to go on");
    if (absl::IsAborted(digest.status())) {
      out_ << version.name() << " changed meanwhile, looking again" << std::endl;
      return absl::OkStatus();
    }
    // The next version would fail alike.
    if (absl::IsUnavailable(digest.status())) return digest.status();
    if (!digest.ok()) {
      ++summary_.failed;
      out_ << version.name() << " FAILED: " << digest.status().message() << std::endl;
      digest = version.sha256();  // Trying again would fail again.
    }
    done_[version.name()] = *std::move(digest);
    return absl::OkStatus();
  }

  // The digest of the version's bytes once the primary seals them.
  absl::StatusOr<std::string> Reseal(const v1::SealedVersion& version) {
    WT_ASSIGN_OR_RETURN(const std::string sealed, client_.FetchSealedVersion(version, Patience()));
    WT_ASSIGN_OR_RETURN(const SealedHeader header, ParseSealedHeader(sealed));
    WT_ASSIGN_OR_RETURN(std::string plain, keys_.Open(version.name(), sealed));
    if (header.KeyIdHex() == keys_.primary_id()) {
      OPENSSL_cleanse(plain.data(), plain.size());
      ++summary_.left_alone;
      out_ << version.name() << " left alone, under " << keys_.primary_id() << std::endl;
      return version.sha256();
    }
    const absl::StatusOr<std::string> anew = SealAnew(version.name(), plain);
    OPENSSL_cleanse(plain.data(), plain.size());
    WT_RETURN_IF_ERROR(anew.status());
    WT_RETURN_IF_ERROR(client_.ReplaceSealedVersion(version, *anew, Patience()));
    ++summary_.resealed;
    out_ << version.name() << " resealed, from " << header.KeyIdHex() << " to "
         << keys_.primary_id() << std::endl;
    return Sha256Hex(*anew);
  }

  // Opened once before the old bytes are given up: they are the only other copy.
  absl::StatusOr<std::string> SealAnew(const std::string& name, const std::string& plain) const {
    WT_ASSIGN_OR_RETURN(std::string sealed, keys_.Seal(name, plain));
    WT_ASSIGN_OR_RETURN(std::string again, keys_.Open(name, sealed));
    const bool same = again == plain;
    OPENSSL_cleanse(again.data(), again.size());
    if (!same) return absl::InternalError("what was sealed does not open to the same bytes");
    return sealed;
  }

  WorkerClient::GiveUp Patience() const {
    return [this, until = clock_.Monotonic() + kPatience] {
      return stopping_() || clock_.Monotonic() > until;
    };
  }

  WorkerClient& client_;
  const SealingKeys& keys_;
  Clock& clock_;
  const std::function<bool()>& stopping_;
  std::ostream& out_;
  ResealSummary summary_;
  std::map<std::string, std::string> done_;  // digest by name
};

}  // namespace

absl::StatusOr<ResealSummary> ResealVersions(WorkerClient& client, const SealingKeys& keys,
                                             Clock& clock, const std::function<bool()>& stopping,
                                             std::ostream& out) {
  WT_ASSIGN_OR_RETURN(const ResealSummary summary,
                      Rotation(client, keys, clock, stopping, out).Run());
  out << summary.resealed << " resealed, " << summary.left_alone << " left alone, "
      << summary.failed << " failed; "
      << (summary.complete() ? "every version is under " : "not every version is under ")
      << keys.primary_id() << std::endl;
  return summary;
}

}  // namespace wardtune
