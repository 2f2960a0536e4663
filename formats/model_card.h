// The README.md of an adapter: what it was trained on and how safe it was measured to be.
//
// Internal to formats/.
// Thread safety: re-entrant.
#ifndef WARDTUNE_FORMATS_MODEL_CARD_H_
#define WARDTUNE_FORMATS_MODEL_CARD_H_

#include <string>

#include "formats/peft_adapter.h"

namespace wardtune {

std::string RenderModelCard(const PeftAdapter& adapter, const ModelCard& card);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_MODEL_CARD_H_
