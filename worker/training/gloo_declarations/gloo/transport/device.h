// See ../../README.md. Thread safety: declarations only.
#ifndef WARDTUNE_GLOO_TRANSPORT_DEVICE_H_
#define WARDTUNE_GLOO_TRANSPORT_DEVICE_H_

namespace gloo::transport {

class Device;

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = default;
};

}  // namespace gloo::transport

#endif  // WARDTUNE_GLOO_TRANSPORT_DEVICE_H_
