// SPDX-License-Identifier: Apache-2.0
// What Step and Trainer share: a model with its optimizer, scaler, schedule and EMA, and their state in backend memory.
#pragma once

#include <bit>  // std::bit_cast
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <mixprec/optim/schedule.hpp>
#include <mixprec/scaler/fields.hpp>
#include <mixprec/scaler/presets.hpp>
#include <mixprec/scaler/scaler.hpp>
#include <mixprec/scaler/step_result.hpp>
#include <mixprec/train/optimizer.hpp>
#include <mixprec/train/state_dict.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Base of Step and Trainer. It refers to the model and the optimizer, which must outlive it.
template <class M, class Opt, class S>
class TrainingState {
  static_assert(scaler_fits_v<S, M::policy::low>,
                "mixprec: a dynamic scaler has nothing to do under this policy, whose low-precision dtype has float's "
                "range. Use Scaler<NoScaler>.");

 public:
  using B = typename M::backend;
  TrainingState(TrainingState const&) = delete;
  TrainingState& operator=(TrainingState const&) = delete;

  /// The model's: where everything runs.
  typename B::Stream& stream() { return model_.stream(); }

  /// Whether the last step was taken, the scale, the learning rate; until the next step begins. Sync: waits.
  StepResult result() { return step_result(scaler_snapshot(), step_snapshot()); }
  /// The scaler's and the schedule's state alone; `restore` takes it back. Sync: waits.
  ScalerState scaler_snapshot() { return read<ScalerState>(scaler_state_); }
  StepState step_snapshot() { return read<StepState>(step_state_); }
  void restore(ScalerState const& scaler, StepState const& step) {
    B::copy_from_host(model_.stream(), scaler_state_.data(), &scaler, sizeof(scaler));
    B::copy_from_host(model_.stream(), step_state_.data(), &step, sizeof(step));
  }

  /// Everything that training depends on beside options and data, between two steps: a run that loads it into new
  /// objects of the same kind and options goes on bit for bit. Names:
  /// - model.<name>: parameters (masters) and buffers, as in state_dict
  /// - optimizer.<momentum_buffer | exp_avg | exp_avg_sq>.<name>, ema.<name>: once there has been a step
  /// - scaler.<field>, step.<field>: ScalerState and StepState
  /// - random.seed, random.calls: the dropout generator's
  /// Sync: waits. Errors: Error in the middle of a step, whose gradients are no part of the state.
  StateDict state() {
    require_between_steps("state");
    StateDict state;
    auto const add = [&](std::string name, std::string const& of, std::vector<double> const& values) {
      if (values.empty()) return;
      DType const dtype = model_.dtype_of(of);
      state.push_back({std::move(name), dtype, model_.shape_of(of), detail::bytes_of(values, dtype)});
    };
    for (std::string const& name : model_.names()) add("model." + name, name, model_.values(name));
    for_each_buffer([&](std::string const& name, std::string const& of, int buffer, int id) {
      add(name, of, optimizer_.state(buffer, id));
    });
    for (auto const& [name, value] : to_fields(scaler_snapshot()))
      state.push_back(detail::scalar_tensor(std::string("scaler.") + name, value));
    StepState step = step_snapshot();
    for_each_field(step,
                   [&](std::string const& name, auto& value) { state.push_back(detail::scalar_tensor(name, value)); });
    auto const random = model_.session().random_state();
    state.push_back(detail::scalar_tensor("random.seed", std::bit_cast<std::int64_t>(random.seed)));
    state.push_back(detail::scalar_tensor("random.calls", std::bit_cast<std::int64_t>(random.calls)));
    return state;
  }

  /// Goes on from what state() has returned, in any order. A state from before the first step, or from a run without
  /// EMA, lacks optimizer's tensors or the EMA's: those start as in a new run. Sync: waits. Errors: Error that names
  /// the tensor, before anything is changed, for one that is missing, unknown, or has another dtype or shape; Error in
  /// the middle of a step.
  void load_state(StateDict const& state) {
    require_between_steps("load_state");
    detail::StateReader reader(state);
    std::vector<std::pair<std::string, std::vector<double>>> model;
    for (std::string const& name : model_.names())
      model.emplace_back(name, reader.take("model." + name, model_.dtype_of(name), model_.shape_of(name)));
    struct Part {
      int buffer, id;
      std::vector<double> values;
    };
    std::vector<Part> parts;
    for_each_buffer([&](std::string const& name, std::string const& of, int buffer, int id) {
      Part& part = parts.emplace_back(Part{buffer, id, {}});
      if (reader.contains(name)) part.values = reader.take(name, model_.dtype_of(of), model_.shape_of(of));
    });
    auto fields = to_fields(ScalerState{});
    for (auto& [name, value] : fields) value = reader.take_scalar<double>(std::string("scaler.") + name);
    ScalerState const scaler = scaler_state_from_fields(fields);
    StepState step;
    for_each_field(step, [&]<class T>(std::string const& name, T& value) { value = reader.take_scalar<T>(name); });
    auto const seed = reader.take_scalar<std::int64_t>("random.seed");
    auto const calls = reader.take_scalar<std::int64_t>("random.calls");
    reader.finish();

    for (auto const& [name, values] : model) model_.assign(name, values);
    for (Part& part : parts) optimizer_.load_state(part.buffer, part.id, std::move(part.values));
    restore(scaler, step);
    model_.session().set_random_state({std::bit_cast<std::uint64_t>(seed), std::bit_cast<std::uint64_t>(calls)});
  }

  /// The model for inference as Model::eval gives it, with the moving averages in place of the parameters; running
  /// statistics are the model's (torch.optim.swa_utils.AveragedModel with use_buffers=False). Later steps do not change
  /// it, and its refresh() would take the parameters themselves. Sync: waits. Errors: Error where no EMA is kept.
  [[nodiscard]] auto eval_ema(InferenceOptions options = {}) {
    if (!has_ema_) throw Error("eval_ema: no EMA is kept. Give an Ema in the options, or use the model's eval().");
    auto& store = model_.session().parameters();
    std::vector<std::vector<double>> parameters;
    for (int id = 0; id < static_cast<int>(store.entries().size()); ++id) {
      parameters.push_back(optimizer_.state(Opt::ema_buffer, id));
      if (parameters.back().empty()) parameters.back() = store.values(model_.stream(), id);
    }
    return decltype(model_.eval())(model_, options, std::move(parameters));
  }

 protected:
  /// Errors: Error for settings that cannot work.
  TrainingState(M& model, Opt& optimizer, S const& scaler, ScheduleSettings const& schedule,
                std::optional<Ema> const& ema)
      : model_(model),
        optimizer_(optimizer),
        scaler_(scaler),
        schedule_(schedule),
        has_ema_(ema.has_value()),
        ema_(ema ? EmaSettings(*ema) : EmaSettings{}),
        scaler_state_(model.session().arena(), sizeof(ScalerState)),
        step_state_(model.session().arena(), sizeof(StepState)) {
    if (&optimizer.model() != &model)
      throw Error(
          "the optimizer was built for another model: it would never see this one's gradients. Build it for this one.");
    restore(scaler.initial_state(), initial_step_state(schedule_, ema_));
  }
  ~TrainingState() = default;

  ScalerState* scaler_state() const { return static_cast<ScalerState*>(scaler_state_.data()); }
  StepState* step_state() const { return static_cast<StepState*>(step_state_.data()); }

  // The parts of a step in their order. Sync: none.
  void begin_gradients() { begin_step(model_.stream(), scaler_state(), step_state()); }
  void add_gradients(auto const& loss, double factor) {
    model_.session().backward(loss, &scaler_state()->scale, factor);
    optimizer_.prepare(has_ema_);
  }
  void check_gradients(bool norm) {
    if (scaler_.checks() || norm) optimizer_.check(norm, scaler_state(), step_state());
  }
  void update_parameters(auto const& options) {
    optimizer_.update(options, scaler_.checks(), scaler_state(), step_state());
    finish_step(model_.stream(), scaler_.settings(), schedule_, ema_, scaler_state(), step_state());
  }

  M& model_;
  Opt& optimizer_;
  int passes_ = 0;  // backward passes of the step that has begun; 0 between two steps

 private:
  void require_between_steps(char const* call) const {
    if (passes_ == 0) return;
    throw Error(
        std::string(call) + ": " + std::to_string(passes_) +
        " backward passes of a step have been made, and their gradients are no part of the state. Finish the step "
        "first.");
  }
  template <class Visit>
  void for_each_buffer(Visit const& visit) {
    auto const& entries = model_.session().parameters().entries();
    for (std::size_t at = 0; at < entries.size(); ++at) {
      if (entries[at].frozen) continue;
      std::string const& of = entries[at].name;
      int const id = static_cast<int>(at);
      for (int buffer = 0; buffer < optimizer_.buffers(); ++buffer)
        visit(std::string("optimizer.") + optimizer_.buffer_name(buffer) + "." + of, of, buffer, id);
      if (has_ema_) visit("ema." + of, of, Opt::ema_buffer, id);
    }
  }
  template <class Visit>
  static void for_each_field(StepState& step, Visit const& visit) {
    visit("step.learning_rate", step.learning_rate);
    visit("step.ema_decay", step.ema_decay);
    visit("step.step", step.step);
    visit("step.grad_norm_squared", step.grad_norm_squared);
    visit("step.last_taken", step.last_taken);
  }
  template <class State>
  State read(Storage<B> const& storage) {
    State state;
    B::copy_to_host(model_.stream(), &state, storage.data(), sizeof(state));
    return state;
  }

  S scaler_;
  ScheduleSettings schedule_;
  bool has_ema_;
  EmaSettings ema_;
  Storage<B> scaler_state_, step_state_;
};

}  // namespace mixprec::inline MIXPREC_ABI
