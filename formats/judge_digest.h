// Names the judge of a score. Server and workers compute it alike: the server accepts a score only
// from the judge that the lease named.
// Thread safety: a pure function.
#ifndef WARDTUNE_FORMATS_JUDGE_DIGEST_H_
#define WARDTUNE_FORMATS_JUDGE_DIGEST_H_

#include <string>

namespace wardtune {

// SHA-256 of the rules, or of rules and adapter when a language model judges with an adapter of its
// own. Both arguments are SHA-256 of files, `adapter_tar_sha256` empty without one. A language
// model judges on the base model of the job or audit itself, which the digest leaves out.
std::string JudgeDigest(const std::string& rules_sha256, const std::string& adapter_tar_sha256);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_JUDGE_DIGEST_H_
