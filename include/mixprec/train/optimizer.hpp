// SPDX-License-Identifier: Apache-2.0
// Optimizers bound to a model: one pass over each flat segment of parameters.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include <mixprec/optim/adamw.hpp>
#include <mixprec/optim/ema.hpp>
#include <mixprec/optim/parameter_group.hpp>
#include <mixprec/optim/sgd.hpp>
#include <mixprec/train/model.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// An optimizer with `Options` for the parameters of model `M`. Parameters of no group have multipliers of 1.
/// Precision: master weights and state in the policy's parameter dtype, arithmetic in its accumulator; gradients as
/// stored.
template <class M, class Options>
class Optimizer {
 public:
  using B = typename M::backend;
  using Policy = typename M::policy;

  /// Errors: Error for options or groups that cannot work.
  Optimizer(M& model, Options const& options, std::vector<ParameterGroup> groups = {})
      : model_(model), options_(options), groups_(std::move(groups)) {
    (void)optimizer_settings(options_, true);
    check_groups(groups_);
  }

  Options const& options() const { return options_; }
  bool needs_norm() const { return mixprec::needs_norm(options_); }

  /// Takes the state's memory; called once the model is laid out.
  void prepare(bool ema) {
    if (prepared_) return;
    prepared_ = true;
    auto& store = model_.session().parameters();
    for (std::size_t index = 0; index < store.segments().size(); ++index) {
      ParameterSegment<B> const& segment = store.segments()[index];
      if (!segment.trained) continue;
      State state;
      state.segment = index;
      std::size_t const bytes = static_cast<std::size_t>(segment.size) * size_of(segment.master_dtype);
      for (int buffer = 0; buffer < state_buffers(options_); ++buffer) state.buffers[buffer] = zeroed(bytes);
      if (ema) {
        state.ema = Storage<B>(model_.session().arena(), bytes);
        B::copy(model_.stream(), state.ema.data(), segment.master.data(), bytes);
      }
      std::vector<ParameterRun> const runs = runs_of(index);
      state.run_count = static_cast<std::int32_t>(runs.size());
      state.runs = Storage<B>(model_.session().arena(), runs.size() * sizeof(ParameterRun));
      B::copy_from_host(model_.stream(), state.runs.data(), runs.data(), runs.size() * sizeof(ParameterRun));
      states_.push_back(std::move(state));
    }
  }

  /// Checks all gradients for inf and NaN, and sums their squares where clipping asks for the norm. Sync: none.
  void check(bool norm, ScalerState* scaler, StepState* step) {
    clear_unwritten();
    for_each_segment([&](auto const& segment) {
      check_gradients(model_.stream(), segment.gradient, segment.size, norm, scaler, step);
    });
  }

  /// Updates masters, working copies and EMA, unless a check found inf. Sync: none.
  void update(Options const& options, bool checked, ScalerState const* scaler, StepState const* step) {
    clear_unwritten();
    for_each_segment([&](auto const& segment) {
      optimizer_update(model_.stream(), optimizer_settings(options, checked), segment, scaler, step);
    });
  }

  /// Calls visit(Segment<Master, Gradient, Working>) for every trained segment, in the order of the arenas.
  template <class Visit>
  void for_each_segment(Visit&& visit) {
    auto& store = model_.session().parameters();
    for (State const& state : states_) {
      ParameterSegment<B> const& stored = store.segments()[state.segment];
      with_types(stored, [&]<class Master, class Gradient, class Working>() {
        visit(Segment<Master, Gradient, Working>{
            static_cast<Master*>(stored.master.data()), static_cast<Master*>(state.buffers[0].data()),
            static_cast<Master*>(state.buffers[1].data()), static_cast<Gradient const*>(stored.gradient.data()),
            stored.has_working() ? static_cast<Working*>(stored.working.data()) : nullptr,
            static_cast<Master*>(state.ema.data()), stored.size, static_cast<ParameterRun const*>(state.runs.data()),
            state.run_count});
      });
    }
  }

 private:
  struct State {
    std::size_t segment = 0;
    Storage<B> buffers[2], ema, runs;
    std::int32_t run_count = 0;
  };

  // A policy has few combinations; only those are instantiated.
  template <class Visit>
  static void with_types(ParameterSegment<B> const& segment, Visit&& visit) {
    using Master = type_of_t<Policy::parameter(ParameterKind::weight)>;
    using Norm = type_of_t<Policy::parameter(ParameterKind::norm_weight)>;
    using Low = type_of_t<Policy::low>;
    using Wide = accumulator_t<Low>;
    bool done = false;
    auto const attempt = [&]<class M1, class G, class W>() {
      if (!done && segment.master_dtype == dtype_of_v<M1> && segment.gradient_dtype == dtype_of_v<G> &&
          segment.working_dtype == dtype_of_v<W>) {
        done = true;
        visit.template operator()<M1, G, W>();
      }
    };
    attempt.template operator()<Master, Low, Low>();
    if constexpr (!std::is_same_v<Low, Wide>) {
      attempt.template operator()<Master, Wide, Low>();
      attempt.template operator()<Master, Wide, Wide>();
    }
    if constexpr (!std::is_same_v<Norm, Master> && !std::is_same_v<Norm, Wide>)
      attempt.template operator()<Norm, Norm, Norm>();
    if (!done)
      throw Error(std::string("optimizer: no update for masters in ") + name_of(segment.master_dtype) +
                  ", gradients in " + name_of(segment.gradient_dtype) + ", working copies in " +
                  name_of(segment.working_dtype) + ". Use one of the library's policies for the whole model.");
  }

  Storage<B> zeroed(std::size_t bytes) {
    Storage<B> storage(model_.session().arena(), bytes);
    B::zero(model_.stream(), storage.data(), bytes);
    return storage;
  }

  std::vector<ParameterRun> runs_of(std::size_t segment) {
    std::vector<ParameterRun> runs;
    auto& store = model_.session().parameters();
    for (ParameterEntry const& entry : store.entries()) {
      if (entry.segment != static_cast<int>(segment)) continue;
      Multipliers const multipliers = multipliers_for(entry.name, entry.kind, groups_);
      std::int64_t const end =
          entry.offset + (entry.size() + segment_alignment - 1) / segment_alignment * segment_alignment;
      bool const joins = !runs.empty() && runs.back().lr_multiplier == multipliers.lr &&
                         runs.back().decay_multiplier == multipliers.decay;
      if (joins) {
        runs.back().end = end;
      } else {
        runs.push_back({entry.offset, end, multipliers.lr, multipliers.decay});
      }
    }
    return runs;
  }

  // A parameter that this forward pass did not reach has no gradient; what an older step left there must not count.
  void clear_unwritten() {
    auto& store = model_.session().parameters();
    for (std::size_t id = 0; id < store.entries().size(); ++id) {
      ParameterEntry const& entry = store.entries()[id];
      int const at = static_cast<int>(id);
      if (entry.segment < 0 || entry.frozen || store.written(at)) continue;
      B::zero(model_.stream(), store.gradient_address(at),
              static_cast<std::size_t>(entry.size()) * size_of(store.segment_of(at).gradient_dtype));
    }
  }

  M& model_;
  Options options_;
  std::vector<ParameterGroup> groups_;
  std::vector<State> states_;
  bool prepared_ = false;
};

/// torch.optim.SGD for a model: `Sgd opt{net, {.momentum = 0.9}};`
template <class M>
struct Sgd : Optimizer<M, SgdOptions> {
  Sgd(M& model, SgdOptions const& options = {}, std::vector<ParameterGroup> groups = {})
      : Optimizer<M, SgdOptions>(model, options, std::move(groups)) {}
};

/// torch.optim.AdamW for a model.
template <class M>
struct AdamW : Optimizer<M, AdamWOptions> {
  AdamW(M& model, AdamWOptions const& options = {}, std::vector<ParameterGroup> groups = {})
      : Optimizer<M, AdamWOptions>(model, options, std::move(groups)) {}
};

}  // namespace mixprec::inline MIXPREC_ABI
