// SPDX-License-Identifier: Apache-2.0
// Walks a model's members: gives every module, parameter and buffer its index and its PyTorch name.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <mixprec/autograd/sequence.hpp>
#include <mixprec/nn/containers.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

/// What the walk calls a module, parameter or buffer: the index of the module around it (-1: none), and its own name.
struct Name {
  int parent;
  char const* own;
};

/// A dotted path, put together from names only where text is asked for; works in constant evaluation.
class Path {
 public:
  constexpr Path() = default;
  /// The path of `name`, whose parents are in `modules`.
  constexpr Path(Name const* modules, Name name) { append(modules, name); }

  constexpr std::string_view view() const { return {text_.begin(), static_cast<std::size_t>(text_.size())}; }

 private:
  constexpr void append(Name const* modules, Name name) {
    if (name.parent >= 0) append(modules, modules[name.parent]);
    if (text_.size() > 0) text_.push_back('.');
    for (char const* character = name.own; *character != 0; ++character) text_.push_back(*character);
  }
  Sequence<char> text_;
};

/// The module table of a sink at run time, as paths.
struct ModulePaths {
  std::vector<std::string> paths;

  int add_module(Name name) {
    paths.push_back(path_of(name));
    return static_cast<int>(paths.size()) - 1;
  }
  std::string path_of(Name name) const {
    if (name.parent < 0) return name.own;
    std::string const& outer = paths[static_cast<std::size_t>(name.parent)];
    return outer.empty() ? name.own : outer + "." + name.own;
  }
};

namespace detail {

/// The visitor that a module's members() sees. `Sink` has add_module(name), parameter(name, parameter, initial) and
/// buffer(name, buffer), which return indices.
template <class Sink>
class Walker {
 public:
  constexpr explicit Walker(Sink& sink) : sink_(sink) {}

  template <class M>
  constexpr void child(char const* name, M& member) {
    (void)RequireModule<M>{};
    if constexpr (module_type<M>) {
      int const around = module_;
      bool const outer = frozen_;
      if constexpr (requires { std::bool_constant<M::frozen>{}; }) frozen_ = frozen_ || M::frozen;
      if constexpr (requires { member.state.frozen; }) member.state.frozen = member.state.frozen || frozen_;
      module_ = member.module_id = sink_.add_module(Name{module_, name});
      M::members(member, *this);
      module_ = around, frozen_ = outer;
    }
  }
  template <int Rank>
  constexpr void child(char const* name, Parameter<Rank>& member) {
    parameter(name, member, Initial{});
  }
  template <int Rank>
  constexpr void parameter(char const* name, Parameter<Rank>& member, Initial initial) {
    member.frozen = member.frozen || frozen_;
    member.id = sink_.parameter(Name{module_, name}, member, initial);
  }
  constexpr void buffer(char const* name, Buffer& member) { member.id = sink_.buffer(Name{module_, name}, member); }
  constexpr bool frozen() const { return frozen_; }

 private:
  Sink& sink_;
  int module_ = -1;
  bool frozen_ = false;
};

}  // namespace detail

/// Numbers everything in `net`, depth first, in the order of members().
template <class Net, class Sink>
constexpr void number(Net& net, Sink& sink) {
  detail::Walker<Sink>(sink).child("", net);
}

}  // namespace mixprec::inline MIXPREC_ABI::nn
