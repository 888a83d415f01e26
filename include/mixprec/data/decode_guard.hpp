// SPDX-License-Identifier: Apache-2.0
// The one place that calls setjmp: libpng and libjpeg report errors to a function that must not return.
#pragma once

#include <csetjmp>
#include <string>
#include <string_view>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI::detail {

/// Runs calls into a C library whose error function calls `leave`.
/// The jump ends functions without running destructors, so `calls` may own nothing: what it fills lives outside.
class DecodeGuard {
 public:
  DecodeGuard() = default;
  DecodeGuard(DecodeGuard const&) = delete;
  DecodeGuard& operator=(DecodeGuard const&) = delete;

  /// True where `calls` came to its end; false where it was left, and `problem` says why.
  template <class Calls>
  bool run(Calls const& calls) {
    if (setjmp(place_) != 0) return false;
    calls();
    return true;
  }

  /// Ends the `run` under way. Only from within its calls. The text is cut where it is long.
  [[noreturn]] void leave(std::string_view problem) {
    problem_[problem.copy(problem_, sizeof problem_ - 1)] = '\0';
    std::longjmp(place_, 1);
  }

  std::string problem() const { return problem_; }

 private:
  std::jmp_buf place_;
  char problem_[256] = "";  // no std::string: the jump would leak what an assignment allocates
};

}  // namespace mixprec::inline MIXPREC_ABI::detail
