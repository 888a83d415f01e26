// SPDX-License-Identifier: Apache-2.0
// What a module is: a struct with a generic call operator and a list of its members.
#pragma once

#include <mixprec/ops/apply.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

/// Base of the library's modules: the module's index, assigned when a model or a plan is built.
struct Module {
  int module_id = -1;
};

/// The place of a module's own op.
constexpr Place own_place(Module const& module) { return {module.module_id, false, true}; }

/// What MIXPREC_MODULE makes of a struct: an index, and a walk over its members.
template <class M>
concept module_type = requires(M& candidate, int& visitor) {
  candidate.module_id = 0;
  M::members(candidate, visitor);
};

/// Stops the compiler where `M` is no module; the lines around the message name `M`. A class, because g++ instantiates
/// it where it is named, and a function's body only later, behind the errors of the code that called it.
template <class M>
struct RequireModule {
  static_assert(module_type<M>,
                "mixprec: a struct is used as a module, but has no MIXPREC_MODULE. Write MIXPREC_MODULE(its, modules, "
                "and, parameters) into it, behind these members, or MIXPREC_MODULE() where it has none.");
  using type = M;
};

}  // namespace mixprec::inline MIXPREC_ABI::nn

// MIXPREC_MODULE(conv1, bn1, ...): names a user's submodules and parameters, in the order and with the names that
// state_dict would give them. Stands inside the struct, after the members.
#define MIXPREC_DETAIL_EXPAND(...) MIXPREC_DETAIL_EXPAND1(MIXPREC_DETAIL_EXPAND1(MIXPREC_DETAIL_EXPAND1(__VA_ARGS__)))
#define MIXPREC_DETAIL_EXPAND1(...) MIXPREC_DETAIL_EXPAND2(MIXPREC_DETAIL_EXPAND2(MIXPREC_DETAIL_EXPAND2(__VA_ARGS__)))
#define MIXPREC_DETAIL_EXPAND2(...) MIXPREC_DETAIL_EXPAND3(MIXPREC_DETAIL_EXPAND3(MIXPREC_DETAIL_EXPAND3(__VA_ARGS__)))
#define MIXPREC_DETAIL_EXPAND3(...) __VA_ARGS__
#define MIXPREC_DETAIL_PARENS ()
#define MIXPREC_DETAIL_VISIT(name, ...) \
  visitor.child(#name, self.name);      \
  __VA_OPT__(MIXPREC_DETAIL_VISIT_AGAIN MIXPREC_DETAIL_PARENS(__VA_ARGS__))
#define MIXPREC_DETAIL_VISIT_AGAIN() MIXPREC_DETAIL_VISIT
#define MIXPREC_MODULE(...)                                                                       \
  int module_id = -1;                                                                             \
  template <class Self, class Visitor>                                                            \
  static constexpr void members([[maybe_unused]] Self& self, [[maybe_unused]] Visitor& visitor) { \
    __VA_OPT__(MIXPREC_DETAIL_EXPAND(MIXPREC_DETAIL_VISIT(__VA_ARGS__)))                          \
  }
