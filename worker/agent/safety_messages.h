// Safety results as messages of the contract.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_SAFETY_MESSAGES_H_
#define WARDTUNE_WORKER_AGENT_SAFETY_MESSAGES_H_

#include "wardtune/v1/safety.pb.h"
#include "worker/safety/safety_scorer.h"

namespace wardtune {

v1::CategoryScore ToMessage(const CategoryResult& result);
v1::SafetyReport ToMessage(const SafetyResult& result);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_SAFETY_MESSAGES_H_
