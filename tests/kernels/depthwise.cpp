// SPDX-License-Identifier: Apache-2.0
// The cases of depthwise_cases.hpp on the CPU, and the order in which the CUDA kernels walk.
#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/kernels.hpp>
#include <mixprec/backend/depthwise_geometry.hpp>

#include "harness.hpp"

MIXPREC_TEST_BACKENDS(mixprec::Cpu)

#include "depthwise_cases.hpp"

namespace mixprec::test {
namespace {

/// Axes of convolutions, and of their input gradients, with all sorts of paddings and dilations.
std::vector<DilatedAxis> dilated_axes() {
  std::vector<DilatedAxis> result;
  for (std::int64_t const in : {1, 2, 3, 5, 16, 33, 64}) {
    for (int const dilation : {1, 2, 3, 5, 12, 24, 36, 100}) {
      for (int const padding : {0, 1, 2, dilation, 2 * dilation + 1, 40}) {
        std::int64_t const out = window_extent(in, 3, 1, padding, dilation);
        if (out == 0) continue;
        result.push_back(DilatedAxis::of(in, out, dilation, padding));
        result.push_back(DilatedAxis::gradient_of(in, out, dilation, padding));
      }
    }
  }
  return result;
}

TEST_CASE("a walk meets every output of its range once, with its three inputs") {
  for (DilatedAxis const& axis : dilated_axes()) {
    INFO("in " << axis.in << " out " << axis.out << " dilation " << axis.dilation << " padding " << axis.padding);
    for (int const parts : {1, 2, 3, 7}) {
      std::vector<int> opened(static_cast<std::size_t>(axis.out)), closed = opened;
      std::size_t wrong = 0;
      for (int part = 0; part < parts; ++part) {
        int const begin = axis.out * part / parts, end = axis.out * (part + 1) / parts;
        PhaseWalk walk(axis, begin, end);
        CHECK(walk.active() == (begin < end));
        for (int steps = 0; walk.active(); ++steps, walk.advance(axis)) {
          REQUIRE(steps < 3 * axis.out);
          if (walk.has_first()) ++opened.at(static_cast<std::size_t>(walk.opens(axis)));
          if (walk.has_last()) ++closed.at(static_cast<std::size_t>(walk.closes(axis)));
          // The inputs of an output o are at o - padding, a dilation on, and two dilations on.
          if (walk.has_first() && walk.input != walk.opens(axis) - axis.padding) ++wrong;
          if (walk.has_last() && walk.input != walk.closes(axis) - axis.padding + 2 * axis.dilation) ++wrong;
          PhaseWalk next = walk;
          for (int on = 0; on < 3; ++on, next.advance(axis)) {
            PhaseWalk::Later const later = walk.later(axis, on);
            if (later.active != next.active()) ++wrong;
            if (!next.active()) break;
            if (later.input != next.input || later.has_first != next.has_first()) ++wrong;
          }
        }
      }
      for (int const count : opened) wrong += count == 1 ? 0 : 1;
      for (int const count : closed) wrong += count == 1 ? 0 : 1;
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("strips hold every output of an axis once, and say which of their inputs exist") {
  for (DilatedAxis const& axis : dilated_axes()) {
    INFO("in " << axis.in << " out " << axis.out << " dilation " << axis.dilation << " padding " << axis.padding);
    using Strip = PhaseStrip<4>;
    std::vector<int> met(static_cast<std::size_t>(axis.out));
    std::size_t wrong = 0;
    for (int index = 0; index < Strip::count(axis); ++index) {
      Strip const strip(axis, Strip::per_phase(axis), index);
      for (int i = 0; i < 4; ++i) {
        if (strip.outputs >> i & 1u) ++met.at(static_cast<std::size_t>(strip.output + i * axis.dilation));
      }
      for (int i = 0; i < 6; ++i) {
        int const input = strip.input + i * axis.dilation;
        if ((strip.inputs >> i & 1u) != (input >= 0 && input < axis.in ? 1u : 0u)) ++wrong;
      }
      if (strip.input != strip.output - axis.padding) ++wrong;
    }
    for (int const count : met) wrong += count == 1 ? 0 : 1;
    CHECK(wrong == 0);
  }
}

}  // namespace
}  // namespace mixprec::test
