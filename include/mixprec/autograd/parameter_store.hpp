// SPDX-License-Identifier: Apache-2.0
// The memory of a model's parameters: flat arenas of masters, working copies and gradients, laid out once.
#pragma once

#include <cmath>  // std::sqrt
#include <cstdint>
#include <string>
#include <vector>

#include <mixprec/autograd/parameter.hpp>
#include <mixprec/autograd/trace.hpp>
#include <mixprec/backend/philox.hpp>
#include <mixprec/tensor/tensor.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// How a parameter starts: a constant, or PyTorch's default for Linear and Conv2d, uniform in +-1/sqrt(fan_in)
/// (kaiming_uniform with a = sqrt(5), torch/nn/modules/linear.py).
struct Initial {
  double constant = 0;
  std::int64_t fan_in = 0;  // 0: the constant
};

/// A parameter as the host knows it.
struct ParameterEntry {
  std::string name;
  int rank = 0;
  std::int64_t extents[4]{};
  ParameterKind kind = ParameterKind::weight;
  bool frozen = false;
  DType master = DType::float32;
  DType working = DType::float32;  // what ops read; a copy of its own where it differs from `master`, which they may
                                   // read too
  int uses = 0;                    // in one forward pass
  int segment = -1;                // -1: not used by the model's forward pass
  std::int64_t offset = 0;         // elements from the segment's start
  std::vector<double> values;      // logical order; only until the layout

  std::int64_t size() const {
    std::int64_t product = 1;
    for (int axis = 0; axis < rank; ++axis) product *= extents[axis];
    return product;
  }
};

/// Parameters with the same dtypes, one after the other; each starts at a multiple of 16 elements, the gaps are zero.
template <class B>
struct ParameterSegment {
  DType master_dtype, working_dtype, gradient_dtype;
  bool trained;  // false: frozen, no gradient
  std::int64_t size = 0;
  Storage<B> master, working, gradient;  // working is empty where ops read the master

  bool has_working() const { return working_dtype != master_dtype; }
};

/// All parameters and buffers of one model.
template <class B>
class ParameterStore {
 public:
  using Stream = typename B::Stream;

  std::vector<ParameterEntry> const& entries() const { return entries_; }
  std::vector<ParameterSegment<B>> const& segments() const { return segments_; }
  bool laid_out() const { return laid_out_; }

  /// Adds a parameter before the layout; `index` of the random stream is the parameter's id, so that every backend and
  /// every policy starts from the same numbers.
  int add(ParameterEntry entry, Initial initial, std::uint64_t seed) {
    int const id = static_cast<int>(entries_.size());
    entry.values.resize(static_cast<std::size_t>(entry.size()));
    double const bound = initial.fan_in > 0 ? 1.0 / std::sqrt(static_cast<double>(initial.fan_in)) : 0.0;
    for (std::size_t index = 0; index < entry.values.size(); ++index) {
      std::uint32_t const bits = philox4x32_10(seed, index / 4, static_cast<std::uint64_t>(id)).v[index % 4];
      entry.values[index] =
          initial.fan_in > 0 ? bound * (2.0 * static_cast<double>(uniform_from(bits)) - 1.0) : initial.constant;
    }
    entries_.push_back(std::move(entry));
    return id;
  }

  /// Takes the arenas. Called once, when a trace of the model's first input says who reads what in which dtype.
  /// A gradient is stored in the dtype in which the parameter is read, but in float where it will be summed: where
  /// `accumulates` says so, or where one forward pass reads the parameter twice.
  void lay_out(Arena<B>& arena, Stream& stream, Sequence<ParameterUse> const& uses, bool accumulates) {
    for (std::size_t id = 0; id < entries_.size(); ++id) {
      ParameterEntry& entry = entries_[id];
      ParameterUse const use = static_cast<int>(id) < uses.size() ? uses[static_cast<int>(id)] : ParameterUse{};
      entry.uses = use.count;
      if (use.count == 0) continue;
      entry.working = use.working(entry.master);
      entry.segment = segment_for(entry, use.sums(accumulates) ? accumulator_of(entry.working) : entry.working);
      ParameterSegment<B>& segment = segments_[static_cast<std::size_t>(entry.segment)];
      entry.offset = segment.size;
      segment.size += (entry.size() + 15) / 16 * 16;
    }
    for (ParameterSegment<B>& segment : segments_) {
      segment.master = reserve(arena, stream, segment.size, segment.master_dtype);
      if (segment.has_working()) segment.working = reserve(arena, stream, segment.size, segment.working_dtype);
      if (segment.trained) segment.gradient = reserve(arena, stream, segment.size, segment.gradient_dtype);
    }
    laid_out_ = true;
    accumulates_ = accumulates;
    forget_gradients();
    for (std::size_t id = 0; id < entries_.size(); ++id) {
      if (entries_[id].segment < 0) continue;
      upload(stream, static_cast<int>(id), entries_[id].values);
      entries_[id].values = {};
    }
  }

  /// Values in logical order (PyTorch's). Sync: waits.
  std::vector<double> values(Stream& stream, int id) const {
    ParameterEntry const& entry = entries_[static_cast<std::size_t>(id)];
    return entry.segment < 0 ? entry.values : values_in(segment_of(id).master, stream, id);
  }
  /// A parameter's part of `arena`, which is laid out as the masters of its segment. Sync: waits.
  std::vector<double> values_in(Storage<B> const& arena, Stream& stream, int id) const {
    ParameterEntry const& entry = entries_[id_of(id)];
    return from_memory_order(entry,
                             download(stream, address(arena, entry.offset, entry.master), entry.master, entry.size()));
  }
  void assign_in(Storage<B> const& arena, Stream& stream, int id, std::vector<double> const& logical) {
    ParameterEntry const& entry = entries_[id_of(id)];
    write(stream, address(arena, entry.offset, entry.master), entry.master, to_memory_order(entry, logical));
  }

  /// The gradient of the last backward pass in logical order, still scaled. Sync: waits.
  std::vector<double> gradient(Stream& stream, int id) const {
    ParameterEntry const& entry = entries_[static_cast<std::size_t>(id)];
    if (entry.segment < 0 || !segment_of(id).trained) return {};
    DType const dtype = segment_of(id).gradient_dtype;
    return from_memory_order(entry, download(stream, gradient_address(id), dtype, entry.size()));
  }

  /// Sets a parameter from values in logical order, master and working copy. Errors: Error where the count differs.
  void assign(Stream& stream, int id, std::vector<double> const& values) {
    ParameterEntry& entry = entries_[static_cast<std::size_t>(id)];
    if (static_cast<std::int64_t>(values.size()) != entry.size()) {
      throw Error(entry.name + ": " + std::to_string(values.size()) + " values for " + std::to_string(entry.size()) +
                  " elements. Give one value for each element, in PyTorch's order.");
    }
    if (entry.segment < 0) {
      entry.values = values;
    } else {
      upload(stream, id, values);
    }
  }

  void* master(int id) const {
    return address(segment_of(id).master, entries_[id_of(id)].offset, segment_of(id).master_dtype);
  }
  void* working(int id) const {
    ParameterSegment<B> const& segment = segment_of(id);
    return segment.has_working() ? address(segment.working, entries_[id_of(id)].offset, segment.working_dtype)
                                 : master(id);
  }
  void* gradient_address(int id) const {
    return address(segment_of(id).gradient, entries_[id_of(id)].offset, segment_of(id).gradient_dtype);
  }
  ParameterSegment<B> const& segment_of(int id) const {
    return segments_[static_cast<std::size_t>(entries_[id_of(id)].segment)];
  }

  /// How often this step has written each parameter's gradient: the first write replaces, later ones add. Where passes
  /// add up, no more than one is counted.
  std::vector<int> const& writes() const { return writes_; }
  void set_writes(std::vector<int> const& writes) { writes_ = writes; }
  bool written(int id) const { return writes_[id_of(id)] > 0; }
  void forget_gradients() { writes_.assign(entries_.size(), 0); }
  /// Errors: Error for one more write than a forward pass reads the parameter, where passes do not add up. The rule
  /// is the same under every policy, whatever the gradient's dtype could hold.
  void require_room(int id) const {
    ParameterEntry const& entry = entries_[id_of(id)];
    if (accumulates_ || writes_[id_of(id)] < entry.uses) return;
    throw Error(entry.name +
                ": a second gradient in one step, but the model's gradients cannot add up. End the step first "
                "(Trainer::step or zero_grad; without a Trainer model.session().begin_step()), or build the model with "
                ".accumulate_gradients = true.");
  }
  void count_write(int id) { writes_[id_of(id)] = accumulates_ ? 1 : writes_[id_of(id)] + 1; }

 private:
  static std::size_t id_of(int id) { return static_cast<std::size_t>(id); }

  int segment_for(ParameterEntry const& entry, DType gradient) {
    for (std::size_t index = 0; index < segments_.size(); ++index) {
      ParameterSegment<B> const& segment = segments_[index];
      if (segment.master_dtype == entry.master && segment.working_dtype == entry.working &&
          segment.gradient_dtype == gradient && segment.trained == !entry.frozen)
        return static_cast<int>(index);
    }
    segments_.push_back({entry.master, entry.working, gradient, !entry.frozen, 0, {}, {}, {}});
    return static_cast<int>(segments_.size()) - 1;
  }

  Storage<B> reserve(Arena<B>& arena, Stream& stream, std::int64_t size, DType dtype) {
    Storage<B> storage(arena, static_cast<std::size_t>(size) * size_of(dtype));
    storage.keep();  // never counted as kept for backward
    B::zero(stream, storage.data(), storage.bytes());
    return storage;
  }

  static void* address(Storage<B> const& storage, std::int64_t offset, DType dtype) {
    return static_cast<char*>(storage.data()) + offset * static_cast<std::int64_t>(size_of(dtype));
  }

  void upload(Stream& stream, int id, std::vector<double> const& logical) {
    ParameterEntry const& entry = entries_[id_of(id)];
    std::vector<double> const values = to_memory_order(entry, logical);
    write(stream, master(id), entry.master, values);
    if (segment_of(id).has_working()) write(stream, working(id), entry.working, values);
  }

  template <class T>
  static void write_as(Stream& stream, void* to, std::vector<double> const& values) {
    std::vector<T> converted(values.size());
    for (std::size_t index = 0; index < values.size(); ++index) converted[index] = convert<T>(values[index]);
    B::copy_from_host(stream, to, converted.data(), converted.size() * sizeof(T));
  }
  static void write(Stream& stream, void* to, DType dtype, std::vector<double> const& values) {
    switch (dtype) {
      case DType::float64: return write_as<double>(stream, to, values);
      case DType::float16: return write_as<float16>(stream, to, values);
      case DType::bfloat16: return write_as<bfloat16>(stream, to, values);
      default: return write_as<float>(stream, to, values);
    }
  }
  template <class T>
  static std::vector<double> read_as(Stream& stream, void const* from, std::int64_t size) {
    std::vector<T> stored(static_cast<std::size_t>(size));
    B::copy_to_host(stream, stored.data(), from, stored.size() * sizeof(T));
    std::vector<double> values(stored.size());
    for (std::size_t index = 0; index < stored.size(); ++index) values[index] = convert<double>(stored[index]);
    return values;
  }
  static std::vector<double> download(Stream& stream, void const* from, DType dtype, std::int64_t size) {
    switch (dtype) {
      case DType::float64: return read_as<double>(stream, from, size);
      case DType::float16: return read_as<float16>(stream, from, size);
      case DType::bfloat16: return read_as<bfloat16>(stream, from, size);
      default: return read_as<float>(stream, from, size);
    }
  }

  // Rank 4 is OIHW in logic and OHWI in memory; everything else is the same in both.
  static std::vector<double> reorder(ParameterEntry const& entry, std::vector<double> const& from, bool to_memory) {
    if (entry.rank != 4) return from;
    std::vector<double> to(from.size());
    std::int64_t const o = entry.extents[0], i = entry.extents[1], hw = entry.extents[2] * entry.extents[3];
    for (std::int64_t out = 0; out < o; ++out)
      for (std::int64_t in = 0; in < i; ++in)
        for (std::int64_t at = 0; at < hw; ++at) {
          auto const logical = static_cast<std::size_t>((out * i + in) * hw + at);
          auto const memory = static_cast<std::size_t>((out * hw + at) * i + in);
          (to_memory ? to[memory] : to[logical]) = from[to_memory ? logical : memory];
        }
    return to;
  }
  static std::vector<double> to_memory_order(ParameterEntry const& entry, std::vector<double> const& values) {
    return reorder(entry, values, true);
  }
  static std::vector<double> from_memory_order(ParameterEntry const& entry, std::vector<double> const& values) {
    return reorder(entry, values, false);
  }

  std::vector<ParameterEntry> entries_;
  std::vector<ParameterSegment<B>> segments_;
  std::vector<int> writes_;
  bool laid_out_ = false, accumulates_ = false;
};

}  // namespace mixprec::inline MIXPREC_ABI
