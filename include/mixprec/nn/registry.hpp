// SPDX-License-Identifier: Apache-2.0
// Walks a model's members: gives every module, parameter and buffer its index and its PyTorch name.
#pragma once

#include <string_view>

#include <mixprec/nn/containers.hpp>

namespace mixprec::inline MIXPREC_ABI::nn {

/// A dotted path of at most 95 characters; constexpr, so that plans can hold it.
struct Path {
  char text[96]{};
  int length = 0;

  constexpr Path joined(char const* name) const {
    Path path = *this;
    if (path.length > 0) path.append('.');
    for (; *name != 0; ++name) path.append(*name);
    return path;
  }
  constexpr std::string_view view() const { return {text, static_cast<std::size_t>(length)}; }
  constexpr Path parent() const {
    Path path = *this;
    while (path.length > 0 && path.text[path.length - 1] != '.') path.text[--path.length] = 0;
    if (path.length > 0) path.text[--path.length] = 0;
    return path;
  }

 private:
  constexpr void append(char character) {
    if (length < 95) text[length++] = character;
  }
};

namespace detail {

/// The visitor that a module's members() sees. `Sink` has add_module(path), parameter(path, parameter, initial) and
/// buffer(path, buffer); the last two return ids.
template <class Sink>
class Walker {
 public:
  constexpr explicit Walker(Sink& sink) : sink_(sink) {}

  template <class M>
  constexpr void walk(M& layer) {
    bool const outer = frozen_;
    if constexpr (requires { M::frozen; }) frozen_ = frozen_ || M::frozen;
    if constexpr (requires { layer.state.frozen; }) layer.state.frozen = layer.state.frozen || frozen_;
    layer.module_id = sink_.add_module(path_);
    M::members(layer, *this);
    frozen_ = outer;
  }
  template <class M>
  constexpr void child(char const* name, M& member) {
    Path const outer = path_;
    path_ = path_.joined(name);
    walk(member);
    path_ = outer;
  }
  template <int Rank>
  constexpr void child(char const* name, Parameter<Rank>& member) {
    parameter(name, member, Initial{});
  }
  template <int Rank>
  constexpr void parameter(char const* name, Parameter<Rank>& member, Initial initial) {
    member.frozen = member.frozen || frozen_;
    member.id = sink_.parameter(path_.joined(name), member, initial);
  }
  constexpr void buffer(char const* name, Buffer& member) { member.id = sink_.buffer(path_.joined(name), member); }
  constexpr bool frozen() const { return frozen_; }

 private:
  Sink& sink_;
  Path path_;
  bool frozen_ = false;
};

}  // namespace detail

/// Numbers everything in `net`, depth first, in the order of members().
template <class Net, class Sink>
constexpr void number(Net& net, Sink& sink) {
  detail::Walker<Sink>(sink).walk(net);
}

}  // namespace mixprec::inline MIXPREC_ABI::nn
