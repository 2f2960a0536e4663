// ProcessGroupGloo.hpp includes it and uses nothing of it (../README.md).
// Thread safety: empty.
#ifndef WARDTUNE_GLOO_ALGORITHM_H_
#define WARDTUNE_GLOO_ALGORITHM_H_
#endif  // WARDTUNE_GLOO_ALGORITHM_H_
