// Safety results and a vector's parts as messages of the contract.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_SAFETY_MESSAGES_H_
#define WARDTUNE_WORKER_AGENT_SAFETY_MESSAGES_H_

#include "wardtune/v1/safety.pb.h"
#include "worker/safety/safety_scorer.h"
#include "worker/security/vector_parts.h"

namespace wardtune {

v1::CategoryScore ToMessage(const CategoryResult& result);
v1::SafetyReport ToMessage(const SafetyResult& result);
// Names the first 32 categories and counts the others.
v1::SecurityVectorPart ToMessage(const VectorPart& part);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_SAFETY_MESSAGES_H_
