// Who calls, as the credential says; never what a request claims.
// Thread safety: values.
#ifndef WARDTUNE_SERVER_RPC_CALLER_H_
#define WARDTUNE_SERVER_RPC_CALLER_H_

#include <string>

#include "storage/records.h"

namespace wardtune {

struct Caller {
  std::string key_id;
  std::string tenant_id;
  KeyRole role = KeyRole::kTenant;
};

// Who may call a method.
enum class Access {
  kCustomer,  // tenants, and the provider as the tenant `provider`
  kProvider,
  kWorker,
};

// One RPC method, as logs and metrics call it.
struct Method {
  const char* name;  // `FineTuningService/GetFineTuningJob`
  Access access;
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_CALLER_H_
