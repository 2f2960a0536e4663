#include "server/resource_names.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/rpc/error_details.h"

namespace wardtune {
namespace {

constexpr size_t kMaxIdBytes = 63;
constexpr char kModelIdRule[] =
    "1 to 63 of A-Z, a-z, 0-9, '-', '_' and '.', beginning with a letter or a digit";
constexpr size_t kMaxDisplayNameBytes = 128;
constexpr size_t kMaxAuditReasonBytes = 1000;
// Well-formed for the store, and never given out: ids begin with a letter or a digit.
constexpr char kNobodysId[] = "-";

bool IsIdCharacter(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

bool IsId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && id[0] != '-' &&
         std::all_of(id.begin(), id.end(), IsIdCharacter);
}

bool IsModelIdCharacter(char c) {
  return IsIdCharacter(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '.';
}

// Hugging Face's names have capitals, dots and underscores; none begins with one of the signs.
bool IsModelId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && id[0] != '-' && id[0] != '_' && id[0] != '.' &&
         std::all_of(id.begin(), id.end(), IsModelIdCharacter);
}

// The ids in `name`, which must look like `pattern`, whose ids are written `*`.
absl::StatusOr<std::vector<std::string>> Match(std::string_view pattern, const std::string& name,
                                               const std::string& field) {
  const std::vector<std::string> wanted =
      absl::StrSplit(absl::string_view(pattern.data(), pattern.size()), '/');
  const std::vector<std::string> parts = absl::StrSplit(name, absl::MaxSplits('/', 8));
  std::vector<std::string> ids;
  bool good = parts.size() == wanted.size();
  for (size_t i = 0; good && i < parts.size(); ++i) {
    if (wanted[i] == "*") {
      good = IsId(parts[i]);
      ids.push_back(parts[i]);
    } else {
      good = parts[i] == wanted[i];
    }
  }
  if (good) return ids;
  return InvalidField(field, absl::StrCat("must look like ", std::string(pattern),
                                          ", where * is 1 to 63 of a-z, 0-9 and '-'"));
}

absl::StatusOr<std::string> MatchOne(std::string_view pattern, const std::string& name,
                                     const std::string& field) {
  WT_ASSIGN_OR_RETURN(std::vector<std::string> ids, Match(pattern, name, field));
  return ids[0];
}

// Strict UTF-8 (Unicode 15, table 3-7) without control characters.
bool IsCleanUtf8(const std::string& text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x20 || lead == 0x7f) return false;
    size_t length = 1;
    uint32_t code = lead;
    if (lead >= 0xf0 && lead <= 0xf4) {
      length = 4;
      code = lead & 0x07;
    } else if (lead >= 0xe0 && lead < 0xf0) {
      length = 3;
      code = lead & 0x0f;
    } else if (lead >= 0xc2 && lead < 0xe0) {
      length = 2;
      code = lead & 0x1f;
    } else if (lead >= 0x80) {
      return false;
    }
    if (text.size() - i < length) return false;
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = (code << 6) | (next & 0x3f);
    }
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    const bool too_long = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    if (surrogate || too_long || code > 0x10ffff) return false;
    i += length;
  }
  return true;
}

}  // namespace

std::string TenantName(const std::string& tenant) { return absl::StrCat("tenants/", tenant); }

std::string TenantResource(const std::string& tenant, std::string_view collection,
                           const std::string& id) {
  return absl::StrCat("tenants/", tenant, "/", std::string(collection), "/", id);
}

std::string AdapterAuditName(const std::string& adapter, const std::string& id) {
  return absl::StrCat(adapter, "/audits/", id);
}

std::string BaseModelName(const std::string& id) { return absl::StrCat("baseModels/", id); }

std::string SafetySuiteName(const std::string& id) { return absl::StrCat("safetySuites/", id); }

std::string SecurityVectorName(const std::string& vector, int64_t version) {
  return absl::StrCat("securityVectors/", vector, "/versions/", version);
}

absl::StatusOr<std::string> ParseOwnId(const Caller& caller, std::string_view collection,
                                       const std::string& name, const std::string& field) {
  WT_ASSIGN_OR_RETURN(TenantAndId parsed, ParseTenantResource(collection, name, field));
  return parsed.tenant == caller.tenant_id ? parsed.id : kNobodysId;
}

absl::StatusOr<TenantAndId> ParseTenantResource(std::string_view collection,
                                                const std::string& name, const std::string& field) {
  WT_ASSIGN_OR_RETURN(
      std::vector<std::string> ids,
      Match(absl::StrCat("tenants/*/", std::string(collection), "/*"), name, field));
  return TenantAndId{ids[0], ids[1]};
}

absl::StatusOr<std::string> ParseTenantName(const std::string& name, const std::string& field) {
  return MatchOne("tenants/*", name, field);
}

absl::StatusOr<std::string> ParseBaseModelName(const std::string& name, const std::string& field) {
  constexpr std::string_view kCollection = "baseModels/";
  if (name.starts_with(kCollection) && IsModelId(name.substr(kCollection.size()))) {
    return name.substr(kCollection.size());
  }
  return InvalidField(field,
                      absl::StrCat("must look like baseModels/*, where * is ", kModelIdRule));
}

absl::StatusOr<std::string> ParseSafetySuiteName(const std::string& name,
                                                 const std::string& field) {
  return MatchOne("safetySuites/*", name, field);
}

absl::StatusOr<VectorVersion> ParseSecurityVectorName(const std::string& name,
                                                      const std::string& field) {
  WT_ASSIGN_OR_RETURN(std::vector<std::string> ids,
                      Match("securityVectors/*/versions/*", name, field));
  VectorVersion parsed{ids[0], 0};
  // `01` would be a second name of `1`.
  if (!absl::SimpleAtoi(ids[1], &parsed.version) || absl::StrCat(parsed.version) != ids[1]) {
    return InvalidField(field, "the version must be a number from 1");
  }
  return parsed;
}

absl::Status CheckNewId(const std::string& id, const std::string& field) {
  if (IsId(id) && id[0] >= 'a' && id[0] <= 'z') return absl::OkStatus();
  return InvalidField(field, "must be 1 to 63 of a-z, 0-9 and '-', beginning with a letter");
}

absl::Status CheckModelId(const std::string& id) {
  if (IsModelId(id)) return absl::OkStatus();
  return InvalidField("model", absl::StrCat("must be ", kModelIdRule));
}

absl::Status CheckDisplayName(const std::string& text, const std::string& field) {
  if (text.size() <= kMaxDisplayNameBytes && IsCleanUtf8(text)) return absl::OkStatus();
  return InvalidField(field, "must be at most 128 bytes of UTF-8 without control characters");
}

absl::Status CheckAuditReason(const std::string& text, const std::string& field) {
  if (!text.empty() && text.size() <= kMaxAuditReasonBytes && IsCleanUtf8(text)) {
    return absl::OkStatus();
  }
  return InvalidField(field, "must say why in 1 to 1000 bytes of UTF-8 without control characters");
}

bool IsSha256Hex(const std::string& text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

absl::Status CheckRequestId(const std::string& text) {
  if (text.empty()) return absl::OkStatus();
  bool good = text.size() == 36;
  for (size_t i = 0; good && i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    good = dash ? text[i] == '-' : std::isxdigit(static_cast<unsigned char>(text[i])) != 0;
  }
  return good ? absl::OkStatus() : InvalidField("request_id", "must be a UUID, or empty");
}

}  // namespace wardtune
