// SPDX-License-Identifier: Apache-2.0
// In which order a dilated 3x3 window goes over an image so that every input is read once. Outputs that are a dilation
// apart share inputs, and among themselves they are an ordinary convolution: such a family of rows (or columns) is a
// "phase". Plain C++, so that the CPU's tests hold what the CUDA kernels walk by.
#pragma once

#include <cstdint>

#include <mixprec/config.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Rows or columns of a convolution of stride 1 with a window of three. Output o reads inputs o - padding + {0, 1, 2} *
/// dilation, of which those outside of [0, in) do not exist. Phase f holds outputs f, f + dilation, ...
/// The input gradient is such a convolution, too: of dy with the window turned around (gradient_of).
struct DilatedAxis {
  int in, out, dilation;
  int padding;  // may be negative in an input gradient
  int least;    // outputs in the shortest phase
  int longer;   // the phases below this one have one output more

  static constexpr DilatedAxis of(std::int64_t in, std::int64_t out, int dilation, std::int64_t padding) {
    int const small = static_cast<int>(out);
    return {static_cast<int>(in), small, dilation, static_cast<int>(padding), small / dilation, small % dilation};
  }
  /// Of the input gradient of a convolution with these extents.
  static constexpr DilatedAxis gradient_of(std::int64_t in, std::int64_t out, int dilation, int padding) {
    return of(out, in, dilation, 2 * std::int64_t{dilation} - padding);
  }
  /// Whether every index that a walk meets fits into an int.
  static constexpr bool counts(std::int64_t in, std::int64_t out, int dilation, int padding) {
    constexpr std::int64_t most = std::int64_t{1} << 28;
    return in < most && out < most && dilation < most && padding < most;
  }

  constexpr MIXPREC_HD int phases() const { return least > 0 ? dilation : longer; }
  constexpr MIXPREC_HD int length(int phase) const { return least + (phase < longer ? 1 : 0); }
  constexpr int longest() const { return length(0); }
  constexpr MIXPREC_HD int first_input(int phase) const { return phase - padding; }
  constexpr MIXPREC_HD bool inside(int input) const { return static_cast<unsigned>(input) < static_cast<unsigned>(in); }
};

/// A walk over the outputs [begin, end) of an axis in the order of its phases. A step brings in one input; it belongs
/// to the first tap of output opens(), to the second tap of the one before it in the phase, and to the third tap of
/// closes(), which is complete with it. Each phase of n outputs takes n + 2 steps.
struct PhaseWalk {
  int input;  // of this step; may lie outside of the axis
  int phase;
  int taken;      // steps since this phase began
  int remaining;  // steps to go in this phase, this one among them
  int left;       // outputs in later phases

  constexpr MIXPREC_HD PhaseWalk(DilatedAxis const& axis, int begin, int end)
      : input(0), phase(0), taken(0), remaining(0), left(0) {
    int const in_longer = axis.longer * (axis.least + 1);
    int first = 0;
    if (begin < in_longer) {
      phase = begin / (axis.least + 1), first = begin % (axis.least + 1);
    } else if (axis.least > 0) {
      phase = axis.longer + (begin - in_longer) / axis.least, first = (begin - in_longer) % axis.least;
    }
    begin_phase(axis, first, end - begin);
  }

  constexpr MIXPREC_HD bool active() const { return remaining > 0; }
  /// Whether the output whose first tap this input is belongs to the walk, and which one it is.
  constexpr MIXPREC_HD bool has_first() const { return remaining > 2; }
  constexpr MIXPREC_HD int opens(DilatedAxis const& axis) const { return input + axis.padding; }
  /// The same of the output whose last tap this input is.
  constexpr MIXPREC_HD bool has_last() const { return taken >= 2; }
  constexpr MIXPREC_HD int closes(DilatedAxis const& axis) const { return opens(axis) - 2 * axis.dilation; }

  /// The step that comes `steps` later, two at most.
  struct Later {
    bool active, has_first;
    int input;
    constexpr MIXPREC_HD int opens(DilatedAxis const& axis) const { return input + axis.padding; }
  };
  constexpr MIXPREC_HD Later later(DilatedAxis const& axis, int steps) const {
    if (remaining > steps) return {true, remaining - steps > 2, input + steps * axis.dilation};
    // In the next phase, which takes three steps at least.
    int const at = steps - remaining;
    return {left > 0, at < left && at < axis.length(phase + 1), axis.first_input(phase + 1) + at * axis.dilation};
  }

  constexpr MIXPREC_HD void advance(DilatedAxis const& axis) {
    if (--remaining > 0) {
      input += axis.dilation;
      ++taken;
    } else {
      ++phase;
      begin_phase(axis, 0, left);
    }
  }

 private:
  constexpr MIXPREC_HD void begin_phase(DilatedAxis const& axis, int first, int outputs) {
    int const here = axis.length(phase) - first, mine = outputs < here ? outputs : here;
    input = axis.first_input(phase) + first * axis.dilation;
    taken = 0;
    remaining = mine > 0 ? mine + 2 : 0;
    left = outputs - (mine > 0 ? mine : 0);
  }
};

/// `Columns` neighbouring outputs of a phase, and the inputs under their windows, as the columns that one thread takes.
template <int Columns>
struct PhaseStrip {
  int input;         // the first one; they are a dilation apart, and may lie outside of the axis
  int output;        // the first one; also a dilation apart
  unsigned inputs;   // bit i: input i exists (Columns + 2 bits)
  unsigned outputs;  // bit i: output i exists

  static constexpr int per_phase(DilatedAxis const& axis) { return (axis.longest() + Columns - 1) / Columns; }
  static constexpr int count(DilatedAxis const& axis) { return axis.phases() * per_phase(axis); }

  /// Strip `index` of count(axis); `strips` is per_phase(axis).
  constexpr MIXPREC_HD PhaseStrip(DilatedAxis const& axis, int strips, int index)
      : input(0), output(0), inputs(0), outputs(0) {
    int const phase = index / strips, first = index % strips * Columns;
    input = axis.first_input(phase) + first * axis.dilation;
    output = phase + first * axis.dilation;
    for (int i = 0; i < Columns; ++i) outputs |= (first + i < axis.length(phase) ? 1u : 0u) << i;
    for (int i = 0; i < Columns + 2; ++i) inputs |= (axis.inside(input + i * axis.dilation) ? 1u : 0u) << i;
  }
};

}  // namespace mixprec::inline MIXPREC_ABI
