// See ../README.md. Thread safety: declarations only.
#ifndef WARDTUNE_GLOO_CONTEXT_H_
#define WARDTUNE_GLOO_CONTEXT_H_

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);  // in libtorch_cpu.so
};

}  // namespace gloo

#endif  // WARDTUNE_GLOO_CONTEXT_H_
