// SPDX-License-Identifier: Apache-2.0
// Gradients of the eager loop as types: Scaled or Unscaled, so that calls in the wrong order do not compile.
#pragma once

#include <cmath>  // std::isfinite
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>  // std::exchange
#include <vector>

#include <mixprec/error.hpp>

namespace mixprec::inline MIXPREC_ABI {

/// Gradients as backward leaves them, multiplied by the loss scale.
struct Scaled;
/// Gradients that have been checked; whoever reads them sees them divided by the loss scale.
struct Unscaled;

/// A token for the gradients of a step; the numbers stay in the model. Move-only: a call that uses the gradients up
/// takes the token, and a token that was taken throws. Must not outlive the trainer that made it.
template <class State>
class Gradients;

namespace detail {

/// What tokens ask of the trainer that made them.
class GradientSource {
 public:
  virtual void check() = 0;
  virtual void clip(double max_norm) = 0;
  virtual double norm() = 0;
  virtual bool found_inf() = 0;
  virtual std::vector<double> gradient(std::string_view name, bool unscaled) = 0;
  /// Moves on with every backward and every step: tokens of an older one are stale.
  std::uint64_t generation() const { return generation_; }

 protected:
  GradientSource() = default;
  GradientSource(GradientSource const&) = delete;
  GradientSource& operator=(GradientSource const&) = delete;
  ~GradientSource() = default;
  std::uint64_t generation_ = 0;
};

/// What both kinds of token have: whose gradients they are, or where they went.
class GradientToken {
 public:
  GradientToken() = default;
  explicit GradientToken(GradientSource& source) : source_(&source), generation_(source.generation()), state_("") {}
  GradientToken(GradientToken&& other) noexcept { *this = std::move(other); }
  GradientToken& operator=(GradientToken&& other) noexcept {
    source_ = std::exchange(other.source_, nullptr);
    generation_ = other.generation_;
    state_ = std::exchange(other.state_, moved);
    return *this;
  }

  /// The source, for `call`. Errors: Error that names `call` and the call that took the gradients before.
  GradientSource& open(char const* call) const {
    if (source_ == nullptr) throw Error(std::string(call) + ": these gradients " + state_);
    if (source_->generation() != generation_) {
      throw Error(std::string(call) +
                  ": these gradients are older than the last call of backward, step or zero_grad. Use "
                  "what the last backward returned.");
    }
    return *source_;
  }
  /// open(), and no later call gets the gradients; `why` says where they are.
  GradientSource& take(char const* call, char const* why) {
    GradientSource& source = open(call);
    source_ = nullptr, state_ = why;
    return source;
  }

 private:
  static constexpr char const* empty = "are empty. Assign what backward returns.";
  static constexpr char const* moved = "were moved to another variable before. Use that one.";
  GradientSource* source_ = nullptr;
  std::uint64_t generation_ = 0;
  char const* state_ = empty;
};

}  // namespace detail

template <>
class Gradients<Scaled> {
 public:
  /// Empty, to be assigned in a loop over micro-batches.
  Gradients() = default;

  /// A parameter's gradient, still multiplied by the loss scale, in PyTorch's order. Sync: waits.
  std::vector<double> values(std::string_view name) const { return token_.open("values").gradient(name, false); }

 private:
  template <class, class, class>
  friend class Trainer;
  friend Gradients<Unscaled> unscale(Gradients<Scaled>&& gradients);
  explicit Gradients(detail::GradientSource& source) : token_(source) {}
  detail::GradientToken token_;
};

template <>
class Gradients<Unscaled> {
 public:
  Gradients() = default;

  /// A parameter's gradient as the optimizer will see it: divided by the loss scale, and clipped where clip_grad_norm
  /// has been called; in PyTorch's order. Sync: waits.
  std::vector<double> values(std::string_view name) const { return token_.open("values").gradient(name, true); }
  /// The norm over all parameters, before clipping. Sync: waits.
  double norm() const { return token_.open("norm").norm(); }
  /// Whether a gradient is inf or NaN; always false where the scaler checks nothing and nobody asked for the norm.
  /// Sync: waits.
  bool found_inf() const { return token_.open("found_inf").found_inf(); }

 private:
  template <class, class, class>
  friend class Trainer;
  friend Gradients<Unscaled> unscale(Gradients<Scaled>&& gradients);
  friend void clip_grad_norm(Gradients<Unscaled>& gradients, double max_norm);
  explicit Gradients(detail::GradientSource& source) : token_(source) {}
  detail::GradientToken token_;
};

/// Checks the gradients for inf and NaN, for scalers and optimizers that ask for it, and hands them on as unscaled.
/// The division itself is part of the optimizer's kernel. Sync: none. Errors: Error where the token was taken before.
[[nodiscard]] inline Gradients<Unscaled> unscale(Gradients<Scaled>&& gradients) {
  detail::GradientSource& source =
      gradients.token_.take("unscale", "were given to unscale before. Use the Gradients<Unscaled> that it returned.");
  source.check();
  return Gradients<Unscaled>(source);
}

/// Scales the step's gradients down to a norm of at most `max_norm` over all parameters; after several calls the
/// smallest counts. The factor is part of the optimizer's kernel. torch.nn.utils.clip_grad_norm_. Sync: none. Errors:
/// Error for a norm that is not positive and finite, and where the token was taken before.
inline void clip_grad_norm(Gradients<Unscaled>& gradients, double max_norm) {
  if (!(max_norm > 0.0 && std::isfinite(max_norm))) {
    throw Error("clip_grad_norm: max_norm is " + std::to_string(max_norm) + ". Use a positive number.");
  }
  gradients.token_.open("clip_grad_norm").clip(max_norm);
}

namespace detail {
template <class>
inline constexpr bool never = false;
}  // namespace detail

// The calls in wrong order: templates, so that their sentence appears where one is made and nowhere else.

template <class State>
void unscale(Gradients<State>&) {
  static_assert(detail::never<State>,
                "mixprec: unscale: the gradients change hands. Write unscale(std::move(gradients)), once in a step.");
}
template <class State>
void unscale(Gradients<State>&&) {
  static_assert(
      detail::never<State>,
      "mixprec: unscale: these gradients are unscaled already, and a second division would make them too small. "
      "Remove this call.");
}
template <class State>
void clip_grad_norm(Gradients<State>&, double) {
  static_assert(
      detail::never<State>,
      "mixprec: clip_grad_norm: these gradients are still multiplied by the loss scale, and so is their norm. "
      "Call unscale(std::move(gradients)) first and clip what it returns.");
}

}  // namespace mixprec::inline MIXPREC_ABI
