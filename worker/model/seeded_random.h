// Random numbers that are the same on every platform, unlike the distributions of <random>.
// Thread safety: one generator belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_MODEL_SEEDED_RANDOM_H_
#define WARDTUNE_WORKER_MODEL_SEEDED_RANDOM_H_

#include <cstdint>

namespace wardtune {

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // Uniform in [0, 1), 53 bits.
  double NextUnit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  // Uniform in [-1, 1), 24 bits.
  float NextSymmetric() { return static_cast<float>(Next() >> 40) * 0x1.0p-23f - 1.0f; }
  // Uniform in [0, bound), by multiplication; the bias is below bound / 2^64.
  uint64_t NextBelow(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * bound) >> 64);
  }

 private:
  uint64_t state_;
};

// A seed for the `index`-th of several independent generators.
inline uint64_t MixSeed(uint64_t seed, uint64_t index) {
  return SplitMix64(seed ^ (index * 0xd1342543de82ef95ULL + 1)).Next();
}

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_SEEDED_RANDOM_H_
