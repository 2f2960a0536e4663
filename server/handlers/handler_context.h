// What handlers work with. A handler is a function (context, caller, request) -> answer that may
// block; it runs on the executor of rpc/call_runner.h after the caller was authenticated and its
// role checked.
// Thread safety: every part may be used from any thread.
#ifndef WARDTUNE_SERVER_HANDLERS_HANDLER_CONTEXT_H_
#define WARDTUNE_SERVER_HANDLERS_HANDLER_CONTEXT_H_

#include "base/clock.h"
#include "server/model_catalog.h"
#include "server/rpc/server_metrics.h"
#include "server/rpc/structured_log.h"
#include "server/rpc/wait_list.h"
#include "server/running_work.h"
#include "server/server_limits.h"
#include "server/tenant_slots.h"
#include "storage/blob_store.h"
#include "storage/metadata_store.h"

namespace wardtune {

// Non-owning.
struct HandlerContext {
  MetadataStore& store;
  BlobStore& blobs;
  ModelCatalog& models;
  WaitList& waits;
  TenantSlots& upload_slots;
  TenantSlots& estimate_slots;
  RunningWork& running;
  ServerMetrics& metrics;
  StructuredLog& log;
  Clock& clock;
  const ServerLimits& limits;
};

// Topic of WaitList that is notified when work may have become available.
inline constexpr char kWorkTopic[] = "work";

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_HANDLER_CONTEXT_H_
