// See ../../README.md. Thread safety: declarations only.
#ifndef WARDTUNE_GLOO_RENDEZVOUS_STORE_H_
#define WARDTUNE_GLOO_RENDEZVOUS_STORE_H_

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {

// What ProcessGroupGloo::GlooStore overrides.
class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::vector<char>& value) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys,
                    const std::chrono::milliseconds& timeout) = 0;
};

}  // namespace gloo::rendezvous

#endif  // WARDTUNE_GLOO_RENDEZVOUS_STORE_H_
