// SPDX-License-Identifier: Apache-2.0
// Modules made of modules: Sequential, Residual, Named, and regions of precision or without training.
#pragma once

#include <cstddef>
#include <utility>

#include <mixprec/nn/layers.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

/// Text as a template argument: Named<"conv1", ...>.
template <std::size_t Size>
struct FixedString {
  char text[Size]{};
  constexpr FixedString(char const (&characters)[Size]) {
    for (std::size_t index = 0; index < Size; ++index) text[index] = characters[index];
  }
};

/// Gives a child of Sequential a name in place of its number.
template <FixedString Name, class M>
struct Named : M {
  static constexpr auto name = Name;
};

namespace detail {

/// The decimal text of an index, for children without a name.
struct IndexText {
  char text[8]{};
  constexpr explicit IndexText(std::size_t index) {
    char reversed[8]{};
    int digits = 0;
    do {
      reversed[digits++] = static_cast<char>('0' + index % 10);
      index /= 10;
    } while (index > 0);
    for (int at = 0; at < digits; ++at) text[at] = reversed[digits - 1 - at];
  }
};

template <class M>
concept has_name = requires {
  M::name.text;
};

template <std::size_t I>
inline constexpr IndexText index_text{I};

/// What child `I` is called.
template <std::size_t I, class M>
constexpr char const* name_of() {
  if constexpr (has_name<M>) {
    return M::name.text;
  } else {
    return index_text<I>.text;
  }
}

/// Modules by index. In constant evaluation std::tuple costs several times as many steps.
template <std::size_t I, class M>
struct Child {
  M module;
};
template <class Indices, class... M>
struct Children;
template <std::size_t... I, class... M>
struct Children<std::index_sequence<I...>, M...> : Child<I, M>... {
  static constexpr std::size_t size = sizeof...(M);
  constexpr void members(auto& visitor) { (visitor.child(name_of<I, M>(), Child<I, M>::module), ...); }
  constexpr void members(auto& visitor) const { (visitor.child(name_of<I, M>(), Child<I, M>::module), ...); }
};

template <std::size_t I, class M>
constexpr M const& child_of(Child<I, M> const& child) {
  return child.module;
}

/// Calls a child so that functions inside it belong to it.
template <class M, class X, class = typename RequireModule<M>::type>
constexpr auto enter(M const& child, X&& x) {
  return child(static_cast<X&&>(x).at(Place{child.module_id, true, false}));
}
/// The same for child `I`.
template <std::size_t I, class M, class X, class = typename RequireModule<M>::type>
constexpr auto enter(Child<I, M> const& child, X&& x) {
  return child.module(static_cast<X&&>(x).at(Place{child.module.module_id, true, false}));
}

/// The same as a value that has not run yet, from children that have a member `pending`: concat lets it write where it
/// belongs.
template <std::size_t I, class M, class X>
constexpr auto enter_pending(Child<I, M> const& child, X&& x) {
  auto at = static_cast<X&&>(x).at(Place{child.module.module_id, true, false});
  if constexpr (requires { child.module.pending(std::move(at)); }) {
    return child.module.pending(std::move(at));
  } else {
    return child.module(std::move(at));
  }
}

}  // namespace detail

/// Modules one after the other. torch.nn.Sequential.
template <class... M>
struct Sequential : Module {
  detail::Children<std::index_sequence_for<M...>, M...> children{};

  template <class X>
    requires any_value<std::remove_cvref_t<X>>
  constexpr auto operator()(X&& x) const { return run<0, false>(static_cast<X&&>(x)); }
  /// The last child's result before it has run, where that child can give it.
  template <class X>
    requires any_value<std::remove_cvref_t<X>>
  constexpr auto pending(X&& x) const { return run<0, true>(static_cast<X&&>(x)); }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    self.children.members(visitor);
  }

 private:
  // A child takes its input's memory with it, so that nothing lives longer than backward asks for.
  template <std::size_t I, bool Pending, class X>
  constexpr auto run(X&& x) const {
    if constexpr (I == sizeof...(M)) {
      return std::remove_cvref_t<X>(std::forward<X>(x));
    } else if constexpr (I + 1 < sizeof...(M)) {
      return run<I + 1, Pending>(detail::enter<I>(children, static_cast<X&&>(x)));
    } else if constexpr (Pending) {
      return detail::enter_pending<I>(children, static_cast<X&&>(x));
    } else {
      return detail::enter<I>(children, static_cast<X&&>(x));
    }
  }
};

/// Child `I` of a Sequential.
template <std::size_t I, class... M>
constexpr auto const& child(Sequential<M...> const& modules) {
  return detail::child_of<I>(modules.children);
}

/// The module that changes nothing. torch.nn.Identity.
struct Identity : Stateless {
  constexpr auto operator()(any_value auto const& x) const { return mixprec::detail::settled(x); }
};

/// relu(body(x) + shortcut(x)); the shortcut is the identity unless a module is given.
template <class Body, class Shortcut = Identity>
struct Residual : Module {
  Body body;
  Shortcut shortcut;

  constexpr auto operator()(any_value auto const& x) const {
    Place const here{module_id, true, false};
    auto const& settled = mixprec::detail::settled(x);
    // In statements of their own: the order in which a call's arguments run is the compiler's choice.
    auto const side = detail::enter(shortcut, settled);
    return relu(add(detail::enter(body, settled).at(here), side));
  }
  template <class Self, class Visitor>
  static constexpr void members(Self& self, Visitor& visitor) {
    visitor.child("body", self.body);
    visitor.child("shortcut", self.shortcut);
  }
};

/// `M` in float: force_fp32 around it. Its parameters are read in float, its names stay. MMCV's force_fp32.
template <class M>
struct ForceFp32 : M {
  constexpr auto operator()(any_value auto const& x) const {
    using Outer = typename std::remove_cvref_t<decltype(x)>::policy;
    return M::operator()(force_fp32(x)).template under<Outer>();
  }
};

/// `M` under mixed precision inside a float region. MMCV's auto_fp16.
template <class M>
struct AutoFp16 : M {
  constexpr auto operator()(any_value auto const& x) const {
    using Outer = typename std::remove_cvref_t<decltype(x)>::policy;
    return M::operator()(auto_fp16(x)).template under<Outer>();
  }
};

/// `M` under another policy altogether.
template <class Policy, class M>
struct Under : M {
  constexpr auto operator()(any_value auto const& x) const {
    using Outer = typename std::remove_cvref_t<decltype(x)>::policy;
    return M::operator()(x.template under<Policy>()).template under<Outer>();
  }
};

/// `M` without training: no gradients for its parameters, nothing kept for them, batch norm on running statistics.
template <class M>
struct Frozen : M {
  static constexpr bool frozen = true;
};

}  // namespace mixprec::inline MIXPREC_ABI::nn
