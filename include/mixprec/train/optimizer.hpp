// SPDX-License-Identifier: Apache-2.0
// Optimizers bound to a model: one pass over each flat segment of parameters.
#pragma once

#include <algorithm>  // std::find_if
#include <list>
#include <utility>
#include <vector>

#include <mixprec/optim/adamw.hpp>
#include <mixprec/optim/ema.hpp>
#include <mixprec/optim/parameter_group.hpp>
#include <mixprec/optim/sgd.hpp>
#include <mixprec/train/model.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// An optimizer with `Options` for the parameters of model `M`. Parameters of no group have multipliers of 1. A
/// parameter that the step's loss does not depend on stays as it is, with its state, as PyTorch leaves parameters whose
/// .grad is None; AdamW's bias correction counts the model's steps, not the parameter's.
/// Precision: master weights and state in the policy's parameter dtype, arithmetic in its accumulator; gradients as
/// stored.
template <class M, class Options>
class Optimizer {
 public:
  using B = typename M::backend;
  using Policy = typename M::policy;

  /// Errors: Error for options or groups that cannot work, and for a group that holds none of the model's parameters.
  Optimizer(M& model, Options const& options, std::vector<ParameterGroup> groups = {})
      : model_(model), options_(options), groups_(std::move(groups)) {
    (void)optimizer_settings(options_, true);
    check_groups(groups_);
    require_matches(groups_, model_.session().parameters().entries());
  }

  M const& model() const { return model_; }
  Options const& options() const { return options_; }
  bool needs_norm() const { return mixprec::needs_norm(options_); }

  /// Takes memory for the state, and for the EMA the first time it is asked for, where it starts from the parameters.
  /// Called in every step once the model is laid out; says whether this step's update moves the EMA.
  void prepare(bool ema) {
    moves_ema_ = ema;
    auto& store = model_.session().parameters();
    if (states_.empty()) {
      for (std::size_t index = 0; index < store.segments().size(); ++index) {
        if (!store.segments()[index].trained) continue;
        State& state = states_.emplace_back();
        state.segment = index;
        for (int buffer = 0; buffer < buffers(); ++buffer) {
          state.buffers[buffer] = memory_like_masters(index);
          B::zero(model_.stream(), state.buffers[buffer].data(), state.buffers[buffer].bytes());
        }
      }
    }
    for (State& state : states_) {
      Storage<B>& average = state.buffers[ema_buffer];
      if (!ema || average) continue;
      average = memory_like_masters(state.segment);
      B::copy(model_.stream(), average.data(), store.segments()[state.segment].master.data(), average.bytes());
    }
    place_loaded();
  }

  /// State by buffer: 0 to buffers() - 1 are torch.optim's, by the names there; then there is the EMA.
  static constexpr int ema_buffer = 2;
  int buffers() const { return state_buffers(options_); }
  char const* buffer_name(int buffer) const { return state_name(options_, buffer); }
  /// A trained parameter's part of a buffer in PyTorch's order; empty where it has none yet. Sync: waits.
  std::vector<double> state(int buffer, int id) {
    auto& store = model_.session().parameters();
    if (Storage<B> const* const memory = memory_of(buffer, id)) return store.values_in(*memory, model_.stream(), id);
    if (store.laid_out() && store.entries()[static_cast<std::size_t>(id)].segment < 0) return {};
    for (Loaded const& loaded : loaded_)
      if (loaded.buffer == buffer && loaded.id == id) return loaded.values;
    return {};
  }
  /// Sets it, now or as soon as it has memory; without values it starts as in a new run. Sync: waits.
  void load_state(int buffer, int id, std::vector<double> values) {
    std::erase_if(loaded_, [&](Loaded const& loaded) { return loaded.buffer == buffer && loaded.id == id; });
    if (values.empty()) {
      if (memory_of(buffer, id) == nullptr) return;
      values = model_.session().parameters().values(model_.stream(), id);
      if (buffer != ema_buffer) values.assign(values.size(), 0.0);
    }
    loaded_.push_back({buffer, id, std::move(values)});
    place_loaded();
  }

  /// Checks all gradients for inf and NaN, and sums their squares where clipping asks for the norm. Sync: none.
  void check(bool norm, ScalerState* scaler, StepState* step) {
    clear_unreached();
    for_each_segment([&](auto const& segment) {
      check_gradients(model_.stream(), segment.gradient, segment.size, norm, scaler, step);
    });
  }

  /// Updates masters, working copies and EMA, unless a check found inf. Sync: none.
  void update(Options const& options, bool checked, ScalerState const* scaler, StepState const* step) {
    for_each_segment([&](auto const& segment) {
      optimizer_update(model_.stream(), optimizer_settings(options, checked), segment, scaler, step);
    });
  }

  /// Calls visit(Segment<Master, Gradient, Working>) for every trained segment, in the order of the arenas.
  template <class Visit>
  void for_each_segment(Visit&& visit) {
    auto& store = model_.session().parameters();
    std::vector<Runs> const& runs = this->runs();
    for (std::size_t index = 0; index < states_.size(); ++index) {
      State const& state = states_[index];
      ParameterSegment<B> const& stored = store.segments()[state.segment];
      with_types(stored, [&]<class Master, class Gradient, class Working>() {
        visit(Segment<Master, Gradient, Working>{
            static_cast<Master*>(stored.master.data()), static_cast<Master*>(state.buffers[0].data()),
            static_cast<Master*>(state.buffers[1].data()), static_cast<Gradient const*>(stored.gradient.data()),
            stored.has_working() ? static_cast<Working*>(stored.working.data()) : nullptr,
            moves_ema_ ? static_cast<Master*>(state.buffers[ema_buffer].data()) : nullptr, stored.size,
            static_cast<ParameterRun const*>(runs[index].memory.data()), runs[index].count});
      });
    }
  }

  /// The runs of one segment in backend memory.
  struct Runs {
    Storage<B> memory;
    std::int32_t count = 0;
  };
  /// The runs for the parameters that have a gradient now. A graph that reads them holds a copy of the handles, because
  /// only the latest few sets are kept here.
  std::vector<Runs> const& runs() {
    constexpr std::size_t most = 8;
    auto const& writes = model_.session().parameters().writes();
    auto at = std::find_if(reached_.begin(), reached_.end(), [&](Reached const& set) { return set.writes == writes; });
    if (at == reached_.end()) {
      Reached set{writes, {}};
      for (State const& state : states_) set.runs.push_back(make_runs(state.segment));
      at = reached_.insert(reached_.begin(), std::move(set));
      if (reached_.size() > most) reached_.pop_back();
    }
    reached_.splice(reached_.begin(), reached_, at);
    return at->runs;
  }

 private:
  struct State {
    std::size_t segment = 0;
    Storage<B> buffers[3];  // the last one is the EMA
  };
  struct Loaded {
    int buffer, id;
    std::vector<double> values;
  };
  struct Reached {
    std::vector<int> writes;  // of the parameter store
    std::vector<Runs> runs;   // of each state's segment
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

  Storage<B> memory_like_masters(std::size_t index) {
    ParameterSegment<B> const& segment = model_.session().parameters().segments()[index];
    return Storage<B>(model_.session().arena(), static_cast<std::size_t>(segment.size) * size_of(segment.master_dtype));
  }

  Storage<B> const* memory_of(int buffer, int id) const {
    int const segment = model_.session().parameters().entries()[static_cast<std::size_t>(id)].segment;
    for (State const& state : states_)
      if (static_cast<int>(state.segment) == segment && state.buffers[buffer]) return &state.buffers[buffer];
    return nullptr;
  }
  void place_loaded() {
    std::erase_if(loaded_, [&](Loaded const& loaded) {
      Storage<B> const* const memory = memory_of(loaded.buffer, loaded.id);
      if (memory == nullptr) return false;
      model_.session().parameters().assign_in(*memory, model_.stream(), loaded.id, loaded.values);
      return true;
    });
  }

  Runs make_runs(std::size_t segment) {
    std::vector<ParameterRun> runs;
    auto& store = model_.session().parameters();
    for (std::size_t id = 0; id < store.entries().size(); ++id) {
      ParameterEntry const& entry = store.entries()[id];
      if (entry.segment != static_cast<int>(segment)) continue;
      Multipliers const multipliers = multipliers_for(entry.name, entry.kind, groups_);
      bool const reached = store.written(static_cast<int>(id));
      std::int64_t const end =
          entry.offset + (entry.size() + segment_alignment - 1) / segment_alignment * segment_alignment;
      bool const joins = !runs.empty() && runs.back().lr_multiplier == multipliers.lr &&
                         runs.back().decay_multiplier == multipliers.decay && runs.back().reached == reached;
      if (joins) {
        runs.back().end = end;
      } else {
        runs.push_back({entry.offset, end, multipliers.lr, multipliers.decay, reached});
      }
    }
    Runs stored{Storage<B>(model_.session().arena(), runs.size() * sizeof(ParameterRun)),
                static_cast<std::int32_t>(runs.size())};
    B::copy_from_host(model_.stream(), stored.memory.data(), runs.data(), stored.memory.bytes());
    return stored;
  }

  // What an older step left in gradients that this one has not written must not count in the check and the norm.
  void clear_unreached() {
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
  std::vector<State> states_;   // of each trained segment
  std::list<Reached> reached_;  // the latest first
  std::vector<Loaded> loaded_;  // until there is memory for it
  bool moves_ema_ = false;
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
