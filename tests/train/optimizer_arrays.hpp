// SPDX-License-Identifier: Apache-2.0
// What an optimizer holds beside the parameters, on the host.
#pragma once

#include "ops/harness.hpp"

namespace mixprec::test {

/// What `pick` names of each segment, in the order of the arenas; empty where it names nullptr.
template <class M, class Opt, class Pick>
std::vector<Values> arrays_of(M& model, Opt& optimizer, Pick const& pick) {
  std::vector<Values> all;
  optimizer.for_each_segment([&](auto const& segment) {
    auto const* const from = pick(segment);
    using T = std::remove_cvref_t<decltype(*from)>;
    std::vector<T> stored(from == nullptr ? 0 : static_cast<std::size_t>(segment.size));
    if (!stored.empty()) M::backend::copy_to_host(model.stream(), stored.data(), from, stored.size() * sizeof(T));
    Values& values = all.emplace_back();
    for (T const value : stored) values.push_back(convert<double>(value));
  });
  return all;
}
template <class M, class Opt>
std::vector<Values> emas_of(M& model, Opt& optimizer) {
  return arrays_of(model, optimizer, [](auto const& segment) { return segment.ema; });
}
template <class M, class Opt>
std::vector<Values> first_states_of(M& model, Opt& optimizer) {
  return arrays_of(model, optimizer, [](auto const& segment) { return segment.state1; });
}

}  // namespace mixprec::test
