// SPDX-License-Identifier: Apache-2.0
// The one place where oneDNN 2.x and 3.x differ: how a primitive's descriptor is made. 2.x wants an operation
// descriptor first; 3.x takes the same arguments at once, between the engine and the attributes.
#pragma once

#include <dnnl.hpp>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI::cpu::onednn {

/// Scratch memory comes from the caller, so that a primitive allocates nothing when it runs.
inline dnnl::primitive_attr scratchpad_by_user() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

/// The descriptor of `Primitive` from oneDNN's arguments. Errors: dnnl::error where oneDNN has no implementation.
template <class Primitive, class... Arguments>
typename Primitive::primitive_desc descriptor(dnnl::engine const& engine, Arguments const&... arguments) {
#if DNNL_VERSION_MAJOR == 2
  return {typename Primitive::desc(arguments...), scratchpad_by_user(), engine};
#else
  return {engine, arguments..., scratchpad_by_user()};
#endif
}

/// As descriptor, for a backward primitive, which wants its forward descriptor.
template <class Primitive, class Forward, class... Arguments>
typename Primitive::primitive_desc backward_descriptor(dnnl::engine const& engine, Forward const& forward,
                                                       Arguments const&... arguments) {
#if DNNL_VERSION_MAJOR == 2
  return {typename Primitive::desc(arguments...), scratchpad_by_user(), engine, forward};
#else
  return {engine, arguments..., forward, scratchpad_by_user()};
#endif
}

/// What a primitive wants for one of its arguments (DNNL_ARG_SRC, ...).
inline dnnl::memory::desc wanted_by(dnnl::primitive_desc_base const& descriptor, int argument) {
  return descriptor.query_md(dnnl::query::exec_arg_md, argument);
}

}  // namespace mixprec::inline MIXPREC_ABI::cpu::onednn
